"""What one node writes, another has: over every bus, with the relay and the replicator that a node runs."""

import msgspec

from jilnode.kernel.state import Context, State
from jilnode.limits import EVENT_BYTES_MAX, HEADER_BYTES_MAX
from jilnode.module import Command, CreatedBy, Module, Owned, Table
from jilnode.simulation.ledger import POTS, REPLIES, Ask, Drain, Fill, Move
from tests.events.networks import Fleet
from tests.kit.follower import BusNode, converged
from tests.kit.wait import eventually

ONE, TWO, THREE = "ch-zug-01", "sg-mas-01", "gb-lon-01"


class Page(Owned, frozen=True):
    text: str


class WritePage(msgspec.Struct, frozen=True):
    text: str


def _write_page(state: State, context: Context, command: WritePage) -> None:
    state[PAGES].insert(context.new_key(), Page(command.text))


PAGES = Table("page.text", Page, CreatedBy())
PAGE_MODULE = Module(
    "page", 1, tables=(PAGES,), commands=(Command(WritePage, "page.text.written", _write_page, lambda rows: None),)
)


async def amount(node: BusNode, key: str) -> int:
    return await node.node.writer.query(lambda view: view[POTS].get(key).amount)


async def test_a_second_node_converges(fleet):
    one, two = await fleet.join(ONE, TWO)
    for number in range(20):
        await one.node.run(Fill(f"p{number % 3}", 5))
    await one.node.run(Move("p0", "p1", 2))
    await eventually(lambda: converged(one.node, two.node))
    assert await amount(two, "p0/ch-zug-01") == 33


async def test_what_changed_nothing_travels_too(fleet):
    one, two = await fleet.join(ONE, TWO)
    first = await one.node.run(Drain("a"), key="k")
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))
    answer = await two.node.run(Drain("a"), key="k", session=ONE)
    assert (answer.source, answer.sequence, answer.reply, answer.replayed) == (ONE, first.sequence, 0, True)


async def test_everybody_writes_and_everybody_has_it(fleet):
    nodes = await fleet.join(ONE, TWO, THREE)
    for number in range(10):
        for node in nodes:
            await node.node.run(Fill("a", number))
    for node in nodes:
        for other in nodes:
            await eventually(lambda node=node, other=other: converged(node.node, other.node))


async def test_questions_are_answered_across_the_bus(fleet):
    one, _ = await fleet.join(ONE, TWO)
    asked = await one.node.run(Ask(TWO, 21))

    async def answered():
        reply = await one.node.writer.query(lambda view: view[REPLIES].get(asked.reply))
        return reply is not None and reply.number == 42

    await eventually(answered)


async def test_a_late_joiner_gets_everything_from_the_first_entry(fleet):
    one, two = await fleet.join(ONE, TWO)
    for number in range(30):
        await one.node.run(Fill("a", number))
    (late,) = await fleet.join(THREE)
    await eventually(lambda: converged(one.node, late.node))
    await eventually(lambda: converged(two.node, late.node))


async def test_a_source_that_is_trusted_later_is_followed_from_its_first_entry(fleet):
    one, two = await fleet.join(ONE, TWO)
    disk = await fleet.admit(THREE)
    three = await fleet.rejoin(THREE, disk, distrusted=ONE)
    await one.node.run(Fill("a", 5))
    await one.relay.flush()
    await two.node.run(Fill("b", 5))
    await eventually(lambda: converged(two.node, three.node))
    await three.replicator.store_positions(now=True)
    assert ONE not in three.node.engine.sources
    await fleet.leave(three)
    three = await fleet.rejoin(THREE, disk)
    await eventually(lambda: converged(one.node, three.node))
    assert await amount(three, f"a/{ONE}") == 5


async def test_a_restarted_follower_resumes(fleet):
    one, two = await fleet.join(ONE, TWO)
    await one.node.run(Fill("a", 1))
    await eventually(lambda: converged(one.node, two.node))
    await fleet.leave(two)
    for number in range(10):
        await one.node.run(Fill("a", number))
    two = await fleet.rejoin(TWO, two.node.disk)
    await eventually(lambda: converged(one.node, two.node))


async def test_while_nothing_is_carried_nodes_write_and_afterwards_they_converge(fleet):
    one, two = await fleet.join(ONE, TWO)
    await one.node.run(Fill("a", 1))
    await eventually(lambda: converged(one.node, two.node))
    await fleet.network.down()
    for number in range(40):
        await one.node.run(Fill("a", 1))
        await two.node.run(Fill("b", number))
    await fleet.network.up()
    await eventually(lambda: converged(one.node, two.node), 30)
    await eventually(lambda: converged(two.node, one.node), 30)
    assert await amount(two, "a/ch-zug-01") == 41


async def test_a_node_that_was_away_while_nothing_was_carried_catches_up(fleet):
    one, two = await fleet.join(ONE, TWO)
    await eventually(lambda: converged(one.node, two.node))
    await fleet.leave(two)
    await fleet.network.down()
    await one.node.run(Fill("a", 3))
    await fleet.network.up()
    two = await fleet.rejoin(TWO, two.node.disk)
    await eventually(lambda: converged(one.node, two.node), 30)


async def test_entries_as_large_as_they_may_be_travel_whole(network):
    text = "é\n\\" * ((EVENT_BYTES_MAX - HEADER_BYTES_MAX) // 8)
    fleet = Fleet(network, (PAGE_MODULE,))
    try:
        one, two = await fleet.join(ONE, TWO)
        for size in (1, 1, 1, *[8] * 30):
            await one.node.run(WritePage(text[: len(text) // size]))
        entries, _ = await one.node.journal()
        assert max(len(entry.sections["rows"]) for entry in entries) > EVENT_BYTES_MAX // 2
        await eventually(lambda: converged(one.node, two.node))
        key = next(iter(one.node.disk.tables["page.text"].rows))
        assert (await two.node.writer.query(lambda view: view[PAGES].get(key))).text == text
    finally:
        await fleet.close()


async def test_a_node_restored_from_an_old_copy_gets_its_tail_back_and_does_not_fork(fleet):
    one, two = await fleet.join(ONE, TWO)
    await one.node.run(Fill("a", 1))
    backup = one.node.disk.copy()
    for number in range(5):
        await one.node.run(Fill("a", number))
    await one.relay.flush()
    await eventually(lambda: converged(one.node, two.node))
    root = one.node.engine.own.frontier.root()
    await fleet.leave(one)
    one = await fleet.rejoin(ONE, backup)
    assert one.node.engine.own.frontier.root() == root
    await one.node.run(Fill("a", 100))
    await eventually(lambda: converged(one.node, two.node))
    assert two.node.engine.sources[ONE].status == "following"

"""Whoever reaches the broker can send anything in anybody's name: what is not signed accuses nobody, what is does."""

from collections.abc import AsyncIterator

import pytest

from jilnode.events.bus import Bus, Record
from jilnode.events.record import record_of_entry, records_of
from jilnode.kernel.entry import Entry
from jilnode.kernel.system import EVIDENCE
from jilnode.limits import REPLICATOR_QUEUE_MAX
from jilnode.simulation.ledger import Fill
from tests.events.test_convergence import ONE, THREE, TWO, amount
from tests.kernel.test_hostile import Liar
from tests.kit.follower import BusNode, converged
from tests.kit.wait import eventually


@pytest.fixture
def fleet(brokered_fleet):
    return brokered_fleet


@pytest.fixture
async def liar(brokered) -> AsyncIterator[Bus]:
    """A client of the bus that belongs to no node."""
    bus = brokered.bus()
    yield bus
    await bus.close()


async def invented(node: BusNode, count: int) -> list[Entry]:
    """Entries as the node would write them next, that it did not write."""
    size = node.node.engine.own.size
    (entry,) = await node.node.store.journal(node.node.source, 0, size - 1, 1)
    return [
        Entry(
            entry.source,
            entry.epoch,
            size + number,
            entry.header.replace(b'"sequence":%d' % (size - 1), b'"sequence":%d' % (size + number)),
            entry.sections,
        )
        for number in range(count)
    ]


async def suspended_by_its_own_lie(fleet, liar) -> list[BusNode]:
    """The first node's newest entry is told to the others as something else, and signed."""
    one, two, three = nodes = await fleet.join(ONE, TWO, THREE)
    await liar.start({})
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))
    await eventually(lambda: converged(one.node, three.node))
    one.stop_relay()
    await one.node.run(Fill("a", 7))
    lie = await Liar(one.node).group(
        lambda rows: [(t, k, d.replace(b'"amount":12', b'"amount":13')) for t, k, d in rows]
    )
    await liar.publish(ONE, records_of(list(lie.entries), [lie.seal]))
    await eventually(lambda: three.node.engine.sources[ONE].status == "suspended")
    return nodes


async def test_what_a_source_did_not_sign_changes_nothing_and_accuses_nobody(fleet, liar):
    one, two = await fleet.join(ONE, TWO)
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))
    # After the newest entry, an entry in another's name under a seal that says more than was signed.
    (forged,) = await invented(one, 1)
    size = one.node.engine.own.size
    seal = (await one.node.store.seals(ONE, 0, size - 1, 1))[0]
    note = seal.note.replace(f"\n{size}\n", f"\n{size + 1}\n")
    await liar.start({})
    await liar.publish(ONE, [record_of_entry(forged), Record("jil.seal", ONE, note.encode())])
    await eventually(lambda: two.replicator.dead_letters == 1)
    assert await amount(two, "a/ch-zug-01") == 5
    assert one.node.writer.writable, "a lie about this node must not stop it"
    await one.node.run(Fill("a", 7))
    await eventually(lambda: converged(one.node, two.node))
    assert await amount(two, "a/ch-zug-01") == 12
    assert two.node.engine.sources[ONE].status == "following"


async def test_a_flood_of_entries_without_a_seal_harms_nobody(fleet, liar):
    one, two = await fleet.join(ONE, TWO)
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))
    await liar.start({})
    flood = await invented(one, REPLICATOR_QUEUE_MAX + 10)
    await liar.publish(ONE, [record_of_entry(entry) for entry in flood])
    await eventually(lambda: two.replicator.dead_letters == 10)
    assert two.node.engine.sources[ONE].status == "following"
    for _ in range(20):
        await one.node.run(Fill("a", 1))
    await eventually(lambda: converged(one.node, two.node))
    assert await amount(two, "a/ch-zug-01") == 25
    assert two.node.engine.sources[ONE].status == "following"
    assert one.node.writer.writable


async def test_what_can_t_be_read_is_put_aside_and_everybody_goes_on(fleet):
    one, two = await fleet.join(ONE, TWO)
    await fleet.network.garbage(ONE, b"\xff\x00 no record of ours")
    await eventually(lambda: two.replicator.dead_letters == 1)
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))
    assert b"\xff\x00 no record of ours" in await fleet.network.dead_letters()


async def test_what_comes_twice_counts_once(fleet, liar):
    one, two = await fleet.join(ONE, TWO)
    await liar.start({})
    await one.node.run(Fill("a", 5))
    await liar.publish(ONE, records_of(*await one.node.journal()))
    await one.node.run(Fill("a", 7))
    await liar.publish(ONE, records_of(*await one.node.journal()))
    await eventually(lambda: converged(one.node, two.node))
    assert await amount(two, "a/ch-zug-01") == 12
    assert (one.replicator.dead_letters, two.replicator.dead_letters) == (0, 0)


async def test_a_lie_that_its_source_signed_suspends_it_and_nobody_else(fleet, liar):
    _, two, three = await suspended_by_its_own_lie(fleet, liar)
    assert three.node.engine.sources[ONE].code == "invariant.conserved"
    assert await amount(three, "a/ch-zug-01") == 5
    await two.node.run(Fill("b", 7))
    await eventually(lambda: converged(two.node, three.node))
    evidence = await three.node.store.page([EVIDENCE], [("source", ONE)])
    assert [image.row.code for _, image in evidence.items] == ["invariant.conserved"]


async def test_a_release_looks_at_what_came_meanwhile_so_the_same_lie_suspends_again(fleet, liar):
    _, _, three = await suspended_by_its_own_lie(fleet, liar)
    await three.replicator.release(ONE)
    assert three.node.engine.sources[ONE].status == "suspended"
    assert await amount(three, "a/ch-zug-01") == 5


async def test_two_seals_of_one_size_are_a_fork_and_the_proof_of_it(fleet, liar):
    one, two = await fleet.join(ONE, TWO)
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))
    twin = await Liar(one.node).group(
        lambda rows: [(t, k, d.replace(b'"amount":5', b'"amount":6')) for t, k, d in rows]
    )
    await liar.start({})
    await liar.publish(ONE, records_of(list(twin.entries), [twin.seal]))
    await eventually(lambda: two.node.engine.sources[ONE].code == "fork")
    await eventually(lambda: not one.node.writer.writable)

"""The engine and the writer over a memory store: deciding, undoing, answering, following."""

import asyncio

import pytest

from jilnode.kernel.errors import Breach, LockLost, Parked, Rejected
from jilnode.kernel.system import MARKS, Mark
from jilnode.kernel.verify import Group
from jilnode.simulation.ledger import BIDS, MODULE, POTS, REPLIES, Ask, Fill, Mint, Move, PlaceBid
from jilnode.stores.memory import Fate, MemoryStore
from tests.kit.node import TestNode, running


async def test_a_command_is_durable_before_it_is_answered():
    async with running(TestNode(modules=[MODULE])) as (node,):
        answer = await node.run(Fill("a", 5))
        assert (answer.status, answer.reply, answer.sequence) == (201, 5, 1)
        entries, seals = await node.journal()
        assert [entry.sequence for entry in entries[:2]] == [0, 1]
        assert seals[-1].size == len(entries)


async def test_a_refused_command_changes_nothing():
    async with running(TestNode(modules=[MODULE])) as (node,):
        await node.run(Fill("a", 5))
        with pytest.raises(Rejected, match="insufficient"):
            await node.run(Move("a", "b", 6))
        assert (await node.run(Move("a", "b", 5))).reply == {"a/ch-zug-01": 0, "b/ch-zug-01": 5}


async def test_a_command_that_breaks_an_invariant_is_refused_and_undone():
    async with running(TestNode(modules=[MODULE])) as (node,):
        await node.run(Fill("a", 5))
        with pytest.raises(Rejected, match="invariant_broken"):
            await node.run(Mint("a"))
        assert node.engine.alarms
        assert await node.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 5


async def test_the_same_key_gives_the_same_answer_and_another_body_a_conflict():
    async with running(TestNode(modules=[MODULE])) as (node,):
        first = await node.run(Fill("a", 5), key="k", body=b"1")
        again = await node.run(Fill("a", 5), key="k", body=b"1")
        assert again.replayed
        assert (again.reply, again.sequence, again.status) == (first.reply, first.sequence, first.status)
        with pytest.raises(Rejected, match="idempotency_key_reused"):
            await node.run(Fill("a", 6), key="k", body=b"2")
        assert await node.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 5


async def test_a_final_refusal_is_remembered_even_after_a_restart():
    node = TestNode(modules=[MODULE])
    async with running(node):
        with pytest.raises(Rejected, match="insufficient"):
            await node.run(Move("a", "b", 6), key="k")
        await node.run(Fill("a", 10))
        with pytest.raises(Rejected, match="insufficient"):
            await node.run(Move("a", "b", 6), key="k")
    again = TestNode(modules=[MODULE], store=MemoryStore(node.disk))
    async with running(again):
        with pytest.raises(Rejected, match="insufficient"):
            await again.run(Move("a", "b", 6), key="k")
        assert (await again.run(Move("a", "b", 6), key="other")).status == 201


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNKNOWN_LOST])
async def test_a_lost_commit_is_undone_and_the_caller_told(fate):
    fates = [Fate.DURABLE, Fate.DURABLE, fate]
    node = TestNode(modules=[MODULE])
    node.store = MemoryStore(node.disk, fate=lambda commit: fates.pop(0) if fates else Fate.DURABLE)
    node.kernel.store = node.writer.store = node.store
    async with running(node):
        await node.run(Fill("a", 5))
        with pytest.raises(Rejected, match="commit_failed"):
            await node.run(Fill("a", 5), key="k")
        assert await node.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 5
        assert (await node.run(Fill("a", 5), key="k")).reply == 10


async def test_a_commit_of_unknown_outcome_that_is_there_is_answered():
    fates = [Fate.DURABLE, Fate.DURABLE, Fate.UNKNOWN_DURABLE]
    node = TestNode(modules=[MODULE])
    node.store = MemoryStore(node.disk, fate=lambda commit: fates.pop(0) if fates else Fate.DURABLE)
    node.kernel.store = node.writer.store = node.store
    async with running(node):
        await node.run(Fill("a", 5))
        assert (await node.run(Fill("a", 5), key="k")).reply == 10
        assert (await node.run(Fill("a", 5), key="k")).replayed


async def test_indexes_follow_rows_and_undo():
    async with running(TestNode(modules=[MODULE])) as (node,):
        for price in (3, 9, 5):
            await node.run(PlaceBid("m", price))
        await node.run(Fill("a", 5, group="red"))
        await node.run(Fill("b", 7, group="red"))
        assert await node.writer.query(
            lambda view: [view[BIDS].get(key).price for key in view[BIDS].ordered("book", "m")]
        ) == [9, 5, 3]
        assert await node.writer.query(lambda view: view[POTS].total("in_group", "red")) == 12
        assert await node.writer.query(lambda view: view[POTS].keys("by_group", "red")) == (
            "a/ch-zug-01",
            "b/ch-zug-01",
        )


async def test_a_deadline_runs_its_command_once():
    async with running(TestNode(modules=[MODULE])) as (node,):
        await node.run(Fill("a", 5, until_us=node.clock.now_us + 3_000_000))
        assert await node.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 5
        node.clock.advance(4)
        await node.run(Fill("b", 1))
        await node.run(Fill("b", 1))
        assert await node.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 0


async def test_a_replica_holds_the_same_rows_digest_and_root():
    one, two = TestNode("ch-zug-01", [MODULE]), TestNode("sg-mas-01", [MODULE])
    async with running(one, two):
        await one.run(Fill("a", 5))
        await one.run(Move("a", "b", 2))
        one.clock.advance(31)
        await one.run(Fill("a", 5))
        await two.follow(one)
        mine, theirs = one.engine.sources[one.source], two.engine.sources[one.source]
        assert (mine.size, mine.digest, mine.frontier.root()) == (theirs.size, theirs.digest, theirs.frontier.root())
        assert not theirs.drift
        assert await two.writer.query(lambda view: view[POTS].get("b/ch-zug-01").amount) == 2


async def test_a_question_is_answered_by_the_node_that_it_is_addressed_to():
    one, two = TestNode("ch-zug-01", [MODULE]), TestNode("sg-mas-01", [MODULE])
    async with running(one, two):
        asked = await one.run(Ask("sg-mas-01", 21))
        await two.follow(one)
        await two.run(Fill("x", 1))
        await one.follow(two)
        assert await one.writer.query(lambda view: view[REPLIES].get(asked.reply).number) == 42


async def test_a_cause_that_is_not_here_parks_and_accuses_nobody():
    one, two, three = (TestNode(name, [MODULE]) for name in ("ch-zug-01", "sg-mas-01", "gb-lon-01"))
    async with running(one, two, three):
        await one.run(Ask("sg-mas-01", 21))
        await two.follow(one)
        await two.run(Fill("x", 1))
        with pytest.raises(Parked, match="cause_not_applied"):
            await three.follow(two)
        await three.follow(one)
        await three.follow(two)


async def test_what_rests_on_an_entry_of_its_own_group_is_followed():
    """Whoever answers its own request does so in the commit after it, and the seal between may be lost."""
    one, two = TestNode("ch-zug-01", [MODULE]), TestNode("sg-mas-01", [MODULE])
    async with running(one, two):
        # Its first tick comes with its first command, and is the last of its commit.
        await one.run(Fill("x", 1))
        await two.follow(one)
        asked = await one.run(Ask("ch-zug-01", 21))
        await one.run(Fill("x", 1))
        groups = await one.groups(one.source, two.engine.sources[one.source].size)
        assert len(groups) > 1
        await two.apply(Group(one.source, [entry for group in groups for entry in group.entries], groups[-1].seal))
        assert await two.writer.query(lambda view: view[REPLIES].get(asked.reply).number) == 42


async def test_restart_gives_the_same_state():
    node = TestNode(modules=[MODULE])
    async with running(node):
        await node.run(Fill("a", 5), key="k")
        before = node.engine.own.frontier.root(), node.engine.own.digest
    again = TestNode(modules=[MODULE], store=MemoryStore(node.disk))
    async with running(again):
        assert (again.engine.own.frontier.root(), again.engine.own.digest) == before
        assert (await again.run(Fill("a", 5), key="k")).replayed
        assert (await again.run(Fill("a", 5))).reply == 10


async def test_a_changed_byte_is_a_breach_and_nothing_is_applied():
    one, two = TestNode("ch-zug-01", [MODULE]), TestNode("sg-mas-01", [MODULE])
    async with running(one, two):
        await one.run(Fill("z", 1))
        await two.follow(one)
        await one.run(Fill("a", 5))
        (group,) = await one.groups(one.source, two.engine.sources[one.source].size)
        (entry,) = group.entries
        forged = type(entry)(
            entry.source,
            entry.epoch,
            entry.sequence,
            entry.header,
            {"rows": entry.sections["rows"].replace(b'"amount":5', b'"amount":6')},
        )
        with pytest.raises(Breach, match="bad_section"):
            await two.apply(Group(group.source, [forged], group.seal))
        assert await two.writer.query(lambda view: view[POTS].get("a/ch-zug-01")) is None
        await two.follow(one)


async def test_time_never_runs_backwards_and_a_step_stops_writing():
    async with running(TestNode(modules=[MODULE])) as (node,):
        await node.run(Fill("a", 1))
        node.clock.step(-3600)
        for _ in range(2):
            with pytest.raises(Rejected, match="not_writable"):
                await node.run(Fill("c", 1))
        node.writer.confirm_clock()
        await node.run(Fill("c", 1))
        own = node.engine.own
        assert own.time_us >= node.clock.now_us


async def test_a_second_try_in_a_lost_batch_is_no_answer():
    """Found by simulation: the same key twice in one batch; the second was told the first's answer though both were
    undone."""
    fates = [Fate.DURABLE, Fate.DURABLE, Fate.LOST]
    node = TestNode(modules=[MODULE])
    node.store = MemoryStore(node.disk, fate=lambda commit: fates.pop(0) if fates else Fate.DURABLE)
    node.kernel.store = node.writer.store = node.store
    async with running(node):
        await node.run(Fill("a", 5))
        tries = await asyncio.gather(*[node.run(Fill("a", 5), key="k") for _ in range(2)], return_exceptions=True)
        assert [str(error).partition(":")[0] for error in tries] == ["commit_failed", "commit_failed"]
        assert not (await node.run(Fill("a", 5), key="k")).replayed


async def test_who_waits_when_the_lock_is_lost_is_told():
    node = TestNode(modules=[MODULE])
    await node.start()
    await node.run(Fill("a", 5))
    thief = MemoryStore(node.disk)
    await thief.open(node.source, tuple(node.engine.registry.tables.values()))
    with pytest.raises(Rejected, match="not_writable"):
        await asyncio.wait_for(node.run(Fill("a", 5)), 5)
    with pytest.raises(LockLost):
        await node.close()


async def test_a_local_row_that_is_refused_is_undone():
    async with running(TestNode(modules=[MODULE])) as (node,):
        with pytest.raises(Rejected, match="bad_json"):
            await node.writer.write_local(lambda engine: engine.state[MARKS].put("bus/a", Mark("\0")))
        assert node.engine.caches[MARKS].get("bus/a") is None
        await node.writer.write_local(lambda engine: engine.state[MARKS].put("bus/b", Mark("1")))
        assert await node.writer.query(lambda view: view[MARKS].get("bus/a")) is None

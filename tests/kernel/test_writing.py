"""When a node writes and when it does not, and what the batch of one may cost another."""

import asyncio

import pytest

from jilnode.kernel.codec import decode_header
from jilnode.kernel.entry import Entry
from jilnode.kernel.errors import CommitRefused, LockLost, Parked, Rejected
from jilnode.kernel.ports import Commit
from jilnode.kernel.seal import SealKey
from jilnode.kernel.system import MARKS, Mark
from jilnode.limits import EVENT_BYTES_MAX, WRITER_BATCH_BYTES_MAX
from jilnode.simulation.ledger import MODULE, POTS, Ask, Fill
from jilnode.stores.memory import Fate, MemoryStore
from jilnode.stores.memory_disk import MemoryDisk
from tests.kernel import shelf
from tests.kit.node import START_US, TestNode, running
from tests.kit.wait import eventually

NEW_KEY, NEWER_KEY = SealKey.from_seed(b"1" * 32), SealKey.from_seed(b"2" * 32)


class Away(MemoryStore):
    """A database that can be lost with the next commit, and comes back when it is told to."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__(disk, fate=lambda commit: self.fate)
        self.fate = Fate.DURABLE
        self._back = asyncio.Event()

    def go(self) -> None:
        self.fate = Fate.UNKNOWN_LOST

    def come_back(self) -> None:
        self.fate = Fate.DURABLE
        self._back.set()

    async def reopen(self) -> None:
        await self._back.wait()
        await super().reopen()


class Picky(MemoryStore):
    """A database that can't take some entries."""

    def __init__(self, disk: MemoryDisk, refused: bytes) -> None:
        super().__init__(disk)
        self._refused = refused

    async def commit(self, commit: Commit) -> None:
        if any(self._refused in data for entry in commit.entries for data in entry.sections.values()):
            raise CommitRefused("it is as it is")
        await super().commit(commit)


def in_picky(refused: bytes) -> TestNode:
    disk = MemoryDisk()
    return TestNode("sg-mas-01", [MODULE], store=Picky(disk, refused))


async def amount(node: TestNode, key: str) -> int | None:
    row = await node.writer.query(lambda view: view[POTS].get(key))
    return None if row is None else row.amount


def type_of(entry: Entry) -> str:
    return decode_header(entry.header).type


@pytest.fixture
async def lost():
    """A node whose database was just lost with a commit, and who waits for that commit."""
    store = Away(MemoryDisk())
    node = TestNode(modules=[MODULE], store=store)
    async with running(node):
        await node.run(Fill("a", 5))
        store.go()
        asked = asyncio.ensure_future(node.run(Fill("a", 1)))
        await eventually(lambda: node.writer.recovering)
        yield node, store, asked
        store.come_back()
        await asyncio.gather(asked, return_exceptions=True)


async def test_a_clock_that_was_set_writes_nothing():
    async with running(TestNode(modules=[MODULE])) as (node,):
        await node.run(Fill("a", 5))
        node.clock.step(365 * 86400)
        with pytest.raises(Rejected, match="not_writable"):
            await node.run(Fill("a", 1))
        assert "start this node again" in node.writer.why_not_writable
        node.clock.step(-365 * 86400)
        node.writer.confirm_clock()
        assert (await node.run(Fill("a", 1))).reply == 6
        assert node.engine.own.time_us == START_US


async def test_a_clock_that_is_set_while_a_batch_is_decided_does_not_tell_its_time():
    class Slow(MemoryStore):
        async def load(self, wanted):
            node.clock.step(365 * 86400)
            return await super().load(wanted)

    node = TestNode(modules=[MODULE])
    node.store = node.kernel.store = node.writer.store = MemoryStore(node.disk)
    async with running(node):
        node.clock.advance(31)
        node.writer._loader._store = Slow(node.disk)
        await node.run(Fill("a", 5), key="k")
        assert node.engine.own.tick_us == node.engine.own.time_us == START_US + 31_000_000


async def test_who_waits_in_the_queue_when_writing_ends_is_told():
    async with running(TestNode(modules=[MODULE])) as (node,):
        asked = [asyncio.ensure_future(node.run(Fill("a", 1))) for _ in range(3)]
        await asyncio.sleep(0)
        node.kernel.forbid_writes("somebody else writes as this node")
        for refused in await asyncio.gather(*asked, return_exceptions=True):
            assert (refused.code, refused.detail) == ("not_writable", "somebody else writes as this node")


async def test_who_waits_in_the_queue_when_a_node_is_told_to_stop_is_still_answered():
    async with running(TestNode(modules=[MODULE])) as (node,):
        asked = [asyncio.ensure_future(node.run(Fill("a", 1))) for _ in range(3)]
        await asyncio.sleep(0)
        node.writer.stop()
        assert [answer.reply for answer in await asyncio.gather(*asked)] == [1, 2, 3]
        with pytest.raises(Rejected, match="shutting down"):
            await node.run(Fill("a", 1))
        node.kernel.forbid_writes("for a moment")
        node.kernel.allow_writes()
        assert not node.writer.writable


async def test_a_node_that_must_not_write_while_its_database_is_away_does_not_afterwards(lost):
    node, store, asked = lost
    node.kernel.forbid_writes("somebody else writes as this node")
    store.come_back()
    with pytest.raises(Rejected, match="commit_failed"):
        await asked
    assert not node.writer.writable
    assert node.writer.why_not_writable == "somebody else writes as this node"


async def test_a_node_that_may_write_while_its_database_is_away_does_afterwards(lost):
    node, store, asked = lost
    node.kernel.forbid_writes("for a moment")
    node.kernel.allow_writes()
    assert not node.writer.writable
    assert "asking it for its last commit" in node.writer.why_not_writable
    store.come_back()
    with pytest.raises(Rejected, match="commit_failed"):
        await asked
    assert (await node.run(Fill("a", 1))).reply == 6


async def test_a_node_that_stops_while_its_database_is_away_takes_no_more(lost):
    node, store, asked = lost
    node.writer.stop()
    store.come_back()
    with pytest.raises(Rejected, match="commit_failed"):
        await asked
    assert not node.writer.writable


async def test_a_local_row_that_can_t_be_written_leaves_nothing():
    async with running(TestNode(modules=[MODULE])) as (node,):
        with pytest.raises(Rejected):
            await node.writer.write_local(lambda engine: engine.state[MARKS].put("told", Mark("a\0b")))
        assert node.engine.caches[MARKS].get("told") is None
        await node.writer.write_local(lambda engine: engine.state[MARKS].put("told", Mark("it")))
        assert (await node.store.get(MARKS, ["told"]))["told"].row == Mark("it")


async def test_who_changes_the_key_of_a_node_that_may_not_write_is_told():
    async with running(TestNode(modules=[MODULE])) as (node,):
        changing = asyncio.ensure_future(node.writer.rotate_key(NEW_KEY))
        await asyncio.sleep(0)
        node.kernel.forbid_writes("for a moment")
        with pytest.raises(Rejected, match="for a moment"):
            await asyncio.wait_for(changing, 5)
        with pytest.raises(Rejected, match="for a moment"):
            await asyncio.wait_for(node.writer.rotate_key(NEW_KEY), 5)
        assert node.engine.key is not NEW_KEY


async def test_a_key_that_is_to_change_when_a_node_is_told_to_stop_changes():
    async with running(TestNode(modules=[MODULE])) as (node,):
        changing = [asyncio.ensure_future(node.writer.rotate_key(key)) for key in (NEW_KEY, NEWER_KEY)]
        await asyncio.sleep(0)
        node.writer.stop()
        await asyncio.wait_for(asyncio.gather(*changing), 5)
        assert node.engine.key is NEWER_KEY


async def test_who_changes_the_key_when_the_lock_is_lost_is_told():
    node = TestNode(modules=[MODULE])
    await node.start()
    await MemoryStore(node.disk).open(node.source, tuple(node.engine.registry.tables.values()))
    for _ in range(2):
        with pytest.raises(Rejected, match="another process took this database"):
            await asyncio.wait_for(node.writer.rotate_key(NEW_KEY), 5)
    with pytest.raises(LockLost):
        await node.close()


async def test_what_the_database_can_t_take_of_one_source_costs_others_one_commit():
    one, three = (TestNode(name, [MODULE]) for name in ("ch-zug-01", "gb-lon-01"))
    two = in_picky(b'"amount":13')
    async with running(one, two, three):
        await two.follow(one)
        await two.follow(three)
        await one.run(Fill("a", 13))
        await three.run(Fill("b", 1))

        async def tried() -> list[object]:
            applying = [asyncio.ensure_future(two.follow(other)) for other in (one, three)]
            asking = [asyncio.ensure_future(two.run(Fill("own", 1)))]
            return await asyncio.gather(*applying, *asking, return_exceptions=True)

        await tried()
        refused, followed, answer = await tried()
        assert isinstance(refused, Parked)
        assert refused.code == "not_stored"
        assert followed is None
        assert answer.status == 201
        assert await amount(two, "b/gb-lon-01") == 1


async def test_a_database_that_is_full_accuses_nobody():
    one, two = TestNode("ch-zug-01", [MODULE]), TestNode("sg-mas-01", [MODULE])
    fates: list[Fate] = []
    two.store = MemoryStore(two.disk, fate=lambda commit: fates.pop(0) if fates else Fate.DURABLE)
    two.kernel.store = two.writer.store = two.store
    async with running(one, two):
        await two.follow(one)
        await one.run(Fill("a", 13))
        for _ in range(4):
            fates.append(Fate.LOST)
            with pytest.raises(Exception, match="refused the commit"):
                await two.follow(one)
        await two.follow(one)
        assert await amount(two, "a/ch-zug-01") == 13


async def test_callers_who_fill_every_commit_keep_back_no_deadline_and_no_answer():
    node = TestNode("ch-zug-01", [MODULE, shelf.MODULE])
    commits: list[list[str]] = []
    node.writer.listeners.append(lambda entries, seals: commits.append([type_of(entry) for entry in entries]))
    async with running(node):
        await node.run(Fill("a", 5, until_us=START_US + 1_000_000))
        commits.clear()
        node.clock.advance(2)
        text = "x" * (EVENT_BYTES_MAX - 8_000)
        puts = [shelf.Put(str(number), text) for number in range(3 * WRITER_BATCH_BYTES_MAX // len(text))]
        await asyncio.gather(*map(node.run, [Ask(node.source, 1), *puts]))
        assert "ledger.pot.expired" in commits[0]
        assert "ledger.question.answered" in commits[1]
        assert "shelf.jar.put" in commits[2]

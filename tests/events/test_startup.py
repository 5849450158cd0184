"""A node that was restored from a backup writes only when all that it once sealed is back."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from jilnode.events.bus import Lane, Record
from jilnode.events.memory import MemoryBroker, MemoryBus
from jilnode.events.record import ENTRY_KIND, SEAL_KIND, read_record, record_of_seal
from jilnode.kernel.entry import Seal
from jilnode.kernel.invariants import Invariant
from jilnode.kernel.seal import SealKey, make_seal, origin_of
from jilnode.limits import FEED_ALTERNATIVES_MAX
from jilnode.simulation.ledger import MODULE, Ask, Fill
from jilnode.stores.memory import Fate, MemoryStore
from jilnode.system_clock import SystemClock
from tests.events.networks import MemoryNetwork
from tests.events.test_convergence import ONE, TWO
from tests.kit.follower import BusNode, converged
from tests.kit.node import TestNode
from tests.kit.wait import eventually


class HoldingBus(MemoryBus):
    """Brings what others wrote later than what this node did, as partitions of a topic may."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.held = True

    def _read(self, max_records: int) -> list[tuple[Lane, list[Record], str]]:
        lanes = self._broker.lanes
        if self.held:
            self._broker.lanes = {lane: records for lane, records in lanes.items() if lane.endswith(ONE)}
        try:
            return super()._read(max_records)
        finally:
            self._broker.lanes = lanes


@dataclass
class Restored:
    """A node whose backup lacks its answer to the question of another; both are on the bus. ``size``: what it had."""

    again: BusNode
    bus: HoldingBus
    size: int
    fates: list[Fate]
    """Of its next commits with entries."""
    start: Callable[[], Awaitable[None]]

    def bring(self) -> None:
        """What the other wrote."""
        self.bus.held = False
        self.bus.rewind("memory/" + TWO, None)


@pytest.fixture
def network():
    return MemoryNetwork()


@pytest.fixture
async def restored(fleet, network):
    one, two = await fleet.join(ONE, TWO)
    await eventually(lambda: converged(one.node, two.node))
    backup, size = one.node.disk.copy(), one.node.engine.own.size
    await two.node.run(Ask(ONE, 7))
    await eventually(lambda: one.node.engine.own.size > size)
    await eventually(lambda: converged(one.node, two.node))
    await fleet.leave(one)
    fates: list[Fate] = []
    store = MemoryStore(backup, fate=lambda commit: fates.pop(0) if fates and commit.entries else Fate.DURABLE)
    node = TestNode(ONE, [MODULE], trusted=one.node.trusted, clock=SystemClock(), store=store)
    bus = HoldingBus(network.broker)
    again = BusNode(node, bus)
    starting: list[asyncio.Task[BusNode]] = []

    async def start() -> None:
        """Until it has read all that the bus has of itself."""
        starting.append(asyncio.create_task(again.start()))
        await eventually(lambda: again.replicator.received)

    yield Restored(again, bus, one.node.engine.own.size, fates, start)
    for task in starting:
        task.cancel()
    await asyncio.gather(*starting, return_exceptions=True)
    await again.close()


async def test_it_waits_while_its_own_entries_wait_for_others(restored):
    node = restored.again.node
    await restored.start()
    await asyncio.sleep(0.1)
    assert node.engine.own.code == "cause_not_applied"
    assert not node.writer.writable
    restored.bring()
    await eventually(lambda: node.writer.writable)
    assert node.engine.own.size == restored.size
    assert (await node.run(Fill("a", 1))).sequence == restored.size


async def test_it_tries_again_what_its_database_refused(restored):
    node = restored.again.node
    restored.bus.held = False
    restored.fates += [Fate.LOST] * 3
    await restored.start()
    await eventually(lambda: node.writer.writable)
    assert not restored.fates
    assert node.engine.own.size == restored.size


async def test_it_waits_for_the_operator_whom_its_own_entries_wait_for(restored):
    node = restored.again.node
    restored.bus.held = False
    faulty = Invariant("faulty", range(1, 9), lambda change: None if change.source != ONE else 1 // 0)
    node.engine.registry.checks = lambda schema, tables: (faulty,)
    await restored.start()
    await eventually(lambda: node.engine.own.code == "not_judged")
    del node.engine.registry.checks
    await asyncio.sleep(0.1)
    assert not node.writer.writable
    await restored.again.replicator.release(ONE)
    await eventually(lambda: node.writer.writable)
    assert node.engine.own.size == restored.size


async def test_what_another_sealed_in_its_name_keeps_it_from_nothing(restored, network):
    node = restored.again.node
    note = make_seal(origin_of("dev", ONE, 1), 99, b"r" * 32, [SealKey.from_seed(b"t" * 32)])
    network.broker.append([record_of_seal(Seal(ONE, 1, 99, note))])
    restored.bus.held = False
    await restored.start()
    await eventually(lambda: node.writer.writable)
    assert node.engine.own.size == restored.size


async def test_it_waits_while_what_others_displaced_is_read_again(restored, network):
    """Somebody sent more in its name, between an entry and its seal, than is kept under one number."""
    node = restored.again.node
    had = await node.store.journal(ONE, 0, 0, 100)
    lane = network.broker.lanes["memory/" + ONE]
    (place,) = [
        number
        for number, record in enumerate(lane)
        if record.kind != SEAL_KIND and read_record(record).sequence == len(had)
    ]
    header = b'{"source_id":"%b","epoch":0,"sequence":%d,"number":%%d}' % (ONE.encode(), len(had))
    flood = [
        Record(ENTRY_KIND, ONE, b'{"header":%b,"sections":{}}' % (header % number))
        for number in range(FEED_ALTERNATIVES_MAX + 2)
    ]
    network.broker.lanes["memory/" + ONE] = [*lane[: place + 1], *flood, *lane[place + 1 :]]
    restored.bus.held = False
    await restored.start()
    await eventually(lambda: node.writer.writable)
    assert node.engine.own.size == restored.size

"""A source with two histories under one key: a copy that was restored and went on by itself, or a thief of the key."""

import asyncio

import msgspec
import pytest

from jilnode.events.bus import Bus
from jilnode.events.record import record_of_entry, record_of_seal
from jilnode.kernel.codec import decode_header, encode_header
from jilnode.kernel.entry import Entry
from jilnode.simulation.ledger import MODULE, Fill
from jilnode.stores.memory import MemoryStore
from jilnode.system_clock import SystemClock
from tests.events.networks import Fleet, PeerNetwork
from tests.events.test_convergence import ONE, TWO
from tests.kernel.test_hostile import Liar
from tests.kit.follower import converged
from tests.kit.node import TestNode
from tests.kit.wait import eventually


@pytest.fixture
def fleet(brokered_fleet):
    return brokered_fleet


@pytest.fixture
async def liar(brokered):
    bus: Bus = brokered.bus()
    yield bus
    await bus.close()


def retold(entry: Entry) -> Entry:
    """Another entry under the same number."""
    header = encode_header(msgspec.structs.replace(decode_header(entry.header), actor="somebody-else"))
    return Entry(entry.source, entry.epoch, entry.sequence, header, entry.sections)


async def test_a_fork_is_proven_where_no_seal_here_has_its_size(fleet, liar):
    one, two = await fleet.join(ONE, TWO)
    # Both in one commit, so nobody has a seal between them.
    await asyncio.gather(one.node.run(Fill("a", 5)), one.node.run(Fill("a", 7)))
    await eventually(lambda: converged(one.node, two.node))
    size = one.node.engine.own.size
    assert [seal.size for seal in await two.node.store.seals(ONE, 0, size - 2, 9)] == [size]
    (entry,) = await one.node.store.journal(ONE, 0, size - 2, 1)
    lie = retold(entry)
    await liar.start({})
    await liar.publish(ONE, [record_of_entry(lie), record_of_seal(await Liar(one.node).seal([lie]))])
    await eventually(lambda: two.node.engine.sources[ONE].code == "fork")
    await eventually(lambda: not one.node.writer.writable)


async def test_an_invention_makes_nobody_mistake_an_old_seal_for_a_fork(fleet, liar):
    one, two = await fleet.join(ONE, TWO)
    await asyncio.gather(one.node.run(Fill("a", 5)), one.node.run(Fill("a", 7)))
    await eventually(lambda: converged(one.node, two.node))
    size = one.node.engine.own.size
    (entry,) = await one.node.store.journal(ONE, 0, size - 2, 1)
    # What a follower who merged commits may have missed: the source's own seal, of a size that is nowhere stored.
    honest = await Liar(one.node).seal([entry])
    await liar.start({})
    await liar.publish(ONE, [record_of_entry(retold(entry)), record_of_seal(honest)])
    await one.node.run(Fill("a", 1))
    await eventually(lambda: converged(one.node, two.node))
    assert two.replicator.dead_letters == 1
    assert two.node.engine.sources[ONE].status == "following"
    assert one.node.writer.writable


async def test_what_a_source_signed_and_does_not_fit_is_seen_though_it_is_no_proof(fleet, liar):
    one, two = await fleet.join(ONE, TWO)
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))
    one.stop_relay()
    await one.node.run(Fill("a", 7))
    size = one.node.engine.own.size
    before, newest = await one.node.store.journal(ONE, 0, size - 2, 2)
    seal = await Liar(one.node).seal([retold(before), newest])
    await liar.start({})
    await liar.publish(ONE, [record_of_entry(newest), record_of_seal(seal)])
    await eventually(lambda: two.node.engine.sources[ONE].code == "unproven")
    assert two.node.engine.sources[ONE].status == "parked"


async def test_a_node_stops_when_its_key_has_sealed_what_it_did_not_write(fleet, liar):
    one, _ = await fleet.join(ONE, TWO)
    await one.node.run(Fill("a", 5))
    size = one.node.engine.own.size
    (entry,) = await one.node.store.journal(ONE, 0, size - 1, 1)
    more = [retold(entry), *[entry] * 3]
    await liar.start({})
    await liar.publish(ONE, [record_of_seal(await Liar(one.node).seal(more))])
    await eventually(lambda: not one.node.writer.writable)
    assert "somebody else writes as this node" in one.node.writer.reason


async def test_a_restored_copy_that_went_on_by_itself_is_found_out_by_those_who_pull_from_it():
    network = PeerNetwork()
    peers = Fleet(network)
    one, two = await peers.join(ONE, TWO)
    try:
        await one.node.run(Fill("a", 5))
        await eventually(lambda: converged(one.node, two.node))
        backup = one.node.disk.copy()
        await one.node.run(Fill("a", 7))
        await eventually(lambda: converged(one.node, two.node))
        await peers.leave(one)

        twin = TestNode(ONE, [MODULE], store=MemoryStore(backup), clock=SystemClock())
        await twin.start()
        for _ in range(3):
            await twin.run(Fill("a", 9))
        await network.joined(twin)
        await eventually(lambda: two.node.engine.sources[ONE].code == "fork")
        assert two.node.engine.sources[ONE].status == "suspended"
        await network.left(twin)
        await twin.close()
    finally:
        await peers.close()

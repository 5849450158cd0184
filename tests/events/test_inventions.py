"""What anybody can send in a source's name, or in the name of none, has a bound here and keeps no source from being
followed."""

import asyncio
import time
from base64 import b64encode

import pytest

from jilnode.events.bus import Record
from jilnode.events.record import record_of_entry, records_of
from jilnode.kernel.entry import Entry
from jilnode.kernel.errors import Parked
from jilnode.kernel.seal import key_id, origin_of
from jilnode.limits import FEED_ALTERNATIVES_MAX, FEED_SEALS_MAX, REPLICATOR_QUEUE_MAX
from jilnode.simulation.ledger import MODULE, Fill
from jilnode.stores.memory import MemoryStore
from jilnode.system_clock import SystemClock
from tests.events.networks import Fleet, MemoryNetwork
from tests.events.test_convergence import ONE, THREE, TWO, amount
from tests.events.test_lies import invented
from tests.kernel.test_epochs import NEW_KEY
from tests.kit.follower import BusNode, converged
from tests.kit.node import TestNode
from tests.kit.wait import eventually


@pytest.fixture
def network() -> MemoryNetwork:
    """A broker that takes anything from anybody."""
    return MemoryNetwork()


async def followed(fleet: Fleet) -> list[BusNode]:
    one, two = await fleet.join(ONE, TWO)
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))
    return [one, two]


def entry(source: str, epoch: int, sequence: int, number: int = 0) -> Record:
    header = f'{{"source_id":"{source}","epoch":{epoch},"sequence":{sequence},"number":{number}}}'
    return Record("ledger.pot.filled", source, f'{{"header":{header},"sections":{{}}}}'.encode())


def unsigned(node: BusNode, size: int, source: str = "") -> Record:
    """A seal with the right key's id, and no signature."""
    source = source or node.node.source
    origin = origin_of("dev", source, 0)
    blob = b64encode(key_id(origin, node.node.key.public_key) + bytes(64)).decode()
    note = f"{origin}\n{size}\n{b64encode(bytes(32)).decode()}\n\n\N{EM DASH} {origin} {blob}\n"
    return Record("jil.seal", source, note.encode())


async def test_an_invented_next_epoch_keeps_nobody_from_this_one(fleet, network):
    one, two = await followed(fleet)
    network.broker.append([entry(ONE, 1, 0), entry(ONE, 1, 1), entry(ONE, 7, 0)])
    for _ in range(5):
        await one.node.run(Fill("a", 1))
    await eventually(lambda: converged(one.node, two.node))
    await two.replicator.store_positions(now=True)
    assert two.replicator.stored_positions()[f"memory/{ONE}"] == str(len(network.broker.lanes[f"memory/{ONE}"]))


async def test_a_next_epoch_is_followed_though_others_were_invented(fleet, network):
    one, two = await followed(fleet)
    network.broker.append([entry(ONE, 1, number, number) for number in range(9)])
    await one.relay.flush()
    await fleet.leave(one)
    again = TestNode(ONE, [MODULE], store=MemoryStore(one.node.disk), clock=SystemClock())
    await again.kernel.start()
    await again.kernel.begin_epoch()
    await again.kernel.close()
    node = (await fleet.rejoin(ONE, one.node.disk)).node
    await node.run(Fill("a", 1))
    await eventually(lambda: converged(node, two.node))
    assert two.node.engine.sources[ONE].epoch == 1


@pytest.mark.parametrize("count", [FEED_ALTERNATIVES_MAX + 2, 100])
async def test_whatever_is_invented_under_the_next_number_the_source_s_own_is_found(fleet, network, count):
    one, two = await followed(fleet)
    size = one.node.engine.own.size
    network.broker.append([entry(ONE, 0, size, number) for number in range(count)])
    for _ in range(5):
        await one.node.run(Fill("a", 1))
    await eventually(lambda: converged(one.node, two.node))


@pytest.mark.parametrize("count", [FEED_ALTERNATIVES_MAX + 2, 5 * FEED_ALTERNATIVES_MAX])
async def test_what_inventions_displaced_before_its_seal_came_is_read_again(fleet, network, count):
    one, two = await followed(fleet)
    one.stop_relay()
    size = one.node.engine.own.size
    await asyncio.gather(one.node.run(Fill("a", 1)), one.node.run(Fill("a", 2)))
    entries, seals = await one.node.journal()
    own = records_of([item for item in entries if item.sequence >= size], [seal for seal in seals if seal.size > size])
    # More between the first entry and the seal than is kept under one number.
    flood = [entry(ONE, 0, size, number) for number in range(count)]
    network.broker.append([own[0], *flood, *own[1:]])
    await eventually(lambda: converged(one.node, two.node))
    assert two.node.engine.sources[ONE].status == "following"


async def test_what_had_no_room_while_its_source_waited_is_read_again(fleet, network, monkeypatch):
    for name in ("feed.REPLICATOR_QUEUE_MAX", "feed.FEED_SEALS_MAX", "feeds.FEED_SEALS_MAX"):
        monkeypatch.setattr(f"jilnode.events.{name}", 10)
    one, two = await followed(fleet)
    apply, waits = two.node.writer.apply, True

    def applied_later(verified) -> asyncio.Future[None]:
        if not waits:
            return apply(verified)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(Parked("cause_not_applied", "it is on its way"))
        return future

    monkeypatch.setattr(two.node.writer, "apply", applied_later)
    for _ in range(30):
        await one.node.run(Fill("a", 1))
    await one.relay.flush()
    await eventually(lambda: two.replicator.dead_letters > 5)
    assert all(len(feed.seals) <= 10 for feed in two.replicator._feeds)
    await two.replicator.store_positions(now=True)
    assert all(len(receipts) <= 2 for receipts in two.replicator._positions._passed.values())
    waits = False
    await one.node.run(Fill("a", 1))
    await eventually(lambda: converged(one.node, two.node))
    assert await amount(two, f"a/{ONE}") == 36


async def test_entries_that_wait_for_a_seal_have_a_bound_in_bytes(fleet, network, monkeypatch):
    monkeypatch.setattr("jilnode.events.feed.FEED_BYTES_MAX", 50_000)
    one, two = await followed(fleet)
    network.broker.append([record_of_entry(item) for item in await invented(one, 500)])
    await eventually(lambda: two.replicator.dead_letters > 0)
    assert all(feed.size <= 50_000 for feed in two.replicator._feeds)
    await asyncio.gather(*[one.node.run(Fill("a", 1)) for _ in range(30)])
    await eventually(lambda: converged(one.node, two.node))


async def test_a_seal_that_nobody_signed_costs_little_whatever_waits(fleet, network):
    one, two = await followed(fleet)
    size = one.node.engine.own.size
    flood = await invented(one, REPLICATOR_QUEUE_MAX)
    other = [
        Entry(item.source, item.epoch, item.sequence, item.header.replace(b"tester", b"testes"), item.sections)
        for item in flood
    ]
    network.broker.append([record_of_entry(item) for item in [*flood, *other]])
    received = f"memory/{ONE}"
    await eventually(lambda: int(two.replicator.received[received]) == len(network.broker.lanes[received]), 30)
    network.broker.append([unsigned(one, size + REPLICATOR_QUEUE_MAX)])
    longest = 0.0
    while two.replicator.dead_letters == 0:
        begun = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - begun)
    assert longest < 0.5


async def test_any_number_of_seals_that_nobody_signed_stops_nobody(fleet, network):
    one, two = await followed(fleet)
    size = one.node.engine.own.size
    flood = await invented(one, 3000)
    network.broker.append([record_of_entry(item) for item in flood])
    network.broker.append([unsigned(one, size + 1 + number) for number in range(FEED_SEALS_MAX + 10)])
    for _ in range(5):
        await one.node.run(Fill("a", 1))
    await eventually(lambda: converged(one.node, two.node), 30)


async def test_of_a_source_that_nobody_named_nothing_is_kept(fleet, network):
    one, two = await followed(fleet)
    network.broker.append([entry(f"s{number}", 0, 0) for number in range(5000)])
    await one.node.run(Fill("a", 1))
    await eventually(lambda: converged(one.node, two.node))
    await eventually(lambda: len(two.replicator.received) > 5000)
    assert {feed.source for feed in two.replicator._feeds} <= {ONE, TWO}


async def test_a_source_that_has_not_begun_is_not_accused_of_a_genesis_that_others_invent(fleet, network):
    _, two = await followed(fleet)
    disk = await fleet.admit(THREE)
    network.broker.append([entry(THREE, 0, 0), unsigned(two, 1, THREE)])
    await eventually(lambda: two.replicator.dead_letters == 1)
    three = await fleet.rejoin(THREE, disk)
    await three.node.run(Fill("a", 1))
    await eventually(lambda: converged(three.node, two.node))


async def test_a_source_that_has_not_begun_begins_whatever_is_sent_between_its_genesis_and_its_seal(fleet, network):
    _, two = await followed(fleet)
    three = TestNode(THREE, [MODULE], store=MemoryStore(await fleet.admit(THREE)), clock=SystemClock())
    await three.kernel.start()
    own = records_of(*await three.journal())
    flood = [entry(THREE, 0, 0, number) for number in range(FEED_ALTERNATIVES_MAX + 2)]
    network.broker.append([own[0], *flood, *own[1:]])
    await eventually(lambda: converged(three, two.node))
    await three.kernel.close()


async def test_a_source_that_has_not_begun_begins_however_many_seals_others_invent(fleet, network):
    _, two = await followed(fleet)
    disk = await fleet.admit(THREE)
    network.broker.append([unsigned(two, 1 + number, THREE) for number in range(FEED_SEALS_MAX + 10)])
    received = f"memory/{THREE}"
    await eventually(lambda: two.replicator.received.get(received) == str(FEED_SEALS_MAX + 10))
    three = await fleet.rejoin(THREE, disk)
    await three.node.run(Fill("a", 1))
    await eventually(lambda: converged(three.node, two.node))


async def test_what_is_invented_of_a_node_that_writes_holds_up_no_lane_there(fleet, network):
    one, _ = await followed(fleet)
    network.broker.append([record_of_entry(item) for item in await invented(one, 3)])
    lane = f"memory/{ONE}"
    for _ in range(5):
        await one.node.run(Fill("a", 1))
    await one.relay.flush()
    await eventually(lambda: one.replicator.received[lane] == str(len(network.broker.lanes[lane])))
    await one.replicator.store_positions(now=True)
    assert one.replicator.stored_positions()[lane] == str(len(network.broker.lanes[lane]))


async def test_a_new_key_is_followed_while_others_invent_seals(fleet, network):
    one, two = await followed(fleet)
    network.broker.append([record_of_entry(item) for item in await invented(one, 1)])
    network.broker.append([unsigned(one, one.node.engine.own.size + 1)])
    await eventually(lambda: two.replicator.dead_letters == 1)
    one.stop_relay()
    size = one.node.engine.own.size
    await one.node.writer.rotate_key(NEW_KEY)
    for _ in range(3):
        await one.node.run(Fill("a", 1))
    entries, seals = await one.node.journal()
    network.broker.append(
        records_of([item for item in entries if item.sequence >= size], [seal for seal in seals if seal.size > size])
    )
    await eventually(lambda: converged(one.node, two.node))

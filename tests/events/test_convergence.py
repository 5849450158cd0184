"""What one node writes, another has: over every bus, with the relay and the replicator that a node runs."""

import asyncio
from itertools import count

import pytest

from jilnode.events.bus import Bus, Record
from jilnode.events.kafka import KafkaBus
from jilnode.events.memory import MemoryBroker, MemoryBus
from jilnode.events.record import record_of_entry, records_of
from jilnode.kernel.entry import Entry
from jilnode.kernel.system import EVIDENCE
from jilnode.simulation.ledger import MODULE, POTS, REPLIES, Ask, Fill, Move
from jilnode.stores.memory import MemoryStore
from tests.kernel.test_hostile import Liar
from tests.kit.follower import BusNode, converged
from tests.kit.node import TestNode
from tests.kit.wait import eventually

_numbers = count()


@pytest.fixture(params=["memory", "kafka"])
def make_bus(request):
    """A function that makes one more client of the same bus."""
    if request.param == "memory":
        broker = MemoryBroker()
        return lambda: MemoryBus(broker)
    kafka = request.getfixturevalue("kafka")
    topic = f"jil.events.test{next(_numbers)}"
    seeds = [kafka.client()["bootstrap_servers"]]
    return lambda: KafkaBus(seeds, "dev", partitions=3, topic=topic)


async def make_fleet(make_bus, *names: str) -> list[BusNode]:
    trusted: dict[str, str] = {}
    nodes = [TestNode(name, [MODULE], trusted=trusted) for name in names]
    for node in nodes:
        await node.kernel.start()
        await node.kernel.begin_journal()
        trusted[node.source] = await node.genesis_hash()
        await node.kernel.close()
    return [
        await BusNode(
            TestNode(node.source, [MODULE], trusted=trusted, store=MemoryStore(node.disk)), make_bus()
        ).start()
        for node in nodes
    ]


async def test_a_second_node_converges(make_bus):
    one, two = await make_fleet(make_bus, "ch-zug-01", "sg-mas-01")
    try:
        for number in range(20):
            await one.node.run(Fill(f"p{number % 3}", 5))
        await one.node.run(Move("p0", "p1", 2))
        await eventually(lambda: converged(one.node, two.node))
        assert await two.node.writer.query(lambda view: view[POTS].get("p0/ch-zug-01").amount) == 33
    finally:
        await asyncio.gather(one.close(), two.close())


async def test_questions_are_answered_across_the_bus(make_bus):
    one, two = await make_fleet(make_bus, "ch-zug-01", "sg-mas-01")
    try:
        asked = await one.node.run(Ask("sg-mas-01", 21))

        async def answered():
            reply = await one.node.writer.query(lambda view: view[REPLIES].get(asked.reply))
            return reply is not None and reply.number == 42

        await eventually(answered)
    finally:
        await asyncio.gather(one.close(), two.close())


async def test_a_late_joiner_gets_everything_from_the_first_entry(make_bus):
    one, two = await make_fleet(make_bus, "ch-zug-01", "sg-mas-01")
    late = None
    try:
        for number in range(30):
            await one.node.run(Fill("a", number))
        late = await BusNode(TestNode("gb-lon-01", [MODULE], trusted=dict(one.node.trusted)), make_bus()).start()
        await eventually(lambda: converged(one.node, late.node))
        await eventually(lambda: converged(two.node, late.node))
    finally:
        await asyncio.gather(*[node.close() for node in (one, two, late) if node is not None])


async def test_a_restarted_follower_resumes(make_bus):
    one, two = await make_fleet(make_bus, "ch-zug-01", "sg-mas-01")
    try:
        await one.node.run(Fill("a", 1))
        await eventually(lambda: converged(one.node, two.node))
        await two.close()
        for number in range(10):
            await one.node.run(Fill("a", number))
        node = TestNode("sg-mas-01", [MODULE], trusted=one.node.trusted, store=MemoryStore(two.node.disk))
        two = await BusNode(node, make_bus()).start()
        await eventually(lambda: converged(one.node, two.node))
    finally:
        await asyncio.gather(one.close(), two.close())


async def test_what_a_source_did_not_sign_changes_nothing_and_accuses_nobody(make_bus):
    one, two = await make_fleet(make_bus, "ch-zug-01", "sg-mas-01")
    liar: Bus = make_bus()
    try:
        await one.node.run(Fill("a", 5))
        await eventually(lambda: converged(one.node, two.node))
        # After the newest entry, an entry in another's name under a seal that says more than was signed.
        (entry,) = await one.node.store.journal(one.node.source, 0, one.node.engine.own.size - 1, 1)
        size = one.node.engine.own.size
        forged = Entry(
            entry.source,
            entry.epoch,
            size,
            entry.header.replace(b'"sequence":%d' % (size - 1), b'"sequence":%d' % size),
            entry.sections,
        )
        seal = (await one.node.store.seals(one.node.source, 0, size - 1, 1))[0]
        note = seal.note.replace(f"\n{size}\n", f"\n{size + 1}\n")
        await liar.start({})
        await liar.publish("ch-zug-01", [record_of_entry(forged), Record("jil.seal", "ch-zug-01", note.encode())])
        await eventually(lambda: two.replicator.dead_letters == 1)
        assert await two.node.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 5
        assert one.node.writer.writable, "a lie about this node must not stop it"
        await one.node.run(Fill("a", 7))
        await eventually(lambda: converged(one.node, two.node))
        assert await two.node.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 12
        assert two.node.engine.sources["ch-zug-01"].status == "following"
    finally:
        await asyncio.gather(one.close(), two.close(), liar.close())


async def test_a_lie_that_its_source_signed_suspends_it_and_nobody_else(make_bus):
    one, two, three = await make_fleet(make_bus, "ch-zug-01", "sg-mas-01", "gb-lon-01")
    liar: Bus = make_bus()
    try:
        await one.node.run(Fill("a", 5))
        await eventually(lambda: converged(one.node, three.node))
        one.stop_relay()
        await one.node.run(Fill("a", 7))
        lie = await Liar(one.node).group(
            lambda rows: [(t, k, d.replace(b'"amount":12', b'"amount":13')) for t, k, d in rows]
        )
        await liar.start({})
        await liar.publish("ch-zug-01", records_of(list(lie.entries), [lie.seal]))

        def suspended():
            state = three.node.engine.sources["ch-zug-01"]
            return (state.status, state.code) == ("suspended", "invariant.conserved")

        await eventually(suspended)
        assert await three.node.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 5
        await two.node.run(Fill("b", 7))
        await eventually(lambda: converged(two.node, three.node))
        evidence = await three.node.store.page(EVIDENCE, [("source", "ch-zug-01")])
        assert [image.row.code for _, image in evidence.items] == ["invariant.conserved"]
    finally:
        await asyncio.gather(one.close(), two.close(), three.close(), liar.close())


async def test_two_seals_of_one_size_are_a_fork_and_the_proof_of_it(make_bus):
    one, two = await make_fleet(make_bus, "ch-zug-01", "sg-mas-01")
    liar: Bus = make_bus()
    try:
        await one.node.run(Fill("a", 5))
        await eventually(lambda: converged(one.node, two.node))
        twin = await Liar(one.node).group(
            lambda rows: [(t, k, d.replace(b'"amount":5', b'"amount":6')) for t, k, d in rows]
        )
        await liar.start({})
        await liar.publish("ch-zug-01", records_of(list(twin.entries), [twin.seal]))
        await eventually(lambda: two.node.engine.sources["ch-zug-01"].code == "fork")
        await eventually(lambda: not one.node.writer.writable)
    finally:
        await asyncio.gather(one.close(), two.close(), liar.close())


async def test_a_node_restored_from_an_old_copy_gets_its_tail_back_and_does_not_fork(make_bus):
    one, two = await make_fleet(make_bus, "ch-zug-01", "sg-mas-01")
    try:
        await one.node.run(Fill("a", 1))
        backup = one.node.disk.copy()
        for number in range(5):
            await one.node.run(Fill("a", number))
        await one.relay.flush()
        await eventually(lambda: converged(one.node, two.node))
        root = one.node.engine.own.frontier.root()
        await one.close()
        node = TestNode("ch-zug-01", [MODULE], trusted=two.node.trusted, store=MemoryStore(backup))
        one = await BusNode(node, make_bus()).start()
        assert one.node.engine.own.frontier.root() == root
        await one.node.run(Fill("a", 100))
        await eventually(lambda: converged(one.node, two.node))
        assert two.node.engine.sources["ch-zug-01"].status == "following"
    finally:
        await asyncio.gather(one.close(), two.close())

"""What only Kafka has: clients that prove their names, permissions that come and go, and a producer made anew."""

import asyncio
import gc
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from jilnode.events.bus import BusDown, Record
from jilnode.events.kafka import DEAD_LETTERS, KafkaBus, kafka_tls, partition_of
from jilnode.events.record import records_of
from jilnode.limits import DEAD_LETTERS_MAX
from jilnode.simulation.ledger import MODULE, Fill
from tests.events.networks import Fleet
from tests.kit.certificates import Authority
from tests.kit.follower import converged
from tests.kit.kafka import KafkaBroker
from tests.kit.node import TestNode, running
from tests.kit.wait import eventually

ONE, TWO = "ch-zug-01", "sg-mas-01"
PARTITIONS = 2


class TlsNetwork:
    """Each node with a certificate of its own name, and topics that an administrator made."""

    def __init__(self, broker: KafkaBroker, topic: str) -> None:
        self.broker = broker
        self.topic = topic

    def named(self, name: str | None) -> KafkaBus:
        authority = self.broker.authority
        assert authority is not None
        certificate = None if name is None else str(authority.issue(name))
        tls = kafka_tls(str(authority.certificate), certificate, certificate)
        return KafkaBus([self.broker.bootstrap], "dev", partitions=PARTITIONS, tls=tls, topic=self.topic)

    def bus(self, node: TestNode) -> KafkaBus:
        return self.named(node.source)

    async def joined(self, node: TestNode) -> None:
        return None

    async def left(self, node: TestNode) -> None:
        return None


@pytest.fixture
async def tls(tls_kafka: KafkaBroker) -> TlsNetwork:
    topic = await tls_kafka.topic(PARTITIONS)
    for name in (ONE, TWO):
        for operation in ("read", "write", "describe"):
            await tls_kafka.allow(name, operation, topic)
    return TlsNetwork(tls_kafka, topic)


async def journal(source: str) -> list[Record]:
    async with running(TestNode(source, [MODULE])) as (node,):
        for _ in range(3):
            await node.run(Fill("a", 1))
        return records_of(*await node.journal())


async def received(bus: KafkaBus, count: int) -> list[Record]:
    found: list[Record] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            for _, records, _ in await bus.receive(100):
                found += records
    return found


async def test_nodes_converge_over_mutual_tls_on_topics_that_they_may_not_make(tls):
    fleet = Fleet(tls)
    try:
        one, two = await fleet.join(ONE, TWO)
        for number in range(10):
            await one.node.run(Fill("a", number))
        await eventually(lambda: converged(one.node, two.node))
    finally:
        await fleet.close()


@pytest.mark.parametrize("name", [None, "nobody-01"])
async def test_who_proves_no_name_or_has_no_permission_is_told_that_the_bus_is_down(tls, name):
    bus = tls.named(name)
    try:
        with pytest.raises(BusDown):
            await bus.start({})
    finally:
        await bus.close()


async def test_a_client_believes_no_broker_of_another_authority(tls, tmp_path: Path):
    other = Authority(tmp_path)
    bus = KafkaBus([tls.broker.bootstrap], "dev", tls=kafka_tls(str(other.certificate), None, None), topic=tls.topic)
    try:
        with pytest.raises(BusDown):
            await bus.start({})
    finally:
        await bus.close()


async def test_after_a_permission_came_back_the_producer_is_made_anew_and_nothing_is_out_of_order(tls_kafka):
    topic = await tls_kafka.topic(PARTITIONS)
    for operation in ("read", "describe"):
        await tls_kafka.allow(ONE, operation, topic)
    bus = TlsNetwork(tls_kafka, topic).named(ONE)
    records = await journal(ONE)
    try:
        await bus.start({})
        for _ in range(2):
            with pytest.raises(BusDown, match="TopicAuthorizationFailedError"):
                await bus.publish(ONE, records)
        await tls_kafka.allow(ONE, "write", topic)
        await bus.publish(ONE, records)
        assert await received(bus, len(records)) == records
    finally:
        await bus.close()


async def test_a_record_and_a_dead_letter_at_once_leave_no_producer_behind(kafka):
    """Each has one of its own: another would be kept by nobody, and never stopped."""
    bus = KafkaBus([kafka.bootstrap], "dev", partitions=1, topic="jil.events.at_once")
    records = await journal(ONE)
    try:
        await bus.start({})
        await asyncio.gather(bus.publish(ONE, records), bus.dead_letter(records[0], "unreadable"))
        assert await received(bus, len(records)) == records
    finally:
        await bus.close()
    # A client that nobody stopped says so when it is collected, which pytest takes for a failure.
    gc.collect()


async def test_dead_letters_that_can_t_be_sent_hold_up_nobody_and_have_a_bound():
    bus = KafkaBus(["127.0.0.1:1"], "dev")
    try:
        async with asyncio.timeout(1):
            for _ in range(DEAD_LETTERS_MAX + 10):
                await bus.dead_letter(Record("no.record.of.ours", ONE, b"x"), "unreadable: \ud800")
        assert len(bus._dead_letters) == DEAD_LETTERS_MAX
    finally:
        await bus.close()


class Unreadable:
    """A consumer of one lane, of which it can't read the record at one offset, nor any that it reads with it."""

    def __init__(self, count: int, unreadable: int) -> None:
        self._count, self._unreadable, self._offset = count, unreadable, 0

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("jil.events", 0)}

    def highwater(self, topic: TopicPartition) -> int:
        return self._count

    async def position(self, topic: TopicPartition) -> int:
        return self._offset

    def seek(self, topic: TopicPartition, offset: int) -> None:
        self._offset = offset

    async def stop(self) -> None:
        return None

    async def getmany(self, *topics: TopicPartition, timeout_ms: int, max_records: int) -> dict:
        offsets = range(self._offset, min(self._count, self._offset + max_records))
        if self._unreadable in offsets:
            b"\xff".decode()
        self._offset = offsets.stop
        headers = (("ce_type", None),)
        return {
            topic: [
                SimpleNamespace(offset=offset, key=b"k", value=b"%d" % offset, headers=headers) for offset in offsets
            ]
            for topic in self.assignment()
        }


async def test_one_record_that_the_client_can_t_read_is_passed_over_and_all_others_come():
    bus = KafkaBus(["127.0.0.1:1"], "dev")
    bus._consumer = Unreadable(9, 4)
    try:
        assert [record.value for record in await received(bus, 8)] == [
            b"%d" % number for number in range(9) if number != 4
        ]
    finally:
        await bus.close()


async def test_records_carry_cloudevents_headers(kafka):
    """Binary mode: the attributes in headers, the record itself as the value."""
    bus = KafkaBus([kafka.bootstrap], "dev", partitions=1, topic="jil.events.headers")
    records = await journal(ONE)
    try:
        await bus.start({})
        await bus.publish(ONE, records)
        assert bus._consumer is not None
        (messages,) = (await bus._consumer.getmany(timeout_ms=5_000)).values()
        kinds = set()
        for message in messages:
            headers = {name: value.decode() for name, value in message.headers}
            kinds.add(headers["ce_type"])
            assert headers["ce_specversion"] == "1.0"
            assert headers["ce_source"] == "jil/dev/ch-zug-01"
            assert headers["ce_id"]
            assert message.key == b"ch-zug-01"
        assert kinds >= {"jil.seal", "ledger.pot.filled"}
    finally:
        await bus.close()


def test_a_source_has_one_partition_whatever_the_node():
    assert partition_of(ONE, 16) == partition_of(ONE, 16)
    assert {partition_of(f"node-{number}", 16) for number in range(200)} == set(range(16))
    assert DEAD_LETTERS == "jil.dlq"

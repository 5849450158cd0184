"""The bus over Kafka or Redpanda: one topic, explicit partitions, offsets in this node's own database.

No consumer group: every partition is assigned by hand and read from the offset that the database keeps, so nothing can
be rebalanced away. The producer is idempotent and waits for all replicas; after a permanent error it is made anew,
since its sequence numbers can't be trusted then.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, OffsetOutOfRangeError, for_code
from aiokafka.helpers import create_ssl_context

from jilnode.events.bus import BusDown, Lane, Record
from jilnode.events.kafka_producer import (
    DEAD_LETTERS,
    PUBLISH_TIMEOUT_S,
    RECORD_BYTES_MAX,
    STOP_TIMEOUT_S,
    DeadLetters,
    Producer,
)
from jilnode.events.kafka_reach import why_unreachable
from jilnode.events.record import SEAL_KIND, seal_of_note
from jilnode.kernel.codec import decode_header, decode_record

__all__ = ("DEAD_LETTERS", "TOPIC", "KafkaBus", "kafka_tls", "partition_of")

logger = logging.getLogger("jilnode.kafka")

TOPIC = "jil.events"
REQUEST_TIMEOUT_MS = 10_000
FETCH_BYTES_MAX = 8 * 1024 * 1024
PAUSE_S = 0.5
SINGLE_TIMEOUT_MS = 500
TOPIC_EXISTS = 36


def partition_of(source: str, partitions: int) -> int:
    """First 8 bytes, big endian, of SHA-256(source) modulo the number of partitions, which must never change."""
    return int.from_bytes(sha256(source.encode()).digest()[:8], "big") % partitions


def kafka_tls(ca_file: str | None, certificate_file: str | None, key_file: str | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    context: ssl.SSLContext = create_ssl_context(cafile=ca_file, certfile=certificate_file, keyfile=key_file)
    return context


class KafkaBus:
    name = "kafka"
    ordered = True

    def __init__(
        self,
        seeds: Sequence[str],
        network: str,
        *,
        partitions: int = 16,
        replication: int = 1,
        tls: ssl.SSLContext | None = None,
        topic: str = TOPIC,
    ) -> None:
        self._topic = topic
        self._read: dict[Lane, int] = {}
        self._network = network
        self._wanted_partitions = partitions
        self._replication = replication
        self._seeds = seeds
        self._tls = tls
        self._common: dict[str, Any] = {"bootstrap_servers": ",".join(seeds), "request_timeout_ms": REQUEST_TIMEOUT_MS}
        if tls is not None:
            self._common |= {"security_protocol": "SSL", "ssl_context": tls}
        self._producer = Producer(self._common)
        self._dead_letters = DeadLetters(self._common)
        self._consumer: AIOKafkaConsumer | None = None
        self.partitions = 0
        """How many the topic has; recorded by the node at its first join."""
        self.gaps: dict[Lane, str] = {}
        """Lanes whose stored offset the broker no longer had, and what was done about it."""
        self._singly = False
        """Whether records are read one by one, since one of them can't be."""
        self.unread = ""
        """Why nothing can be read now; empty while reading goes on."""
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def start(self, positions: Mapping[Lane, str]) -> None:
        """Raises ``BusDown``."""
        await self._find_topics()
        consumer = AIOKafkaConsumer(
            **self._common,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=FETCH_BYTES_MAX,
            max_partition_fetch_bytes=RECORD_BYTES_MAX * 2,
            fetch_max_wait_ms=250,
        )
        try:
            await consumer.start()
            self._consumer = consumer
            topics = [TopicPartition(self._topic, number) for number in range(self.partitions)]
            consumer.assign(topics)
            starts = await consumer.beginning_offsets(topics)
            ends = await consumer.end_offsets(topics)
        except BaseException as error:
            self._consumer = None
            await consumer.stop()
            if isinstance(error, KafkaError):
                raise await self._no_answer(error) from None
            raise
        for topic in topics:
            stored = positions.get(_lane(topic))
            offset = starts[topic] if stored is None else int(stored)
            if not starts[topic] <= offset <= ends[topic]:
                self._note_gap(topic, offset, starts[topic], ends[topic])
                offset = starts[topic]
            consumer.seek(topic, offset)

    def _note_gap(self, topic: TopicPartition, offset: int, start: int, end: int) -> None:
        detail = f"offset {offset} is outside {start} to {end}; reading from {start}"
        self.gaps[_lane(topic)] = detail
        logger.error("the broker lacks what was not read", extra={"fields": {"lane": _lane(topic), "detail": detail}})

    async def _find_topics(self) -> None:
        """Makes the topics that are not there, where this node may; an operator may have made them."""
        admin = AIOKafkaAdminClient(**self._common)
        try:
            await admin.start()
            self.partitions = await _partitions(admin, self._topic)
            if not self.partitions:
                await self._make_topic(admin, self._topic, self._wanted_partitions)
                self.partitions = await _partitions(admin, self._topic)
            if not self.partitions:
                raise BusDown(f"topic {self._topic} has no partitions yet")
            if not await _partitions(admin, DEAD_LETTERS):
                try:
                    await self._make_topic(admin, DEAD_LETTERS, 1)
                except BusDown as error:
                    logger.warning("dead letters will be lost", extra={"fields": {"detail": str(error)}})
        except KafkaError as error:
            raise await self._no_answer(error) from None
        finally:
            await admin.close()

    async def _no_answer(self, error: KafkaError) -> BusDown:
        reason = await why_unreachable(self._seeds, self._tls) if isinstance(error, KafkaConnectionError) else ""
        return BusDown(f"no broker answers: {reason or type(error).__name__}")

    async def _make_topic(self, admin: AIOKafkaAdminClient, name: str, partitions: int) -> None:
        config = {
            "max.message.bytes": str(RECORD_BYTES_MAX),
            "retention.ms": "-1",
            # The bound is of a batch as it is stored, and a compressed one may be a thousand times that in memory.
            "compression.type": "uncompressed",
        }
        answer = await admin.create_topics([NewTopic(name, partitions, self._replication, topic_configs=config)])
        for _, code, *_ in answer.topic_errors:
            if code not in (0, TOPIC_EXISTS):
                raise BusDown(f"topic {name} can't be made: {for_code(code).__name__}")

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(consumer.stop(), STOP_TIMEOUT_S)
        await self._producer.close()
        await self._dead_letters.close()

    # Publishing

    async def publish(self, source: str, records: Sequence[Record]) -> None:
        """Raises ``BusDown``; what was sent by then is sent again with the next try."""
        producer = None
        try:
            producer = await self._producer.get()
            partition = partition_of(source, self.partitions)
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._send(producer, source, partition, records)
        except (KafkaError, TimeoutError) as error:
            await self._producer.drop(producer)
            raise BusDown(f"publishing failed: {type(error).__name__}") from None

    async def _send(self, producer: AIOKafkaProducer, source: str, partition: int, records: Sequence[Record]) -> None:
        key = source.encode()
        index = 0
        while index < len(records):
            batch = producer.create_batch()
            first = index
            while index < len(records):
                record = records[index]
                headers = self._headers(record)
                if batch.append(key=key, value=record.value, timestamp=None, headers=headers) is None:
                    break
                index += 1
            if index == first:
                raise KafkaError(f"a record of {len(records[index].value)} bytes does not fit")
            batch.close()
            sent = await producer.send_batch(batch, self._topic, partition=partition)
            await sent

    def _headers(self, record: Record) -> list[tuple[str, bytes]]:
        """CloudEvents 1.0, binary mode."""
        if record.kind == SEAL_KIND:
            seal = seal_of_note(record.value)
            identity, moment, content = f"{seal.source}/{seal.epoch}/{seal.size}", None, b"text/plain"
        else:
            header = decode_header(decode_record(record.value).header)
            identity, moment, content = header.event_id, header.timestamp, b"application/json"
        found = [
            ("ce_specversion", b"1.0"),
            ("ce_type", record.kind.encode()),
            ("ce_source", f"jil/{self._network}/{record.source}".encode()),
            ("ce_id", identity.encode()),
            ("content-type", content),
        ]
        if moment is not None:
            found.append(("ce_time", moment.encode()))
        return found

    # Reading

    async def receive(self, max_records: int) -> list[tuple[Lane, list[Record], str]]:
        while True:
            consumer = self._consumer
            assert consumer is not None, "the bus is not started"
            try:
                found = await self._found(consumer, max_records)
            except OffsetOutOfRangeError as error:
                for topic, offset in error.args[0].items():
                    starts, ends = await consumer.beginning_offsets([topic]), await consumer.end_offsets([topic])
                    self._note_gap(topic, offset, starts[topic], ends[topic])
                    consumer.seek(topic, starts[topic])
                continue
            except KafkaError as error:
                if not self.unread:
                    logger.error("the bus can't be read", extra={"fields": {"error": type(error).__name__}})
                self.unread = type(error).__name__
                await asyncio.sleep(PAUSE_S)
                continue
            self.unread = ""
            batches = [
                (_lane(topic), [_record(message) for message in messages], str(messages[-1].offset + 1))
                for topic, messages in found.items()
                if messages
            ]
            if batches:
                self._read.update({lane: int(position) for lane, _, position in batches})
                return batches

    async def _found(self, consumer: AIOKafkaConsumer, max_records: int) -> dict[TopicPartition, list[Any]]:
        if not self._singly:
            try:
                found: dict[TopicPartition, list[Any]] = await consumer.getmany(
                    timeout_ms=1000, max_records=max_records
                )
                return found
            except KafkaError:
                raise
            except Exception:
                self._singly = True
        return await self._found_singly(consumer)

    async def _found_singly(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, list[Any]]:
        """One record of each lane. For one record that its client can't read (a header's name that is not UTF-8) it
        gives nothing of a lane, for ever: that one is looked for, and passed over."""
        found: dict[TopicPartition, list[Any]] = {}
        for topic in sorted(consumer.assignment()):
            offset, end = await consumer.position(topic), consumer.highwater(topic)
            if end is not None and offset >= end:
                continue
            try:
                found |= await consumer.getmany(topic, timeout_ms=SINGLE_TIMEOUT_MS, max_records=1)
            except KafkaError:
                raise
            except Exception:
                logger.exception("a record can't be read", extra={"fields": {"lane": _lane(topic), "offset": offset}})
                consumer.seek(topic, offset + 1)
                self._singly = False
        self._singly = self._singly and any(found.values())
        return found

    def rewind(self, lane: Lane, position: str | None) -> None:
        assert self._consumer is not None, "the bus is not started"
        self._consumer.seek(TopicPartition(self._topic, int(lane.rpartition("/")[2])), int(position or 0))

    async def ends(self, source: str) -> dict[Lane, str] | None:
        consumer = self._consumer
        if consumer is None:
            return None
        topic = TopicPartition(self._topic, partition_of(source, self.partitions))
        try:
            return {_lane(topic): str((await consumer.end_offsets([topic]))[topic])}
        except KafkaError:
            return None

    def reached(self, lane: Lane, position: str | None, end: str) -> bool:
        return int(position or 0) >= int(end)

    async def dead_letter(self, record: Record, reason: str) -> None:
        self._dead_letters.put(record, reason)

    def lag(self) -> dict[Lane, int]:
        consumer = self._consumer
        if consumer is None:
            return {}
        found: dict[Lane, int] = {}
        for topic in consumer.assignment():
            end, read = consumer.highwater(topic), self._read.get(_lane(topic))
            if end is not None and read is not None:
                found[_lane(topic)] = max(0, end - read)
        return found


async def _partitions(admin: AIOKafkaAdminClient, topic: str) -> int:
    """How many the topic has; 0: there is none, or it is hidden from this node."""
    (described,) = await admin.describe_topics([topic])
    return 0 if described["error_code"] else len(described["partitions"])


def _lane(topic: TopicPartition) -> Lane:
    return f"{topic.topic}/{topic.partition}"


def _record(message: Any) -> Record:
    """What can't be read as a record of ours keeps its bytes, so that it ends among the dead letters."""
    headers = dict(message.headers)
    kind = (headers.get("ce_type") or b"unreadable").decode(errors="replace")
    source = (message.key or b"").decode(errors="replace")
    return Record(kind, source, message.value or b"")

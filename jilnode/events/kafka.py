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
from jilnode.events.kafka_reach import why_unreachable
from jilnode.events.record import SEAL_KIND, seal_of_note
from jilnode.kernel.codec import decode_header, decode_record

__all__ = ("DEAD_LETTERS", "TOPIC", "KafkaBus", "kafka_tls", "partition_of")

logger = logging.getLogger("jilnode.kafka")

TOPIC = "jil.events"
DEAD_LETTERS = "jil.dlq"
RECORD_BYTES_MAX = 1024 * 1024
"""Above an entry of 512 KiB and its header of 60 KiB, with room for Kafka's own framing."""
BATCH_BYTES = 512 * 1024
REQUEST_TIMEOUT_MS = 10_000
PUBLISH_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 3.0
FETCH_BYTES_MAX = 8 * 1024 * 1024
PAUSE_S = 0.5
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
        self._producer: AIOKafkaProducer | None = None
        self._making = asyncio.Lock()
        """Records and dead letters are sent by tasks of their own, which may find no producer at the same time."""
        self._consumer: AIOKafkaConsumer | None = None
        self.partitions = 0
        """How many the topic has; recorded by the node at its first join."""
        self.gaps: dict[Lane, str] = {}
        """Lanes whose stored offset the broker no longer had, and what was done about it."""
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
        config = {"max.message.bytes": str(RECORD_BYTES_MAX), "retention.ms": "-1"}
        answer = await admin.create_topics([NewTopic(name, partitions, self._replication, topic_configs=config)])
        for _, code, *_ in answer.topic_errors:
            if code not in (0, TOPIC_EXISTS):
                raise BusDown(f"topic {name} can't be made: {for_code(code).__name__}")

    async def close(self) -> None:
        for client in (self._producer, self._consumer):
            if client is not None:
                with contextlib.suppress(TimeoutError, KafkaError):
                    await asyncio.wait_for(client.stop(), STOP_TIMEOUT_S)
        self._producer = self._consumer = None

    # Publishing

    async def publish(self, source: str, records: Sequence[Record]) -> None:
        """Raises ``BusDown``; what was sent by then is sent again with the next try."""
        producer = None
        try:
            producer = await self._producing()
            partition = partition_of(source, self.partitions)
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._send(producer, source, partition, records)
        except (KafkaError, TimeoutError) as error:
            await self._drop_producer(producer)
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

    async def _producing(self) -> AIOKafkaProducer:
        async with self._making:
            if self._producer is None:
                self._producer = await self._started_producer()
            return self._producer

    async def _started_producer(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._common,
            enable_idempotence=True,
            acks="all",
            max_batch_size=BATCH_BYTES,
            max_request_size=BATCH_BYTES + RECORD_BYTES_MAX,
            linger_ms=0,
        )
        try:
            await producer.start()
        except BaseException:
            # Cancelled or refused: a client that was never stopped keeps its tasks.
            with contextlib.suppress(KafkaError):
                await producer.stop()
            raise
        return producer

    async def _drop_producer(self, producer: AIOKafkaProducer | None) -> None:
        """The one that failed, unless another's failure dropped it before."""
        current = self._producer
        if current is not producer or current is None:
            return
        self._producer = None
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(current.stop(), STOP_TIMEOUT_S)

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
                found = await consumer.getmany(timeout_ms=1000, max_records=max_records)
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
        headers = [("jil_reason", reason.encode()), ("ce_type", record.kind.encode())]
        producer = None
        try:
            producer = await self._producing()
            await asyncio.wait_for(
                producer.send_and_wait(DEAD_LETTERS, record.value, key=record.source.encode(), headers=headers),
                PUBLISH_TIMEOUT_S,
            )
        except (KafkaError, TimeoutError) as error:
            await self._drop_producer(producer)
            logger.error("a dead letter was lost", extra={"fields": {"reason": reason, "error": type(error).__name__}})

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

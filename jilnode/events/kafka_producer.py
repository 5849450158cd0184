"""Sending to Kafka: a producer that is made anew after a failure, and dead letters, which hold up nobody."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from jilnode.events.bus import Record
from jilnode.limits import DEAD_LETTERS_BYTES_MAX, DEAD_LETTERS_MAX, KIBIBYTE, MEBIBYTE

__all__ = ("DEAD_LETTERS", "PUBLISH_TIMEOUT_S", "RECORD_BYTES_MAX", "STOP_TIMEOUT_S", "DeadLetters", "Producer")

logger = logging.getLogger("jilnode.kafka")

DEAD_LETTERS = "jil.dlq"
RECORD_BYTES_MAX = MEBIBYTE
"""Above an entry of 512 KiB and its header of 60 KiB, with room for Kafka's own framing."""
BATCH_BYTES = 512 * KIBIBYTE
PUBLISH_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 3.0


class Producer:
    """Idempotent, and waits for all replicas. After an error its sequence numbers can't be trusted: ``drop`` it."""

    def __init__(self, common: Mapping[str, Any]) -> None:
        self._common = common
        self._made: AIOKafkaProducer | None = None
        self._making = asyncio.Lock()

    async def get(self) -> AIOKafkaProducer:
        async with self._making:
            if self._made is None:
                self._made = await self._started()
            return self._made

    async def _started(self) -> AIOKafkaProducer:
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

    async def drop(self, producer: AIOKafkaProducer | None) -> None:
        """The one that failed, unless another's failure dropped it before."""
        if producer is None or self._made is not producer:
            return
        await self.close()

    async def close(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(made.stop(), STOP_TIMEOUT_S)


class DeadLetters:
    """Sent by a task and a producer of their own: neither reading nor the relay waits for a topic that can't be
    written. So many wait; what is more is lost."""

    def __init__(self, common: Mapping[str, Any]) -> None:
        self._producer = Producer(common)
        self._waiting: deque[tuple[Record, str]] = deque()
        self._bytes = 0
        self._sending: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, record: Record, reason: str) -> None:
        if len(self._waiting) >= DEAD_LETTERS_MAX or self._bytes + len(record.value) > DEAD_LETTERS_BYTES_MAX:
            _lost(reason, "too many wait")
            return
        self._waiting.append((record, reason))
        self._bytes += len(record.value)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send_all(), name="dead letters")

    async def _send_all(self) -> None:
        while self._waiting:
            record, reason = self._waiting.popleft()
            self._bytes -= len(record.value)
            await self._send(record, reason)

    async def _send(self, record: Record, reason: str) -> None:
        headers = [("jil_reason", _encoded(reason)), ("ce_type", _encoded(record.kind))]
        producer = None
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                producer = await self._producer.get()
                await producer.send_and_wait(DEAD_LETTERS, record.value, key=_encoded(record.source), headers=headers)
        except (KafkaError, TimeoutError) as error:
            await self._producer.drop(producer)
            _lost(reason, type(error).__name__)

    async def close(self) -> None:
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=STOP_TIMEOUT_S)
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await self._producer.close()


def _lost(reason: str, error: str) -> None:
    logger.error("a dead letter was lost", extra={"fields": {"reason": reason, "error": error}})


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")

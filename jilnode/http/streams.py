"""Streams that clients listen to: how many there are, what waits for each, and how they end.

What waits for a client is bounded. Who reads too slowly is told ``overflow`` and dropped, and resumes from where it
was.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from jilnode.http.auth import Principal
from jilnode.http.frames import StreamFrame
from jilnode.http.wires import ClientGoneError, Wire
from jilnode.kernel.errors import Rejected
from jilnode.limits import (
    STREAM_CLIENTS_MAX,
    STREAM_PIECE_BYTES,
    STREAM_QUEUE_MAX,
    STREAM_SUBJECT_CLIENTS_MAX,
)

__all__ = ("HEARTBEAT_S", "StreamClient", "Streams")

T = TypeVar("T")

HEARTBEAT_S = 15.0


class _EndingError(Exception):
    """The stream ends, and the client is told why."""


class StreamClient(Generic[T]):
    def __init__(self, principal: Principal, queue_max: int, heartbeat_s: float, clock: Callable[[], float]) -> None:
        self.principal = principal
        self._queue_max = queue_max
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._waiting: list[T] = []
        self._wake = asyncio.Event()
        self._ending = ""

    def put(self, item: T) -> None:
        if len(self._waiting) >= self._queue_max:
            self.end("overflow")
        else:
            self._waiting.append(item)
            self._wake.set()

    def end(self, reason: str) -> None:
        """What still waits is not sent: the client resumes, and gets it then."""
        self._ending = self._ending or reason
        self._wake.set()

    def check(self) -> None:
        """Raises what ends the stream, inside ``over``."""
        if self._ending:
            raise _EndingError(self._ending)
        if self.principal.expires_at <= self._clock():
            raise _EndingError("token_expired")

    async def batches(self) -> AsyncIterator[list[T]]:
        """What waits, all of it at once; an empty list when it is time for a heartbeat."""
        while True:
            if not self._waiting and not self._ending:
                self._wake.clear()
                pause_s = min(self._heartbeat_s, max(0.0, self.principal.expires_at - self._clock()))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._wake.wait()
            self.check()
            batch, self._waiting = self._waiting, []
            yield batch

    async def send(self, wire: Wire, frames: Iterable[StreamFrame]) -> None:
        """Piece by piece. A frame is made when those before its piece are on their way, for all that waits may be much
        more than one should hold in memory for a client, and than it can read in the time that it has for a piece."""
        piece: list[StreamFrame] = []
        size = 0
        for frame in frames:
            piece.append(frame)
            size += len(frame.data)
            if size >= STREAM_PIECE_BYTES:
                await wire.send(piece)
                self.check()
                piece, size = [], 0
        if piece:
            await wire.send(piece)

    @contextlib.asynccontextmanager
    async def over(self, wire: Wire) -> AsyncGenerator[None, None]:
        """Starts the stream, notices when the client leaves, and tells it why the stream ended. Raises
        ``ClientGoneError`` when the client is gone, or does not read."""
        await wire.start()
        watching = asyncio.create_task(self._watch(wire))
        try:
            yield
        except _EndingError as ending:
            if str(ending) != "disconnected":
                await wire.end(str(ending))
        finally:
            watching.cancel()

    async def _watch(self, wire: Wire) -> None:
        self.end(await wire.left())


class Streams:
    """All streams of a node, of every kind, under one bound, and those of one subject under another. ``close`` ends
    them: it comes first at shutdown, so that nothing waits for clients that never leave."""

    def __init__(
        self,
        *,
        clients_max: int = STREAM_CLIENTS_MAX,
        subject_clients_max: int = STREAM_SUBJECT_CLIENTS_MAX,
        queue_max: int = STREAM_QUEUE_MAX,
        heartbeat_s: float = HEARTBEAT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clients_max = clients_max
        self._subject_clients_max = subject_clients_max
        self._queue_max = queue_max
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._clients: set[StreamClient[Any]] = set()
        self._closing = False

    @property
    def count(self) -> int:
        return len(self._clients)

    def close(self) -> None:
        self._closing = True
        for client in self._clients:
            client.end("closing")

    @contextlib.contextmanager
    def admit(self, principal: Principal) -> Iterator[StreamClient[Any]]:
        """Raises ``Rejected``. A client that is gone ends what it was admitted to, quietly."""
        if len(self._clients) >= self._clients_max or self._closing:
            raise Rejected("stream_full", "Try again soon.", status=503, retry_after_s=5)
        own = sum(client.principal.subject == principal.subject for client in self._clients)
        if own >= self._subject_clients_max:
            raise Rejected("too_many_streams", f"At most {own} of one subject.", status=429, retry_after_s=5)
        client: StreamClient[Any] = StreamClient(principal, self._queue_max, self._heartbeat_s, self._clock)
        self._clients.add(client)
        try:
            yield client
        except ClientGoneError:
            pass
        finally:
            self._clients.discard(client)

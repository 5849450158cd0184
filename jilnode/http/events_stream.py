"""``/v1/events``: server-sent events, resumed from the journal, bounded at every step.

One subscription to the feed serves all clients; each has a bounded queue. Who reads too slowly is told ``overflow`` and
dropped, and resumes with ``Last-Event-ID``: the journal has everything.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable

from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Send

from jilnode.http.auth import Principal
from jilnode.http.ports import EventFeed, Position
from jilnode.http.visible import Filter, Seer, StreamEntry
from jilnode.kernel.entry import Entry
from jilnode.kernel.errors import Rejected
from jilnode.limits import STREAM_CLIENTS_MAX, STREAM_QUEUE_MAX

__all__ = ("EventStream", "filter_of", "position_of")

HEARTBEAT_S = 15.0
SEND_TIMEOUT_S = 20.0
PAGE_ENTRIES = 500
_POSITION = re.compile(r"([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(\d{1,18})/(\d{1,18})")
_HEARTBEAT = b": heartbeat\n\n"
_START: HTTPResponseStartEvent = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        # Proxies that buffer would hold events back.
        (b"x-accel-buffering", b"no"),
    ],
}


class _EndingError(Exception):
    """The stream ends, and the last event says why."""


class _Client:
    __slots__ = ("ending", "queue")

    def __init__(self) -> None:
        self.queue: asyncio.Queue[StreamEntry | None] = asyncio.Queue(STREAM_QUEUE_MAX)
        self.ending = ""

    def end(self, reason: str) -> None:
        """Wakes the client's task even when its queue is full: what is in it is in the journal too."""
        self.ending = self.ending or reason
        with contextlib.suppress(asyncio.QueueFull):
            self.queue.put_nowait(None)


class EventStream:
    """``close`` ends every stream: it comes first at shutdown, so that nothing waits for clients that never leave."""

    def __init__(
        self,
        feed: EventFeed,
        seer: Seer,
        *,
        clients_max: int = STREAM_CLIENTS_MAX,
        heartbeat_s: float = HEARTBEAT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._feed = feed
        self._seer = seer
        self._clients_max = clients_max
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._open = 0
        self._clients: set[_Client] = set()
        self._pump: asyncio.Task[None] | None = None
        self._queue: asyncio.Queue[Entry | None] | None = None
        self._closing = False

    @property
    def clients(self) -> int:
        return self._open

    def close(self) -> None:
        self._closing = True
        for client in list(self._clients):
            client.end("closing")

    async def serve(
        self,
        receive: Receive,
        send: Send,
        principal: Principal,
        wanted: Filter,
        start: Position | None,
        live: bool,
    ) -> None:
        """``start`` None = from the first entry, or, if ``live``, from now. Raises ``Rejected`` before anything
        is sent.
        """
        if self._open >= self._clients_max or self._closing:
            raise Rejected("stream_full", "Try again soon.", status=503, retry_after_s=5)
        self._open += 1
        client = _Client()
        try:
            first = [] if live else await self._page(start)
            await send(_START)
            gone = asyncio.create_task(self._watch(receive, client))
            try:
                await self._run(send, client, principal, wanted, start, first, live)
            except TimeoutError:
                pass
            finally:
                gone.cancel()
        finally:
            self._open -= 1
            self._leave(client)

    async def _run(
        self,
        send: Send,
        client: _Client,
        principal: Principal,
        wanted: Filter,
        start: Position | None,
        page: list[Entry],
        live: bool,
    ) -> None:
        try:
            sent: dict[str, tuple[int, int]] = {}
            if live:
                self._join(client)
                await self._send(send, _HEARTBEAT)
            else:
                await self._catch_up(send, client, principal, wanted, start, page, sent)
            async for batch in self._batches(client, principal):
                frames = [
                    frame
                    for opened in batch
                    if sent.get(opened.entry.source, (-1, -1)) < (opened.entry.epoch, opened.entry.sequence)
                    and (frame := self._seer.frame(opened, principal, wanted)) is not None
                ]
                if frames or not batch:
                    await self._send(send, b"".join(frames) or _HEARTBEAT)
        except _EndingError as ending:
            await self._send(send, b"event: %b\ndata: {}\n\n" % str(ending).encode(), more=False)

    async def _catch_up(
        self,
        send: Send,
        client: _Client,
        principal: Principal,
        wanted: Filter,
        start: Position | None,
        page: list[Entry],
        sent: dict[str, tuple[int, int]],
    ) -> None:
        """From the journal until its end, then join the live clients, then once more for what came in between."""
        joined = False
        while True:
            self._check(client, principal)
            frames = []
            for entry in page:
                start = (entry.source, entry.epoch, entry.sequence)
                sent[entry.source] = (entry.epoch, entry.sequence)
                frame = self._seer.frame(await self._seer.opened(entry), principal, wanted)
                if frame is not None:
                    frames.append(frame)
            await self._send(send, b"".join(frames) or _HEARTBEAT)
            if len(page) < PAGE_ENTRIES:
                if joined:
                    return
                self._join(client)
                joined = True
            page = await self._page(start)

    async def _batches(self, client: _Client, principal: Principal) -> AsyncIterator[list[StreamEntry]]:
        """What waits in the queue, all of it at once; an empty list when it is time for a heartbeat."""
        while True:
            batch: list[StreamEntry] = []
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    first = await client.queue.get()
            except TimeoutError:
                first = None
            if first is not None:
                batch.append(first)
            while not client.queue.empty():
                if (following := client.queue.get_nowait()) is not None:
                    batch.append(following)
            self._check(client, principal)
            yield batch

    def _check(self, client: _Client, principal: Principal) -> None:
        if client.ending:
            raise _EndingError(client.ending)
        if self._closing:
            raise _EndingError("closing")
        if principal.expires_at <= self._clock():
            raise _EndingError("token_expired")

    async def _page(self, start: Position | None) -> list[Entry]:
        try:
            return await self._feed.after(start, PAGE_ENTRIES)
        except LookupError as error:
            raise Rejected("position_gone", "This node's journal does not have that entry.", status=410) from error

    async def _send(self, send: Send, body: bytes, more: bool = True) -> None:
        """A client that does not read for this long is gone. Raises ``TimeoutError``."""
        message: HTTPResponseBodyEvent = {"type": "http.response.body", "body": body, "more_body": more}
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await send(message)

    async def _watch(self, receive: Receive, client: _Client) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        client.end("disconnected")

    def _join(self, client: _Client) -> None:
        self._clients.add(client)
        if self._pump is None:
            # Subscribed at once, not when the task first runs: the caller reads the journal next; there must be no gap.
            self._queue = self._feed.subscribe()
            self._pump = asyncio.create_task(self._distribute(self._queue), name="event stream")

    def _leave(self, client: _Client) -> None:
        self._clients.discard(client)
        if not self._clients and self._pump is not None and self._queue is not None:
            self._pump.cancel()
            self._feed.unsubscribe(self._queue)
            self._pump = self._queue = None

    async def _distribute(self, queue: asyncio.Queue[Entry | None]) -> None:
        """Runs while there are clients: without one, the stream costs the node nothing."""
        while True:
            entry = await queue.get()
            if entry is None:
                for client in self._clients:
                    client.end("overflow")
                continue
            opened = await self._seer.opened(entry)
            for client in list(self._clients):
                try:
                    client.queue.put_nowait(opened)
                except asyncio.QueueFull:
                    client.end("overflow")


def position_of(text: str) -> Position:
    """Raises ``Rejected`` (400)."""
    match = _POSITION.fullmatch(text)
    if match is None:
        raise Rejected("bad_request", "A position is source/epoch/sequence.", status=400, field="/Last-Event-ID")
    return match.group(1), int(match.group(2)), int(match.group(3))


def filter_of(types: str, sources: str, tables: str) -> Filter:
    """Each is a comma-separated list, or empty for everything."""
    return Filter(
        tuple(part for part in types.split(",") if part),
        frozenset(part for part in sources.split(",") if part),
        frozenset(part for part in tables.split(",") if part),
    )

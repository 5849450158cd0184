"""``/v1/events``: every entry as it comes, resumed from the journal, bounded at every step.

One subscription to the feed serves all clients. Who reads too slowly is dropped, and resumes: the journal has
everything.
"""

import asyncio
import logging
import re

from jilnode.http.auth import Principal
from jilnode.http.ports import EventFeed, Position
from jilnode.http.streams import StreamClient, Streams
from jilnode.http.visible import Filter, Seer, StreamEntry
from jilnode.http.wires import Wire
from jilnode.kernel.entry import Entry
from jilnode.kernel.errors import Rejected
from jilnode.limits import STREAM_READ_ENTRIES

__all__ = ("EventStream", "filter_of", "position_of")

_log = logging.getLogger(__name__)

_POSITION = re.compile(r"([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(\d{1,18})/(\d{1,18})")


class EventStream:
    def __init__(self, streams: Streams, feed: EventFeed, seer: Seer) -> None:
        self._streams = streams
        self._feed = feed
        self._seer = seer
        self._clients: set[StreamClient[StreamEntry]] = set()
        self._pump: asyncio.Task[None] | None = None
        self._queue: asyncio.Queue[Entry | None] | None = None

    async def serve(self, wire: Wire, principal: Principal, wanted: Filter, start: Position | None, live: bool) -> None:
        """``start`` None = from the first entry, or, if ``live``, from now. Raises ``Rejected`` before anything
        is sent.
        """
        with self._streams.admit(principal) as client:
            try:
                first = [] if live else await self._page(start)
                if live:
                    self._join(client)
                async with client.over(wire):
                    sent: dict[str, tuple[int, int]] = {}
                    if not live:
                        await self._catch_up(wire, client, wanted, start, first, sent)
                    async for batch in client.batches():
                        if not batch:
                            await wire.send([])
                        frames = (
                            frame
                            for opened in batch
                            if sent.get(opened.entry.source, (-1, -1)) < (opened.entry.epoch, opened.entry.sequence)
                            and (frame := self._seer.frame(opened, principal, wanted)) is not None
                        )
                        await client.send(wire, frames)
            finally:
                self._leave(client)

    async def _catch_up(
        self,
        wire: Wire,
        client: StreamClient[StreamEntry],
        wanted: Filter,
        start: Position | None,
        page: list[Entry],
        sent: dict[str, tuple[int, int]],
    ) -> None:
        """From the journal until its end, then join the live clients, then once more for what came in between."""
        joined = False
        while True:
            client.check()
            frames = []
            for entry in page:
                start = (entry.source, entry.epoch, entry.sequence)
                sent[entry.source] = (entry.epoch, entry.sequence)
                frame = self._seer.frame(await self._seer.opened(entry), client.principal, wanted)
                if frame is not None:
                    frames.append(frame)
            if not frames:
                await wire.send([])
            await client.send(wire, frames)
            if len(page) < STREAM_READ_ENTRIES:
                if joined:
                    return
                self._join(client)
                joined = True
            page = await self._page(start)

    async def _page(self, start: Position | None) -> list[Entry]:
        try:
            return await self._feed.after(start, STREAM_READ_ENTRIES)
        except LookupError as error:
            raise Rejected("position_gone", "This node's journal does not have that entry.", status=410) from error

    def _join(self, client: StreamClient[StreamEntry]) -> None:
        self._clients.add(client)
        if self._pump is None:
            # Subscribed at once, not when the task first runs: the caller reads the journal next; there must be no gap.
            self._queue = self._feed.subscribe()
            self._pump = asyncio.create_task(self._distribute(self._queue), name="event stream")

    def _leave(self, client: StreamClient[StreamEntry]) -> None:
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
                self._end("overflow")
                continue
            try:
                opened = await self._seer.opened(entry)
            except Exception:
                # Whoever listens lacks this entry, and reads it from the journal when they resume.
                _log.exception("an event could not be shown")
                self._end("failed")
                continue
            for client in list(self._clients):
                client.put(opened)

    def _end(self, reason: str) -> None:
        for client in self._clients:
            client.end(reason)


def position_of(text: str) -> Position:
    """Raises ``Rejected`` (400)."""
    match = _POSITION.fullmatch(text)
    if match is None:
        raise Rejected("bad_request", "A position is source/epoch/sequence.", status=400, field="/Last-Event-ID")
    return match.group(1), int(match.group(2)), int(match.group(3))


def filter_of(types: str, sources: str, tables: str) -> Filter:
    """Each is a comma-separated list, or empty for everything."""
    return Filter(
        frozenset(part for part in types.split(",") if part),
        frozenset(part for part in sources.split(",") if part),
        frozenset(part for part in tables.split(",") if part),
    )

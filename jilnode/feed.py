"""The journal as a live feed for HTTP's event stream: entries in the order in which this node made or applied them."""

import asyncio
from collections import deque
from itertools import islice

from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.ports import Store
from jilnode.kernel.writer import Writer
from jilnode.limits import RECENT_BYTES_MAX, RECENT_ENTRIES_MAX, STREAM_QUEUE_MAX

__all__ = ("JournalFeed",)

Position = tuple[str, int, int]


class JournalFeed:
    """The newest entries of all sources are kept in memory in order. Who resumes from before them gets that entry's own
    source from the journal, and is then told to read the others' from their own positions."""

    def __init__(self, writer: Writer, store: Store) -> None:
        self._writer = writer
        self._store = store
        self._recent: deque[Entry] = deque()
        self._recent_bytes = 0
        self._numbers: dict[Position, int] = {}
        """Of each recent entry, in the order in which they came."""
        self._next = 0
        self._queues: list[asyncio.Queue[Entry | None]] = []
        writer.listeners.append(self._committed)

    def _committed(self, entries: list[Entry], seals: list[Seal]) -> None:
        for entry in entries:
            self._recent.append(entry)
            self._recent_bytes += entry.size
            self._numbers[_position(entry)] = self._next
            self._next += 1
        while len(self._recent) > RECENT_ENTRIES_MAX or self._recent_bytes > RECENT_BYTES_MAX:
            oldest = self._recent.popleft()
            self._recent_bytes -= oldest.size
            self._numbers.pop(_position(oldest), None)
        for queue in self._queues:
            for entry in entries:
                if queue.full():
                    while not queue.empty():
                        queue.get_nowait()
                    queue.put_nowait(None)
                    break
                queue.put_nowait(entry)

    async def after(self, position: Position | None, limit: int) -> list[Entry]:
        """The next entries after ``position``. Raises ``LookupError`` when this node has no such entry."""
        number = None if position is None else self._numbers.get(position)
        if number is not None:
            index = len(self._recent) - (self._next - number) + 1
            return list(islice(self._recent, index, index + limit))
        source, epoch, sequence = position or (self._writer.engine.source, 0, -1)
        known = self._writer.engine.sources.get(source)
        if known is None or (position is not None and (epoch, sequence) >= (known.epoch, known.size)):
            raise LookupError(f"no entry {source}/{epoch}/{sequence} is known here")
        found = await self._store.journal(source, epoch, sequence + 1, limit)
        if not found and epoch < known.epoch:
            found = await self._store.journal(source, epoch + 1, 0, limit)
        return found

    def subscribe(self) -> "asyncio.Queue[Entry | None]":
        queue: asyncio.Queue[Entry | None] = asyncio.Queue(STREAM_QUEUE_MAX)
        self._queues.append(queue)
        return queue

    def unsubscribe(self, queue: "asyncio.Queue[Entry | None]") -> None:
        if queue in self._queues:
            self._queues.remove(queue)


def _position(entry: Entry) -> Position:
    return (entry.source, entry.epoch, entry.sequence)

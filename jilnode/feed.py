"""The journal as a live feed for HTTP's event stream: entries in the order in which this node made or applied them."""

import asyncio
from collections import deque

from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.ports import Store
from jilnode.kernel.writer import Writer
from jilnode.limits import STREAM_QUEUE_MAX

__all__ = ("JournalFeed",)

RECENT_ENTRIES = 10_000

Position = tuple[str, int, int]


class JournalFeed:
    """The newest entries of all sources are kept in memory in order. Who resumes from before them gets that entry's own
    source from the journal, and is then told to read the others' from their own positions."""

    def __init__(self, writer: Writer, store: Store) -> None:
        self._writer = writer
        self._store = store
        self._recent: deque[Entry] = deque(maxlen=RECENT_ENTRIES)
        self._queues: list[asyncio.Queue[Entry | None]] = []
        writer.listeners.append(self._committed)

    def _committed(self, entries: list[Entry], seals: list[Seal]) -> None:
        self._recent.extend(entries)
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
        recent = list(self._recent)
        if position is not None:
            for index in range(len(recent) - 1, -1, -1):
                entry = recent[index]
                if (entry.source, entry.epoch, entry.sequence) == position:
                    return recent[index + 1 : index + 1 + limit]
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

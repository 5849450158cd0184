"""A store in memory, for simulation and unit tests: it crashes, fails and forgets as it is told."""

import enum
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from heapq import nlargest, nsmallest
from typing import Any

from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import CommitFailed, CommitUnknown, LockLost
from jilnode.kernel.image import Image
from jilnode.kernel.ports import Commit, Loaded, Page, Wanted
from jilnode.kernel.reaction import Reaction
from jilnode.kernel.table import Table
from jilnode.stores.memory_disk import MemoryDisk, MemoryTable, seal_size
from jilnode.stores.pages import page_end
from jilnode.stores.readback import image_of
from jilnode.stores.shape import Shape

__all__ = ("Fate", "MemoryStore")


class Fate(enum.Enum):
    """What becomes of one commit."""

    DURABLE = "durable"
    LOST = "lost"
    UNKNOWN_DURABLE = "unknown but durable"
    UNKNOWN_LOST = "unknown and lost"


class MemoryStore:
    """Implements ``jilnode.kernel.ports.Store``.

    ``fate`` is asked once a commit. ``pause`` is awaited at ``commit.before`` and ``commit.after`` the durable point,
    so that a simulation can crash there; without it no method ever waits.
    """

    def __init__(
        self,
        disk: MemoryDisk,
        *,
        pause: Callable[[str], Awaitable[None]] | None = None,
        fate: Callable[[Commit], Fate] | None = None,
    ) -> None:
        self._disk = disk
        self._pause = pause
        self._fate = fate
        self._session = 0
        self._in_doubt = False

    async def open(self, source: str, tables: Sequence[Table[Any]]) -> None:
        self._session = self._disk.open(source, [Shape(table) for table in tables])

    async def close(self) -> None:
        self._session = 0

    async def reopen(self) -> None:
        self._check_lock()
        self._disk.session += 1
        self._session = self._disk.session
        self._in_doubt = False

    async def commit(self, commit: Commit) -> None:
        if self._in_doubt:
            raise CommitUnknown("the session has ended: reopen() first")
        self._check_lock()
        fate = Fate.DURABLE if self._fate is None else self._fate(commit)
        if self._pause is not None:
            await self._pause("commit.before")
            self._check_lock()
        self._disk.check(commit)
        if fate is Fate.LOST:
            raise CommitFailed("the disk refused, as it was told")
        if fate is not Fate.UNKNOWN_LOST:
            self._disk.apply(commit)
        if self._pause is not None:
            await self._pause("commit.after")
        if fate is not Fate.DURABLE:
            self._in_doubt = True
            raise CommitUnknown("the disk did not answer, as it was told")

    async def load(self, wanted: Wanted) -> Loaded:
        loaded = Loaded()
        for table, keys in wanted.rows.items():
            found = self._images(table, keys)
            loaded.rows[table] = {key: found.get(key) for key in keys}
        for table, field, value in wanted.buckets:
            loaded.buckets[table, field, value] = self._images(table, self._table(table).keys(field, value))
        for table, group, value, amount in wanted.sums:
            number = table.searchable.index(amount)
            rows = self._table(table).rows
            amounts = [rows[key].columns[number] for key in self._table(table).keys(group, value)]
            loaded.sums[table, group, value, amount] = sum([each for each in amounts if isinstance(each, int)])
        for source, key_hash in wanted.commands:
            mine = [entry for entry in self._disk.by_command.get(key_hash, ()) if entry.source == source]
            first = min(mine, key=lambda entry: (entry.epoch, entry.sequence), default=None)
            loaded.commands[source, key_hash] = first
        for source, epoch, sequence in wanted.entries:
            loaded.entries[source, epoch, sequence] = self._disk.entries.get((source, epoch), {}).get(sequence)
        return loaded

    async def resident(self, table: Table[Any]) -> dict[str, Image]:
        return self._images(table, self._table(table).rows)

    async def deadlines(self, table: Table[Any], column: str, owner: str) -> dict[str, int]:
        number = table.searchable.index(column)
        return {
            key: moment
            for key, row in self._table(table).rows.items()
            if row.owner == owner and isinstance(moment := row.columns[number], int) and moment > 0
        }

    async def open_obligations(self, reaction: Reaction, to: str, limit: int) -> list[tuple[str, str]]:
        table, answers = self._table(reaction.table), self._table(reaction.answer).rows
        found: list[tuple[str, str]] = []
        counts: Counter[str] = Counter()
        for key in sorted(table.keys(reaction.to_field, to)):
            owner = table.rows[key].owner
            if key not in answers and counts[owner] < limit:
                counts[owner] += 1
                found.append((key, owner))
        return found

    async def get(self, table: Table[Any], keys: Sequence[str]) -> dict[str, Image]:
        return self._images(table, keys)

    async def page(
        self,
        tables: Sequence[Table[Any]],
        any_of: Sequence[tuple[str, str | int]],
        *,
        after: str | None = None,
        limit: int = 50,
        descending: bool = False,
    ) -> Page:
        places: list[tuple[str, int]] = []
        for number, table in enumerate(tables):
            rows = self._table(table)
            keys: Iterable[str] = rows.rows
            if any_of:
                keys = {key for field, value in any_of for key in rows.keys(field, value)}
            places += [(key, number) for key in keys]
        while True:
            beyond = [
                place for place in places if after is None or (place[0] < after if descending else place[0] > after)
            ]
            found = (nlargest if descending else nsmallest)(limit + len(tables), beyond)
            end = page_end([key for key, _ in found], limit)
            images = [(key, self._images(tables[number], [key]).get(key)) for key, number in found[:end]]
            items = [(key, image) for key, image in images if image is not None]
            if items or end == len(found):
                return Page(items, end < len(found))
            after = found[end - 1][0]

    async def journal(self, source: str, epoch: int, start: int, limit: int) -> list[Entry]:
        log = self._disk.entries.get((source, epoch), {})
        if limit < len(log):
            return [log[sequence] for sequence in range(start, start + limit) if sequence in log]
        return [log[sequence] for sequence in sorted(log) if start <= sequence < start + limit]

    async def seals(self, source: str, epoch: int, after_size: int, limit: int) -> list[Seal]:
        seals = self._disk.seals.get((source, epoch), [])
        start = bisect_right(seals, after_size, key=seal_size)
        return seals[start : start + limit]

    async def heads(self) -> dict[str, tuple[int, int]]:
        return dict(self._disk.heads)

    def _check_lock(self) -> None:
        if self._session == 0 or self._session != self._disk.session:
            raise LockLost("another session has opened this database")

    def _table(self, table: Table[Any]) -> MemoryTable:
        return self._disk.tables[table.name]

    def _images(self, table: Table[Any], keys: Iterable[str]) -> dict[str, Image]:
        rows = self._table(table).rows
        images: dict[str, Image] = {}
        for key in keys:
            row = rows.get(key)
            doc = None if row is None else self._disk.document(table, row)
            if row is not None and doc is not None:
                images[key] = image_of(table, row.owner, row.epoch, row.sequence, doc)
        return images

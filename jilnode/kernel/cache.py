"""A table in memory: a cache over the database, with the undo list of the batch in flight.

``images`` are rows as the commands of this batch see them; ``before`` holds, for every key that the batch changed, the
committed image: what readers see, and what comes back when the commit fails. Absence is cached too (None).

Cached tables are bounded by two generations: a row that is used moves to the young one; when the young one is full, the
old one is forgotten. That happens between batches only, so nothing in flight can vanish.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import filterfalse
from operator import itemgetter
from typing import Any, Final

from jilnode.kernel.errors import Missing
from jilnode.kernel.image import Image
from jilnode.kernel.indexes import DeadlineQueue, EqualityBuckets, OrderedQueues, Totals
from jilnode.kernel.ports import Commit, RowWrite, Wanted
from jilnode.kernel.table import DeadlineIndex, EqualityIndex, OrderedIndex, SumIndex, Table

__all__ = ("ROW_OVERHEAD_BYTES", "TableCache", "key_of")

ROW_OVERHEAD_BYTES: Final = 480
"""Measured: an image, its row, key and dict slot beside the document itself."""

_UNKNOWN: Final = object()
_new_tuple: Final = tuple.__new__
"""What a named tuple's own, a Python function, comes down to. Every row of a batch is made into one."""

key_of: Final[Callable[[tuple[Any, ...]], str]] = itemgetter(-1)
"""Of a place in an ordered queue."""


class TableCache:
    __slots__ = (
        "before",
        "deadlines",
        "equality",
        "images",
        "indexed",
        "known_bytes",
        "moving",
        "name",
        "old",
        "ordered",
        "settled_fields",
        "source",
        "spec",
        "totals",
        "weights",
        "whole",
    )

    def __init__(self, spec: Table[Any], source: str, weights: defaultdict[str, int]) -> None:
        """``weights``: owner -> bytes of its rows in all tables that stay in memory whole; kept up by each of them."""
        self.spec = spec
        self.name = spec.name
        self.source = source
        self.whole = spec.resident
        self.weights = weights if spec.bounded else None
        self.images: dict[str, Image | None] = {}
        self.old: dict[str, Image | None] = {}
        self.before: dict[str, Image | None] = {}
        self.known_bytes = 0
        self.equality: dict[str, EqualityBuckets] = {}
        self.ordered: dict[str, OrderedQueues] = {}
        self.totals: dict[str, Totals] = {}
        self.deadlines: dict[str, DeadlineQueue] = {}
        for index in spec.indexes:
            if isinstance(index, EqualityIndex):
                self.equality[index.name] = EqualityBuckets(index, self.whole)
            elif isinstance(index, OrderedIndex):
                self.ordered[index.name] = OrderedQueues(index)
            elif isinstance(index, SumIndex):
                self.totals[index.name] = Totals(index, self.whole)
            elif isinstance(index, DeadlineIndex):
                self.deadlines[index.name] = DeadlineQueue(index)
        self.indexed = bool(spec.indexes)
        self.moving: tuple[OrderedQueues | Totals, ...] = (*self.ordered.values(), *self.totals.values())
        self.settled_fields = spec.settled_fields

    def get(self, key: str) -> Image | None:
        """The image as this batch sees it. Raises ``Missing``."""
        image = self.images.get(key, _UNKNOWN)
        if image is not _UNKNOWN:
            return image  # type: ignore[return-value]
        image = self.old.pop(key, _UNKNOWN)
        if image is not _UNKNOWN:
            self.images[key] = image  # type: ignore[assignment]
            self._count(image)  # type: ignore[arg-type]
            return image  # type: ignore[return-value]
        if self.whole:
            return None
        raise Missing(Wanted(rows={self.spec: {key}}))

    def knows(self, key: str) -> bool:
        return self.whole or key in self.images or key in self.old

    def committed(self, key: str) -> Image | None:
        """The image that readers see. Raises ``Missing``."""
        if key in self.before:
            return self.before[key]
        return self.get(key)

    def set(self, key: str, old: Image | None, new: Image | None) -> None:
        """Replaces the image in place and in every index; ``take_back(key, old)`` undoes it."""
        self.images[key] = new
        weights = self.weights
        if weights is not None:
            if old is not None:
                weights[old.owner] -= ROW_OVERHEAD_BYTES + len(old.doc)
            if new is not None:
                weights[new.owner] += ROW_OVERHEAD_BYTES + len(new.doc)
        if self.indexed:
            old_row = None if old is None else old.row
            new_row = None if new is None else new.row
            for moving in self.moving:
                moving.replace(key, old_row, new_row)
            fields = self.settled_fields
            if old is None or new is None or old.owner != new.owner or fields(old_row) != fields(new_row):
                for buckets in self.equality.values():
                    buckets.replace(key, old_row, new_row)
                if self.deadlines:
                    mine = new is not None and new.owner == self.source
                    for queue in self.deadlines.values():
                        queue.replace(key, None, new_row if mine else None)

    def take_back(self, key: str, before: Image | None) -> None:
        """Undoes ``set``. Of a row that is written once it is forgotten whether it was there: mostly nobody looked. One
        that the batch has counted stays, as one that is not there, until ``forget_taken_back``."""
        self.set(key, self.images.get(key), before)
        if self.spec.write_once and key not in self.before:
            del self.images[key]

    def forget_taken_back(self) -> None:
        """What is written once and was taken back: the batch has not changed it."""
        if self.spec.write_once:
            for key in [key for key in self.before if self.images[key] is None]:
                del self.images[key], self.before[key]

    def fill(self, commit: Commit) -> None:
        """Adds what the batch changed in this table, each row once."""
        table, images = self.spec, self.images
        searchable, columns_of = bool(table.searchable), table.columns
        writes: list[RowWrite] = []
        updates: list[RowWrite] = []
        deletes: list[str] = []
        for key, before in self.before.items():
            image = images[key]
            if image is None:
                if before is not None:
                    deletes.append(key)
            elif image is not before:
                columns = columns_of(image.row) if searchable else ()
                same = before is not None and (not searchable or columns_of(before.row) == columns)
                row = (key, image.owner, image.epoch, image.sequence, image.doc, columns)
                (updates if same else writes).append(_new_tuple(RowWrite, row))
        if writes:
            (commit.inserts if table.write_once else commit.writes)[table] = writes
        if updates:
            commit.updates[table] = updates
        if deletes:
            commit.deletes[table] = deletes

    def provide(self, found: dict[str, Image | None]) -> None:
        """Rows from the database. One that is here already is newer, and stays."""
        for key, image in found.items():
            if not self.knows(key):
                self.images[key] = image
                self._count(image)

    def _count(self, image: Image | None) -> None:
        self.known_bytes += ROW_OVERHEAD_BYTES + (0 if image is None else len(image.doc))

    def provide_bucket(self, field: str, value: Any, found: dict[str, Image]) -> None:
        """A whole bucket from the database, corrected by what the batch in flight has changed since."""
        self.provide(dict(found))
        for buckets in self.equality.values():
            if buckets.spec.field == field and not buckets.has(value):
                keys = set(found)
                for key in self.before:
                    image = self.images[key]
                    (keys.add if buckets.matches(None if image is None else image.row, value) else keys.discard)(key)
                buckets.buckets[value] = keys

    def provide_total(self, group: str, value: Any, amount: str, total: int) -> None:
        for totals in self.totals.values():
            if totals.spec.group == group and totals.spec.amount == amount and not totals.has(value):
                for key, before in self.before.items():
                    now = self.images[key]
                    total += totals.part(None if now is None else now.row, value)
                    total -= totals.part(None if before is None else before.row, value)
                totals.totals[value] = total

    def load_all(self, found: dict[str, Image]) -> None:
        """At the start, when nothing is in memory yet. Each queue is sorted once, and not row by row."""
        moving, self.moving = self.moving, tuple(self.totals.values())
        for key, image in found.items():
            self.set(key, None, image)
        self.moving = moving
        for queues in self.ordered.values():
            queues.load([(key, image.row) for key, image in found.items()])

    def undo_batch(self) -> None:
        before, self.before = self.before, {}
        for key, image in before.items():
            self.take_back(key, image)

    def confirm_batch(self) -> None:
        if self.spec.write_once:
            for key in self.before:
                del self.images[key]
                # Who looked for it before it came may have left there that it is absent.
                self.old.pop(key, None)
        elif self.whole:
            for key in self.before:
                if self.images[key] is None:
                    del self.images[key]
        else:
            for key, before in self.before.items():
                if before is None:
                    self._count(self.images[key])
        self.before.clear()

    def forget_old_generation(self) -> None:
        """Between batches: what was not used since the last call is forgotten."""
        if self.whole:
            return
        self.old = self.images
        self.images = {}
        self.known_bytes = 0
        for buckets in self.equality.values():
            buckets.buckets.clear()
        for totals in self.totals.values():
            totals.totals.clear()

    # What handlers ask of indexes

    def keys(self, index: str, value: Any) -> tuple[str, ...]:
        buckets = self.equality[index]
        if not buckets.has(value):
            raise Missing(Wanted(buckets={(self.spec, buckets.spec.field, value)}))
        return tuple(sorted(buckets.buckets.get(value, ())))

    def count(self, index: str, value: Any) -> int:
        assert self.whole, f"{self.spec.name} is not resident"
        return len(self.equality[index].buckets.get(value, ()))

    def total(self, index: str, group: Any) -> int:
        totals = self.totals[index]
        if not totals.has(group):
            raise Missing(Wanted(sums={(self.spec, totals.spec.group, group, totals.spec.amount)}))
        return totals.totals.get(group, 0)

    # What readers see of indexes: the same, with this batch's changes taken back

    def committed_keys(self, index: str, value: Any) -> tuple[str, ...]:
        buckets = self.equality[index]
        keys = set(self.keys(index, value))
        for key, image in self.before.items():
            (keys.add if buckets.matches(None if image is None else image.row, value) else keys.discard)(key)
        return tuple(sorted(keys))

    def committed_total(self, index: str, group: Any) -> int:
        totals = self.totals[index]
        total = self.total(index, group)
        for key, image in self.before.items():
            now = self.images.get(key)
            total -= totals.part(None if now is None else now.row, group)
            total += totals.part(None if image is None else image.row, group)
        return total

    def committed_ordered(self, index: str, bucket: object, beyond: tuple[Any, ...] | None = None) -> Iterator[str]:
        """Lazily: who reads the best of a long queue does not pay for the rest of it."""
        queues = self.ordered[index]
        before = self.before
        kept = filterfalse(lambda place: place[-1] in before, queues.places(bucket, beyond))
        taken_back = [
            place[1]
            for key, image in before.items()
            if (place := queues.place(key, None if image is None else image.row)) is not None
            and place[0] == bucket
            and (beyond is None or place[1][:-1] > beyond)
        ]
        return map(key_of, merge(kept, sorted(taken_back)))

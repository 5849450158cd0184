"""Indexes in memory: derived from rows, kept under the same undo, rebuilt at load.

Every index has one operation, ``replace(key, old row, new row)``; undoing it is calling it with the rows exchanged. On
tables that are cached and not resident, equality and sum indexes hold only the buckets that were loaded, each whole or
not at all.
"""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

from sortedcontainers import SortedList

from jilnode.kernel.table import DeadlineIndex, EqualityIndex, OrderedIndex, SumIndex

__all__ = ("DeadlineQueue", "EqualityBuckets", "Moments", "OrderedQueues", "Totals")

K = TypeVar("K")


LAST_KEY: Final = "\U0010ffff"
"""Sorts after every key."""

_NOTHING: Final[tuple[Any, int]] = (None, 0)


class EqualityBuckets:
    """value -> keys."""

    def __init__(self, spec: EqualityIndex, complete: bool) -> None:
        self.spec = spec
        self.complete = complete
        self.buckets: dict[Any, set[str]] = {}
        self._value = attrgetter(spec.field)

    def replace(self, key: str, old: Any, new: Any) -> None:
        value = self._value
        was = None if old is None else value(old)
        now = None if new is None else value(new)
        if was == now:
            return
        if was is not None and was in self.buckets:
            self.buckets[was].discard(key)
            if self.complete and not self.buckets[was]:
                del self.buckets[was]
        if now is not None:
            if self.complete:
                self.buckets.setdefault(now, set()).add(key)
            elif now in self.buckets:
                self.buckets[now].add(key)

    def has(self, value: Any) -> bool:
        return self.complete or value in self.buckets

    def matches(self, row: Any, value: Any) -> bool:
        return row is not None and getattr(row, self.spec.field) == value


class OrderedQueues:
    """bucket -> places, sorted: of each row the tuple of its order, with its key as the last."""

    def __init__(self, spec: OrderedIndex) -> None:
        self.spec = spec
        self.buckets: dict[object, SortedList[tuple[Any, ...]]] = {}
        self._bucket = spec.bucket
        self._order = spec.order

    def place(self, key: str, row: Any) -> tuple[object, tuple[Any, ...]] | None:
        if row is None or (bucket := self._bucket(key, row)) is None:
            return None
        return bucket, (*self._order(key, row), key)

    def replace(self, key: str, old: Any, new: Any) -> None:
        was = None if old is None else self.place(key, old)
        now = None if new is None else self.place(key, new)
        if was == now:
            return
        buckets = self.buckets
        if was is not None:
            queue = buckets[was[0]]
            queue.remove(was[1])
            if not queue:
                del buckets[was[0]]
        if now is not None:
            found = buckets.get(now[0])
            if found is None:
                found = buckets[now[0]] = SortedList()
            found.add(now[1])

    def load(self, rows: Iterable[tuple[str, Any]]) -> None:
        """All that there are, into queues that are empty."""
        found: dict[object, list[tuple[Any, ...]]] = {}
        for key, row in rows:
            place = self.place(key, row)
            if place is not None:
                found.setdefault(place[0], []).append(place[1])
        for bucket, places in found.items():
            self.buckets[bucket] = SortedList(places)

    def places(self, bucket: object, beyond: tuple[Any, ...] | None = None) -> Iterator[tuple[Any, ...]]:
        """From the first, or from the first whose order is more than ``beyond``."""
        queue = self.buckets.get(bucket)
        if queue is None:
            return iter(())
        return iter(queue) if beyond is None else queue.irange((*beyond, LAST_KEY), inclusive=(False, True))


class Totals:
    """group -> sum of an integer field."""

    def __init__(self, spec: SumIndex, complete: bool) -> None:
        self.spec = spec
        self.complete = complete
        self.totals: dict[Any, int] = {}
        self._summand = attrgetter(spec.group, spec.amount)

    def replace(self, key: str, old: Any, new: Any) -> None:
        was, amount_was = _NOTHING if old is None else self._summand(old)
        now, amount = _NOTHING if new is None else self._summand(new)
        if was != now:
            self._add(was, -amount_was)
            self._add(now, amount)
        elif amount != amount_was:
            self._add(now, amount - amount_was)

    def _add(self, group: Any, amount: int) -> None:
        if not amount:
            return
        if self.complete:
            total = self.totals.get(group, 0) + amount
            if total:
                self.totals[group] = total
            else:
                self.totals.pop(group, None)
        elif group in self.totals:
            self.totals[group] += amount

    def has(self, group: Any) -> bool:
        return self.complete or group in self.totals

    def part(self, row: Any, group: Any) -> int:
        if row is None or getattr(row, self.spec.group) != group:
            return 0
        return int(getattr(row, self.spec.amount))


class Moments(Generic[K]):
    """What is due when (microseconds). Stale heap items are dropped when they surface."""

    def __init__(self) -> None:
        self.moments: dict[K, int] = {}
        self._heap: list[tuple[int, K]] = []

    def set(self, key: K, moment: int) -> None:
        """0: it is due no more."""
        if moment <= 0:
            self.moments.pop(key, None)
        elif self.moments.get(key) != moment:
            self.moments[key] = moment
            heappush(self._heap, (moment, key))

    def next_us(self) -> int | None:
        while self._heap:
            moment, key = self._heap[0]
            if self.moments.get(key) == moment:
                return moment
            heappop(self._heap)
        return None

    def due(self, now_us: int, limit: int) -> list[K]:
        """Whose moment has come. They stay until they are ``set`` anew; ``postpone`` keeps a refused one quiet."""
        found: list[tuple[int, K]] = []
        while len(found) < limit and (moment := self.next_us()) is not None and moment <= now_us:
            found.append(heappop(self._heap))
            while self._heap and self._heap[0] == found[-1]:
                heappop(self._heap)
        for item in found:
            heappush(self._heap, item)
        return [key for _, key in found]

    def postpone(self, key: K, until_us: int) -> None:
        if key in self.moments:
            self.set(key, until_us)


class DeadlineQueue(Moments[str]):
    """This node's rows by deadline. Always whole: it is loaded at start."""

    def __init__(self, spec: DeadlineIndex) -> None:
        super().__init__()
        self.spec = spec

    def replace(self, key: str, old: Any, new: Any) -> None:
        moment = 0 if new is None else getattr(new, self.spec.field) or 0
        self.set(key, moment)

"""What a handler is given: ``State`` and ``Context``; and what a query is given: ``View``.

``State`` writes go straight into the caches, with a log of what was there before: undo is walking it backwards.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from jilnode.kernel.cache import TableCache, key_of
from jilnode.kernel.errors import Missing, Rejected
from jilnode.kernel.image import Image
from jilnode.kernel.names import nth_key, valid_new_key
from jilnode.kernel.ports import Wanted
from jilnode.kernel.rows import Local, Owned
from jilnode.kernel.table import CreatedBy, DerivedFrom, EndsWithOwner, Table

__all__ = ("Context", "State", "TableAccess", "TableView", "View", "key_fits", "misdirected")

R = TypeVar("R", bound=Owned | Local)

Change = tuple[TableCache, str, Image | None]


class Context:
    """Everything a handler may know that is not a row. Stored with the entry, so that nothing depends on when it
    runs."""

    __slots__ = ("_entry", "_first", "_made", "_tick_us", "actor", "scopes", "source", "time_us", "zone_facts")

    def __init__(
        self,
        source: str,
        epoch: int,
        sequence: int,
        time_us: int,
        actor: str,
        scopes: frozenset[str],
        zone_facts: Mapping[str, object],
        tick_us: Callable[[str], int | None],
    ) -> None:
        self.source = source
        self.time_us = time_us
        self.actor = actor
        self.scopes = scopes
        self.zone_facts = zone_facts
        self._entry = (epoch, sequence)
        self._first = ""
        self._made = 0
        self._tick_us = tick_us

    def new_key(self) -> str:
        """A key that was never used before: source, epoch, sequence of this entry, and a counter from the second on.
        They sort as they were made."""
        made, self._made = self._made, self._made + 1
        if made:
            return nth_key(self._first, made)
        epoch, sequence = self._entry
        self._first = f"{self.source}/{epoch:x}-{sequence:010x}"
        return self._first

    def tick_us(self, source: str) -> int | None:
        """The time of the last tick applied of ``source`` (its own clock), now for this node, None when never heard."""
        return self.time_us if source == self.source else self._tick_us(source)


def key_fits(
    table: Table[Any], key: str, source: str, parent_image: Callable[[Table[Any], str], Image | None]
) -> str | None:
    """Why ``source`` may not insert ``key`` into ``table``, or None when it may."""
    if not valid_new_key(key):
        return "not a valid key"
    rule = table.key
    if table.local:
        return None
    if isinstance(rule, CreatedBy):
        return None if key.startswith(source + "/") or key == source else "the key does not begin with its creator"
    if isinstance(rule, EndsWithOwner):
        return None if key.endswith("/" + source) or key == source else "the key does not end with its owner"
    assert isinstance(rule, DerivedFrom)
    parent = rule.parent.name
    if rule.addressed_to is not None:
        image = parent_image(rule.parent, key)
        if image is None:
            return f"it answers no row of {parent}"
        return None if rule.addressed_to(image.row) == source else f"{parent} {key} is not addressed to the writer"
    candidate = key
    while True:
        image = parent_image(rule.parent, candidate)
        if image is not None and image.owner == source:
            return None
        candidate, slash, _ = candidate.rpartition("/")
        if not slash:
            return f"no row of {parent} that the key derives from is the writer's"


class TableAccess(Generic[R]):
    """One table, for handlers."""

    __slots__ = ("_cache", "_get", "_state", "_table")

    def __init__(self, state: "State", cache: TableCache) -> None:
        self._state = state
        self._cache = cache
        self._table = cache.spec
        self._get = cache.get

    def get(self, key: str) -> R | None:
        image = self._cache.images.get(key) or self._get(key)
        return None if image is None else image.row  # type: ignore[return-value]

    def owner(self, key: str) -> str | None:
        image = self._get(key)
        return None if image is None else image.owner

    def put(self, key: str, row: R) -> None:
        """Inserts or replaces. Raises ``Rejected('misdirected')`` when another node owns the row."""
        before = self._cache.images.get(key) or self._get(key)
        state = self._state
        if before is None:
            state.check_key(self._table, key)
        elif before.owner != state.source:
            raise misdirected(before.owner)
        elif self._table.write_once:
            raise AssertionError(f"{self._table.name} rows are written once")
        self._write(key, before, row)

    def insert(self, key: str, row: R) -> None:
        """A row under a key that ``context.new_key()`` made or that was looked up and not found: no look-up here."""
        self._state.check_key(self._table, key)
        self._write(key, None, row)

    def delete(self, key: str) -> None:
        before = self._get(key)
        if before is None:
            return
        if before.owner != self._state.source:
            raise misdirected(before.owner)
        assert not self._table.write_once, f"{self._table.name} rows are written once"
        cache = self._cache
        self._state.log.append((cache, key, before))
        cache.set(key, before, None)

    def rest_on(self, key: str) -> R | None:
        """The row; when another source owns it, the entry that wrote it becomes a cause of this event."""
        image = self._get(key)
        if image is None:
            return None
        self._state.causes[(image.owner, image.epoch, image.sequence)] = None
        return image.row  # type: ignore[return-value]

    def keys(self, index: str, value: Any) -> tuple[str, ...]:
        return self._cache.keys(index, value)

    def count(self, index: str, value: Any) -> int:
        """How many rows of a resident table an equality index has for a value."""
        return self._cache.count(index, value)

    def ordered(self, index: str, bucket: object, beyond: tuple[Any, ...] | None = None) -> Iterator[str]:
        """Keys of a bucket, best first; with ``beyond`` those whose order is more. Take what is needed before changing
        rows of that bucket."""
        return map(key_of, self._cache.ordered[index].places(bucket, beyond))

    def total(self, index: str, group: Any) -> int:
        return self._cache.total(index, group)

    def all(self) -> list[tuple[str, R]]:
        """Every row of a resident table, in key order."""
        assert self._table.resident, f"{self._table.name} is not resident"
        images = self._cache.images
        return sorted((key, image.row) for key, image in images.items() if image is not None)  # type: ignore[misc]

    def _write(self, key: str, before: Image | None, row: R) -> None:
        state = self._state
        cache = self._cache
        state.log.append((cache, key, before))
        cache.set(key, before, Image(row, state.source, state.epoch, state.sequence, b""))


def misdirected(owner: str) -> Rejected:
    return Rejected("misdirected", f"node {owner} owns this row", status=421, extra={"owner": owner})


class State:
    """The tables as one command sees them, with the log that undoes it. One object serves all commands of a node."""

    __slots__ = ("_access", "causes", "epoch", "log", "sequence", "source", "tables")

    def __init__(self, source: str, caches: Mapping[Table[Any], TableCache]) -> None:
        self.source = source
        self.epoch = 0
        self.sequence = 0
        self.tables = caches
        self.log: list[Change] = []
        self.causes: dict[tuple[str, int, int], None] = {}
        self._access: dict[Table[Any], TableAccess[Any]] = {
            table: TableAccess(self, cache) for table, cache in caches.items()
        }

    def __getitem__(self, table: Table[R]) -> TableAccess[R]:
        return self._access[table]

    def check_key(self, table: Table[Any], key: str) -> None:
        reason = key_fits(table, key, self.source, self.image)
        if reason is not None:
            raise AssertionError(f"{table.name} {key}: {reason}")

    def image(self, table: Table[Any], key: str) -> Image | None:
        return self.tables[table].get(key)

    def need(self, touches: Iterable[tuple[Table[Any], str]]) -> None:
        """Loads what of this is not in memory all at once, where asking for one row after the other would run the
        command again for each."""
        missing: dict[Table[Any], set[str]] = {}
        for table, key in touches:
            cache = self.tables[table]
            if key not in cache.images and not cache.knows(key):
                missing.setdefault(table, set()).add(key)
        if missing:
            raise Missing(Wanted(rows=missing))

    def begin(self, epoch: int, sequence: int) -> None:
        self.epoch = epoch
        self.sequence = sequence
        self.log.clear()
        self.causes.clear()

    def undo(self, mark: int = 0) -> None:
        log = self.log
        while len(log) > mark:
            cache, key, before = log.pop()
            cache.take_back(key, before)

    def savepoint(self) -> "_Savepoint":
        """A ``Rejected`` inside undoes what was done inside, and goes on up."""
        return _Savepoint(self)


class _Savepoint:
    """A class, because a batch has one for each of its items, and a generator costs three times as much."""

    __slots__ = ("_causes", "_mark", "_state")

    def __init__(self, state: State) -> None:
        self._state = state
        self._mark = len(state.log)
        self._causes = dict(state.causes)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Rejected):
            self._state.undo(self._mark)
            self._state.causes = self._causes


class TableView(Generic[R]):
    """One table, for queries: committed rows only."""

    __slots__ = ("_cache", "_loaded")

    def __init__(self, cache: TableCache, loaded: dict[str, Image | None]) -> None:
        self._cache = cache
        self._loaded = loaded

    def image(self, key: str) -> Image | None:
        cache = self._cache
        if key in cache.before:
            return cache.before[key]
        if not cache.knows(key) and key in self._loaded:
            return self._loaded[key]
        return cache.get(key)

    def get(self, key: str) -> R | None:
        image = self.image(key)
        return None if image is None else image.row  # type: ignore[return-value]

    def keys(self, index: str, value: Any) -> tuple[str, ...]:
        return self._cache.committed_keys(index, value)

    def ordered(self, index: str, bucket: object, beyond: tuple[Any, ...] | None = None) -> Iterator[str]:
        return self._cache.committed_ordered(index, bucket, beyond)

    def total(self, index: str, group: Any) -> int:
        return self._cache.committed_total(index, group)

    def all(self) -> list[tuple[str, R]]:
        """Every committed row of a resident table, in key order."""
        cache = self._cache
        assert cache.spec.resident, f"{cache.spec.name} is not resident"
        merged = {**cache.images, **cache.before}
        return sorted((key, image.row) for key, image in merged.items() if image is not None)  # type: ignore[misc]


class View:
    """Committed state. ``loaded`` holds rows that were fetched for this one query."""

    __slots__ = ("_caches", "_loaded")

    def __init__(
        self, caches: Mapping[Table[Any], TableCache], loaded: dict[Table[Any], dict[str, Image | None]]
    ) -> None:
        self._caches = caches
        self._loaded = loaded

    def __getitem__(self, table: Table[R]) -> TableView[R]:
        return TableView(self._caches[table], self._loaded.setdefault(table, {}))

    def need(self, touches: Iterable[tuple[Table[Any], str]]) -> None:
        """As of ``State``."""
        missing: dict[Table[Any], set[str]] = {}
        for table, key in touches:
            cache = self._caches[table]
            if not (cache.knows(key) or key in cache.before or key in self._loaded.get(table, ())):
                missing.setdefault(table, set()).add(key)
        if missing:
            raise Missing(Wanted(rows=missing))

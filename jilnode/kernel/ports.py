"""The kernel's ports: what it needs from the outside, and nothing more.

``Store`` keeps the journal, the seals and the tables. There is one writer for each database; reads may run beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.image import Image
from jilnode.kernel.reaction import Reaction
from jilnode.kernel.table import Table

__all__ = ("Clock", "Commit", "Entropy", "Loaded", "Page", "RowWrite", "Store", "Wanted")


class RowWrite(NamedTuple):
    """A row as the store keeps it: the very bytes of ``doc`` and, in the order of ``table.searchable``, the columns."""

    key: str
    owner: str
    epoch: int
    sequence: int
    doc: bytes
    columns: tuple[str | int | None, ...]


@dataclass(slots=True)
class Commit:
    """One transaction, all or nothing. Rows are coalesced: each (table, key) stands once.

    ``inserts`` are rows of write-once tables: a key that is already there fails the commit with ``CommitRefused``. The
    store keeps no document for them: it stays in the journal, at (owner, epoch, sequence). ``updates`` are rows that
    are in the database with the same ``columns``: no index changes. One that is not there fails the commit.
    """

    entries: list[Entry] = field(default_factory=list)
    seals: list[Seal] = field(default_factory=list)
    writes: dict[Table[Any], list[RowWrite]] = field(default_factory=dict)
    updates: dict[Table[Any], list[RowWrite]] = field(default_factory=dict)
    inserts: dict[Table[Any], list[RowWrite]] = field(default_factory=dict)
    deletes: dict[Table[Any], list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Wanted:
    """What a batch needs that is not in memory. One query for each table."""

    rows: dict[Table[Any], set[str]] = field(default_factory=dict)
    buckets: set[tuple[Table[Any], str, str | int]] = field(default_factory=set)
    """(table, searchable column, value): all rows with that value, whole."""
    sums: set[tuple[Table[Any], str, str | int, str]] = field(default_factory=set)
    """(table, group column, group value, amount column)."""
    commands: set[tuple[str, bytes]] = field(default_factory=set)
    """(source, idempotency key hash): which entry of that source has it."""
    entries: set[tuple[str, int, int]] = field(default_factory=set)
    """(source, epoch, sequence)."""

    def __bool__(self) -> bool:
        return bool(self.rows or self.buckets or self.sums or self.commands or self.entries)


@dataclass(slots=True)
class Loaded:
    """The answers. A wanted row that is not there is in ``rows`` as None; buckets are key -> Image; sums are ints."""

    rows: dict[Table[Any], dict[str, Image | None]] = field(default_factory=dict)
    buckets: dict[tuple[Table[Any], str, str | int], dict[str, Image]] = field(default_factory=dict)
    sums: dict[tuple[Table[Any], str, str | int, str], int] = field(default_factory=dict)
    commands: dict[tuple[str, bytes], Entry | None] = field(default_factory=dict)
    entries: dict[tuple[str, int, int], Entry | None] = field(default_factory=dict)


class Page(NamedTuple):
    """``items`` in key order (descending where asked). ``more`` says whether another page follows."""

    items: list[tuple[str, Image]]
    more: bool


class Store(Protocol):
    """One node's database. ``open`` takes the writer's lock, migrates, and creates the tables' SQL.

    Raises ``WrongDatabase`` (another node's, newer than this program, or unsafe settings), ``LockLost``. Everything but
    ``commit`` raises ``ConnectionError`` while the database can't be reached.
    """

    async def open(self, source: str, tables: Sequence[Table[Any]]) -> None: ...

    async def close(self) -> None: ...

    async def commit(self, commit: Commit) -> None:
        """Durable when it returns. Raises ``CommitFailed`` (nothing is there), ``CommitRefused`` (nor would it be
        another time), ``CommitUnknown``, ``LockLost``."""

    async def reopen(self) -> None:
        """After ``CommitUnknown``: a fresh session takes the lock anew, which proves that the old one has ended. Tries
        once, for a bounded time: call it again after ``ConnectionError``."""

    async def load(self, wanted: Wanted) -> Loaded:
        """On the writer's own session, never while a commit is in flight. After ``ConnectionError``: ``reopen``."""

    async def resident(self, table: Table[Any]) -> dict[str, Image]:
        """Every row of a table, for start-up."""

    async def deadlines(self, table: Table[Any], column: str, owner: str) -> dict[str, int]:
        """key -> moment of every row of ``owner`` with a positive deadline."""

    async def open_obligations(self, reaction: Reaction, to: str, limit: int) -> list[tuple[str, str]]:
        """(key, owner) of rows of the reaction's table addressed to ``to`` that have no answer, in key order, at most
        ``limit`` of each owner: those with the first keys."""

    # Reads beside the writer: committed state, on other connections, so that they hold up nobody.

    async def get(self, table: Table[Any], keys: Sequence[str]) -> dict[str, Image]: ...

    async def page(
        self,
        tables: Sequence[Table[Any]],
        any_of: Sequence[tuple[str, str | int]],
        *,
        after: str | None = None,
        limit: int = 50,
        descending: bool = False,
    ) -> Page:
        """Rows of all ``tables`` together, as of one moment, for which at least one of the (searchable column, value)
        pairs holds (all rows when ``any_of`` is empty), in key order, from the key after ``after``. A key that ends
        the page is there from every table that has it, so there may be more than ``limit``."""

    async def journal(self, source: str, epoch: int, start: int, limit: int) -> list[Entry]:
        """Entries ``start <= sequence < start + limit``, in order."""

    async def seals(self, source: str, epoch: int, after_size: int, limit: int) -> list[Seal]:
        """Seals with ``size > after_size``, in order."""

    async def heads(self) -> dict[str, tuple[int, int]]:
        """source -> (epoch, size) of the newest entries in the journal (including raw heads of every source)."""


class Clock(Protocol):
    def wall_us(self) -> int: ...

    def monotonic_us(self) -> int: ...


class Entropy(Protocol):
    def bytes(self, count: int) -> bytes: ...

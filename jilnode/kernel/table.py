"""What a module declares about its rows: the table, whose key may be written by whom, and the indexes.

A declaration is data. The kernel keeps the rows in memory (``kernel/cache.py``), the stores keep them in SQL.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, Generic, TypeVar

from jilnode.kernel.rows import Local, Owned
from jilnode.limits import SEARCHABLE_BYTES_MAX

__all__ = (
    "CreatedBy",
    "DeadlineIndex",
    "DerivedFrom",
    "EndsWithOwner",
    "EqualityIndex",
    "Index",
    "KeyRule",
    "OrderedIndex",
    "SumIndex",
    "Table",
)

R = TypeVar("R", bound=Owned | Local)


@dataclass(frozen=True)
class CreatedBy:
    """The key begins with its creator's source id: ``sg-mas-01/0-00000004d2``."""


@dataclass(frozen=True)
class EndsWithOwner:
    """The key ends with its owner's source id: ``account/asset/sg-mas-01`` (a share)."""


@dataclass(frozen=True)
class DerivedFrom:
    """The key is that of a row of ``parent``, so that it can't collide: there is one node that may write it, whatever
    was heard first. With ``addressed_to``, which gives a source id, the row answers the parent: it is under the very
    key, and of who the parent is addressed to; so the parent must be written once. Without it ``/parts`` may come after
    the parent's key, and both are of one owner."""

    parent: "Table[Any]"
    addressed_to: Callable[[Any], str] | None = None


KeyRule = CreatedBy | EndsWithOwner | DerivedFrom


@dataclass(frozen=True)
class EqualityIndex:
    """Keys of the rows whose ``field`` equals a value. ``field`` must be searchable unless the table is resident."""

    name: str
    field: str


@dataclass(frozen=True)
class OrderedIndex:
    """Rows of one ``bucket`` in the order of ``order(key, row)``: price-time queues. Rows for which ``bucket`` is None
    are not in the index. Priority is a field of the row, never the journal's sequence. The table must be resident."""

    name: str
    bucket: Callable[[str, Any], object | None]
    order: Callable[[str, Any], tuple[Any, ...]]


@dataclass(frozen=True)
class SumIndex:
    """Total of the integer ``amount`` over rows with the same ``group``. Both must be searchable unless resident."""

    name: str
    group: str
    amount: str


@dataclass(frozen=True)
class DeadlineIndex:
    """Rows that this node owns, by the moment in ``field`` (microseconds; 0 or None = no deadline). When it has passed
    the writer runs ``command(key, row)``. ``field`` must be searchable unless the table is resident."""

    name: str
    field: str
    command: Callable[[str, Any], Any]


Index = EqualityIndex | OrderedIndex | SumIndex | DeadlineIndex


@dataclass(frozen=True, eq=False)
class Table(Generic[R]):
    """``name`` is ``module.noun`` (``wallet.share``). ``searchable`` fields become plain columns with an index
    (text at most 512 bytes, or int64). ``resident`` tables are kept in memory whole; others are cached under a bound.
    Rows of a ``write_once`` table are never changed or deleted; their document stays in the journal only. ``section``
    names the part of the event that carries the row: ``rows``, or ``memo`` for text that must be erasable."""

    name: str
    row: type[R]
    key: KeyRule = field(default_factory=CreatedBy)
    section: str = "rows"
    resident: bool = False
    write_once: bool = False
    searchable: tuple[str, ...] = ()
    indexes: tuple[Index, ...] = ()

    def __post_init__(self) -> None:
        assert self.section in ("rows", "memo"), self.section
        sums = all(isinstance(index, SumIndex) for index in self.indexes)
        assert sums or not self.write_once, f"{self.name}: of indexes a write-once table has sums only"
        assert not (self.write_once and self.local), f"{self.name}: a write-once table lives in the journal"
        if isinstance(self.key, DerivedFrom):
            parent = self.key.parent
            if self.key.addressed_to is None:
                assert isinstance(parent.key, CreatedBy), (
                    f"{self.name}: keys of {parent.name} do not begin with its owner"
                )
            else:
                assert parent.write_once, f"{self.name}: what {parent.name} asks is not written once"
        for index in self.indexes:
            if self.resident:
                continue
            assert not isinstance(index, OrderedIndex), f"{self.name}: an ordered index needs a resident table"
            fields = (index.group, index.amount) if isinstance(index, SumIndex) else (index.field,)
            assert set(fields) <= set(self.searchable), f"{self.name}.{index.name}: {fields} must be searchable"

    @cached_property
    def local(self) -> bool:
        return issubclass(self.row, Local)

    @cached_property
    def bounded(self) -> bool:
        """Whether it stays in memory whole and others write into it, so that what each may put there has a bound. Of
        the kernel's own there is one row a source."""
        return self.resident and not self.local and self.module != "kernel"

    @cached_property
    def module(self) -> str:
        return self.name.partition(".")[0]

    @cached_property
    def columns(self) -> Callable[[Any], tuple[Any, ...]]:
        """From a row to its searchable columns, in their order."""
        if len(self.searchable) == 1:
            only = attrgetter(*self.searchable)
            return lambda row: (only(row),)
        return attrgetter(*self.searchable) if self.searchable else lambda row: ()

    def too_long(self, row: Any) -> str:
        """The searchable name whose text is longer than a column may be; empty when none is."""
        for name, value in zip(self.searchable, self.columns(row), strict=True):
            if type(value) is str and len(value.encode()) > SEARCHABLE_BYTES_MAX:
                return name
        return ""

    @cached_property
    def settled_fields(self) -> Callable[[Any], Any]:
        """From a row to what its equality and deadline indexes rest on: most changes leave it as it is."""
        fields = [index.field for index in self.indexes if isinstance(index, EqualityIndex | DeadlineIndex)]
        return attrgetter(*fields) if fields else lambda row: None

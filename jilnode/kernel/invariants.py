"""Invariants: what must be true of every event, checked before commit by the writer and again by every replica.

An invariant is a pure function over one event. It never judges by another owner's mutable status, nor by rows that
the event does not change (a replica may know them in another version), except through the causes that the event names.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeVar

from jilnode.kernel.rows import Local, Owned
from jilnode.kernel.table import Table

__all__ = ("Change", "Invariant", "RowChange")

R = TypeVar("R", bound=Owned | Local)


RowChange = tuple[str, Any, Any]
"""(key, before, after) of one row of an event: ``before`` is None for a new row, ``after`` for a deleted one."""


class Change:
    """One event as an invariant sees it."""

    __slots__ = ("_causes", "_kinds", "_rows", "actor", "evidence", "source", "time_us", "type")

    def __init__(
        self,
        source: str,
        type: str,
        actor: str,
        time_us: int,
        rows: Mapping[str, Sequence[RowChange]],
        causes: Mapping[str, Mapping[str, tuple[str, Any]]],
        kinds: Mapping[type, Sequence[str]],
        evidence: object = None,
    ) -> None:
        self.source = source
        self.type = type
        self.actor = actor
        self.time_us = time_us
        self.evidence = evidence
        self._rows = rows
        self._causes = causes
        self._kinds = kinds

    def rows(self, table: Table[Any]) -> Sequence[RowChange]:
        return self._rows.get(table.name, ())

    def rows_of(self, kind: type[R]) -> list[RowChange]:
        """Of every table whose rows are of this type, whichever module it is of. Some invariant names the type as its
        ``kind``."""
        rows = self._rows
        return [change for name in self._kinds[kind] if name in rows for change in rows[name]]

    def touches(self, names: Set[str]) -> bool:
        """Whether a row of one of the tables of these names changes."""
        return not self._rows.keys().isdisjoint(names)

    def touches_kind(self, kind: type[Owned]) -> bool:
        """Whether a row of this type changes, in whichever module's table."""
        return not self._rows.keys().isdisjoint(self._kinds[kind])

    def touches_module(self, name: str) -> bool:
        """Whether a row of one of the module's tables changes, so that the module's own invariants judge the event."""
        return any(table.startswith(f"{name}.") for table in self._rows)

    def cause(self, table: Table[R], key: str) -> tuple[str, R] | None:
        """``(owner, row)`` as an entry that this event names as its cause wrote it; None when no cause wrote that
        row."""
        return self._causes.get(table.name, {}).get(key)


@dataclass(frozen=True, eq=False)
class Invariant:
    """``check`` returns None when all is well, else what is wrong. ``versions`` are the module versions it holds for:
    old ones stay in the code, so that a rolling upgrade never makes honest nodes accuse each other. Where ``tables``
    are given, only events that change a row of one of them are judged, or a row of a type derived from ``kind``, in
    whichever module's table."""

    name: str
    versions: range
    check: Callable[[Change], str | None]
    tables: tuple[Table[Any], ...] = ()
    kind: type[Owned] | None = None

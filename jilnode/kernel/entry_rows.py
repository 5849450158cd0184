"""The rows that an entry wrote."""

from collections.abc import Mapping, Sequence, Set
from typing import Any, TypeVar

from jilnode.kernel.codec import decode_header, decode_row, rows_of
from jilnode.kernel.entry import Entry
from jilnode.kernel.rows import Local, Owned
from jilnode.kernel.table import Table

__all__ = ("EntryRows",)

R = TypeVar("R", bound=Owned | Local)


class EntryRows:
    """The rows that one entry wrote: what a reply is computed from, live or years later."""

    __slots__ = ("_rows", "source", "type")

    def __init__(self, source: str, type: str, rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
        """``rows``: table name -> tuples that begin with the key and end with the row, its undecoded document, or None
        for a deleted row; in key order."""
        self.source = source
        self.type = type
        self._rows = rows

    @classmethod
    def of(cls, entry: Entry) -> "EntryRows":
        found: dict[str, list[tuple[str, Any]]] = {}
        for table, key, doc in rows_of(entry):
            found.setdefault(table, []).append((key, doc))
        return cls(entry.source, decode_header(entry.header).type, found)

    def rows(self, table: Table[R]) -> list[tuple[str, R]]:
        """(key, row) of every row of ``table`` that this entry wrote, in key order."""
        return [
            (change[0], decode_row(row, table.row) if type(row) is bytes else row)
            for change in self._rows.get(table.name, ())
            if (row := change[-1]) is not None
        ]

    def changes(self, table: Table[R]) -> list[tuple[str, R | None]]:
        """(key, row) of every row of ``table`` that this entry wrote or deleted (None), in key order."""
        return [
            (change[0], decode_row(row, table.row) if type(row) is bytes else row)
            for change in self._rows.get(table.name, ())
            for row in (change[-1],)
        ]

    @property
    def tables(self) -> Set[str]:
        """Names of the tables that this entry changed."""
        return self._rows.keys()

    def one(self, table: Table[R]) -> tuple[str, R]:
        (found,) = self.rows(table)
        return found

    def get(self, table: Table[R], key: str) -> R | None:
        for change in self._rows.get(table.name, ()):
            if change[0] == key:
                row = change[-1]
                return decode_row(row, table.row) if type(row) is bytes else row
        return None

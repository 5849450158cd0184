"""The SQL shape of a declared table: its columns, their types and their indexes."""

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect

from jilnode.kernel.rows import Local, Owned
from jilnode.kernel.table import DeadlineIndex, SumIndex, Table
from jilnode.stores.dialect import Dialect, Kind

__all__ = ("Column", "Shape", "columns_of")

_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_IDENTIFIER_BYTES_MAX = 63
"""PostgreSQL cuts longer names silently, so that two indexes could become one."""


@dataclass(frozen=True)
class Column:
    """``index`` is ``equal`` (column, key), ``deadline`` (where > 0) or ``none`` (an amount that is only summed)."""

    field: str
    kind: Kind
    index: str

    @property
    def name(self) -> str:
        return f"c_{self.field}"


class _Record(msgspec.Struct, frozen=True):
    """What the database remembers of a table's shape."""

    write_once: bool
    section: str | None
    columns: dict[str, tuple[Kind, str]]


class Shape:
    """Built once for each table. ``sql_name`` is the quoted ``module.noun``."""

    __slots__ = ("by_field", "columns", "document", "sql_name", "table")

    def __init__(self, table: Table[Any]) -> None:
        longest = max((f"{table.name}.c_{field}" for field in (*table.searchable, "")), key=len)
        if _NAME.fullmatch(table.name) is None or len(longest) > _IDENTIFIER_BYTES_MAX:
            raise ValueError(f"{longest}: a table is module.noun in a-z 0-9 _, with its column at most 63 characters")
        self.table = table
        self.sql_name = f'"{table.name}"'
        self.columns = columns_of(table)
        self.by_field = {column.field: column for column in self.columns}
        self.document = not table.write_once

    def record(self) -> str:
        """The shape as JSON, to be compared at the next start."""
        section = self.table.section if self.table.write_once else None
        columns = {column.field: (column.kind, column.index) for column in self.columns}
        return msgspec.json.encode(_Record(self.table.write_once, section, columns), order="deterministic").decode()

    def changes(self, recorded: str) -> tuple[list[str], list[Column]] | None:
        """(column names to drop, columns to add and fill) since ``recorded``; None when no back-fill can do it."""
        old, new = msgspec.json.decode(recorded, type=_Record), msgspec.json.decode(self.record(), type=_Record)
        if (old.write_once, old.section) != (new.write_once, new.section):
            return None
        dropped = [f"c_{field}" for field, column in old.columns.items() if new.columns.get(field) != column]
        added = [column for column in self.columns if old.columns.get(column.field) != new.columns[column.field]]
        return dropped, added

    def create_table(self, dialect: Dialect) -> str:
        columns = [
            f"key {dialect.text} not null primary key",
            f"owner {dialect.text} not null",
            f"epoch {dialect.integer} not null",
            f"sequence {dialect.integer} not null",
        ]
        if self.document:
            columns.append(f"doc {dialect.json} not null")
        columns += [f"{column.name} {dialect.type_of(column.kind)}" for column in self.columns]
        # Rows of a write-once table are short: where a database can, they live in the key's own tree.
        suffix = "" if self.document else dialect.short_rows
        return f"create table {self.sql_name} ({', '.join(columns)}){suffix}"

    def create_indexes(self, columns: Iterable[Column]) -> list[str]:
        return [
            f"create index {self.index_name(column.name)} on {self.sql_name} ({column.name}, key)"
            f" where {column.name} {'> 0' if column.index == 'deadline' else 'is not null'}"
            for column in columns
            if column.index != "none"
        ]

    def index_name(self, column_name: str) -> str:
        return f'"{self.table.name}.{column_name}"'

    def values(self, row: Owned | Local) -> tuple[str | int | None, ...]:
        """The searchable columns of a row, in the order of ``RowWrite.columns``."""
        return tuple([getattr(row, column.field) for column in self.columns])


def columns_of(table: Table[Any]) -> tuple[Column, ...]:
    types = {member.name: member.type for member in _struct_of(table).fields}
    deadlines = {index.field for index in table.indexes if isinstance(index, DeadlineIndex)}
    sums = {index.amount for index in table.indexes if isinstance(index, SumIndex)}
    others = {index.group if isinstance(index, SumIndex) else getattr(index, "field", "") for index in table.indexes}
    found = []
    for field in table.searchable:
        if field in deadlines:
            index = "deadline"
        else:
            index = "none" if field in sums - others else "equal"
        found.append(Column(field, _kind(types[field], f"{table.name}.{field}"), index))
    return tuple(found)


def _struct_of(table: Table[Any]) -> inspect.StructType:
    info = inspect.type_info(table.row)
    assert isinstance(info, inspect.StructType)
    return info


def _kind(declared: inspect.Type, where: str) -> Kind:
    if isinstance(declared, inspect.Metadata):
        return _kind(declared.type, where)
    if isinstance(declared, inspect.UnionType):
        inner = [member for member in declared.types if not isinstance(member, inspect.NoneType)]
        if len(inner) == 1:
            return _kind(inner[0], where)
    if isinstance(declared, inspect.StrType):
        return "text"
    if isinstance(declared, inspect.IntType):
        return "integer"
    values: list[object] = []
    if isinstance(declared, inspect.LiteralType):
        values = list(declared.values)
    if isinstance(declared, inspect.EnumType) and issubclass(declared.cls, enum.Enum):
        values = list(declared.cls)
    if values and all(isinstance(value, str) for value in values):
        return "text"
    if values and all(isinstance(value, int) for value in values):
        return "integer"
    raise TypeError(f"{where}: a searchable field is text or an integer, not {declared}")

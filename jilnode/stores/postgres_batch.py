"""One batch as one statement: so one round trip is one transaction, wholly there or wholly not.

Each column of each table travels as one parameter. Documents, keys and numbers are joined to one text, which the
server splits again: that is a third of the driver's work for arrays of as many elements. The separator is a control
character, which stands in no key and, unescaped, in no JSON; were it in one, the columns would differ in length and a
``not null`` would refuse the batch. Searchable text may hold anything, so it travels as an array.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jilnode.kernel.ports import Commit, RowWrite
from jilnode.kernel.table import Table
from jilnode.stores.dialect import Kind
from jilnode.stores.readback import entry_records
from jilnode.stores.shape import Shape

__all__ = ("PostgresBatch",)

# ruff: noqa: S608 (every name in these statements comes from a checked Shape)

_SEPARATOR = "\x1e"
_NULL = "\\N"
"""No JSON text."""

_Tables = tuple[Table[Any], ...]


class _Content(NamedTuple):
    """What kinds of change a batch holds: one prepared statement for each combination that occurs."""

    entries: bool
    seals: bool
    writes: _Tables
    updates: _Tables
    inserts: _Tables
    deletes: _Tables


class PostgresBatch:
    def __init__(self, shapes: Mapping[Table[Any], Shape]) -> None:
        self._shapes = shapes
        self._statements: dict[_Content, str] = {}

    def statement(self, commit: Commit) -> tuple[str, list[Any]]:
        """(statement, arguments). Raises ``ValueError`` for what can't be stored."""
        content = _Content(
            bool(commit.entries),
            bool(commit.seals),
            _in_order(commit.writes),
            _in_order(commit.updates),
            _in_order(commit.inserts),
            _in_order(commit.deletes),
        )
        sql = self._statements.get(content)
        if sql is None:
            sql = self._statements[content] = _build(self._shapes, content)
        arguments: list[Any] = []
        if content.entries:
            source, epoch, sequence, header, rows, memo, key_hash = zip(*entry_records(commit.entries), strict=True)
            arguments += (_texts(source), _integers(epoch), _integers(sequence))
            arguments += (_texts(header), _nullable_texts(rows), _nullable_texts(memo), key_hash)
        if content.seals:
            arguments += zip(*[(seal.source, seal.epoch, seal.size, seal.note) for seal in commit.seals], strict=True)
        for table in content.writes:
            arguments += self._row_arguments(table, commit.writes[table])
        for table in content.updates:
            arguments += _update_arguments(commit.updates[table])
        for table in content.inserts:
            arguments += self._row_arguments(table, commit.inserts[table])
        arguments += [_texts(commit.deletes[table]) for table in content.deletes]
        arguments += [len(commit.updates[table]) for table in content.updates]
        return sql, arguments

    def _row_arguments(self, table: Table[Any], rows: Sequence[RowWrite]) -> list[Any]:
        shape = self._shapes[table]
        key, owner, epoch, sequence, doc, columns = zip(*rows, strict=True)
        arguments: list[Any] = [_texts(key), _texts(owner), _integers(epoch), _integers(sequence)]
        if shape.document:
            arguments.append(b"\x1e".join(doc).decode())
        for column, values in zip(shape.columns, zip(*columns, strict=True), strict=True):
            arguments.append(values if column.kind == "text" else _nullable_integers(values))
        return arguments


def _update_arguments(rows: Sequence[RowWrite]) -> list[Any]:
    key, owner, epoch, sequence, doc, _ = zip(*rows, strict=True)
    return [_texts(key), _texts(owner), _integers(epoch), _integers(sequence), b"\x1e".join(doc).decode()]


def _in_order(changes: Mapping[Table[Any], Sequence[object]]) -> _Tables:
    """The tables with any change, always in the same order, so that there are few statements."""
    return tuple(sorted([table for table, rows in changes.items() if rows], key=_name))


def _name(table: Table[Any]) -> str:
    return table.name


def _texts(values: Sequence[str]) -> str:
    return _SEPARATOR.join(values)


def _nullable_texts(values: Sequence[str | None]) -> str:
    return _SEPARATOR.join([_NULL if value is None else value for value in values])


def _integers(values: Sequence[int]) -> str:
    return f"{{{','.join(map(str, values))}}}"


def _nullable_integers(values: Sequence[int | None]) -> str:
    return f"{{{','.join(['null' if value is None else str(value) for value in values])}}}"


class _Parameters:
    """Numbers the parameters in the order in which ``statement`` makes them."""

    def __init__(self) -> None:
        self._count = 0

    def array(self, type_name: str) -> str:
        self._count += 1
        return f"${self._count}::{type_name}[]"

    def integer(self) -> str:
        self._count += 1
        return f"${self._count}::bigint"

    def joined_texts(self) -> str:
        self._count += 1
        return f"string_to_array(${self._count}::text, E'\\x1e')"

    def joined_nullable_texts(self) -> str:
        self._count += 1
        return f"string_to_array(${self._count}::text, E'\\x1e', E'\\\\N')"

    def joined_documents(self) -> str:
        return f"{self.joined_texts()}::json[]"

    def joined_integers(self) -> str:
        self._count += 1
        return f"${self._count}::text::bigint[]"

    def searchable(self, kind: Kind) -> str:
        return self.array("text") if kind == "text" else self.joined_integers()


def _build(shapes: Mapping[Table[Any], Shape], content: _Content) -> str:
    parameters = _Parameters()
    texts, nullable, integers = parameters.joined_texts, parameters.joined_nullable_texts, parameters.joined_integers
    parts: list[str] = []
    if content.entries:
        values = (texts(), integers(), integers(), texts(), nullable(), nullable(), parameters.array("bytea"))
        columns = "source, epoch, sequence, header, rows, memo, key_hash"
        parts.append(f"insert into journal ({columns}) select * from unnest({', '.join(values)})")
    if content.seals:
        kinds = [parameters.array(name) for name in ("text", "bigint", "bigint", "text")]
        parts.append(f"insert into seal (source, epoch, size, note) select * from unnest({', '.join(kinds)})")
    parts += [_insert(shapes[table], parameters) + _on_conflict(shapes[table]) for table in content.writes]
    first_update = len(parts)
    parts += [_update(shapes[table], parameters) for table in content.updates]
    updates = range(first_update, len(parts))
    parts += [_insert(shapes[table], parameters) for table in content.inserts]
    for table in content.deletes:
        parts.append(f"delete from {shapes[table].sql_name} where key = any({texts()})")
    clauses = ", ".join([f"c{number} as ({part})" for number, part in enumerate(parts)])
    # A division by zero fails the whole batch, should a row that is to be updated not be there.
    checks = [f"1 / (({parameters.integer()} = (select count(*) from c{number}))::int)" for number in updates]
    return f"with {clauses} select {', '.join(checks) or 1}" if clauses else "select 1"


def _insert(shape: Shape, parameters: _Parameters) -> str:
    kinds: list[tuple[str, Callable[[], str]]] = [
        ("key", parameters.joined_texts),
        ("owner", parameters.joined_texts),
        ("epoch", parameters.joined_integers),
        ("sequence", parameters.joined_integers),
    ]
    if shape.document:
        kinds.append(("doc", parameters.joined_documents))
    names = [name for name, _ in kinds] + [column.name for column in shape.columns]
    values = [parameter() for _, parameter in kinds] + [parameters.searchable(column.kind) for column in shape.columns]
    return f"insert into {shape.sql_name} ({', '.join(names)}) select * from unnest({', '.join(values)})"


def _update(shape: Shape, parameters: _Parameters) -> str:
    texts, integers = parameters.joined_texts, parameters.joined_integers
    values = (texts(), texts(), integers(), integers(), parameters.joined_documents())
    return (
        f"update {shape.sql_name} t set owner = u.owner, epoch = u.epoch, sequence = u.sequence, doc = u.doc"
        f" from unnest({', '.join(values)}) u(key, owner, epoch, sequence, doc) where t.key = u.key returning 1"
    )


def _on_conflict(shape: Shape) -> str:
    names = ["owner", "epoch", "sequence", "doc", *[column.name for column in shape.columns]]
    assignments = ", ".join([f"{name} = excluded.{name}" for name in names])
    return f" on conflict (key) do update set {assignments}"

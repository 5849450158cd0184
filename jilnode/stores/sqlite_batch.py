"""One batch as prepared statements: one ``executemany`` for each kind of change of each table."""

import sqlite3
from collections.abc import Mapping
from typing import Any

from jilnode.kernel.ports import Commit
from jilnode.kernel.table import Table
from jilnode.stores.readback import entry_records
from jilnode.stores.shape import Shape

__all__ = ("SqliteBatch",)

# ruff: noqa: S608 (every name in these statements comes from a checked Shape)

_ENTRY = "insert into journal (source, epoch, sequence, header, rows, memo, key_hash) values (?, ?, ?, ?, ?, ?, ?)"
_SEAL = "insert into seal (source, epoch, size, note) values (?, ?, ?, ?)"


class SqliteBatch:
    def __init__(self, shapes: Mapping[Table[Any], Shape]) -> None:
        self._upserts = {table: _upsert(shape) for table, shape in shapes.items() if shape.document}
        self._updates = {
            table: f"update {shape.sql_name} set owner = ?, epoch = ?, sequence = ?, doc = ? where key = ?"
            for table, shape in shapes.items()
            if shape.document
        }
        self._inserts = {table: _insert(shape) for table, shape in shapes.items() if not shape.document}
        self._deletes = {table: f"delete from {shape.sql_name} where key = ?" for table, shape in shapes.items()}

    def write(self, connection: sqlite3.Connection, commit: Commit) -> None:
        """Inside the caller's transaction. Raises ``sqlite3.Error`` or ``ValueError``."""
        many = connection.executemany
        if commit.entries:
            many(_ENTRY, entry_records(commit.entries))
        if commit.seals:
            many(_SEAL, [(seal.source, seal.epoch, seal.size, seal.note) for seal in commit.seals])
        for table, writes in commit.writes.items():
            many(
                self._upserts[table],
                [
                    (key, owner, epoch, sequence, doc.decode(), *columns)
                    for key, owner, epoch, sequence, doc, columns in writes
                ],
            )
        for table, updates in commit.updates.items():
            changed = many(
                self._updates[table],
                [(owner, epoch, sequence, doc.decode(), key) for key, owner, epoch, sequence, doc, _ in updates],
            ).rowcount
            if changed != len(updates):
                raise ValueError(f"{table.name} has only {changed} of {len(updates)} rows that are to be changed")
        for table, inserts in commit.inserts.items():
            many(
                self._inserts[table],
                [(key, owner, epoch, sequence, *columns) for key, owner, epoch, sequence, _, columns in inserts],
            )
        for table, keys in commit.deletes.items():
            many(self._deletes[table], [(key,) for key in keys])


def _insert(shape: Shape) -> str:
    names = ["key", "owner", "epoch", "sequence", *(["doc"] if shape.document else [])]
    names += [column.name for column in shape.columns]
    return f"insert into {shape.sql_name} ({', '.join(names)}) values ({', '.join('?' * len(names))})"


def _upsert(shape: Shape) -> str:
    names = ["owner", "epoch", "sequence", "doc", *[column.name for column in shape.columns]]
    assignments = ", ".join([f"{name} = excluded.{name}" for name in names])
    return f"{_insert(shape)} on conflict (key) do update set {assignments}"

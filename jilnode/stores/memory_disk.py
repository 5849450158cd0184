"""What outlives a crash in a simulation: the durable state of a ``MemoryStore``."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from jilnode.kernel.codec import decode_row, decode_section
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import CommitRefused, WrongDatabase
from jilnode.kernel.ports import Commit, RowWrite
from jilnode.kernel.table import Table
from jilnode.stores.migrations import SCHEMA_VERSION
from jilnode.stores.schema import check_source, check_version
from jilnode.stores.shape import Shape

__all__ = ("MemoryDisk", "MemoryTable", "seal_size")

Value = str | int | None

seal_size = attrgetter("size")


class MemoryTable:
    """The rows of one table, and for each searchable field the keys by value."""

    __slots__ = ("by_value", "declared", "rows")

    def __init__(self, shape: Shape) -> None:
        self.declared = shape.record()
        self.rows: dict[str, RowWrite] = {}
        self.by_value: dict[str, dict[Value, dict[str, None]]] = {column.field: {} for column in shape.columns}

    def put(self, row: RowWrite) -> None:
        old = self.rows.get(row.key)
        self.rows[row.key] = row
        for number, values in enumerate(self.by_value.values()):
            value = row.columns[number]
            if old is not None:
                if old.columns[number] == value:
                    continue
                del values[old.columns[number]][row.key]
            values.setdefault(value, {})[row.key] = None

    def delete(self, key: str) -> None:
        old = self.rows.pop(key, None)
        if old is not None:
            for number, values in enumerate(self.by_value.values()):
                del values[old.columns[number]][key]

    def keys(self, field: str, value: Value) -> list[str]:
        return list(self.by_value[field].get(value, ()))

    def copy(self) -> "MemoryTable":
        twin = object.__new__(MemoryTable)
        twin.declared = self.declared
        twin.rows = dict(self.rows)
        twin.by_value = {
            field: {value: dict(keys) for value, keys in values.items()} for field, values in self.by_value.items()
        }
        return twin


class MemoryDisk:
    """``session`` is the writer's lock: the newest ``MemoryStore`` that opened the disk has it."""

    def __init__(self) -> None:
        self.source: str | None = None
        self.schema_version = SCHEMA_VERSION
        self.session = 0
        self.tables: dict[str, MemoryTable] = {}
        self.entries: dict[tuple[str, int], dict[int, Entry]] = {}
        self.seals: dict[tuple[str, int], list[Seal]] = {}
        self.heads: dict[str, tuple[int, int]] = {}
        self.by_command: dict[bytes, list[Entry]] = {}

    def copy(self) -> "MemoryDisk":
        """A backup. Rows and entries never change, so only the mappings are copied."""
        twin = MemoryDisk()
        twin.source = self.source
        twin.schema_version = self.schema_version
        twin.tables = {name: table.copy() for name, table in self.tables.items()}
        twin.entries = {log: dict(entries) for log, entries in self.entries.items()}
        twin.seals = {log: list(seals) for log, seals in self.seals.items()}
        twin.heads = dict(self.heads)
        twin.by_command = {key_hash: list(entries) for key_hash, entries in self.by_command.items()}
        return twin

    def open(self, source: str, shapes: Sequence[Shape]) -> int:
        """Takes the lock from whoever has it, and returns the new session. Raises ``WrongDatabase``."""
        check_version(self.schema_version)
        if self.source is not None:
            check_source(self.source, source)
        self.source = source
        for shape in shapes:
            old = self.tables.get(shape.table.name)
            if old is None or old.declared != shape.record():
                self.tables[shape.table.name] = self._reshaped(shape, old)
        self.session += 1
        return self.session

    def _reshaped(self, shape: Shape, old: MemoryTable | None) -> MemoryTable:
        new = MemoryTable(shape)
        if old is not None:
            if shape.changes(old.declared) is None:
                raise WrongDatabase(f"table {shape.table.name} was declared otherwise (write_once, section)")
            for row in old.rows.values():
                doc = self.document(shape.table, row)
                columns = shape.values(decode_row(doc, shape.table.row)) if doc is not None else row.columns
                new.put(row._replace(columns=columns))
        return new

    def document(self, table: Table[Any], row: RowWrite) -> bytes | None:
        """A row's document; of a write-once row, from its entry, as it is in the databases. None when it was erased."""
        if not table.write_once:
            return row.doc
        entry = self.entries.get((row.owner, row.epoch), {}).get(row.sequence)
        section = None if entry is None else entry.sections.get(table.section)
        for name, key, doc in [] if section is None else decode_section(section):
            if key == row.key and name == table.name:
                return doc
        return None

    def check(self, commit: Commit) -> None:
        """Raises ``CommitRefused`` where a database's primary keys would."""
        for entry in commit.entries:
            if entry.sequence in self.entries.get((entry.source, entry.epoch), ()):
                raise CommitRefused(f"the journal has entry {entry.source}/{entry.epoch}/{entry.sequence} already")
        for seal in commit.seals:
            seals = self.seals.get((seal.source, seal.epoch), [])
            position = bisect_left(seals, seal.size, key=seal_size)
            if position < len(seals) and seals[position].size == seal.size:
                raise CommitRefused(f"seal {seal.source}/{seal.epoch} {seal.size} is there already")
        for table, updates in commit.updates.items():
            rows = self.tables[table.name].rows
            for row in updates:
                if row.key not in rows:
                    raise CommitRefused(f"{table.name} has no row {row.key} that could be changed")
        for table, inserts in commit.inserts.items():
            rows = self.tables[table.name].rows
            for row in inserts:
                if row.key in rows:
                    raise CommitRefused(f"{table.name} has a row {row.key} already")

    def apply(self, commit: Commit) -> None:
        for entry in commit.entries:
            self.entries.setdefault((entry.source, entry.epoch), {})[entry.sequence] = entry
            head = (entry.epoch, entry.sequence + 1)
            self.heads[entry.source] = max(self.heads.get(entry.source, head), head)
            if entry.key_hash is not None:
                self.by_command.setdefault(entry.key_hash, []).append(entry)
        for seal in commit.seals:
            insort(self.seals.setdefault((seal.source, seal.epoch), []), seal, key=seal_size)
        for changes in (commit.writes, commit.updates, commit.inserts):
            for table, rows in changes.items():
                put = self.tables[table.name].put
                for row in rows:
                    put(row)
        for table, keys in commit.deletes.items():
            for key in keys:
                self.tables[table.name].delete(key)

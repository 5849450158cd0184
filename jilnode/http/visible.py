"""Who sees what of an entry in the live stream: a subject the rows that are theirs, an auditor what is not sealed."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from jilnode.http.auth import Principal
from jilnode.http.frames import StreamFrame
from jilnode.kernel.codec import decode_header, decode_row, rows_of
from jilnode.kernel.entry import Entry
from jilnode.kernel.image import Image
from jilnode.kernel.table import Table
from jilnode.module import Module, Owner

__all__ = ("AUDIT_SCOPE", "Filter", "SeenRow", "Seer", "StreamEntry")

AUDIT_SCOPE = "audit"
OWNERS_DEEP_MAX = 3
"""How many rows may stand between a row and the subject that it is of."""
_TYPE_PARTS_MAX = 8
"""No type of ours has as many; what another node writes there costs no more than that."""


class Filter(NamedTuple):
    """Empty = everything. A type may end in ``.*``."""

    types: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()

    def takes(self, opened: "StreamEntry") -> bool:
        """By type and source. What it costs does not grow with what the filter names."""
        if self.sources and opened.entry.source not in self.sources:
            return False
        return not self.types or not self.types.isdisjoint(opened.type_names)


class SeenRow(NamedTuple):
    """``sealed``: it is its subjects' alone."""

    table: str
    key: str
    doc: bytes | None
    subjects: frozenset[str]
    sealed: bool


class StreamEntry(NamedTuple):
    """An entry, decoded once for all clients."""

    entry: Entry
    type: str
    type_names: frozenset[str]
    """By any of these a filter takes it: its type, and ``wallet.*`` for what is of the wallet."""
    timestamp: str
    actor: str | None
    rows: tuple[SeenRow, ...]

    @property
    def identity(self) -> str:
        return f"{self.entry.source}/{self.entry.epoch}/{self.entry.sequence}"


ImageOf = Callable[[Table[Any], str], Awaitable[Image | None]]


class Seer:
    """Knows, from the modules, whose a row is. A table of which no module says so is for auditors only."""

    def __init__(self, modules: Iterable[Module], image: ImageOf) -> None:
        self._image = image
        self._tables: dict[str, Table[Any]] = {}
        self._subjects: dict[str, Callable[[str, Any], tuple[Owner, ...]]] = {}
        self._sealed: dict[str, Callable[[str, Any], bool]] = {}
        for module in modules:
            self._tables.update({table.name: table for table in module.tables})
            self._subjects.update(module.subject_of)
            self._sealed.update(module.sealed)

    async def opened(self, entry: Entry) -> StreamEntry:
        header = decode_header(entry.header)
        found = list(rows_of(entry))
        sealed = {key for table, key, doc in found if self._is_sealed(table, key, doc)}
        rows = tuple(
            [SeenRow(table, key, doc, await self._whose(table, key, doc), key in sealed) for table, key, doc in found]
        )
        return StreamEntry(entry, header.type, _type_names(header.type), header.timestamp, header.actor, rows)

    async def _whose(self, table: str, key: str, doc: bytes | None) -> frozenset[str]:
        subjects = self._subjects.get(table)
        declared = self._tables.get(table)
        if doc is None or subjects is None or declared is None:
            return frozenset()
        try:
            owners = subjects(key, decode_row(doc, declared.row))
        except msgspec.MsgspecError:
            # A row of a newer schema: nobody's but the auditors', until this node is upgraded.
            return frozenset()
        return frozenset(await self._named(owners, OWNERS_DEEP_MAX))

    def _is_sealed(self, table: str, key: str, doc: bytes | None) -> bool:
        sealed = self._sealed.get(table)
        if doc is None or sealed is None:
            return False
        try:
            return sealed(key, decode_row(doc, self._tables[table].row))
        except msgspec.MsgspecError:
            # A row of a newer schema: nobody here can say that it is not.
            return True

    async def _named(self, owners: Iterable[Owner], deep: int) -> set[str]:
        """The subjects among ``owners``, and those that the rows among them name, as this node has them now."""
        found: set[str] = set()
        for owner in owners:
            if isinstance(owner, str):
                found.add(owner)
                continue
            table, key = owner
            subjects = self._subjects.get(table.name)
            image = None if subjects is None or not deep else await self._image(table, key)
            if image is not None and subjects is not None:
                found |= await self._named(subjects(key, image.row), deep - 1)
        return found

    def frame(self, opened: StreamEntry, principal: Principal, wanted: Filter) -> StreamFrame | None:
        """The frame for this client, or None when there is nothing in it for them."""
        if not wanted.takes(opened):
            return None
        audits = AUDIT_SCOPE in principal.scopes
        rows = [
            row
            for row in opened.rows
            if ((audits and not row.sealed) or principal.subject in row.subjects)
            and (not wanted.tables or row.table in wanted.tables)
        ]
        if not rows and (wanted.tables or not audits):
            return None
        event: dict[str, object] = {
            "source": opened.entry.source,
            "epoch": opened.entry.epoch,
            "sequence": opened.entry.sequence,
            "type": opened.type,
            "timestamp": opened.timestamp,
            "rows": [_row(row) for row in rows],
        }
        if audits:
            event["header"] = msgspec.Raw(opened.entry.header)
        elif opened.actor == principal.subject:
            event["actor"] = opened.actor
        return StreamFrame(opened.identity, opened.type, msgspec.json.encode(event))


def _type_names(kind: str) -> frozenset[str]:
    parts = kind.split(".", _TYPE_PARTS_MAX)
    return frozenset([kind, *[".".join([*parts[:length], "*"]) for length in range(1, len(parts))]])


def _row(row: SeenRow) -> Mapping[str, object]:
    return {"table": row.table, "key": row.key, "doc": None if row.doc is None else msgspec.Raw(row.doc)}

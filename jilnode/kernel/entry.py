"""The entry: the unit of the journal, of atomicity and of the wire. ``jilnode/events/README.md`` is its specification.

Entry = header + sections. The header's exact bytes are the Merkle leaf; it carries a salted hash of each section, so
the log verifies when a section is absent, pruned or erased. Bytes are encoded once and never re-encoded: whoever
receives an entry keeps, hashes and forwards the bytes that came.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from jilnode.kernel.rows import Local, Owned, decode_row
from jilnode.kernel.table import Table

__all__ = (
    "CauseReference",
    "CommandReference",
    "Entry",
    "EntryRows",
    "Header",
    "Outcome",
    "Seal",
    "SectionReference",
    "decision_hash",
    "decode_header",
    "decode_record",
    "decode_section",
    "encode_header",
    "encode_record",
    "encode_section",
    "format_time",
    "parse_time",
    "rows_of",
    "section_hash",
)

R = TypeVar("R", bound=Owned | Local)

CauseReference = tuple[str, int, int, str]
"""(source, epoch, sequence, leaf hash in hex)."""

SECTION_NAMES = ("memo", "rows")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Exact bytes. ``sections`` maps a name to the section's bytes; a pruned or erased section is absent."""

    source: str
    epoch: int
    sequence: int
    header: bytes
    sections: dict[str, bytes]
    key_hash: bytes | None = None
    """The header's ``command.key_hash``, so that a store can index it without decoding."""


class Seal(msgspec.Struct, frozen=True, gc=False):
    """A signed checkpoint (C2SP tlog-checkpoint) over the first ``size`` entries of (source, epoch)."""

    source: str
    epoch: int
    size: int
    note: str


class SectionReference(msgspec.Struct, frozen=True, gc=False):
    hash: str
    length: int


class CommandReference(msgspec.Struct, frozen=True, gc=False):
    """``key_hash`` = SHA-256 over subject and Idempotency-Key; ``body_hash`` = SHA-256 of the request's body."""

    key_hash: str
    body_hash: str
    status: int


class Outcome(msgspec.Struct, frozen=True, gc=False, rename={"class_": "class"}):
    """What the zones said: ``approved`` or ``refused``, and the salted hash of the decision's record, which stays
    here."""

    class_: str
    decision: str


class Header(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Fields in wire order; those with a default are left out when they have it."""

    event_id: str
    network: str
    source_id: str
    epoch: int
    sequence: int
    topic: str
    type: str
    timestamp: str
    actor: str | None = None
    cause: tuple[CauseReference, ...] | None = None
    outcome: Outcome | None = None
    command: CommandReference | None = None
    schema: dict[str, int] = {}
    min_reader: int = 0
    sections: dict[str, SectionReference] = {}
    traceparent: str | None = None
    evidence: msgspec.Raw | None = None


class _RowRecord(msgspec.Struct, frozen=True, gc=False):
    table: str
    key: str
    doc: msgspec.Raw


class _Section(msgspec.Struct, frozen=True, gc=False):
    salt: str
    data: list[_RowRecord]


class _Command(msgspec.Struct, frozen=True, gc=False):
    key_hash: str


class _Place(msgspec.Struct, frozen=True, gc=False):
    """What of a header says where its entry belongs."""

    source_id: str
    epoch: int
    sequence: int
    command: _Command | None = None


class _Record(msgspec.Struct, frozen=True, gc=False):
    header: msgspec.Raw
    sections: dict[str, msgspec.Raw]


_header_encoder = msgspec.json.Encoder()
_header_decoder = msgspec.json.Decoder(Header)
_place_decoder = msgspec.json.Decoder(_Place)
_section_decoder = msgspec.json.Decoder(_Section)
_record_decoder = msgspec.json.Decoder(_Record)
_section_digest = sha256(b"jil/section/v1\x00")


def encode_header(header: Header) -> bytes:
    return _header_encoder.encode(header)


def decode_header(data: bytes) -> Header:
    """Raises ``msgspec.MsgspecError`` when ``data`` is no header."""
    return _header_decoder.decode(data)


def section_hash(data: bytes) -> str:
    digest = _section_digest.copy()
    digest.update(data)
    return digest.hexdigest()


def decision_hash(record: bytes) -> str:
    """``record`` begins with its own salt."""
    return sha256(b"jil/decision/v1\x00" + record).hexdigest()


def encode_section(salt: bytes, rows: Iterable[tuple[str, str, bytes | None]]) -> bytes:
    """``rows`` are (table, key, doc) sorted by (table, key); a doc of None deletes. Names and keys need no escaping."""
    items = [
        f'{{"table":"{table}","key":"{key}","doc":{"null" if doc is None else doc.decode()}}}'
        for table, key, doc in rows
    ]
    return f'{{"salt":"{salt.hex()}","data":[{",".join(items)}]}}'.encode()


def decode_section(data: bytes) -> list[tuple[str, str, bytes | None]]:
    """(table, key, doc bytes) of each row. Raises ``msgspec.MsgspecError``."""
    return [
        (row.table, row.key, None if (doc := bytes(row.doc)) == b"null" else doc)
        for row in _section_decoder.decode(data).data
    ]


def encode_record(entry: Entry) -> bytes:
    """The bus value: ``{"header":...,"sections":{"rows":...}}``, no white space, readable by any consumer."""
    sections = b",".join(b'"%b":%b' % (name.encode(), entry.sections[name]) for name in sorted(entry.sections))
    return b'{"header":%b,"sections":{%b}}' % (entry.header, sections)


def decode_record(value: bytes) -> Entry:
    """Slices the header's and the sections' exact bytes out of a bus value. Raises ``msgspec.MsgspecError``, and
    ``ValueError`` for bytes around them: whoever slices by the wire page must find the same."""
    record = _record_decoder.decode(value)
    header = bytes(record.header)
    place = _place_decoder.decode(header)
    # {"header":H,"sections":{"N":S,"N":S}}
    framing = 25 + sum([len(name) + len(section) + 4 for name, section in record.sections.items()])
    if record.sections:
        framing -= 1
    if len(value) != len(header) + framing or not value.startswith(b'{"header":{'):
        raise ValueError("white space, or something else, around header and sections")
    return Entry(
        source=place.source_id,
        epoch=place.epoch,
        sequence=place.sequence,
        header=header,
        sections={name: bytes(section) for name, section in record.sections.items()},
        key_hash=bytes.fromhex(place.command.key_hash) if place.command is not None else None,
    )


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


@lru_cache(maxsize=16)
def format_time(time_us: int) -> str:
    """``2026-11-23T06:33:00.123456Z``: always 27 characters. Entries of one batch share it."""
    seconds, micros = divmod(time_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


def parse_time(text: str) -> int:
    """Microseconds of a timestamp in the one accepted form. Raises ``ValueError``."""
    if len(text) != 27 or text[19] != "." or text[26] != "Z":
        raise ValueError(f"not a timestamp: {text!r}")
    return _second_of(text[:19]) * 1_000_000 + int(text[20:26])


@lru_cache(maxsize=64)
def _second_of(text: str) -> int:
    """Entries that follow each other share it, and parsing a date costs more than hashing the entry."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())


def rows_of(entry: Entry) -> list[tuple[str, str, bytes | None]]:
    """All rows of all sections of an entry, in section and key order."""
    found: list[tuple[str, str, bytes | None]] = []
    for name in sorted(entry.sections):
        found += decode_section(entry.sections[name])
    return found

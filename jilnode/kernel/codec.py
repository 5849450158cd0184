"""Exact bytes: rows, sections, headers and records, encoded and decoded; and the hashes of those bytes."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeVar

import msgspec

from jilnode.kernel.entry import BusValue, Entry, Header, Place, Section
from jilnode.kernel.errors import Rejected
from jilnode.kernel.rows import Row
from jilnode.limits import DOCUMENT_NESTING_MAX, INT64_MAX, INT64_MIN, RECORD_NESTING_MAX

__all__ = (
    "decision_hash",
    "decode_header",
    "decode_record",
    "decode_row",
    "decode_section",
    "encode_document",
    "encode_header",
    "encode_record",
    "encode_row",
    "encode_section",
    "format_time",
    "guard_documents",
    "guard_json",
    "guard_values",
    "parse_time",
    "rows_of",
    "section_hash",
)

R = TypeVar("R", bound=Row)

encode_document: Final = msgspec.json.Encoder(order=None).encode
"""A row's JSON bytes, of which nobody has seen yet whether every database takes them."""
_ALIKE: Final = bytes.maketrans(b"123456789{}", b"000000000[]")
"""To a quick scan one digit is as good as another, and so is one kind of bracket."""
_SCANNED_TOGETHER: Final = DOCUMENT_NESTING_MAX // 3
"""So few that what rows commonly hold, an object or two in each, does not look like a deep one."""
_BRACKETS_ONLY: Final = bytes([byte for byte in range(256) if byte not in b'[]{}"'])
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_LONG_NUMBER: Final = b"0" * 19
"""int64 has at most 19 digits; fewer are always within it."""
_FIRST_SURROGATE: Final = chr(0xD800)
_LAST_SURROGATE: Final = chr(0xDFFF)


def encode_row(row: Row) -> bytes:
    """The row's JSON bytes. Raises ``Rejected('bad_json')`` for what not every database takes."""
    doc = encode_document(row)
    guard_json(doc)
    return doc


def decode_row(doc: bytes, row_type: type[R]) -> R:
    """The row of ``doc``, tolerant of unknown fields, so that an older reader follows a newer writer."""
    return msgspec.json.decode(doc, type=row_type)


def guard_json(doc: bytes) -> None:
    """Raises ``Rejected('bad_json')`` for NUL, lone surrogates, integers beyond int64 and what is nested too deeply,
    unknown fields included.

    The quick scan passes nearly everything; a suspicious document is decoded whole and walked.
    """
    if not _nests_within(doc, DOCUMENT_NESTING_MAX):
        raise Rejected("bad_json", f"nested more than {DOCUMENT_NESTING_MAX} deep", field="/")
    guard_values(doc)


def guard_values(text: bytes) -> None:
    """The same of what ``decode_record`` has passed: how deep it is nested was looked at."""
    if _suspicious(text, text.translate(_ALIKE)):
        _walk(msgspec.json.decode(text), "")


def guard_documents(documents: list[bytes]) -> None:
    """The same of each, and some scanned at once: one's end and the next one's beginning make no number together."""
    for first in range(0, len(documents), _SCANNED_TOGETHER):
        some = documents[first : first + _SCANNED_TOGETHER]
        text = b"".join(some)
        alike = text.translate(_ALIKE)
        # Each document is an object, so of all that open, one for each other document is not around what is deepest.
        if alike.count(b"[") - len(some) >= DOCUMENT_NESTING_MAX or _suspicious(text, alike):
            for doc in some:
                guard_json(doc)


def _suspicious(text: bytes, alike: bytes) -> bool:
    # ``find``, because ``in`` first tries whether its left side is a number; of one byte first, because that is quick.
    escapes = text.find(b"\\") >= 0 and text.find(b"\\u") >= 0
    return escapes or alike.find(_LONG_NUMBER) >= 0


def _nests_within(text: bytes, bound: int) -> bool:
    """Whether the objects and arrays of a JSON text are nested at most so deep. No recursion, whatever the text."""
    # Of siblings one at most is around what is deepest.
    if text.count(b"{") + text.count(b"[") - text.count(b"},{") <= bound:
        return True
    brackets = text.translate(_ALIKE, _BRACKETS_ONLY).replace(b'""', b"")
    if brackets.find(b'"') >= 0 or text.find(b"\\") >= 0:
        # There are brackets in strings.
        brackets = _STRING.sub(b"", text).translate(_ALIKE, _BRACKETS_ONLY)
    for _ in range(bound):
        brackets = brackets.replace(b"[]", b"")
    return not brackets


def _walk(value: object, path: str) -> None:
    if isinstance(value, str):
        if "\x00" in value:
            raise Rejected("bad_json", "text holds a NUL character", field=path or "/")
        if any(_FIRST_SURROGATE <= character <= _LAST_SURROGATE for character in value):
            raise Rejected("bad_json", "text holds a lone surrogate", field=path or "/")
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise Rejected("bad_json", "integer beyond 64 bits", field=path or "/")
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")) or (value.is_integer() and abs(value) >= 2**63):
            raise Rejected("bad_json", "number beyond 64 bits", field=path or "/")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _walk(name, path)
            _walk(inner, f"{path}/{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _walk(inner, f"{path}/{index}")


_header_encoder: Final = msgspec.json.Encoder()
_header_decoder: Final = msgspec.json.Decoder(Header)
_place_decoder: Final = msgspec.json.Decoder(Place)
_section_decoder: Final = msgspec.json.Decoder(Section)
_record_decoder: Final = msgspec.json.Decoder(BusValue)
_section_digest: Final = sha256(b"jil/section/v1\x00")


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
    sections = b",".join([b'"%b":%b' % (name.encode(), entry.sections[name]) for name in sorted(entry.sections)])
    return b'{"header":%b,"sections":{%b}}' % (entry.header, sections)


def decode_record(value: bytes) -> Entry:
    """Slices the header's and the sections' exact bytes out of a bus value. Raises ``msgspec.MsgspecError``, and
    ``ValueError`` for what is no UTF-8, nested too deeply, or has bytes around them: whoever slices by the wire page
    must find the same."""
    value.decode()
    try:
        record = _record_decoder.decode(value)
        header = bytes(record.header)
        place = _place_decoder.decode(header)
    except RecursionError:
        raise ValueError("nested deeper than this reader can follow") from None
    if not _nests_within(value, RECORD_NESTING_MAX):
        raise ValueError(f"nested more than {RECORD_NESTING_MAX} deep")
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


@lru_cache(maxsize=16)
def format_time(time_us: int) -> str:
    """``2026-11-23T06:33:00.123456Z``: always 27 characters. Entries of one batch share it."""
    seconds, micros = divmod(time_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


def parse_time(text: str) -> int:
    """Microseconds of a timestamp in the one accepted form. Raises ``ValueError``."""
    if _TIME.fullmatch(text) is None:
        raise ValueError(f"not a timestamp: {text!r:.100}")
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

"""Rows: what a module's state is made of.

A row is a frozen msgspec Struct. ``Owned`` rows are replicated; ``Local`` rows never leave this node. A row does not
hold its own key; the key is where it lives. It is encoded once (``encode_row``), and the same bytes go into the
table, the event and onto the wire.
"""

from typing import TypeVar

import msgspec

from jilnode.kernel.errors import Rejected
from jilnode.limits import INT64_MAX, INT64_MIN

__all__ = ("Image", "Local", "Owned", "Row", "decode_row", "encode_row", "guard_json")


class Owned(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A replicated row: only its owner's writer may change it."""


class Local(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A row that never leaves this node: personal data, sessions, the kernel's own bookkeeping."""


Row = Owned | Local
R = TypeVar("R", bound=Row)


class Image(msgspec.Struct, gc=False):
    """A row as it stands: ``(owner, epoch, sequence)`` of the entry that last changed it is its ETag.

    Never changed once its command has ended; until then ``doc`` is empty, because a row is encoded once. ``mark`` is
    the row's summand in the state digest, 0 until it is asked for.
    """

    row: Row
    owner: str
    epoch: int
    sequence: int
    doc: bytes
    mark: int = 0


_encode = msgspec.json.Encoder(order=None).encode
_DIGITS = bytes(ord("0") if 48 <= byte < 58 else byte for byte in range(256))
_LONG_NUMBER = b"0" * 19
"""int64 has at most 19 digits; fewer are always within it."""


def encode_row(row: Row) -> bytes:
    """The row's JSON bytes. Raises ``Rejected('bad_text')`` for text that not every database takes."""
    doc = _encode(row)
    # ``find``, because ``in`` first tries whether its left side is a number.
    if doc.find(b"\\u0000") >= 0 or doc.translate(_DIGITS).find(_LONG_NUMBER) >= 0:
        guard_json(doc)
    return doc


def decode_row(doc: bytes, row_type: type[R]) -> R:
    """The row of ``doc``, tolerant of unknown fields, so that an older reader follows a newer writer."""
    return msgspec.json.decode(doc, type=row_type)


def guard_json(doc: bytes) -> None:
    """Raises ``Rejected('bad_json')`` for NUL, lone surrogates and integers beyond int64, unknown fields included.

    The quick scan passes nearly everything; a suspicious document is decoded whole and walked.
    """
    if doc.find(b"\\u") < 0 and doc.translate(_DIGITS).find(_LONG_NUMBER) < 0:
        return
    _walk(msgspec.json.decode(doc), "")


def _walk(value: object, path: str) -> None:
    if isinstance(value, str):
        if "\x00" in value:
            raise Rejected("bad_json", "text holds a NUL character", field=path or "/")
        if any("\ud800" <= character <= "\udfff" for character in value):
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

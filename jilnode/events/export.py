"""A journal as JSON Lines: one bus record a line, its exact bytes as a string. Peers and export files speak it."""

from collections.abc import Iterable, Iterator

import msgspec

from jilnode.events.bus import Record
from jilnode.events.record import ENTRY_KIND, SEAL_KIND, seal_of_note
from jilnode.kernel.codec import decode_record
from jilnode.kernel.errors import Breach

__all__ = ("read_lines", "write_lines")


class _Line(msgspec.Struct, frozen=True):
    type: str
    value: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


def write_lines(records: Iterable[Record]) -> Iterator[bytes]:
    for record in records:
        kind = SEAL_KIND if record.kind == SEAL_KIND else ENTRY_KIND
        yield _encode(_Line(kind, record.value.decode())) + b"\n"


def read_lines(lines: Iterable[bytes]) -> Iterator[Record]:
    """Raises ``Breach('unreadable')`` with the number of the line. Kinds that are not known are passed over."""
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = _decode(text)
            value = line.value.encode()
            if line.type == SEAL_KIND:
                yield Record(SEAL_KIND, seal_of_note(value).source, value)
            elif line.type == ENTRY_KIND:
                yield Record(ENTRY_KIND, decode_record(value).source, value)
        except (msgspec.MsgspecError, ValueError, Breach) as error:
            raise Breach("unreadable", f"line {number}: {error}") from None

"""Records: an entry or a seal as it travels, and back."""

import re

import msgspec

from jilnode.events.bus import Record
from jilnode.kernel.codec import decode_header, decode_record, encode_record
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import Breach
from jilnode.kernel.names import SOURCE_PATTERN, valid_event
from jilnode.kernel.seal import parse_seal
from jilnode.limits import ORDINAL_MAX

__all__ = (
    "ENTRY_KIND",
    "SEAL_KIND",
    "read_record",
    "record_of_entry",
    "record_of_seal",
    "records_of",
    "seal_of_note",
    "unread_record",
)

SEAL_KIND = "jil.seal"
ENTRY_KIND = "jil.entry"
"""Of an entry whose type is not told beside it."""

_ORIGIN = re.compile(rf"jil/[^/]+/({SOURCE_PATTERN})/(0|[1-9][0-9]{{0,15}})")


def read_record(record: Record) -> Entry | Seal | None:
    """What a record holds; None: it is of a kind that nobody here knows yet.

    Everybody may have sent it, so this is the one strict step: what it returns has numbers that every database takes, a
    source's name for a source, no depth that a reader could not follow, and is of the source in whose name it came. No
    signature is looked at. Raises ``Breach``: ``unreadable``, ``bad_seal``, ``forged_source``.
    """
    if record.kind == SEAL_KIND:
        seal = seal_of_note(record.value)
        if seal.source != record.source:
            raise Breach("bad_seal", f"a seal of {seal.source} in the lane of {record.source!r:.100}")
        return seal
    if record.kind != ENTRY_KIND:
        if record.kind.startswith("jil."):
            return None
        if not valid_event(record.kind):
            raise Breach("unreadable", f"no kind of record: {record.kind!r:.100}")
    try:
        entry = decode_record(record.value)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Breach("unreadable", str(error)) from None
    if entry.source != record.source:
        raise Breach("forged_source", f"{record.source!r:.100} sent as {entry.source}")
    return entry


def record_of_entry(entry: Entry) -> Record:
    return Record(decode_header(entry.header).type, entry.source, encode_record(entry))


def record_of_seal(seal: Seal) -> Record:
    return Record(SEAL_KIND, seal.source, seal.note.encode())


def unread_record(item: Entry | Seal) -> Record:
    """The record of what ``read_record`` gave. Nobody has looked into an entry's header yet: it may be none."""
    return record_of_seal(item) if isinstance(item, Seal) else Record(ENTRY_KIND, item.source, encode_record(item))


def seal_of_note(note: bytes) -> Seal:
    """The seal of a signed note, placed by its own origin. Its signature is not verified here. Raises ``Breach``."""
    try:
        text = note.decode()
    except UnicodeDecodeError:
        raise Breach("bad_seal", "not UTF-8") from None
    checkpoint = parse_seal(text)
    place = _ORIGIN.fullmatch(checkpoint.origin)
    if place is None or int(place[2]) > ORDINAL_MAX:
        raise Breach("bad_seal", f"origin {checkpoint.origin!r:.100}")
    return Seal(place[1], int(place[2]), checkpoint.size, text)


def records_of(entries: list[Entry], seals: list[Seal]) -> list[Record]:
    """One source's entries and seals of one epoch, in order, each seal after the last entry that it covers."""
    found: list[Record] = []
    waiting = list(seals)
    for entry in entries:
        while waiting and waiting[0].size <= entry.sequence:
            found.append(record_of_seal(waiting.pop(0)))
        found.append(record_of_entry(entry))
    return [*found, *[record_of_seal(seal) for seal in waiting]]

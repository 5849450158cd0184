"""Records: an entry or a seal as it travels, and back."""

from jilnode.events.bus import Record
from jilnode.kernel.codec import decode_header, encode_record
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import Breach
from jilnode.kernel.seal import parse_seal

__all__ = ("SEAL_KIND", "record_of_entry", "record_of_seal", "records_of", "seal_of_record")

SEAL_KIND = "jil.seal"


def record_of_entry(entry: Entry) -> Record:
    return Record(decode_header(entry.header).type, entry.source, encode_record(entry))


def record_of_seal(seal: Seal) -> Record:
    return Record(SEAL_KIND, seal.source, seal.note.encode())


def seal_of_record(record: Record) -> Seal:
    """The seal of a signed note, placed by its own origin. Its signature is not verified here. Raises ``Breach``."""
    try:
        note = record.value.decode()
    except UnicodeDecodeError:
        raise Breach("bad_seal", "not UTF-8") from None
    checkpoint = parse_seal(note)
    parts = checkpoint.origin.split("/")
    if len(parts) != 4 or parts[0] != "jil" or not parts[3].isdecimal() or parts[2] != record.source:
        raise Breach("bad_seal", f"origin {checkpoint.origin!r} in the lane of {record.source}")
    return Seal(parts[2], int(parts[3]), checkpoint.size, note)


def records_of(entries: list[Entry], seals: list[Seal]) -> list[Record]:
    """One source's entries and seals of one epoch, in order, each seal after the last entry that it covers."""
    found: list[Record] = []
    waiting = list(seals)
    for entry in entries:
        while waiting and waiting[0].size <= entry.sequence:
            found.append(record_of_seal(waiting.pop(0)))
        found.append(record_of_entry(entry))
    return [*found, *[record_of_seal(seal) for seal in waiting]]

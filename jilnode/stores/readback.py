"""From stored text back to images and entries: the very bytes that were written."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jilnode.kernel.codec import decode_row, decode_section
from jilnode.kernel.entry import Entry
from jilnode.kernel.image import Image
from jilnode.kernel.table import Table

__all__ = ("EntryKey", "EntryRecord", "Located", "entry_of", "entry_records", "image_of", "images_from_journal")

EntryKey = tuple[str, int, int]
Located = tuple[str, str, int, int]
"""(key, owner, epoch, sequence): a row of a write-once table, whose document stands in the journal."""


def image_of(table: Table[Any], owner: str, epoch: int, sequence: int, doc: bytes) -> Image:
    return Image(decode_row(doc, table.row), owner, epoch, sequence, doc)


def entry_of(
    source: str, epoch: int, sequence: int, header: str, rows: str | None, memo: str | None, key_hash: bytes | None
) -> Entry:
    sections: dict[str, bytes] = {}
    if memo is not None:
        sections["memo"] = memo.encode()
    if rows is not None:
        sections["rows"] = rows.encode()
    return Entry(source, epoch, sequence, header.encode(), sections, key_hash)


EntryRecord = tuple[str, int, int, str, str | None, str | None, bytes | None]


def entry_records(entries: Sequence[Entry]) -> list[EntryRecord]:
    """The journal's rows, ``entry_of`` turned round. Raises ``ValueError`` rather than lose a section or a byte."""
    records: list[EntryRecord] = []
    kept = 0
    for entry in entries:
        sections = entry.sections
        rows, memo = sections.get("rows"), sections.get("memo")
        kept += (rows is not None) + (memo is not None)
        records.append(
            (
                entry.source,
                entry.epoch,
                entry.sequence,
                entry.header.decode(),
                None if rows is None else rows.decode(),
                None if memo is None else memo.decode(),
                entry.key_hash,
            )
        )
    if kept != sum([len(entry.sections) for entry in entries]):
        raise ValueError("an entry has a section that this program has no place for")
    return records


def images_from_journal(
    table: Table[Any], located: Iterable[Located], sections: Mapping[EntryKey, bytes]
) -> dict[str, Image]:
    """Slices each row's document out of its entry's section. A row whose section was pruned or erased is left out."""
    sliced: dict[EntryKey, dict[str, bytes]] = {}
    images: dict[str, Image] = {}
    for key, owner, epoch, sequence in located:
        at = (owner, epoch, sequence)
        if at not in sliced:
            data = sections.get(at)
            found = [] if data is None else decode_section(data)
            sliced[at] = {row_key: doc for name, row_key, doc in found if name == table.name and doc is not None}
        doc = sliced[at].get(key)
        if doc is not None:
            images[key] = image_of(table, owner, epoch, sequence, doc)
    return images

"""Reading journals for the other commands: from a database, beside whoever writes it, or from an export file."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.exc import DBAPIError

from jilnode.events.bus import Record
from jilnode.events.export import read_lines
from jilnode.events.record import record_of_entry, record_of_seal
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import Breach
from jilnode.kernel.ports import RowWrite
from jilnode.kernel.table import Table
from jilnode.limits import PAGE_ITEMS_MAX, PEER_PAGE_ENTRIES
from jilnode.settings import server_url
from jilnode.stores.postgres import PostgresStore
from jilnode.stores.sqlite import SqliteStore

__all__ = ("DatabaseJournals", "Heads", "is_database", "journal_records")

Heads = Mapping[str, tuple[int, int]]
"""source -> (epoch, size)."""

SQLITE_MAGIC = b"SQLite format 3\x00"


def _server_url(target: str) -> str | None:
    """None for a file. Raises ``OSError``."""
    if not target.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
        return None
    try:
        return server_url(target)
    except ValueError as error:
        raise OSError(f"the database's address: {error}") from None


def is_database(target: str) -> bool:
    """Else it is an export file. Raises ``OSError``."""
    if _server_url(target) is not None:
        return True
    with Path(target).open("rb") as file:
        return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC


class DatabaseJournals:
    """The journals in a database. No lock is taken and nothing is written, so its node may run meanwhile."""

    def __init__(self, target: str) -> None:
        url = _server_url(target)
        store = SqliteStore(target) if url is None else PostgresStore(url)
        store.open_beside()
        self._store = store

    async def close(self) -> None:
        await self._store.close()

    async def moved(self, heads: Heads) -> bool:
        """Whether the node has written since."""
        return await self.heads() != heads

    async def heads(self) -> Heads:
        """Of one moment: nothing below them rests on anything above."""
        return await self._store.heads()

    async def rows(self, tables: Sequence[Table[Any]]) -> AsyncIterator[tuple[Table[Any], RowWrite]]:
        """What stands in the tables, table by table, in key order."""
        async for item in self._store.stored(tables):
            yield item

    async def records(self, source: str, start: tuple[int, int], end: tuple[int, int]) -> AsyncIterator[Record]:
        """One source's, from (epoch, size) to (epoch, size). Raises ``Breach`` for what can't be read."""
        epoch, size = start
        while epoch <= end[0]:
            async for item in self._epoch(source, epoch, size, end[1] if epoch == end[0] else None):
                yield _record(item)
            epoch, size = epoch + 1, 0

    async def _epoch(self, source: str, epoch: int, size: int, end: int | None) -> AsyncIterator[Entry | Seal]:
        """In order, each seal after the last entry that it covers; at last what no seal covers."""
        while end is None or size < end:
            seals = await self._store.seals(source, epoch, size, PAGE_ITEMS_MAX)
            taken = [seal for seal in seals if seal.size <= size + PEER_PAGE_ENTRIES] or seals[:1]
            until = taken[-1].size if taken else end
            if until is None:
                return
            entries = await self._store.journal(source, epoch, size, until - size)
            index = 0
            for seal in taken:
                while index < len(entries) and entries[index].sequence < seal.size:
                    yield entries[index]
                    index += 1
                yield seal
            for entry in entries[index:]:
                yield entry
            size = until


def _record(item: Entry | Seal) -> Record:
    if isinstance(item, Seal):
        return record_of_seal(item)
    try:
        return record_of_entry(item)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Breach("unreadable", f"entry {item.source}/{item.epoch}/{item.sequence}: {error}") from None


async def journal_records(target: str, source: str = "") -> AsyncGenerator[Record, None]:
    """Every record, source by source, in order. ``target``: a database (URL or SQLite file) or an export file. Raises
    ``Breach`` and ``OSError``."""
    if not is_database(target):
        with Path(target).open("rb") as file:  # noqa: ASYNC230 (a command line with nothing else to do)
            for record in read_lines(file):
                if not source or record.source == source:
                    yield record
        return
    journals = DatabaseJournals(target)
    try:
        for name, head in sorted((await journals.heads()).items()):
            if not source or name == source:
                async for record in journals.records(name, (0, 0), head):
                    yield record
    except DBAPIError as error:
        raise Breach("unreadable", f"the database can't be read: {error.orig}") from None
    finally:
        await journals.close()

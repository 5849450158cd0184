"""Reading journals for the other commands: from a database, beside whoever writes it, or from an export file."""

from collections.abc import AsyncIterator
from pathlib import Path

from jilnode.events.bus import Record
from jilnode.events.export import read_lines
from jilnode.events.record import records_of
from jilnode.kernel.ports import Store
from jilnode.limits import PAGE_ITEMS_MAX
from jilnode.stores.postgres import PostgresStore
from jilnode.stores.sqlite import SqliteStore

__all__ = ("journal_records", "open_reader")


def open_reader(target: str) -> Store:
    """A store of which only the reading half is used: no lock is taken, nothing is written."""
    if target.startswith("postgresql+asyncpg://"):
        server = PostgresStore(target)
        server.open_beside()
        return server
    path = Path(target.removeprefix("sqlite:"))
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    file = SqliteStore(path)
    file.open_beside()
    return file


async def journal_records(target: str, source: str = "") -> AsyncIterator[Record]:
    """Every record, source by source, in order. ``target``: a database (URL or SQLite file) or an export file."""
    if target.endswith((".jsonl", ".ndjson")):
        with Path(target).open("rb") as file:  # noqa: ASYNC230 (a command line with nothing else to do)
            for record in read_lines(file):
                if not source or record.source == source:
                    yield record
        return
    store = open_reader(target)
    try:
        heads = await store.heads()
        for name, (last_epoch, _) in sorted(heads.items()):
            if source and name != source:
                continue
            for epoch in range(last_epoch + 1):
                size = 0
                while seals := await store.seals(name, epoch, size, PAGE_ITEMS_MAX):
                    for seal in seals:
                        entries = await store.journal(name, epoch, size, seal.size - size)
                        for record in records_of(entries, [seal]):
                            yield record
                        size = seal.size
    finally:
        await store.close()

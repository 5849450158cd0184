"""A database that stores can be opened on, more than once."""

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import asyncpg
import pytest

from jilnode.kernel.ports import Store
from jilnode.stores.memory import MemoryStore
from jilnode.stores.memory_disk import MemoryDisk
from jilnode.stores.postgres import PostgresStore
from jilnode.stores.sqlite import SqliteStore

Opener = Callable[..., Awaitable[Store]]

over_each_database = pytest.mark.parametrize("backend", ["sqlite", "postgres"], indirect=True)
"""For a test whose neighbours run in memory anyway."""


class Backend(Protocol):
    newcomer_wins: bool
    """Whether a second writer takes the lock from the first, or is refused."""

    def store(self) -> Store: ...

    async def make_newer(self) -> None:
        """As if a newer program had migrated the database."""


class MemoryBackend:
    newcomer_wins = True

    def __init__(self) -> None:
        self.disk = MemoryDisk()

    def store(self) -> Store:
        return MemoryStore(self.disk)

    async def make_newer(self) -> None:
        self.disk.schema_version += 1


class SqliteBackend:
    newcomer_wins = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def store(self) -> Store:
        return SqliteStore(self.path)

    async def make_newer(self) -> None:
        connection = sqlite3.connect(self.path)
        connection.execute("insert into migration select max(version) + 1, 'more', 'why', 0 from migration")
        connection.commit()
        connection.close()


class PostgresBackend:
    newcomer_wins = False

    def __init__(self, url: str) -> None:
        self.url = url

    def store(self) -> Store:
        return PostgresStore(self.url, lock_wait_s=0.2)

    async def make_newer(self) -> None:
        await self.run("insert into migration select max(version) + 1, 'more', 'why', 0 from migration")

    async def run(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url.replace("+asyncpg", ""))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

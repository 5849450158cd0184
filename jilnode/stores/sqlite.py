"""One node's database in an SQLite file.

Statements run inline on the loop: a thread that runs them fights the loop for the interpreter on every row. Only
COMMIT, which waits for the disk, goes to a thread. Reads go through other connections (WAL).
"""

import asyncio
import os
import sqlite3
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from jilnode.kernel.errors import CommitFailed, CommitRefused, CommitUnknown, WrongDatabase
from jilnode.kernel.ports import Commit
from jilnode.kernel.table import Table
from jilnode.stores.dialect import SQLITE, numbered
from jilnode.stores.file_lock import FileLock
from jilnode.stores.reading import ReadingSession
from jilnode.stores.schema import prepare_schema
from jilnode.stores.session import Record
from jilnode.stores.sql_store import SqlStore
from jilnode.stores.sqlite_batch import SqliteBatch
from jilnode.stores.sqlite_checkpoint import Checkpointer

__all__ = ("SqliteStore",)

_READERS = 4
_CACHE_KIBIBYTES = 64 * 1024
_LOG_PAGES_MAX = 16_000
"""64 MiB of log; then a COMMIT moves its pages to their places, should the checkpointer not have come to it."""


class _Session:
    """The writer's connection, as the queries see it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *arguments: object) -> Sequence[Record]:
        return self._connection.execute(numbered(sql), arguments).fetchall()

    async def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        self._connection.executemany(numbered(sql), rows)


class SqliteStore(SqlStore):
    """Implements ``jilnode.kernel.ports.Store``."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(SQLITE)
        self._path = Path(path)
        self._lock = FileLock(self._path)
        self._connection: sqlite3.Connection | None = None
        self._engine: AsyncEngine | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._committing: asyncio.Future[None] | None = None
        self._checkpointer: Checkpointer | None = None

    async def open(self, source: str, tables: Sequence[Table[Any]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sqlite-commit")
        self._checkpointer = Checkpointer(self._path)
        try:
            connection = self._connect()
            shapes = self._declare(tables)
            self._batch = SqliteBatch(shapes)
            connection.execute("begin immediate")
            await prepare_schema(_Session(connection), SQLITE, source, shapes)
            _begin_session(connection)
        except sqlite3.Error as error:
            await self.close()
            raise WrongDatabase(f"{self._path} can't be opened as an SQLite database: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True)
        if self._checkpointer is not None:
            self._checkpointer.close()
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._lock.release()

    async def reopen(self) -> None:
        """Raises ``ConnectionError`` when the file can't be opened or written now, ``LockLost``, ``WrongDatabase``."""
        if self._committing is not None:
            await asyncio.wait([self._committing])
            self._committing = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._lock.check()
        try:
            _begin_session(self._connect())
        except sqlite3.Error as error:
            raise ConnectionError(f"{self._path} can't be opened: {error}") from error

    async def commit(self, commit: Commit) -> None:
        connection = self._connection
        if connection is None or self._committing is not None:
            raise CommitUnknown("the session has ended: reopen() first")
        self._lock.check()
        try:
            connection.execute("begin immediate")
            self._batch.write(connection, commit)
        except (sqlite3.IntegrityError, sqlite3.DataError, ValueError, OverflowError) as error:
            _roll_back(connection)
            raise CommitRefused(f"the batch was refused: {error}") from error
        except sqlite3.Error as error:
            _roll_back(connection)
            raise CommitFailed(f"the batch could not be written: {error}") from error
        self._committing = asyncio.get_running_loop().run_in_executor(self._executor, self._commit, connection)
        try:
            # Not cancelled with the caller: the thread goes on, and until reopen() the outcome counts as unknown.
            await asyncio.shield(self._committing)
        except sqlite3.Error as error:
            raise CommitUnknown(f"COMMIT failed: {error}") from error
        self._committing = None

    def _commit(self, connection: sqlite3.Connection) -> None:
        connection.commit()
        assert self._checkpointer is not None
        self._checkpointer.after_commit(connection)

    def open_beside(self) -> None:
        """Only the reading half, beside whoever writes: no lock is taken and nothing is written."""
        self._engine = _reading_engine(self._path, still=_is_still(self._path))
        beside = ReadingSession(self._engine)
        self._ask(beside, beside)

    def _connect(self) -> sqlite3.Connection:
        """A new writer's connection with safe settings, and the engine for reads beside it."""
        # The thread that commits is another one, but the two never use the connection at once.
        connection = sqlite3.connect(
            self._path, timeout=1.0, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        self._connection = connection
        assert self._checkpointer is not None
        self._checkpointer.new_writer()
        self._lock.watch_database()
        for name, value, wanted in (
            ("encoding", "'UTF-8'", "UTF-8"),
            ("journal_mode", "wal", "wal"),
            ("synchronous", "full", 2),
            ("fullfsync", "on", 1),
            ("checkpoint_fullfsync", "on", 1),
            ("wal_autocheckpoint", str(_LOG_PAGES_MAX), _LOG_PAGES_MAX),
            ("cache_size", str(-_CACHE_KIBIBYTES), -_CACHE_KIBIBYTES),
        ):
            connection.execute(f"pragma {name} = {value}")
            ((got,),) = connection.execute(f"pragma {name}")
            if got != wanted:
                raise WrongDatabase(
                    f"{self._path}: {name} is {got} and can't be made {value}, so commits could be lost or changed."
                    " Put the file on a local disk, in UTF-8, or use PostgreSQL (JIL_DATABASE_URL)"
                )
        if self._engine is None:
            self._engine = _reading_engine(self._path)
        self._ask(_Session(connection), ReadingSession(self._engine))
        return connection


def _begin_session(connection: sqlite3.Connection) -> None:
    """A durable write: it proves that the file can be written, and overwrites what a COMMIT that failed may have left
    at the write-ahead log's end, which would come back to life after a crash."""
    if not connection.in_transaction:
        connection.execute("begin immediate")
    connection.execute("update meta set sessions = sessions + 1")
    connection.commit()


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.rollback()


def _is_still(path: Path) -> bool:
    """Whether nobody writes it and nothing can be made beside it, as on a read-only disk: SQLite reads a log through a
    file that it makes. A node that runs has a log."""
    return not path.with_name(f"{path.name}-wal").exists() and not os.access(path.absolute().parent, os.W_OK)


def _reading_engine(path: Path, *, still: bool = False) -> AsyncEngine:
    url = URL.create("sqlite+aiosqlite", database=str(path))
    if still:
        url = URL.create(
            "sqlite+aiosqlite", database=f"file:{quote(str(path))}", query={"immutable": "1", "uri": "true"}
        )
    engine = create_async_engine(url, hide_parameters=True, pool_size=_READERS, max_overflow=0, pool_timeout=10)

    @event.listens_for(engine.sync_engine, "connect")
    def forbid_writes(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("pragma query_only = on")
        cursor.close()

    return engine

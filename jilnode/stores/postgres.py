"""One node's database in PostgreSQL.

The writer has one driver connection and sends each batch as one statement, which PostgreSQL commits by itself. Reads go
through a pool of other connections.
"""

from collections.abc import Sequence
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine

from jilnode.kernel.errors import CommitFailed, CommitRefused, CommitUnknown, WrongDatabase
from jilnode.kernel.ports import Commit
from jilnode.kernel.table import Table
from jilnode.stores.dialect import POSTGRESQL
from jilnode.stores.postgres_batch import PostgresBatch
from jilnode.stores.postgres_session import PostgresSession
from jilnode.stores.reading import ReadingSession
from jilnode.stores.schema import prepare_schema
from jilnode.stores.sql_store import SqlStore

__all__ = ("PostgresStore",)

_READERS = 8
_READ_TIMEOUT_S = 30.0
_POOL_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 10.0
_REFUSALS = ("22", "23", "54")
"""Classes of SQLSTATE that are about what is written: data, integrity constraints, limits of the program."""


class PostgresStore(SqlStore):
    """Implements ``jilnode.kernel.ports.Store``. ``url`` begins with ``postgresql+asyncpg://``."""

    def __init__(self, url: str, *, commit_timeout_s: float = 30.0, lock_wait_s: float = 5.0) -> None:
        super().__init__(POSTGRESQL)
        self._url = "postgresql://" + url.partition("://")[2]
        """As the driver takes it, with ``sslmode``, ``sslrootcert`` and the like as everywhere in PostgreSQL."""
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect_reader,
            hide_parameters=True,
            json_deserializer=str,
            max_overflow=0,
            pool_size=_READERS,
            pool_timeout=_POOL_TIMEOUT_S,
        )
        self._commit_timeout_s = commit_timeout_s
        self._lock_wait_s = lock_wait_s
        self._source = ""
        self._session: PostgresSession | None = None

    async def _connect_reader(self, *_: object, **__: object) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            self._url,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_READ_TIMEOUT_S,
            # A read is planned when it is asked: tables grow, and plans made while they were small would stay.
            server_settings={
                "application_name": "jilnode reader",
                "default_transaction_read_only": "on",
                "jit": "off",
                "plan_cache_mode": "force_custom_plan",
            },
        )

    async def open(self, source: str, tables: Sequence[Table[Any]]) -> None:
        """Also raises ``ConnectionError`` when PostgreSQL can't be reached."""
        self._source = source
        shapes = self._declare(tables)
        session = await PostgresSession.connect(self._url, source, self._lock_wait_s)
        try:
            async with session.transaction():
                await prepare_schema(session, POSTGRESQL, source, shapes)
                await session.fetch("update meta set sessions = sessions + 1")
            await session.bound_statements(self._commit_timeout_s)
        except asyncpg.PostgresError as error:
            session.terminate()
            raise WrongDatabase(f"PostgreSQL refused to make or change the node's tables: {error}") from error
        except BaseException:
            session.terminate()
            raise
        self._batch = PostgresBatch(shapes)
        self._use(session)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._engine.dispose()

    async def reopen(self) -> None:
        """One bounded try. Raises ``ConnectionError`` while PostgreSQL is away, ``LockLost``, ``WrongDatabase``."""
        assert self._session is not None, "open() comes first"
        self._session.terminate()
        session = await PostgresSession.connect(
            self._url, self._source, self._lock_wait_s, former=self._session.identity
        )
        await session.bound_statements(self._commit_timeout_s)
        self._use(session)

    async def commit(self, commit: Commit) -> None:
        session = self._session
        if session is None or session.ended:
            raise CommitUnknown("the session has ended: reopen() first")
        try:
            sql, arguments = self._batch.statement(commit)
        except ValueError as error:
            raise CommitRefused(f"the batch was refused: {error}") from error
        try:
            await session.run(sql, arguments)
        except asyncpg.PostgresError as error:
            # ERROR: the server has rolled back. DataError: it has, or the driver did not even send the batch.
            # Anything else came with the end of the session.
            known = getattr(error, "severity_en", None) == "ERROR" or isinstance(error, asyncpg.DataError)
            if known and not session.ended:
                kind = CommitRefused if (error.sqlstate or "")[:2] in _REFUSALS else CommitFailed
                raise kind(f"PostgreSQL refused the batch: {_told(error)}") from error
            session.terminate()
            raise CommitUnknown(f"PostgreSQL ended the session around the commit: {_told(error)}") from error
        except BaseException as error:
            # Also when the caller was cancelled: until reopen() nobody knows what became of the batch.
            session.terminate()
            if isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError):
                raise CommitUnknown(f"the connection failed around the commit: {error!r}") from error
            raise

    def open_beside(self) -> None:
        """Only the reading half, beside whoever writes: no lock is taken and nothing is written."""
        beside = ReadingSession(self._engine, (asyncpg.PostgresError, asyncpg.InterfaceError))
        self._ask(beside, beside)

    def _use(self, session: PostgresSession) -> None:
        self._session = session
        self._ask(session, ReadingSession(self._engine, (asyncpg.PostgresError, asyncpg.InterfaceError)))


def _told(error: asyncpg.PostgresError) -> str:
    """What may be said in the log: the DETAIL quotes rows, and the message about data quotes values."""
    about_data = (error.sqlstate or "22").startswith("22")
    return type(error).__name__ if about_data else f"{type(error).__name__}: {error.args[0]}"

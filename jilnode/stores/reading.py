"""Reads beside the writer: a pool of other connections, through SQLAlchemy's engine."""

from collections.abc import Sequence

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from jilnode.stores.dialect import numbered
from jilnode.stores.session import Record

__all__ = ("ReadingSession",)


class ReadingSession:
    """Each question is a transaction of its own. One whose connection was found dead is asked once more."""

    def __init__(self, engine: AsyncEngine, connect_errors: tuple[type[Exception], ...] = ()) -> None:
        """``connect_errors``: what the driver raises, bare, when it can't connect."""
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._unreachable: tuple[type[Exception], ...] = (OSError, PoolTimeoutError, *connect_errors)

    async def fetch(self, sql: str, *arguments: object) -> Sequence[Record]:
        if self._is_sqlite:
            sql = numbered(sql)
        try:
            return await self._fetch(sql, arguments)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        except self._unreachable as error:
            raise ConnectionError(f"the database can't be reached: {error}") from error
        try:
            return await self._fetch(sql, arguments)
        except DBAPIError as error:
            raise ConnectionError(f"the database can't be reached: {error}") from error
        except self._unreachable as error:
            raise ConnectionError(f"the database can't be reached: {error}") from error

    async def _fetch(self, sql: str, arguments: tuple[object, ...]) -> Sequence[Record]:
        async with self._engine.connect() as connection:
            return (await connection.exec_driver_sql(sql, arguments)).all()

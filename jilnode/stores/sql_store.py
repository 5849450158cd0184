"""What SQLite and PostgreSQL have in common: questions go to the writer's session or to one beside it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.image import Image
from jilnode.kernel.ports import Loaded, Page, RowWrite, Wanted
from jilnode.kernel.reaction import Reaction
from jilnode.kernel.table import Table
from jilnode.limits import PAGE_ITEMS_MAX
from jilnode.stores.dialect import Dialect
from jilnode.stores.queries import Queries
from jilnode.stores.session import Session
from jilnode.stores.shape import Shape

__all__ = ("SqlStore",)


class SqlStore:
    """The answering half of a ``Store``. A subclass opens, commits and closes."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._shapes: dict[Table[Any], Shape] = {}

    def _declare(self, tables: Sequence[Table[Any]]) -> Mapping[Table[Any], Shape]:
        self._shapes.clear()
        self._shapes.update({table: Shape(table) for table in tables})
        return self._shapes

    def _ask(self, writer: Session, beside: Session) -> None:
        self._writer_queries = Queries(writer, self._dialect, self._shapes)
        self._queries = Queries(beside, self._dialect, self._shapes)

    async def load(self, wanted: Wanted) -> Loaded:
        return await self._writer_queries.load(wanted)

    async def resident(self, table: Table[Any]) -> dict[str, Image]:
        return await self._queries.resident(table)

    async def deadlines(self, table: Table[Any], column: str, owner: str) -> dict[str, int]:
        return await self._queries.deadlines(table, column, owner)

    async def open_obligations(self, reaction: Reaction, to: str, limit: int) -> list[tuple[str, str]]:
        return await self._queries.open_obligations(reaction, to, limit)

    async def get(self, table: Table[Any], keys: Sequence[str]) -> dict[str, Image]:
        return await self._queries.get(table, keys)

    async def page(
        self,
        tables: Sequence[Table[Any]],
        any_of: Sequence[tuple[str, str | int]],
        *,
        after: str | None = None,
        limit: int = 50,
        descending: bool = False,
    ) -> Page:
        return await self._queries.page(tables, any_of, after=after, limit=limit, descending=descending)

    async def stored(self, tables: Sequence[Table[Any]]) -> AsyncIterator[tuple[Table[Any], RowWrite]]:
        """The rows of those of ``tables`` that the database has, as they stand there, in key order."""
        self._declare(tables)
        names = await self._queries.tables()
        for table in tables:
            page: list[RowWrite] = []
            while table.name in names:
                page = await self._queries.stored(table, page[-1].key if page else "", PAGE_ITEMS_MAX)
                for row in page:
                    yield table, row
                if len(page) < PAGE_ITEMS_MAX:
                    break

    async def journal(self, source: str, epoch: int, start: int, limit: int) -> list[Entry]:
        return await self._queries.journal(source, epoch, start, limit)

    async def seals(self, source: str, epoch: int, after_size: int, limit: int) -> list[Seal]:
        return await self._queries.seals(source, epoch, after_size, limit)

    async def heads(self) -> dict[str, tuple[int, int]]:
        return await self._queries.heads()

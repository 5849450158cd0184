"""A session with a database, as the queries see it."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

__all__ = ("Session", "WriterSession")

Record = Sequence[Any]


class Session(Protocol):
    async def fetch(self, sql: str, *arguments: object) -> Sequence[Record]:
        """Runs one statement whose parameters are written ``$1``, ``$2``. Raises ``ConnectionError``."""


class WriterSession(Session, Protocol):
    async def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Runs one statement for each row of parameters."""

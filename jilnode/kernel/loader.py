"""Brings rows into memory on the writer's own session, between decisions; nothing is in flight meanwhile."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from jilnode.kernel.engine import Engine
from jilnode.kernel.errors import Missing, Rejected
from jilnode.kernel.ports import Store, Wanted
from jilnode.kernel.reaction import Reaction
from jilnode.limits import COMMAND_RERUNS_MAX

__all__ = ("Loader",)

T = TypeVar("T")
logger = logging.getLogger("jilnode.writer")


class Loader:
    """``recover`` waits until a database that went away is back."""

    def __init__(self, engine: Engine, store: Store, recover: Callable[[], Awaitable[object]]) -> None:
        self._engine = engine
        self._store = store
        self._recover = recover

    async def provide(self, wanted: Wanted) -> None:
        if wanted:
            self._engine.provide(await self._asked(lambda: self._store.load(wanted)))

    async def until_loaded(self, step: Callable[[], T]) -> T:
        """Runs ``step`` again each time something that it needs had to be loaded. A bounded number of times, then
        raises ``Rejected``."""
        for _ in range(COMMAND_RERUNS_MAX):
            try:
                return step()
            except Missing as missing:
                assert isinstance(missing.want, Wanted)
                await self.provide(missing.want)
        raise Rejected(
            "command_too_wide", "this command needs too many rows that are not in memory", status=503, retry_after_s=1
        )

    async def open_obligations(self, reaction: Reaction, limit: int) -> list[tuple[str, str]]:
        """As the store has them."""
        return await self._asked(lambda: self._store.open_obligations(reaction, self._engine.source, limit))

    async def _asked(self, question: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await question()
            except ConnectionError as error:
                logger.warning("the database went away", extra={"fields": {"detail": str(error)}})
                await self._recover()

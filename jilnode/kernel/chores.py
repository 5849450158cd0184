"""What the writer does unasked: deadlines that have passed, obligations that are open."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from jilnode.kernel.command import Submission
from jilnode.kernel.engine import Engine
from jilnode.kernel.errors import Rejected
from jilnode.kernel.keys import Answer
from jilnode.kernel.loader import Loader
from jilnode.kernel.obligations import RETRY_US, Obligations
from jilnode.kernel.reaction import Reaction
from jilnode.kernel.table import Table
from jilnode.limits import WRITER_DEADLINES_MAX, WRITER_REACTIONS_MAX

__all__ = ("Chores",)

logger = logging.getLogger("jilnode.writer")


class Chores:
    """``decide`` is the decider's. ``now_us`` is the batch's time, whatever the clock says by then."""

    def __init__(
        self, engine: Engine, loader: Loader, decide: Callable[[Submission, int], Awaitable[Answer | Rejected]]
    ) -> None:
        self._engine = engine
        self._loader = loader
        self._decide = decide
        self._deadlines = [
            (table, queue) for table, cache in engine.caches.items() for queue in cache.deadlines.values()
        ]
        self.obligations = Obligations(engine.source, engine.registry.reactions)

    def moments(self) -> list[int | None]:
        """When there will be something to do."""
        return [self.obligations.next_us(), *[queue.next_us() for _, queue in self._deadlines]]

    async def run_due(self, now_us: int) -> None:
        for table, queue in self._deadlines:
            for key in queue.due(now_us, WRITER_DEADLINES_MAX):
                if self._engine.recorder.full:
                    return
                outcome = await self._internal(table, key, queue.spec.command, now_us)
                if isinstance(outcome, Rejected) or queue.moments.get(key, now_us + 1) <= now_us:
                    queue.postpone(key, now_us + RETRY_US)

    async def run_reactions(self, now_us: int) -> bool:
        """Whether there was anything to answer: what callers wait for may have come with it."""
        reacted = False
        for reaction in self.obligations.short():
            found = await self._loader.open_obligations(reaction, self.obligations.wanted)
            self.obligations.fill(reaction, found, now_us)
        for reaction, key in self.obligations.due(now_us, WRITER_REACTIONS_MAX):
            if self._engine.recorder.full:
                break
            if await self._answered(reaction, key):
                # What this very batch has ended ends with its commit (``observe``), which may yet be lost.
                if not any(key in self._engine.caches[table].before for table in (reaction.table, reaction.answer)):
                    self.obligations.close(reaction, key)
                continue
            reacted = True
            outcome = await self._internal(reaction.table, key, reaction.command, now_us)
            if isinstance(outcome, Rejected) or not await self._answered(reaction, key):
                self.obligations.postpone(reaction, key, now_us)
        return reacted

    async def _answered(self, reaction: Reaction, key: str) -> bool:
        caches = self._engine.caches
        return await self._loader.until_loaded(
            lambda: caches[reaction.table].get(key) is None or caches[reaction.answer].get(key) is not None
        )

    async def _internal(
        self, table: Table[Any], key: str, command: Callable[[str, Any], msgspec.Struct], now_us: int
    ) -> Answer | Rejected:
        image = await self._loader.until_loaded(lambda: self._engine.caches[table].get(key))
        if image is None:
            return Rejected("gone", "the row is gone")
        try:
            submission = Submission(command(key, image.row), self._engine.source, frozenset({"kernel"}))
        except Exception:
            # The row may be another node's: what it makes a module do here must not end the writer.
            logger.exception("no command could be made of a row", extra={"fields": {"table": table.name}})
            self._engine.alarms.append(f"a module failed over a row of {table.name}")
            return Rejected("internal_error", "no command could be made of the row", status=500)
        outcome = await self._decide(submission, now_us)
        if isinstance(outcome, Rejected):
            logger.warning(
                "a command of the kernel was refused", extra={"fields": {"code": outcome.code, "table": table.name}}
            )
        return outcome

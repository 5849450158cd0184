"""Sources that are not followed: what accuses them, what they send meanwhile, and the way back."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from jilnode.events.bus import Record
from jilnode.kernel.engine import Engine
from jilnode.kernel.errors import Breach, CommitFailed, Parked, Rejected
from jilnode.kernel.ports import Store
from jilnode.kernel.sources import FOLLOWING, PARKED, SUSPENDED
from jilnode.kernel.system import EVIDENCE, PENDING, Evidence, PendingRecord
from jilnode.kernel.writer import Writer
from jilnode.limits import PAGE_ITEMS_MAX, PENDING_BYTES_PER_SOURCE_MAX, PENDING_PER_SOURCE_MAX

__all__ = ("Quarantine", "written")

logger = logging.getLogger("jilnode.quarantine")

RETRY_PAUSE_S = 0.1
ROWS_PER_WRITE = 100


async def written(writer: Writer, write: Callable[[Engine], None]) -> None:
    """Writes local rows, again after each commit that failed."""
    while True:
        try:
            await writer.write_local(write)
            return
        except CommitFailed:
            await asyncio.sleep(RETRY_PAUSE_S)


class Quarantine:
    """The records of a source that is set aside are kept raw, up to ``PENDING_PER_SOURCE_MAX`` and
    ``PENDING_BYTES_PER_SOURCE_MAX``, so that a release leaves no gap; what is more is read again from the bus."""

    def __init__(self, writer: Writer, store: Store) -> None:
        self._writer = writer
        self._engine: Engine = writer.engine
        self._store = store
        self._sizes: dict[str, tuple[int, int]] = {}
        """(the next one's number, bytes kept) of each source."""

    async def suspend(self, source: str, breach: Breach, held: Sequence[Record], accused: bytes, other: bytes) -> None:
        """``held``: what came and is not applied. ``accused`` and ``other``: what proves the breach."""
        # Once, not in ``write``: that is run again for every row that must be loaded first.
        now = self._engine.now_us()

        def accuse(engine: Engine) -> None:
            engine.state[EVIDENCE].put(
                f"{source}/{now:x}",
                Evidence(
                    source,
                    breach.code,
                    breach.detail,
                    accused.decode(errors="backslashreplace"),
                    other.decode(errors="backslashreplace"),
                    now,
                ),
            )

        await self._set_aside(source, SUSPENDED, breach, held, accuse)

    async def park(self, source: str, parked: Parked, held: Sequence[Record]) -> None:
        """As ``suspend``, but nobody is accused: an operator has to put something right here."""
        self._engine.alarms.append(f"{parked.code}: {source} is parked: {parked.detail}")
        await self._set_aside(source, PARKED, parked, held, _nobody)

    async def _set_aside(
        self,
        source: str,
        status: str,
        why: Breach | Parked,
        held: Sequence[Record],
        accuse: Callable[[Engine], None],
    ) -> None:
        first, size = await self._size(source)
        logger.error(
            "a source is %s", status, extra={"fields": {"source": source, "code": why.code, "detail": why.detail}}
        )

        def write(engine: Engine) -> None:
            state = engine.touch_source(source)
            state.status, state.code, state.detail = status, why.code, why.detail
            accuse(engine)

        await written(self._writer, write)
        # Until they are written, reading resumes before them.
        numbered = list(enumerate(held, first))
        for start in range(0, len(numbered), ROWS_PER_WRITE):
            await written(self._writer, partial(_put, source, numbered[start : start + ROWS_PER_WRITE]))
        self._sizes[source] = first + len(held), size + sum(len(record.value) for record in held)

    async def keep(self, source: str, record: Record) -> None:
        number, size = await self._size(source)
        if _full(number, size):
            return
        self._sizes[source] = number + 1, size + len(record.value)
        await written(self._writer, partial(_put, source, [(number, record)]))

    async def release(self, source: str) -> tuple[list[Record], bool]:
        """The source is followed again. Returns what was kept of it, which stays until ``forget``, and whether that is
        all that it sent. Raises ``Rejected``."""
        state = self._engine.sources.get(source)
        if state is None:
            raise Rejected("not_found", "This node follows no such source.", status=404)
        if source == self._engine.source and (state.status == SUSPENDED or self._writer.writable):
            raise Rejected("own_source", "a node does not release itself: it begins a new epoch", status=409)
        if not state.set_aside:
            raise Rejected("not_suspended", f"the source is {state.status}", status=409)
        complete = not _full(*await self._size(source))
        kept = await self.kept(source)

        def write(engine: Engine) -> None:
            touched = engine.touch_source(source)
            touched.status, touched.code, touched.detail = FOLLOWING, "", ""

        await written(self._writer, write)
        logger.warning("a source is released", extra={"fields": {"source": source, "records": len(kept)}})
        return kept, complete

    async def kept(self, source: str) -> list[Record]:
        return [Record(row.kind, source, row.value.encode()) for _, row in await self._rows(source)]

    async def forget(self, source: str, count: int) -> None:
        """The first ``count`` that were kept."""
        keys = [key for key, _ in await self._rows(source)][:count]
        for start in range(0, len(keys), ROWS_PER_WRITE):
            await written(self._writer, partial(_delete, keys[start : start + ROWS_PER_WRITE]))
        self._sizes.pop(source, None)

    async def _size(self, source: str) -> tuple[int, int]:
        if source not in self._sizes:
            kept = await self._rows(source)
            next_number = int(kept[-1][0].rpartition("/")[2], 16) + 1 if kept else 0
            self._sizes[source] = next_number, sum(len(row.value) for _, row in kept)
        return self._sizes[source]

    async def _rows(self, source: str) -> list[tuple[str, PendingRecord]]:
        found: list[tuple[str, PendingRecord]] = []
        after: str | None = None
        while True:
            page = await self._store.page([PENDING], [("source", source)], after=after, limit=PAGE_ITEMS_MAX)
            found += [(key, image.row) for key, image in page.items if isinstance(image.row, PendingRecord)]
            if not page.more:
                return found
            after = page.items[-1][0]


def _nobody(engine: Engine) -> None:
    """Is accused."""


def _put(source: str, numbered: Sequence[tuple[int, Record]], engine: Engine) -> None:
    for number, record in numbered:
        engine.state[PENDING].put(_key(source, number), _pending(source, record))


def _delete(keys: Sequence[str], engine: Engine) -> None:
    for key in keys:
        engine.state[PENDING].delete(key)


def _full(records: int, size: int) -> bool:
    return records >= PENDING_PER_SOURCE_MAX or size >= PENDING_BYTES_PER_SOURCE_MAX


def _key(source: str, number: int) -> str:
    return f"{source}/{number:012x}"


def _pending(source: str, record: Record) -> PendingRecord:
    return PendingRecord(source, record.kind, record.value.decode(errors="backslashreplace"))

"""The writer: the one task that changes this node's database. Group commit.

Each cycle takes every command that is waiting and a bounded share of foreign entries, decides them one after another in
memory, writes journal, seal and rows in one transaction, and only then answers. While a commit is in flight nothing is
decided; HTTP goes on filling the queue. A commit that failed is undone; one whose outcome is unknown is looked up on a
fresh session first.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from jilnode.kernel import apply as following
from jilnode.kernel import milestones
from jilnode.kernel.chores import Chores
from jilnode.kernel.clock_guard import ClockGuard
from jilnode.kernel.command import Submission
from jilnode.kernel.decider import Decider
from jilnode.kernel.engine import COMMIT_MARK, Engine
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import Breach, CommitFailed, CommitUnknown, LockLost, Missing, Parked, Rejected
from jilnode.kernel.image import Image
from jilnode.kernel.inbox import Call, ForeignGroup, Inbox, LocalWrite, Rotation, Taken
from jilnode.kernel.keys import Answer
from jilnode.kernel.loader import Loader
from jilnode.kernel.outcomes import Outcomes, Statistics
from jilnode.kernel.ports import Store, Wanted
from jilnode.kernel.seal import SealKey
from jilnode.kernel.sources import NOT_JUDGED
from jilnode.kernel.state import View
from jilnode.kernel.system import MARKS, Mark
from jilnode.kernel.table import Table
from jilnode.kernel.verify import VerifiedGroup
from jilnode.limits import COMMAND_RERUNS_MAX

__all__ = ("Writer",)

T = TypeVar("T")
logger = logging.getLogger("jilnode.writer")

REOPEN_PAUSE_S = 0.5
WRITABLE, READ_ONLY, STOPPING, STOPPED = "writable", "read_only", "stopping", "stopped"

CommitListener = Callable[[list[Entry], list[Seal]], None]


class Writer:
    def __init__(self, engine: Engine, store: Store) -> None:
        self.engine = engine
        self.store = store
        self.statistics = Statistics()
        self.state = READ_ONLY
        """What this node may: others' word, whatever its clock and its database do meanwhile."""
        self.reason = "not started"
        self.recovering = ""
        """Why the database is being asked for its last commit; empty while it answers."""
        self.listeners: list[CommitListener] = []
        self._inbox = Inbox()
        self._loader = Loader(engine, store, self._find_out)
        self._decider = Decider(engine, self._loader, self._inbox)
        self.chores = Chores(engine, self._loader, self._decider.decide)
        self.clock_guard = ClockGuard(engine.clock)
        self._wake = asyncio.Event()
        self._stopping = False
        self._batch_us: int | None = None
        """When the batch that is not committed yet was begun."""

    # What callers use

    @property
    def writable(self) -> bool:
        return self.state == WRITABLE and not self.recovering and not self.clock_guard.stepped

    def allow(self) -> None:
        if self.state == READ_ONLY and not self._stopping:
            self.state, self.reason = WRITABLE, ""
            self._wake.set()

    def forbid(self, reason: str) -> None:
        """Whoever waits in the queue is refused, too, also while the node stops."""
        if self.state != STOPPED:
            self.state, self.reason = READ_ONLY, reason
            self._wake.set()

    @property
    def read_us(self) -> int:
        """As of when committed rows are whole: whatever is committed from now on is of this time or later."""
        return self.engine.now_us() if self._batch_us is None else self._batch_us

    @property
    def queue_length(self) -> int:
        return len(self._inbox.calls)

    def submit_nowait(self, submission: Submission) -> "asyncio.Future[Answer]":
        """Queues a command. The future gives an ``Answer`` after the commit, or raises ``Rejected``. Raises
        ``Rejected`` at once when the queue is full (503 ``queue_full``) or this node does not write now (503
        ``not_writable``)."""
        self._check_writable()
        future = self._inbox.call(submission)
        self._wake.set()
        return future

    async def submit(self, submission: Submission) -> Answer:
        return await self.submit_nowait(submission)

    @property
    def why_not_writable(self) -> str:
        if self.clock_guard.stepped:
            return "wall and monotonic clock have parted: set the clock right, or if it is, start this node again"
        return self.reason or self.recovering or self.state

    def _check_writable(self) -> None:
        if not self.writable:
            raise Rejected("not_writable", self.why_not_writable, status=503, retry_after_s=1)

    def apply(self, verified: VerifiedGroup) -> "asyncio.Future[None]":
        """Queues a verified group of another source."""
        future = self._inbox.apply(verified)
        self._wake.set()
        return future

    def write_local(self, write: Callable[[Engine], None]) -> "asyncio.Future[None]":
        """Queues a change of the kernel's own local rows: it commits with whatever else is in the batch."""
        future = self._inbox.write(write)
        self._wake.set()
        return future

    async def rotate_key(self, new_key: SealKey) -> None:
        """Returns when the new key seals. Raises ``Rejected`` as ``submit``."""
        self._check_writable()
        future = self._inbox.rotate(new_key)
        self._wake.set()
        await future

    async def query(self, read: Callable[[View], T]) -> T:
        """Runs ``read`` over committed rows, as often as it takes to load what it asks for (bounded)."""
        loaded: dict[Table[Any], dict[str, Image | None]] = {}
        view = View(self.engine.caches, loaded)
        for _ in range(COMMAND_RERUNS_MAX):
            try:
                return read(view)
            except Missing as missing:
                want = missing.want
                assert isinstance(want, Wanted)
                for table, keys in want.rows.items():
                    found = await self.store.get(table, sorted(keys))
                    loaded.setdefault(table, {}).update({key: found.get(key) for key in keys})
                if want.buckets or want.sums:
                    await self._load_between_batches(want)
        raise Rejected(
            "query_too_wide", "this query needs more rows than one query may load", status=503, retry_after_s=1
        )

    def view(self) -> View:
        """Committed state as it is now. Reading what is not in memory raises ``Missing``."""
        return View(self.engine.caches, {})

    async def image(self, table: Table[Any], key: str) -> Image | None:
        return await self.query(lambda view: view[table].image(key))

    async def _load_between_batches(self, wanted: Wanted) -> None:
        """Index buckets are read on the writer's own session, between batches, so that they agree with the rows in
        memory."""
        future = self._inbox.want(wanted)
        self._wake.set()
        await future

    # The task

    async def run(self) -> None:
        """Until ``stop``. Raises ``LockLost`` when another process took the database."""
        try:
            while not (self._stopping and not self._inbox.own):
                if not self._inbox:
                    await self._wait()
                await self._cycle()
        except LockLost:
            self.reason = "another process took this database"
            raise
        finally:
            self.state = STOPPED
            self.reason = self.reason or "stopped"
            self._inbox.fail_everybody(self.reason)

    def stop(self) -> None:
        """Takes no new commands; those that wait are still decided."""
        self._stopping = True
        if self.state == WRITABLE:
            self.state, self.reason = STOPPING, "this node is shutting down"
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    async def _wait(self) -> None:
        self._wake.clear()
        now = self.engine.clock.wall_us()
        moments = [moment for moment in self._moments() if moment is not None]
        timeout_s = min(1.0, max(0.0, (min(moments) - now) / 1_000_000)) if moments else 1.0
        if self._stopping or timeout_s == 0.0:
            # Something is due; whatever becomes of it, others get their turn first.
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()

    def _moments(self) -> list[int | None]:
        if not self.writable:
            return []
        moments: list[int | None] = [call.wait_until_us for call in self._inbox.waiting]
        moments += self.chores.moments()
        moments.append(self.engine.own.tick_us + 30_000_000)
        return moments

    async def _cycle(self) -> None:
        engine = self.engine
        self.clock_guard.check()
        now = self._batch_us = engine.now_us()
        for wanted, future in self._inbox.wants:
            await self._loader.provide(wanted)
            if not future.done():
                future.set_result(None)
        self._inbox.wants.clear()
        taken = self._inbox.take(now)
        await self._prefetch(taken.calls, taken.groups)
        if not self._deciding:
            self._inbox.refuse_own(self.why_not_writable)
        started = engine.clock.monotonic_us()
        outcomes = Outcomes()
        await self._decider.decide_all(taken.calls, now, outcomes)
        outcomes.applied = [group for group in taken.groups if await self._apply(group)]
        outcomes.written = [item for item in taken.locals if await self._write_local(item)]
        reacted = False if taken.alone else await self._unasked(now)
        outcomes.rotated = self._end(taken, now)
        self.statistics.decide_us += engine.clock.monotonic_us() - started
        self.statistics.last_batch = len(taken.calls)
        self.statistics.commands += len(taken.calls)
        failure = await self._commit(now) if engine.dirty else None
        self._batch_us = None
        self._inbox.careful += outcomes.tell(failure, engine.sources.get(engine.source), self.statistics)
        if failure is None and (outcomes.applied or reacted):
            self._inbox.call_again()

    @property
    def _deciding(self) -> bool:
        """Whether commands that were taken are decided: those of a node that was told to stop are."""
        return self.state in (WRITABLE, STOPPING) and not self.clock_guard.stepped

    async def _unasked(self, now: int) -> bool:
        """Deadlines and obligations. Whether there was anything to answer."""
        if not self.writable:
            return False
        await self.chores.run_due(now)
        return await self.chores.run_reactions(now)

    def _end(self, taken: Taken, now: int) -> Rotation | None:
        """What must be the last entry of its commit."""
        for rotation in taken.rotations:
            milestones.rotate_key(self.engine, rotation.key, now)
            return rotation
        if self.writable and not taken.alone and milestones.tick_due(self.engine, now):
            milestones.tick(self.engine, now)
        return None

    async def _prefetch(self, calls: list[Call], groups: list[ForeignGroup]) -> None:
        """What the batch needs of the database whatever is in memory: used keys, and rows of foreign entries."""
        wanted = Wanted()
        needed = self.engine.keys.needed
        for call in calls:
            needed(call.submission, wanted)
        for group in groups:
            following.needed(self.engine, group.verified, wanted, careful=group.careful)
        await self._loader.provide(wanted)

    async def _apply(self, group: ForeignGroup) -> bool:
        try:
            await self._loader.until_loaded(lambda: following.apply(self.engine, group.verified, careful=group.careful))
        except (Breach, Parked) as error:
            if not group.future.done():
                group.future.set_exception(error)
            return False
        except Rejected as rejected:
            if not group.future.done():
                group.future.set_exception(CommitFailed(rejected.detail))
            return False
        except Exception as error:
            logger.exception(
                "an entry of another node could not be judged",
                extra={"fields": {"source": group.verified.group.source}},
            )
            if not group.future.done():
                detail = f"this program failed over what it sent ({type(error).__name__}); upgraded, release it"
                group.future.set_exception(Parked(NOT_JUDGED, detail))
            return False
        return True

    async def _write_local(self, item: LocalWrite) -> bool:
        engine = self.engine

        def write() -> None:
            engine.state.begin(0, 0)
            try:
                item.write(engine)
                engine.finish_local()
            except BaseException:
                engine.state.undo()
                raise

        try:
            await self._loader.until_loaded(write)
        except Exception as error:
            if not item.future.done():
                item.future.set_exception(error)
            return False
        return True

    # The commit

    async def _commit(self, now: int) -> CommitFailed | None:
        """Makes the batch durable. None when it is; else what the callers are told."""
        engine = self.engine
        commit = engine.seal(now)
        started = engine.clock.monotonic_us()
        try:
            await self.store.commit(commit)
        except CommitFailed as error:
            self.statistics.failed_commits += 1
            logger.error("the commit failed", extra={"fields": {"detail": str(error)}})
            engine.abandon()
            return type(error)("the database refused the commit; nothing was changed")
        except CommitUnknown as error:
            self.statistics.unknown_commits += 1
            logger.error("the outcome of the commit is unknown", extra={"fields": {"detail": str(error)}})
            if not await self._find_out():
                engine.abandon()
                return CommitFailed("the database was lost before the commit; nothing was changed")
        self.statistics.commits += 1
        self.statistics.commit_us += engine.clock.monotonic_us() - started
        self.chores.obligations.observe(engine.caches, engine.now_us())
        entries, seals = engine.confirm()
        for listener in self.listeners:
            listener(entries, seals)
        return None

    async def _find_out(self) -> bool:
        """Takes the lock anew on a fresh session, which proves that the old one ended, and reads the number of the last
        commit."""
        self.recovering = "the database was lost; this node is asking it for its last commit"
        try:
            found = await self._reopened()
        finally:
            self.recovering = ""
        image = found.get(COMMIT_MARK)
        number = int(image.row.value) if image is not None and isinstance(image.row, Mark) else 0
        return number == self.engine.commit_number + 1

    async def _reopened(self) -> dict[str, Image]:
        """The marks, as soon as the database answers."""
        while True:
            self._inbox.refuse_queue(self.recovering)
            try:
                await self.store.reopen()
                return await self.store.resident(MARKS)
            except LockLost:
                raise
            except Exception as error:
                self.recovering = f"the database does not answer: {type(error).__name__}"
                logger.warning("the database does not answer yet", extra={"fields": {"detail": str(error)}})
                await asyncio.sleep(REOPEN_PAUSE_S)

    def confirm_clock(self) -> None:
        """An operator's or a peer's word that the wall clock is right now."""
        self.clock_guard.confirm()
        self._wake.set()

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

import msgspec

from jilnode.kernel import apply as following
from jilnode.kernel.chores import Chores
from jilnode.kernel.clock_guard import ClockGuard
from jilnode.kernel.command import Submission
from jilnode.kernel.engine import COMMIT_MARK, Engine
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import (
    Breach,
    CommitFailed,
    CommitUnknown,
    InvariantBroken,
    LockLost,
    Missing,
    Parked,
    Rejected,
)
from jilnode.kernel.inbox import Call, ForeignGroup, Inbox, LocalWrite
from jilnode.kernel.keys import Answer
from jilnode.kernel.loader import Loader
from jilnode.kernel.outcomes import Outcomes, Statistics, settle
from jilnode.kernel.ports import Store, Wanted
from jilnode.kernel.rows import Image
from jilnode.kernel.seal import SealKey
from jilnode.kernel.sources import NOT_JUDGED
from jilnode.kernel.state import View
from jilnode.kernel.system import ADDRESSES, MARKS, Address, Mark
from jilnode.kernel.table import Table
from jilnode.limits import (
    COMMAND_RERUNS_MAX,
)

__all__ = ("Writer",)

T = TypeVar("T")
logger = logging.getLogger("jilnode.writer")

REOPEN_PAUSE_S = 0.5
WAITING_MAX = 256
WRITABLE, READ_ONLY, RECOVERING, STOPPED = "writable", "read_only", "recovering", "stopped"


CommitListener = Callable[[list[Entry], list[Seal]], None]


class Writer:
    def __init__(self, engine: Engine, store: Store) -> None:
        self.engine = engine
        self.store = store
        self.statistics = Statistics()
        self.state = READ_ONLY
        self.reason = "not started"
        self.listeners: list[CommitListener] = []
        self._loader = Loader(engine, store, self._find_out)
        self.chores = Chores(engine, self._loader, self._decide)
        self.clock_guard = ClockGuard(engine.clock)
        self._inbox = Inbox()
        self._wake = asyncio.Event()
        self._stopping = False
        self._batch_us: int | None = None
        """When the batch that is not committed yet was begun."""
        self._rotation: tuple[SealKey, asyncio.Future[None]] | None = None

    # What callers use

    @property
    def writable(self) -> bool:
        return self.state == WRITABLE and not self.clock_guard.stepped

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
        if not self.writable:
            raise Rejected("not_writable", self.why_not_writable, status=503, retry_after_s=1)
        future = self._inbox.call(submission)
        self._wake.set()
        return future

    async def submit(self, submission: Submission) -> Answer:
        return await self.submit_nowait(submission)

    @property
    def why_not_writable(self) -> str:
        if self.clock_guard.stepped:
            return "wall and monotonic clock have parted; an operator or a peer has to confirm the time"
        return self.reason or self.state

    def apply(self, verified: following.VerifiedGroup) -> "asyncio.Future[None]":
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
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rotation = (new_key, future)
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
            while not (self._stopping and not self._inbox.calls and not self._inbox.locals):
                if not self._work_waiting():
                    await self._wait()
                await self._cycle()
        finally:
            self.state = STOPPED
            self.reason = self.reason or "stopped"
            self._inbox.fail_everybody(self.reason)

    def stop(self) -> None:
        """Takes no new commands; those that wait are still decided."""
        self._stopping = True
        if self.state == WRITABLE:
            self.state, self.reason = READ_ONLY, "this node is shutting down"
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def _work_waiting(self) -> bool:
        return bool(self._inbox or self._rotation)

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
            await asyncio.wait_for(self._wake.wait(), timeout_s)

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
        calls, groups = taken.calls, taken.groups
        await self._prefetch(calls, groups)
        started = engine.clock.monotonic_us()
        outcomes = Outcomes()
        await self._decide_all(calls, now, outcomes)
        outcomes.applied = [group for group in groups if await self._apply(group)]
        reacted = False
        if self.writable:
            await self.chores.run_due(now)
            reacted = await self.chores.run_reactions(now)
        outcomes.written = [item for item in taken.locals if await self._write_local(item)]
        rotation = self._rotation
        if self.writable and rotation is not None:
            self._rotation = None
            engine.rotate_key(rotation[0], engine.now_us())
        elif self.writable and engine.tick_due(engine.now_us()):
            engine.tick(engine.now_us())
        self.statistics.decide_us += engine.clock.monotonic_us() - started
        self.statistics.last_batch = len(calls)
        self.statistics.commands += len(calls)
        failure: Rejected | None = None
        if engine.dirty:
            failure = await self._commit()
        self._batch_us = None
        outcomes.tell(failure, engine.sources.get(engine.source), self.statistics)
        if rotation is not None and self._rotation is None:
            settle(rotation[1], failure)
        if failure is not None:
            self._inbox.careful += len(outcomes.applied)
        elif outcomes.applied or reacted:
            self._inbox.call_again()

    async def _decide_all(self, calls: list[Call], now: int, outcomes: Outcomes) -> None:
        """One after the other. Whoever is to wait for another node has no outcome yet."""
        touched = False
        for position, call in enumerate(calls):
            outcome: Answer | Rejected
            try:
                outcome = self._outcome(call.submission, now)
            except Missing:
                # Mostly all is in memory. When something is not, the rest of the batch is loaded in one go.
                if not touched:
                    touched = True
                    await self._load_touched(calls[position:])
                outcome = await self._decide(call.submission, now)
            if isinstance(outcome, Rejected) and outcome.follow_up is not None:
                refusal = await self._follow_up(call, outcome, now)
                if refusal is None:
                    continue
                outcome = refusal
            outcomes.answers.append((call, outcome))

    async def _prefetch(self, calls: list[Call], groups: list[ForeignGroup]) -> None:
        """What the batch needs of the database whatever is in memory: used keys, and rows of foreign entries."""
        wanted = Wanted()
        needed = self.engine.keys.needed
        for call in calls:
            needed(call.submission, wanted)
        for group in groups:
            following.needed(self.engine, group.verified, wanted, careful=group.careful)
        await self._loader.provide(wanted)

    async def _load_touched(self, calls: list[Call]) -> None:
        wanted = Wanted()
        for call in calls:
            self.engine.touched(call.submission.command, wanted)
        await self._loader.provide(wanted)

    async def _decide(self, submission: Submission, time_us: int) -> Answer | Rejected:
        try:
            return await self._loader.until_loaded(lambda: self._outcome(submission, time_us))
        except Rejected as rejected:
            return rejected

    def _outcome(self, submission: Submission, time_us: int) -> Answer | Rejected:
        """Decides. Raises ``Missing``, and has then changed nothing."""
        try:
            return self.engine.decide(submission, time_us)
        except Missing:
            raise
        except Rejected as rejected:
            self._add_address(rejected)
            return rejected
        except InvariantBroken as broken:
            logger.error("an invariant refused a command of ours", extra={"fields": {"invariant": broken.module}})
            return Rejected("invariant_broken", "this node refused to break its own rules", status=500)
        except Exception:
            logger.exception("a handler failed", extra={"fields": {"command": type(submission.command).__name__}})
            self.engine.alarms.append(f"handler of {type(submission.command).__name__} failed")
            return Rejected("internal_error", "the node could not decide this", status=500)

    def _add_address(self, rejected: Rejected) -> None:
        """Whoever is misdirected is told where the owner is reached, when its address is known."""
        owner = rejected.extra.get("owner")
        if isinstance(owner, str):
            image = self.engine.caches[ADDRESSES].get(owner)
            if image is not None and isinstance(image.row, Address):
                rejected.extra["address"] = image.row.url

    async def _follow_up(self, call: Call, rejected: Rejected, now: int) -> Rejected | None:
        """Runs what the refusal asks for. None: the caller waits for its effect. Asked again each time: what has come
        meanwhile may have been another caller's."""
        if call.wait_until_us == 0:
            call.wait_until_us = now + int(rejected.wait_s * 1_000_000)
        if call.wait_until_us <= now or len(self._inbox.waiting) >= WAITING_MAX:
            return rejected
        assert isinstance(rejected.follow_up, msgspec.Struct)
        asked = Submission(rejected.follow_up, self.engine.source, frozenset({"kernel"}))
        outcome = await self._decide(asked, now)
        if isinstance(outcome, Rejected):
            return outcome
        self._inbox.waiting.append(call)
        return None

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

    async def _commit(self) -> Rejected | None:
        """Makes the batch durable. None when it is; else what the callers are told."""
        engine = self.engine
        commit = engine.seal(engine.now_us())
        started = engine.clock.monotonic_us()
        try:
            await self.store.commit(commit)
        except CommitFailed as error:
            self.statistics.failed_commits += 1
            logger.error("the commit failed", extra={"fields": {"detail": str(error)}})
            engine.abandon()
            return Rejected(
                "commit_failed", "the database refused the commit; nothing was changed", status=503, retry_after_s=1
            )
        except CommitUnknown as error:
            self.statistics.unknown_commits += 1
            logger.error("the outcome of the commit is unknown", extra={"fields": {"detail": str(error)}})
            if not await self._find_out():
                engine.abandon()
                return Rejected(
                    "commit_failed",
                    "the database was lost before the commit; nothing was changed",
                    status=503,
                    retry_after_s=1,
                )
        except LockLost:
            self.reason = "another process took this database"
            raise
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
        state, reason = self.state, self.reason
        self.state, self.reason = RECOVERING, "the database was lost; this node is asking it for its last commit"
        while True:
            self._inbox.refuse_calls(self.reason)
            try:
                await self.store.reopen()
                found = await self.store.resident(MARKS)
                break
            except LockLost:
                raise
            except Exception as error:
                self.reason = f"the database does not answer: {type(error).__name__}"
                logger.warning("the database does not answer yet", extra={"fields": {"detail": str(error)}})
                await asyncio.sleep(REOPEN_PAUSE_S)
        self.state, self.reason = state, reason
        image = found.get(COMMIT_MARK)
        number = int(image.row.value) if image is not None and isinstance(image.row, Mark) else 0
        return number == self.engine.commit_number + 1

    def confirm_clock(self) -> None:
        """An operator's or a peer's word that the wall clock is right now."""
        self.clock_guard.confirm()
        self._wake.set()

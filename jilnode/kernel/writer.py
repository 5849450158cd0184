"""The writer: the one task that changes this node's database. Group commit.

Each cycle takes every command that is waiting and a bounded share of foreign entries, decides them one after another in
memory, writes journal, seal and rows in one transaction, and only then answers. While a commit is in flight nothing is
decided; HTTP goes on filling the queue. A commit that failed is undone; one whose outcome is unknown is looked up on a
fresh session first.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from jilnode.kernel import apply as following
from jilnode.kernel.command import Reaction, Submission
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
from jilnode.kernel.keys import Answer
from jilnode.kernel.obligations import RETRY_US, Obligations
from jilnode.kernel.ports import Loaded, Store, Wanted
from jilnode.kernel.rows import Image
from jilnode.kernel.seal import SealKey
from jilnode.kernel.state import View
from jilnode.kernel.system import ADDRESSES, MARKS, Address, Mark
from jilnode.kernel.table import Table
from jilnode.limits import (
    CLOCK_STEP_S,
    COMMAND_RERUNS_MAX,
    WRITER_BATCH_MAX,
    WRITER_DEADLINES_MAX,
    WRITER_FOREIGN_ENTRIES_MAX,
    WRITER_QUEUE_MAX,
    WRITER_REACTIONS_MAX,
)

__all__ = ("ForeignGroup", "Writer")

T = TypeVar("T")
logger = logging.getLogger("jilnode.writer")

REOPEN_PAUSE_S = 0.5
WAITING_MAX = 256
WRITABLE, READ_ONLY, RECOVERING, STOPPED = "writable", "read_only", "recovering", "stopped"


@dataclass(slots=True, eq=False)
class _Call:
    """A submission and who waits for it. ``wait_until_us`` > 0 once it waits for another node."""

    submission: Submission
    future: "asyncio.Future[Answer]"
    wait_until_us: int = 0


@dataclass(slots=True, eq=False)
class ForeignGroup:
    """A verified group on its way into the database. ``marks`` (bus positions) and ``local`` commit with it.

    The future's result is None once durable; it raises ``Breach`` or ``Parked``, or ``CommitFailed`` for another try.
    """

    verified: following.VerifiedGroup
    future: "asyncio.Future[None]"
    careful: bool = False


@dataclass(slots=True)
class Statistics:
    commits: int = 0
    commands: int = 0
    foreign_entries: int = 0
    rejected: int = 0
    failed_commits: int = 0
    unknown_commits: int = 0
    loads: int = 0
    last_batch: int = 0
    commit_us: int = 0
    decide_us: int = 0


@dataclass(slots=True, eq=False)
class _Local:
    """Local rows of the kernel's own (marks, evidence, pending records) that somebody wants written."""

    write: Callable[[Engine], None]
    future: "asyncio.Future[None]"


CommitListener = Callable[[list[Entry], list[Seal]], None]


class Writer:
    def __init__(self, engine: Engine, store: Store) -> None:
        self.engine = engine
        self.store = store
        self.statistics = Statistics()
        self.state = READ_ONLY
        self.reason = "not started"
        self.listeners: list[CommitListener] = []
        self.obligations = Obligations(engine.source, engine.registry.reactions)
        self._calls: deque[_Call] = deque()
        self._foreign: deque[ForeignGroup] = deque()
        self._local: deque[_Local] = deque()
        self._wants: list[tuple[Wanted, asyncio.Future[None]]] = []
        self._waiting: list[_Call] = []
        self._in_hand: list[_Call | ForeignGroup | _Local] = []
        """What this cycle took from the queues: whatever ends the task, they must hear of it."""
        self._wake = asyncio.Event()
        self._stopping = False
        self._rotation: tuple[SealKey, asyncio.Future[None]] | None = None
        self._clock_offset_us = engine.clock.wall_us() - engine.clock.monotonic_us()
        self.clock_stepped = False

    # What callers use

    @property
    def writable(self) -> bool:
        return self.state == WRITABLE and not self.clock_stepped

    @property
    def queue_length(self) -> int:
        return len(self._calls)

    def submit_nowait(self, submission: Submission) -> "asyncio.Future[Answer]":
        """Queues a command. The future gives an ``Answer`` after the commit, or raises ``Rejected``. Raises
        ``Rejected`` at once when the queue is full (503 ``queue_full``) or this node does not write now (503
        ``not_writable``)."""
        if not self.writable:
            raise Rejected("not_writable", self.why_not_writable, status=503, retry_after_s=1)
        if len(self._calls) >= WRITER_QUEUE_MAX:
            raise Rejected("queue_full", "too many commands are waiting", status=503, retry_after_s=1)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._calls.append(_Call(submission, future))
        self._wake.set()
        return future

    async def submit(self, submission: Submission) -> Answer:
        return await self.submit_nowait(submission)

    @property
    def why_not_writable(self) -> str:
        if self.clock_stepped:
            return "wall and monotonic clock have parted; an operator or a peer has to confirm the time"
        return self.reason or self.state

    def apply(self, verified: following.VerifiedGroup) -> "asyncio.Future[None]":
        """Queues a verified group of another source."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._foreign.append(ForeignGroup(verified, future))
        self._wake.set()
        return future

    def write_local(self, write: Callable[[Engine], None]) -> "asyncio.Future[None]":
        """Queues a change of the kernel's own local rows: it commits with whatever else is in the batch."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._local.append(_Local(write, future))
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

    async def image(self, table: Table[Any], key: str) -> Image | None:
        return await self.query(lambda view: view[table].image(key))

    async def _load_between_batches(self, wanted: Wanted) -> None:
        """Index buckets are read on the writer's own session, between batches, so that they agree with the rows in
        memory."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wants.append((wanted, future))
        self._wake.set()
        await future

    # The task

    async def run(self) -> None:
        """Until ``stop``. Raises ``LockLost`` when another process took the database."""
        try:
            while not (self._stopping and not self._calls and not self._local):
                if not self._work_waiting():
                    await self._wait()
                await self._cycle()
        finally:
            self.state = STOPPED
            self.reason = self.reason or "stopped"
            self._fail_everybody()

    def stop(self) -> None:
        """Takes no new commands; those that wait are still decided."""
        self._stopping = True
        if self.state == WRITABLE:
            self.state, self.reason = READ_ONLY, "this node is shutting down"
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def _work_waiting(self) -> bool:
        return bool(self._calls or self._foreign or self._local or self._wants or self._rotation)

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
        moments: list[int | None] = [call.wait_until_us for call in self._waiting]
        moments.append(self.obligations.next_us())
        moments += [queue.next_us() for cache in self.engine.caches.values() for queue in cache.deadlines.values()]
        moments.append(self.engine.own.tick_us + 30_000_000)
        return moments

    async def _cycle(self) -> None:
        engine = self.engine
        self._check_clock()
        now = engine.now_us()
        for wanted, future in self._wants:
            engine.provide(await self._load(wanted))
            if not future.done():
                future.set_result(None)
        self._wants.clear()
        calls, groups, locals_ = self._take(now)
        self._in_hand = [*calls, *groups, *locals_]
        await self._prefetch(calls, groups)
        started = engine.clock.monotonic_us()
        answers: list[tuple[_Call, Answer | Rejected]] = []
        for call in calls:
            outcome = await self._decide(call.submission, max(now, engine.now_us()))
            if isinstance(outcome, Rejected) and outcome.follow_up is not None:
                refusal = await self._follow_up(call, outcome, now)
                if refusal is None:
                    continue
                outcome = refusal
            answers.append((call, outcome))
        applied = [group for group in groups if await self._apply(group)]
        reacted = False
        if self.writable:
            await self._run_due(now)
            reacted = await self._run_reactions(now)
        done_local = [item for item in locals_ if await self._write_local(item)]
        rotation = self._rotation
        if self.writable and rotation is not None:
            self._rotation = None
            engine.rotate_key(rotation[0], engine.now_us())
        elif self.writable and engine.tick_due(engine.now_us()):
            engine.tick(engine.now_us())
        self.statistics.decide_us += engine.clock.monotonic_us() - started
        self.statistics.last_batch = len(calls)
        failure: Rejected | None = None
        if engine.dirty:
            failure = await self._commit()
        for call, outcome in answers:
            if not call.future.done():
                result = failure if failure is not None and not self._stands(outcome) else outcome
                if isinstance(result, Rejected):
                    self.statistics.rejected += 1
                    call.future.set_exception(result)
                else:
                    call.future.set_result(result)
        for group in applied:
            if not group.future.done():
                if failure is None:
                    self.statistics.foreign_entries += len(group.verified.entries)
                    group.future.set_result(None)
                else:
                    group.future.set_exception(CommitFailed(failure.detail))
        for item in done_local:
            if not item.future.done():
                if failure is None:
                    item.future.set_result(None)
                else:
                    item.future.set_exception(CommitFailed(failure.detail))
        if rotation is not None and self._rotation is None and not rotation[1].done():
            if failure is None:
                rotation[1].set_result(None)
            else:
                rotation[1].set_exception(failure)
        if (applied or reacted) and self._waiting and failure is None:
            self._calls.extendleft(reversed(self._waiting))
            self._waiting.clear()

    def _take(self, now: int) -> tuple[list[_Call], list[ForeignGroup], list[_Local]]:
        calls: list[_Call] = []
        for call in [call for call in self._waiting if call.wait_until_us <= now]:
            self._waiting.remove(call)
            calls.append(call)
        while self._calls and len(calls) < WRITER_BATCH_MAX:
            call = self._calls.popleft()
            if not call.future.cancelled():
                calls.append(call)
        groups: list[ForeignGroup] = []
        entries = 0
        while self._foreign and (not groups or entries < WRITER_FOREIGN_ENTRIES_MAX):
            if self._foreign[0].careful and groups:
                break
            group = self._foreign.popleft()
            groups.append(group)
            entries += len(group.verified.entries)
            if group.careful:
                break
        locals_ = list(self._local)
        self._local.clear()
        return calls, groups, locals_

    async def _prefetch(self, calls: list[_Call], groups: list[ForeignGroup]) -> None:
        wanted = Wanted()
        for call in calls:
            self.engine.wanted(call.submission, wanted)
        for group in groups:
            following.needed(self.engine, group.verified, wanted, careful=group.careful)
        if wanted:
            self.statistics.loads += 1
            self.engine.provide(await self._load(wanted))

    async def _load(self, wanted: Wanted) -> Loaded:
        """Loads on the writer's session; when the database is away, waits for it. Nothing is in flight meanwhile."""
        while True:
            try:
                return await self.store.load(wanted)
            except ConnectionError as error:
                logger.warning("the database went away", extra={"fields": {"detail": str(error)}})
                await self._find_out()

    async def _until_loaded(self, step: Callable[[], T]) -> T:
        """Runs ``step`` again each time something that it needs had to be loaded. A bounded number of times."""
        for _ in range(COMMAND_RERUNS_MAX):
            try:
                return step()
            except Missing as missing:
                assert isinstance(missing.want, Wanted)
                self.statistics.loads += 1
                self.engine.provide(await self._load(missing.want))
        raise Rejected(
            "command_too_wide", "this command needs too many rows that are not in memory", status=503, retry_after_s=1
        )

    async def _decide(self, submission: Submission, time_us: int) -> Answer | Rejected:
        try:
            self.statistics.commands += 1
            return await self._until_loaded(lambda: self.engine.decide(submission, time_us))
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
        if rejected.status == 421 and isinstance(owner, str):
            image = self.engine.caches[ADDRESSES].get(owner)
            if image is not None and isinstance(image.row, Address):
                rejected.extra["address"] = image.row.url

    async def _follow_up(self, call: _Call, rejected: Rejected, now: int) -> Rejected | None:
        """Runs what the refusal asks for. None: the caller waits for its effect."""
        if call.wait_until_us == 0:
            assert isinstance(rejected.follow_up, msgspec.Struct)
            asked = Submission(rejected.follow_up, self.engine.source, frozenset({"kernel"}))
            outcome = await self._decide(asked, max(now, self.engine.now_us()))
            if isinstance(outcome, Rejected):
                return outcome
            call.wait_until_us = now + int(rejected.wait_s * 1_000_000)
        if call.wait_until_us <= now or len(self._waiting) >= WAITING_MAX:
            return rejected
        self._waiting.append(call)
        return None

    async def _apply(self, group: ForeignGroup) -> bool:
        try:
            await self._until_loaded(lambda: following.apply(self.engine, group.verified, careful=group.careful))
        except (Breach, Parked) as error:
            if not group.future.done():
                group.future.set_exception(error)
            return False
        except Rejected as rejected:
            if not group.future.done():
                group.future.set_exception(CommitFailed(rejected.detail))
            return False
        return True

    async def _write_local(self, item: _Local) -> bool:
        engine = self.engine

        def write() -> None:
            engine.state.begin(0, 0)
            try:
                item.write(engine)
            except BaseException:
                engine.state.undo()
                raise
            engine.finish_local()

        try:
            await self._until_loaded(write)
        except Exception as error:
            if not item.future.done():
                item.future.set_exception(error)
            return False
        return True

    async def _run_due(self, now: int) -> None:
        for table, cache in self.engine.caches.items():
            for queue in cache.deadlines.values():
                for key in queue.due(now, WRITER_DEADLINES_MAX):
                    outcome = await self._internal(table, key, queue.spec.command)
                    if isinstance(outcome, Rejected) or queue.moments.get(key, now + 1) <= now:
                        queue.postpone(key, now + RETRY_US)

    async def _run_reactions(self, now: int) -> bool:
        """Whether there was anything to answer: what callers wait for may have come with it."""
        reacted = False
        for reaction, key in self.obligations.due(now, WRITER_REACTIONS_MAX):
            if await self._answered(reaction, key):
                self.obligations.close(reaction, key)
                continue
            reacted = True
            outcome = await self._internal(reaction.table, key, reaction.command)
            if isinstance(outcome, Rejected) or not await self._answered(reaction, key):
                self.obligations.postpone(reaction, key, now)
        return reacted

    async def _answered(self, reaction: Reaction, key: str) -> bool:
        caches = self.engine.caches
        return await self._until_loaded(
            lambda: caches[reaction.table].get(key) is None or caches[reaction.answer].get(key) is not None
        )

    async def _internal(
        self, table: Table[Any], key: str, command: Callable[[str, Any], msgspec.Struct]
    ) -> Answer | Rejected:
        """A command of the kernel's own making: a deadline that passed, an obligation that is open."""
        image = await self._until_loaded(lambda: self.engine.caches[table].get(key))
        if image is None:
            return Rejected("gone", "the row is gone")
        submission = Submission(command(key, image.row), self.engine.source, frozenset({"kernel"}))
        outcome = await self._decide(submission, self.engine.now_us())
        if isinstance(outcome, Rejected):
            logger.warning(
                "a command of the kernel was refused", extra={"fields": {"code": outcome.code, "table": table.name}}
            )
        return outcome

    def _stands(self, outcome: Answer | Rejected) -> bool:
        """Whether an outcome is true although this batch was lost: an answer from before it, a refusal that is not
        final."""
        if isinstance(outcome, Rejected):
            return not outcome.final
        own = self.engine.own
        before = outcome.source != own.source or (outcome.epoch, outcome.sequence) < (own.epoch, own.size)
        return outcome.replayed and before

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
        self.obligations.observe(engine.caches)
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
            self._refuse_waiting()
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

    # Clocks

    def _check_clock(self) -> None:
        clock = self.engine.clock
        offset = clock.wall_us() - clock.monotonic_us()
        if abs(offset - self._clock_offset_us) > CLOCK_STEP_S * 1_000_000:
            if not self.clock_stepped:
                self.clock_stepped = True
                logger.error("wall and monotonic clock have parted; writing stops until the time is confirmed")
        else:
            # A clock that is slewed drifts slowly; only a step is a step.
            self._clock_offset_us = offset
            self.clock_stepped = False

    def confirm_clock(self) -> None:
        """An operator's or a peer's word that the wall clock is right now."""
        clock = self.engine.clock
        self._clock_offset_us = clock.wall_us() - clock.monotonic_us()
        self.clock_stepped = False
        self._wake.set()

    def _refuse_waiting(self) -> None:
        """Nobody waits in the queue for a database that is away."""
        refusal = Rejected("not_writable", self.reason, status=503, retry_after_s=1)
        while self._calls:
            call = self._calls.popleft()
            if not call.future.done():
                call.future.set_exception(refusal)

    def _fail_everybody(self) -> None:
        stopped = Rejected("not_writable", self.reason, status=503, retry_after_s=1)
        for item in (*self._in_hand, *self._calls, *self._waiting, *self._foreign, *self._local):
            if not item.future.done():
                item.future.set_exception(stopped if isinstance(item, _Call) else CommitFailed(self.reason))
        for _, future in self._wants:
            if not future.done():
                future.set_exception(stopped)

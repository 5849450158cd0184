"""What waits for the writer: commands, foreign groups, local rows, a new key, and who waits for them."""

import asyncio
from collections import deque
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jilnode.kernel.command import Submission
from jilnode.kernel.errors import CommitFailed, Rejected
from jilnode.kernel.keys import Answer
from jilnode.kernel.ports import Wanted
from jilnode.kernel.seal import SealKey
from jilnode.kernel.verify import VerifiedGroup
from jilnode.limits import WRITER_BATCH_BYTES_MAX, WRITER_BATCH_MAX, WRITER_FOREIGN_ENTRIES_MAX, WRITER_QUEUE_MAX

if TYPE_CHECKING:
    from jilnode.kernel.engine import Engine

__all__ = ("Call", "ForeignGroup", "Inbox", "LocalWrite", "Rotation", "Taken")


@dataclass(slots=True, eq=False)
class Call:
    """A submission and who waits for it. ``wait_until_us`` > 0 once it waits for another node."""

    submission: Submission
    future: "asyncio.Future[Answer]"
    wait_until_us: int = 0


@dataclass(slots=True, eq=False)
class ForeignGroup:
    """A verified group on its way into the database.

    The future's result is None once durable; it raises ``Breach`` or ``Parked``, or ``CommitFailed`` for another try.
    """

    verified: VerifiedGroup
    future: "asyncio.Future[None]"
    careful: bool = False
    """Whether it has a commit to itself, and every key of its rows is looked up."""


@dataclass(slots=True, eq=False)
class LocalWrite:
    """Local rows of the kernel's own (marks, evidence, pending records) that somebody wants written."""

    write: "Callable[[Engine], None]"
    future: "asyncio.Future[None]"


@dataclass(slots=True, eq=False)
class Rotation:
    """The key that is to seal from now on."""

    key: SealKey
    future: "asyncio.Future[None]"


@dataclass(slots=True)
class Taken:
    """What one cycle of the writer has in hand: whatever ends the task, they must hear of it."""

    calls: list[Call] = field(default_factory=list)
    groups: list[ForeignGroup] = field(default_factory=list)
    locals: list[LocalWrite] = field(default_factory=list)
    rotations: list[Rotation] = field(default_factory=list)
    """One at most: each is the last entry of its commit."""

    @property
    def alone(self) -> bool:
        """Whether this is a group by itself, beside which nothing else may be written."""
        return bool(self.groups) and self.groups[0].careful


class Inbox:
    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        self.foreign: deque[ForeignGroup] = deque()
        self.locals: deque[LocalWrite] = deque()
        self.rotations: deque[Rotation] = deque()
        self.wants: list[tuple[Wanted, asyncio.Future[None]]] = []
        self.waiting: list[Call] = []
        """Commands that wait for another node."""
        self.in_hand = Taken()
        self.careful = 0
        """So many foreign groups are taken by themselves: one of them may be what the database refused."""

    def __bool__(self) -> bool:
        return bool(self.own or self.foreign or self.wants)

    @property
    def own(self) -> bool:
        """Whether anything of this node's own is still to be done."""
        return bool(self.calls or self.locals or self.rotations)

    def call(self, submission: Submission) -> "asyncio.Future[Answer]":
        """Raises ``Rejected`` (503 ``queue_full``)."""
        if len(self.calls) >= WRITER_QUEUE_MAX:
            raise Rejected("queue_full", "too many commands are waiting", status=503, retry_after_s=1)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.calls.append(Call(submission, future))
        return future

    def apply(self, verified: VerifiedGroup) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.foreign.append(ForeignGroup(verified, future))
        return future

    def write(self, write: "Callable[[Engine], None]") -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.locals.append(LocalWrite(write, future))
        return future

    def rotate(self, key: SealKey) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.rotations.append(Rotation(key, future))
        return future

    def want(self, wanted: Wanted) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wants.append((wanted, future))
        return future

    def take(self, now_us: int) -> Taken:
        """The next batch: whose wait is over, then every command up to a bound, and a bounded share of foreign
        entries. Groups that are taken by themselves take turns with everything else."""
        turn = bool(self.careful and self.foreign) and not self.in_hand.alone
        taken = self.in_hand = Taken()
        calls, groups = taken.calls, taken.groups
        if turn:
            self.careful -= 1
            group = self.foreign.popleft()
            group.careful = True
            groups.append(group)
            return taken
        for call in [call for call in self.waiting if call.wait_until_us <= now_us]:
            self.waiting.remove(call)
            calls.append(call)
        while self.calls and len(calls) < WRITER_BATCH_MAX:
            call = self.calls.popleft()
            if not call.future.cancelled():
                calls.append(call)
        entries = size = 0
        while self.foreign and not self.careful:
            if groups and (entries >= WRITER_FOREIGN_ENTRIES_MAX or size >= WRITER_BATCH_BYTES_MAX):
                break
            group = self.foreign.popleft()
            groups.append(group)
            entries += len(group.verified.entries)
            size += sum([item.entry.size for item in group.verified.entries])
        taken.locals.extend(self.locals)
        self.locals.clear()
        if self.rotations:
            taken.rotations.append(self.rotations.popleft())
        return taken

    def put_back(self, calls: list[Call]) -> None:
        """What one commit has no room for is first in the next."""
        self.calls.extendleft(reversed(calls))

    def call_again(self) -> None:
        """What waits for another node may have come: those who wait for it are decided anew, before others."""
        self.calls.extendleft(reversed(self.waiting))
        self.waiting.clear()

    def refuse_queue(self, reason: str) -> None:
        """Nobody waits in the queue for a database that is away."""
        _refuse(self.calls, reason)
        _refuse(self.rotations, reason)

    def refuse_own(self, reason: str) -> None:
        """What this node was to write itself and may not: in hand and not decided, in the queue, waiting for
        others."""
        self.refuse_queue(reason)
        _refuse(self.in_hand.calls, reason)
        _refuse(self.in_hand.rotations, reason)
        _refuse(self.waiting, reason)

    def fail_everybody(self, reason: str) -> None:
        self.refuse_own(reason)
        groups = [group.future for group in (*self.in_hand.groups, *self.foreign)]
        for future in (*groups, *[item.future for item in (*self.in_hand.locals, *self.locals)]):
            if not future.done():
                future.set_exception(CommitFailed(reason))
        for _, future in self.wants:
            if not future.done():
                future.set_exception(_not_writable(reason))


def _refuse(asked: MutableSequence[Call] | MutableSequence[Rotation], reason: str) -> None:
    for item in asked:
        if not item.future.done():
            item.future.set_exception(_not_writable(reason))
    asked.clear()


def _not_writable(reason: str) -> Rejected:
    return Rejected("not_writable", reason, status=503, retry_after_s=1)

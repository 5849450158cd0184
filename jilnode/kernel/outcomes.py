"""What a batch decided and for whom: told when its commit is durable, or known not to be."""

import asyncio
from dataclasses import dataclass, field

from jilnode.kernel.errors import CommitFailed, CommitRefused, Parked, Rejected
from jilnode.kernel.inbox import Call, ForeignGroup, LocalWrite, Rotation
from jilnode.kernel.keys import Answer
from jilnode.kernel.sources import NOT_STORED, SourceState

__all__ = ("Outcomes", "Statistics", "settle", "stands")


@dataclass(slots=True)
class Statistics:
    commits: int = 0
    commands: int = 0
    foreign_entries: int = 0
    rejected: int = 0
    failed_commits: int = 0
    unknown_commits: int = 0
    last_batch: int = 0
    commit_us: int = 0
    decide_us: int = 0


@dataclass(slots=True)
class Outcomes:
    answers: list[tuple[Call, Answer | Rejected]] = field(default_factory=list)
    applied: list[ForeignGroup] = field(default_factory=list)
    written: list[LocalWrite] = field(default_factory=list)
    rotated: Rotation | None = None

    def tell(self, failure: CommitFailed | None, own: SourceState | None, statistics: Statistics) -> int:
        """``failure``: what became of the commit, None when it is durable. ``own``: this node's head after it, None
        while its journal is being got back from others. Returns how many groups are to be tried again, each by
        itself."""
        again = 0
        for call, outcome in self.answers:
            if not call.future.done():
                result = _refusal(failure) if failure is not None and not stands(outcome, own) else outcome
                if isinstance(result, Rejected):
                    statistics.rejected += 1
                    call.future.set_exception(result)
                else:
                    call.future.set_result(result)
        for group in self.applied:
            refusal = _not_stored(group, failure)
            again += isinstance(refusal, CommitFailed)
            if settle(group.future, refusal):
                statistics.foreign_entries += len(group.verified.entries)
        for item in self.written:
            settle(item.future, failure)
        if self.rotated is not None:
            settle(self.rotated.future, None if failure is None else _refusal(failure))
        return again


def settle(future: "asyncio.Future[None]", failure: Exception | None) -> bool:
    """Whether somebody who waited was told that it is done."""
    if future.done():
        return False
    if failure is None:
        future.set_result(None)
        return True
    future.set_exception(failure)
    return False


def _refusal(failure: CommitFailed) -> Rejected:
    return Rejected("commit_failed", str(failure), status=503, retry_after_s=1)


def _not_stored(group: ForeignGroup, failure: CommitFailed | None) -> CommitFailed | Parked | None:
    """A group that was refused by itself is what the database can't take; beside others it may be one of them."""
    if group.careful and isinstance(failure, CommitRefused):
        detail = "the database of this node can't take what it wrote: the log has the reason; upgraded, release it"
        return Parked(NOT_STORED, detail)
    return failure


def stands(outcome: Answer | Rejected, own: SourceState | None) -> bool:
    """Whether an outcome is true although this batch was lost: an answer from before it, a refusal that is not
    final."""
    if isinstance(outcome, Rejected):
        return not outcome.final
    before = own is None or outcome.source != own.source or (outcome.epoch, outcome.sequence) < (own.epoch, own.size)
    return outcome.replayed and before

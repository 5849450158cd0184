"""What a batch decided and for whom: told when its commit is durable, or known not to be."""

import asyncio
from dataclasses import dataclass, field

from jilnode.kernel.errors import CommitFailed, Rejected
from jilnode.kernel.inbox import Call, ForeignGroup, LocalWrite
from jilnode.kernel.keys import Answer
from jilnode.kernel.sources import SourceState

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

    def tell(self, failure: Rejected | None, own: SourceState | None, statistics: Statistics) -> None:
        """``failure``: what became of the commit, None when it is durable. ``own``: this node's head after it, None
        while its journal is being got back from others."""
        for call, outcome in self.answers:
            if not call.future.done():
                result = failure if failure is not None and not stands(outcome, own) else outcome
                if isinstance(result, Rejected):
                    statistics.rejected += 1
                    call.future.set_exception(result)
                else:
                    call.future.set_result(result)
        for group in self.applied:
            if settle(group.future, _lost(failure)):
                statistics.foreign_entries += len(group.verified.entries)
        for item in self.written:
            settle(item.future, _lost(failure))


def settle(future: "asyncio.Future[None]", failure: Exception | None) -> bool:
    """Whether somebody who waited was told that it is done."""
    if future.done():
        return False
    if failure is None:
        future.set_result(None)
        return True
    future.set_exception(failure)
    return False


def _lost(failure: Rejected | None) -> CommitFailed | None:
    return None if failure is None else CommitFailed(failure.detail)


def stands(outcome: Answer | Rejected, own: SourceState | None) -> bool:
    """Whether an outcome is true although this batch was lost: an answer from before it, a refusal that is not
    final."""
    if isinstance(outcome, Rejected):
        return not outcome.final
    before = own is None or outcome.source != own.source or (outcome.epoch, outcome.sequence) < (own.epoch, own.size)
    return outcome.replayed and before

"""Decides the commands of a batch, in memory: loads what they need, runs them, and sees who has to wait."""

import logging

import msgspec

from jilnode.kernel.command import Submission
from jilnode.kernel.engine import Engine
from jilnode.kernel.errors import InvariantBroken, Missing, Rejected
from jilnode.kernel.inbox import Call, Inbox
from jilnode.kernel.keys import Answer
from jilnode.kernel.loader import Loader
from jilnode.kernel.outcomes import Outcomes
from jilnode.kernel.ports import Wanted
from jilnode.kernel.system import ADDRESSES, Address, is_web_address

__all__ = ("Decider",)

logger = logging.getLogger("jilnode.writer")

WAITING_MAX = 256


class Decider:
    """``inbox`` keeps those who wait for another node."""

    def __init__(self, engine: Engine, loader: Loader, inbox: Inbox) -> None:
        self._engine = engine
        self._loader = loader
        self._inbox = inbox

    async def decide_all(self, calls: list[Call], now: int, outcomes: Outcomes) -> None:
        """One after the other. Whoever is to wait for another node has no outcome yet."""
        touched = False
        for position, call in enumerate(calls):
            if self._engine.recorder.full_for_callers:
                self._inbox.put_back(calls[position:])
                return
            outcome: Answer | Rejected
            try:
                outcome = self._outcome(call.submission, now)
            except Missing:
                # Mostly all is in memory. When something is not, the rest of the batch is loaded in one go.
                if not touched:
                    touched = True
                    await self._load_touched(calls[position:])
                outcome = await self.decide(call.submission, now)
            if isinstance(outcome, Rejected) and outcome.follow_up is not None:
                refusal = await self._follow_up(call, outcome, now)
                if refusal is None:
                    continue
                outcome = refusal
            outcomes.answers.append((call, outcome))

    async def _load_touched(self, calls: list[Call]) -> None:
        wanted = Wanted()
        for call in calls:
            self._engine.touched(call.submission.command, wanted)
        await self._loader.provide(wanted)

    async def decide(self, submission: Submission, time_us: int) -> Answer | Rejected:
        try:
            return await self._loader.until_loaded(lambda: self._outcome(submission, time_us))
        except Rejected as rejected:
            return rejected

    def _outcome(self, submission: Submission, time_us: int) -> Answer | Rejected:
        """Decides. Raises ``Missing``, and has then changed nothing."""
        try:
            return self._engine.decide(submission, time_us)
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
            self._engine.alarms.append(f"handler of {type(submission.command).__name__} failed")
            return Rejected("internal_error", "the node could not decide this", status=500)

    def _add_address(self, rejected: Rejected) -> None:
        """Whoever is misdirected is told where the owner is reached, when its address is known, and is one: an owner
        may have published anything."""
        owner = rejected.extra.get("owner")
        if isinstance(owner, str):
            image = self._engine.caches[ADDRESSES].get(owner)
            if image is not None and isinstance(image.row, Address) and is_web_address(image.row.url):
                rejected.extra["address"] = image.row.url

    async def _follow_up(self, call: Call, rejected: Rejected, now: int) -> Rejected | None:
        """Runs what the refusal asks for. None: the caller waits for its effect. Asked again each time: what has come
        meanwhile may have been another caller's."""
        if call.wait_until_us == 0:
            call.wait_until_us = now + int(rejected.wait_s * 1_000_000)
        if call.wait_until_us <= now or len(self._inbox.waiting) >= WAITING_MAX:
            return rejected
        assert isinstance(rejected.follow_up, msgspec.Struct)
        asked = Submission(rejected.follow_up, self._engine.source, frozenset({"kernel"}))
        outcome = await self.decide(asked, now)
        if isinstance(outcome, Rejected):
            return outcome
        self._inbox.waiting.append(call)
        return None

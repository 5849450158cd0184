"""The engine: decides commands and applies foreign entries, in memory, synchronously. It does no I/O.

A batch goes: ``decide`` / ``apply`` any number of times, ``seal`` (which gives the ``Commit`` to make durable), then
``confirm`` when it is durable, or ``abandon`` when it is known not to be. Between ``seal`` and those two nothing may be
decided. ``decide`` and ``apply`` may raise ``Missing``: they have then changed nothing, and are called again once
``provide`` was given what is missing.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from jilnode.kernel.cache import TableCache
from jilnode.kernel.codec import decision_hash, encode_row
from jilnode.kernel.command import Command, Submission, Touch
from jilnode.kernel.digests import Digests
from jilnode.kernel.entry import Entry, Outcome, Seal
from jilnode.kernel.entry_rows import EntryRows
from jilnode.kernel.errors import Rejected
from jilnode.kernel.keys import Answer, KnownKeys
from jilnode.kernel.ports import Clock, Commit, Entropy, Loaded, Wanted
from jilnode.kernel.recorder import Recorder
from jilnode.kernel.registry import Registry
from jilnode.kernel.review import ZoneReview
from jilnode.kernel.seal import SealKey, make_seal, origin_of
from jilnode.kernel.sources import SourceState
from jilnode.kernel.state import Change as LoggedChange
from jilnode.kernel.state import Context, State, misdirected
from jilnode.kernel.system import (
    DECISIONS,
    HEADS,
    MARKS,
    REFUSALS,
    REFUSED_KEYS,
    Decision,
    Mark,
    Refusal,
    no_reply,
)
from jilnode.kernel.table import Table
from jilnode.limits import (
    ALARMS_KEPT_MAX,
    OUTCOME_RETRY_S,
    RESIDENT_BYTES_PER_SOURCE_MAX,
)

__all__ = ("COMMIT_MARK", "Engine")

COMMIT_MARK: Final = "commit"
"""The row that numbers commits: after an outcome that nobody knows, it tells whether the last one is there."""


class Engine:
    """One node's state. ``source`` is this node; ``key`` seals its commits. ``resident_bytes``: what the rows of each
    other source may take in tables that stay in memory whole."""

    def __init__(
        self,
        *,
        network: str,
        source: str,
        zone: str,
        key: SealKey,
        registry: Registry,
        zones: ZoneReview,
        clock: Clock,
        entropy: Entropy,
        cache_bytes: int,
        resident_bytes: int = RESIDENT_BYTES_PER_SOURCE_MAX,
    ) -> None:
        self.network = network
        self.source = source
        self.zone = zone
        self.key = key
        self.registry = registry
        self.zones = zones
        self.clock = clock
        self.entropy = entropy
        self.cache_bytes = cache_bytes
        self.resident_bytes = resident_bytes
        self.weights: defaultdict[str, int] = defaultdict(int)
        """source -> bytes of its rows in tables that stay in memory whole."""
        self.caches: dict[Table[Any], TableCache] = {
            table: TableCache(table, source, self.weights)
            for table in registry.tables.values()
            if table is not REFUSED_KEYS
        }
        self.state = State(source, self.caches)
        self.sources: dict[str, SourceState] = {}
        self.keys = KnownKeys(source, registry)
        self.commit_number = 0
        self.alarms: deque[str] = deque(maxlen=ALARMS_KEPT_MAX)
        self._seals: list[Seal] = []
        self._saved: dict[str, SourceState | None] = {}
        self.new_key: SealKey | None = None
        """What seals beside the key in this batch, and in its place after it."""
        self._facts = zones.facts()
        self.recorder = Recorder(
            network=network,
            source=source,
            registry=registry,
            state=self.state,
            entropy=entropy,
            alarms=self.alarms,
            weights=self.weights,
        )
        self.digests = Digests(self.caches, self.sources)

    # What others of the kernel use

    @property
    def own(self) -> SourceState:
        return self.sources[self.source]

    def touch_source(self, source: str) -> SourceState:
        """The source's state, with a copy kept for ``abandon``."""
        state = self.sources.get(source)
        if source not in self._saved:
            self._saved[source] = None if state is None else state.copy()
        if state is None:
            state = self.sources[source] = SourceState(source)
        return state

    def restore_source(self, source: str, saved: SourceState | None, *, counted: bool) -> None:
        """Takes back what a refused group did to its source's state. ``saved``: how that was before the group, whose
        rows are taken back already. ``counted``: whether its rows may be in the digest; with them are those of the
        groups before it in this batch, and they stay."""
        if counted:
            self.digests.fold()
            for cache in self.caches.values():
                cache.forget_taken_back()
        if saved is None:
            self.sources.pop(source, None)
            self._saved.pop(source, None)
        else:
            saved.digest = self.sources[source].digest
            self.sources[source] = saved

    def now_us(self) -> int:
        """Never earlier than what is committed: the wall clock may be set back, time in the journal may not."""
        own = self.sources.get(self.source)
        return max(self.clock.wall_us(), own.time_us if own is not None else 0)

    def tick_us(self, source: str) -> int | None:
        state = self.sources.get(source)
        return state.tick_us if state is not None and state.tick_us else None

    @property
    def dirty(self) -> bool:
        """Whether the batch has anything to commit."""
        return bool(self.recorder.entries or self._seals or self._saved or self.keys.changed) or any(
            cache.before for cache in self.caches.values()
        )

    # Deciding

    def decide(self, submission: Submission, time_us: int) -> Answer:
        """Runs one command. Raises ``Rejected`` (a final refusal of a keyed command is recorded), ``Missing``, and
        ``InvariantBroken`` for our own bug. The answer may be told to the caller only after ``confirm``."""
        if submission.key_hash is not None:
            known = self.keys.answer(submission)
            if known is not None:
                return known
        if submission.session and submission.session != self.source:
            raise Rejected(
                "outcome_unknown",
                "the session is another node's, and nothing that came from there says what became of this request",
                status=409,
                retry_after_s=OUTCOME_RETRY_S,
                extra={"owner": submission.session},
            )
        spec = self.registry.commands[type(submission.command)]
        own = self.own
        epoch, sequence = own.epoch, own.frontier.size
        state = self.state
        state.begin(epoch, sequence)
        context = Context(
            self.source,
            epoch,
            sequence,
            time_us,
            submission.actor,
            submission.scopes,
            self._facts,
            self.tick_us,
        )
        try:
            if submission.expected_etag:
                self._check_etags(submission.expected_etag)
            outcome, refusal = self._review(spec, context, submission)
            if refusal is None:
                spec.handler(state, context, submission.command)
                reply = self.record(spec.event, spec.status, submission, time_us, outcome, spec.reply)
            else:
                refused = f"{spec.event.partition('.')[0]}.command.refused"
                self.record(refused, refusal.status, submission, time_us, outcome, no_reply)
        except Rejected as rejected:
            state.undo()
            if submission.key_hash is not None and rejected.final:
                self.keys.refuse(submission, rejected, time_us)
            raise
        except BaseException:
            state.undo()
            raise
        self.keep_before(state.log)
        if refusal is not None:
            raise refusal
        return Answer(spec.status, reply, self.source, own.epoch, own.size - 1)

    def _check_etags(self, expected: Mapping[Touch, tuple[str, int, int]]) -> None:
        for (table, key), etag in expected.items():
            image = self.caches[table].get(key)
            if image is not None and image.owner != self.source:
                # Here it may be behind: its owner says whether it has changed.
                raise misdirected(image.owner)
            if image is None or (image.owner, image.epoch, image.sequence) != etag:
                raise Rejected("precondition_failed", "somebody else changed the row meanwhile", status=412)

    def record(
        self,
        event: str,
        status: int,
        submission: Submission,
        time_us: int,
        outcome: Outcome | None,
        reply: Callable[[EntryRows], Any],
    ) -> Any:
        own = self.touch_source(self.source) if self.state.log or submission.key_hash is not None else self.own
        answer, entry = self.recorder.record(own, event, status, submission, time_us, outcome, reply)
        if entry is not None and entry.key_hash is not None:
            self.keys.remember(entry.key_hash, entry)
        return answer

    def _review(
        self, spec: Command, context: Context, submission: Submission
    ) -> tuple[Outcome | None, Rejected | None]:
        """The zones' verdict on the action. A refusal is recorded as an entry of its own."""
        if spec.review is None:
            return None, None
        action = spec.review(self.state, context, submission.command)
        if action is None:
            return None, None
        verdict = self.zones.review(action, context.time_us)
        outcome = None
        if verdict.record or not verdict.approved:
            record = b"%b %b" % (self.entropy.bytes(32).hex().encode(), verdict.record)
            key = context.new_key()
            self.state[DECISIONS].insert(key, Decision(record.decode()))
            outcome = Outcome("approved" if verdict.approved else "refused", decision_hash(record))
        if verdict.approved:
            return outcome, None
        self.state[REFUSALS].insert(key, Refusal(verdict.code, verdict.detail, spec.event))
        return outcome, Rejected(verdict.code, verdict.detail, status=403)

    def keep_before(self, log: list[LoggedChange]) -> None:
        """What this command changed first in the batch: its committed image, for readers and for ``abandon``."""
        for cache, key, before in log:
            cache.before.setdefault(key, before)

    def finish_local(self) -> None:
        """Ends a change of local rows that makes no entry."""
        for cache, key, _ in self.state.log:
            assert cache.spec.local
            image = cache.images[key]
            if image is not None:
                image.doc = encode_row(image.row)
        self.keep_before(self.state.log)

    # The batch

    def add_foreign(self, entries: list[Entry], seal: Seal) -> None:
        self.recorder.entries += entries
        self._seals.append(seal)

    def seal(self, now_us: int) -> Commit:
        """Ends the batch: digests, one seal when this node wrote, one head row for each source touched, coalesced
        rows."""
        self.digests.fold(last_of_batch=True)
        entries, seals = self.recorder.entries, self._seals
        if any(entry.source == self.source for entry in entries) and not any(
            seal.source == self.source for seal in seals
        ):
            own = self.own
            keys = [self.key] if self.new_key is None else [self.key, self.new_key]
            origin = origin_of(self.network, self.source, own.epoch)
            seals.append(Seal(self.source, own.epoch, own.size, make_seal(origin, own.size, own.frontier.root(), keys)))
        self.state.begin(0, 0)
        for source in self._saved:
            self.state[HEADS].put(source, self.sources[source].to_row())
        self.state[MARKS].put(COMMIT_MARK, Mark(str(self.commit_number + 1)))
        self.finish_local()
        commit = Commit(entries, seals)
        for cache in self.caches.values():
            if cache.before:
                cache.fill(commit)
        self.keys.fill(commit, now_us)
        return commit

    def confirm(self) -> tuple[list[Entry], list[Seal]]:
        """The commit is durable. Returns what it added to the journal."""
        entries, seals = self.recorder.entries, self._seals
        self.commit_number += 1
        if self.new_key is not None:
            self.key = self.new_key
        self.keys.confirm()
        for cache in self.caches.values():
            cache.confirm_batch()
        self._reset()
        if sum(cache.known_bytes for cache in self.caches.values()) > self.cache_bytes // 2:
            for cache in self.caches.values():
                cache.forget_old_generation()
        return entries, seals

    def abandon(self) -> None:
        """The commit is known not to be durable: everything is as it was before the batch."""
        self.state.log.clear()
        for cache in self.caches.values():
            cache.undo_batch()
        for source, saved in self._saved.items():
            if saved is None:
                del self.sources[source]
            else:
                self.sources[source] = saved
        self.keys.abandon()
        self._reset()

    def _reset(self) -> None:
        self.recorder.begin_batch()
        self.digests.begin_batch()
        self._seals = []
        self._saved = {}
        self.new_key = None

    # Loading

    def provide(self, loaded: Loaded) -> None:
        for table, rows in loaded.rows.items():
            if table is REFUSED_KEYS:
                for key, image in rows.items():
                    assert image is not None
                    self.keys.provide_refused(key, image.doc)
            else:
                self.caches[table].provide(rows)
        for (table, column, value), found in loaded.buckets.items():
            self.caches[table].provide_bucket(column, value, found)
        for (table, group, value, amount), total in loaded.sums.items():
            self.caches[table].provide_total(group, value, amount, total)
        self.keys.provide(loaded.commands)
        self.recorder.causes.update(loaded.entries)

    def touched(self, command: msgspec.Struct, wanted: Wanted) -> None:
        """Adds to ``wanted`` what the command is known to need and is not in memory."""
        spec = self.registry.commands[type(command)]
        if spec.touches is not None:
            for table, key in spec.touches(command):
                if not self.caches[table].knows(key):
                    wanted.rows.setdefault(table, set()).add(key)

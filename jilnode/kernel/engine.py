"""The engine: decides commands and applies foreign entries, in memory, synchronously. It does no I/O.

A batch goes: ``decide`` / ``apply`` any number of times, ``seal`` (which gives the ``Commit`` to make durable), then
``confirm`` when it is durable, or ``abandon`` when it is known not to be. Between ``seal`` and those two nothing may be
decided. ``decide`` and ``apply`` may raise ``Missing``: they have then changed nothing, and are called again once
``provide`` was given what is missing.
"""

from typing import Any

from jilnode.kernel.cache import TableCache
from jilnode.kernel.command import Command, Submission
from jilnode.kernel.digest import row_mark
from jilnode.kernel.entry import (
    CauseReference,
    CommandReference,
    Entry,
    EntryRows,
    Header,
    Outcome,
    Seal,
    SectionReference,
    decision_hash,
    encode_header,
    encode_section,
    format_time,
    rows_of,
    section_hash,
)
from jilnode.kernel.errors import InvariantBroken, Missing, Parked, Rejected
from jilnode.kernel.invariants import Change, RowChange
from jilnode.kernel.keys import Answer, KnownKeys
from jilnode.kernel.ports import Clock, Commit, Entropy, Loaded, RowWrite, Wanted, ZoneReview
from jilnode.kernel.registry import Registry
from jilnode.kernel.rows import Image, decode_row, encode_row
from jilnode.kernel.seal import SealKey, make_seal, origin_of
from jilnode.kernel.sources import SourceState
from jilnode.kernel.state import Change as LoggedChange
from jilnode.kernel.state import Context, State
from jilnode.kernel.system import (
    DECISIONS,
    HEADS,
    MARKS,
    REFUSALS,
    REFUSED_KEYS,
    SOURCES,
    TICKS,
    Decision,
    Mark,
    Refusal,
    Source,
    Tick,
)
from jilnode.kernel.table import Table
from jilnode.kernel.tree import leaf_hash
from jilnode.limits import (
    CAUSES_PER_ENTRY_MAX,
    EVENT_BYTES_MAX,
    HEADER_BYTES_MAX,
    SEARCHABLE_BYTES_MAX,
    TICK_ENTRIES_MAX,
    TICK_INTERVAL_S,
)

__all__ = ("COMMIT_MARK", "Engine")

COMMIT_MARK = "commit"
"""The row that numbers commits: after an outcome that nobody knows, it tells whether the last one is there."""


class Engine:
    """One node's state. ``source`` is this node; ``key`` seals its commits."""

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
        self.caches: dict[Table[Any], TableCache] = {
            table: TableCache(table, source) for table in registry.tables.values() if table is not REFUSED_KEYS
        }
        self.state = State(source, self.caches)
        self.sources: dict[str, SourceState] = {}
        self.keys = KnownKeys(source, registry)
        self.causes: dict[tuple[str, int, int], Entry | None] = {}
        """Entries looked up because events of this batch rest on them."""
        self.commit_number = 0
        self.alarms: list[str] = []
        self._entries: list[Entry] = []
        self._seals: list[Seal] = []
        self._saved: dict[str, SourceState | None] = {}
        self._counted: dict[tuple[TableCache, str], Image | None] = {}
        self._new_key: SealKey | None = None
        self._facts = zones.facts()
        self._event_random = int.from_bytes(entropy.bytes(8), "big") >> 2

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

    def restore_source(self, source: str, saved: SourceState | None) -> None:
        """Takes back what a refused group did to its source's state."""
        if saved is None:
            self.sources.pop(source, None)
            self._saved.pop(source, None)
        else:
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
        return bool(self._entries or self._seals or self._saved or self.keys.changed) or any(
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
        spec = self.registry.commands[type(submission.command)]
        own = self.own
        state = self.state
        state.begin(own.epoch, own.size)
        context = Context(
            self.source,
            own.epoch,
            own.size,
            time_us,
            submission.actor,
            submission.scopes,
            self._facts,
            self.tick_us,
        )
        try:
            for (table, key), etag in submission.expected_etag.items():
                image = self.caches[table].get(key)
                if image is None or (image.owner, image.epoch, image.sequence) != etag:
                    raise Rejected("precondition_failed", "somebody else changed the row meanwhile", status=412)
            outcome, refusal = self._review(spec, context, submission)
            if refusal is None:
                spec.handler(state, context, submission.command)
            event = spec.event if refusal is None else f"{spec.event.partition('.')[0]}.command.refused"
            status = spec.status if refusal is None else refusal.status
            rows = self._finish(event, status, submission, time_us, outcome)
            reply = spec.reply(rows) if refusal is None else None
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

    def _finish(
        self, event: str, status: int, submission: Submission, time_us: int, outcome: Outcome | None
    ) -> EntryRows:
        """Makes the entry of what a handler changed. A command that changed nothing makes none."""
        changed = self._changed()
        rows: dict[str, list[tuple[str, Any]]] = {}
        changes: dict[str, list[RowChange]] = {}
        sections: dict[str, list[tuple[str, str, bytes | None]]] = {}
        for name, key, cache, before in changed:
            table = cache.spec
            image = cache.images[key]
            if image is None:
                doc, row = None, None
            else:
                row = image.row
                doc = encode_row(row)
                if table.searchable:
                    _check_searchable(table, row)
                cache.images[key] = Image(row, image.owner, image.epoch, image.sequence, doc)
                rows.setdefault(name, []).append((key, row))
            if not table.local:
                changes.setdefault(name, []).append(RowChange(key, None if before is None else before.row, row))
                sections.setdefault(table.section, []).append((name, key, doc))
        if changes:
            schema = self.registry.schema(frozenset(name.partition(".")[0] for name in changes))
            causes = tuple(self._cause(*cause) for cause in self.state.causes)
            change = Change(self.source, event, submission.actor, time_us, changes, self.cause_rows(causes))
            for invariant in self.registry.checks(schema):
                problem = invariant.check(change)
                if problem is not None:
                    self.alarms.append(f"invariant {invariant.name} refused a command of ours: {problem}")
                    raise InvariantBroken(invariant.name, problem)
            self._append(event, status, submission, time_us, outcome, causes, schema, sections)
        return EntryRows(self.source, event, rows)

    def _changed(self) -> list[tuple[str, str, TableCache, Image | None]]:
        """(table, key, cache, image before this command) of every row it changed, sorted by (table, key)."""
        log = self.state.log
        if len(log) == 1:
            cache, key, before = log[0]
            return [(cache.spec.name, key, cache, before)]
        first: dict[tuple[str, str], tuple[TableCache, Image | None]] = {}
        for cache, key, before in log:
            first.setdefault((cache.spec.name, key), (cache, before))
        return [
            (name, key, cache, before)
            for (name, key), (cache, before) in sorted(first.items())
            if cache.images[key] is not before
        ]

    def _cause(self, source: str, epoch: int, sequence: int) -> CauseReference:
        return (source, epoch, sequence, leaf_hash(self.cause_entry(source, epoch, sequence).header).hex())

    def cause_entry(self, source: str, epoch: int, sequence: int) -> Entry:
        """An entry that is applied here: of this batch, or looked up for it. Raises ``Missing``."""
        where = (source, epoch, sequence)
        entry = self.causes.get(where)
        if entry is None:
            for entry in reversed(self._entries):
                if (entry.source, entry.epoch, entry.sequence) == where:
                    break
            else:
                if where in self.causes:
                    raise Parked("cause_not_applied", f"{source}/{epoch}/{sequence} is not in the journal")
                raise Missing(Wanted(entries={where}))
            self.causes[where] = entry
        return entry

    def cause_rows(self, causes: tuple[CauseReference, ...]) -> dict[str, dict[str, tuple[str, Any]]]:
        """table -> key -> (owner, row) as the entries in ``causes`` wrote them."""
        found: dict[str, dict[str, tuple[str, Any]]] = {}
        for source, epoch, sequence, _ in causes:
            entry = self.cause_entry(source, epoch, sequence)
            for name, key, doc in rows_of(entry):
                table = self.registry.tables.get(name)
                if table is not None and doc is not None:
                    found.setdefault(name, {})[key] = (source, decode_row(doc, table.row))
        return found

    def _append(
        self,
        event: str,
        status: int,
        submission: Submission,
        time_us: int,
        outcome: Outcome | None,
        causes: tuple[CauseReference, ...],
        schema: dict[str, int],
        sections: dict[str, list[tuple[str, str, bytes | None]]],
    ) -> None:
        if len(causes) > CAUSES_PER_ENTRY_MAX:
            raise Rejected("event_too_large", f"more than {CAUSES_PER_ENTRY_MAX} causes in one event", status=413)
        own = self.touch_source(self.source)
        encoded = {name: encode_section(self.entropy.bytes(32), rows) for name, rows in sections.items()}
        command = None
        if submission.key_hash is not None:
            command = CommandReference(submission.key_hash.hex(), (submission.body_hash or b"").hex(), status)
        header = encode_header(
            Header(
                self._event_id(time_us),
                self.network,
                self.source,
                own.epoch,
                own.size,
                f"jil.{event.partition('.')[0]}",
                event,
                format_time(time_us),
                submission.actor,
                causes or None,
                outcome,
                command,
                schema,
                0,
                {name: SectionReference(section_hash(encoded[name]), len(encoded[name])) for name in sorted(encoded)},
                submission.traceparent,
            )
        )
        if len(header) > HEADER_BYTES_MAX or sum(map(len, encoded.values())) > EVENT_BYTES_MAX:
            raise Rejected("event_too_large", "the changes of one command exceed one event", status=413)
        entry = Entry(self.source, own.epoch, own.size, header, encoded, submission.key_hash)
        own.frontier.append(leaf_hash(header))
        own.time_us = time_us
        self._entries.append(entry)
        if submission.key_hash is not None:
            self.keys.remember(submission.key_hash, entry)

    def keep_before(self, log: list[LoggedChange]) -> None:
        """What this command changed first in the batch: its committed image, for readers and for ``abandon``."""
        for cache, key, before in log:
            if key not in cache.before:
                cache.before[key] = before

    def _event_id(self, time_us: int) -> str:
        """UUIDv7 (RFC 9562): milliseconds, then a counter in the bits that may be random."""
        ms = time_us // 1000
        self._event_random = (self._event_random + 1) & ((1 << 62) - 1)
        low = (0b10 << 62) | self._event_random
        text = f"{ms:012x}7{(time_us % 1000) << 2:03x}{low:016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    # The kernel's own entries

    def genesis(self, time_us: int, previous: tuple[int, int, str] | None = None) -> None:
        """Entry 0 of an epoch. ``previous`` = (epoch, size, root in hex) at which the one before ended."""
        own = self.touch_source(self.source)
        if previous is not None:
            own.epoch = previous[0] + 1
            own.frontier = type(own.frontier)()
        own.public_key = self.key.public_key
        own.zone = self.zone
        row = Source(self.network, self.zone, self.key.public_key.hex(), None, previous)
        self._kernel_entry("kernel.genesis", SOURCES, self.source, row, time_us)

    def tick_due(self, time_us: int) -> bool:
        own = self.own
        return time_us - own.tick_us >= TICK_INTERVAL_S * 1_000_000 or own.size - own.tick_size >= TICK_ENTRIES_MAX

    def tick(self, time_us: int) -> None:
        """The last entry of a commit: the time, the state digest, and how far every other source is applied here."""
        self.fold_digests()
        own = self.touch_source(self.source)
        heads = {
            name: (other.epoch, other.size)
            for name, other in sorted(self.sources.items())
            if name != self.source and other.size
        }
        row = Tick(time_us, f"{own.digest:064x}", heads)
        self._kernel_entry("kernel.tick.recorded", TICKS, self.source, row, time_us)
        own.tick_us = time_us
        own.tick_size = own.size

    def rotate_key(self, new_key: SealKey, time_us: int) -> None:
        """The last entry of a commit, whose seal carries both signatures."""
        own = self.touch_source(self.source)
        before = self.caches[SOURCES].get(self.source)
        assert before is not None and isinstance(before.row, Source)
        row = Source(self.network, self.zone, new_key.public_key.hex(), before.row.authorisation, before.row.previous)
        self._kernel_entry("kernel.key.rotated", SOURCES, self.source, row, time_us)
        own.public_key = new_key.public_key
        self._new_key = new_key

    def _kernel_entry(self, event: str, table: Table[Any], key: str, row: Any, time_us: int) -> None:
        own = self.own
        self.state.begin(own.epoch, own.size)
        self.state[table].put(key, row)
        self._finish(event, 201, Submission(row, self.source), time_us, None)
        self.keep_before(self.state.log)

    def finish_local(self) -> None:
        """Ends a change of local rows that makes no entry."""
        for cache, key, _ in self.state.log:
            assert cache.spec.local
            image = cache.images[key]
            if image is not None:
                cache.images[key] = Image(image.row, self.source, 0, 0, encode_row(image.row))
        self.keep_before(self.state.log)

    # The batch

    def add_foreign(self, entries: list[Entry], seal: Seal) -> None:
        self._entries += entries
        self._seals.append(seal)

    def seal(self, now_us: int) -> Commit:
        """Ends the batch: digests, one seal when this node wrote, one head row for each source touched, coalesced
        rows."""
        self.fold_digests(last_of_batch=True)
        entries, seals = self._entries, self._seals
        if any(entry.source == self.source for entry in entries) and not any(
            seal.source == self.source for seal in seals
        ):
            own = self.own
            keys = [self.key] if self._new_key is None else [self.key, self._new_key]
            origin = origin_of(self.network, self.source, own.epoch)
            seals.append(Seal(self.source, own.epoch, own.size, make_seal(origin, own.size, own.frontier.root(), keys)))
        self.state.begin(0, 0)
        for source in self._saved:
            self.state[HEADS].put(source, self.sources[source].to_row())
        self.state[MARKS].put(COMMIT_MARK, Mark(str(self.commit_number + 1)))
        self.finish_local()
        commit = Commit(entries, seals)
        for table, cache in self.caches.items():
            if not cache.before:
                continue
            writes: list[RowWrite] = []
            deletes: list[str] = []
            fields = table.searchable
            for key, before in cache.before.items():
                image = cache.images[key]
                if image is None:
                    if before is not None:
                        deletes.append(key)
                elif image is not before:
                    row = image.row
                    writes.append(
                        RowWrite(
                            key,
                            image.owner,
                            image.epoch,
                            image.sequence,
                            image.doc,
                            tuple([getattr(row, field) for field in fields]),
                        )
                    )
            if writes:
                (commit.inserts if table.write_once else commit.writes)[table] = writes
            if deletes:
                commit.deletes[table] = deletes
        self.keys.fill(commit, now_us)
        return commit

    def fold_digests(self, *, last_of_batch: bool = False) -> None:
        """Brings every source's digest up to the rows as they are now; called again, it counts only what changed
        since."""
        counted = self._counted
        deltas: dict[str, int] = {}
        for table, cache in self.caches.items():
            before_of = cache.before
            if table.local or not before_of:
                continue
            name, images = table.name, cache.images
            for key, before in before_of.items():
                last = counted.get((cache, key), before) if counted else before
                image = images[key]
                if image is last:
                    continue
                if last is not None:
                    mark = row_mark(name, key, last.owner, last.epoch, last.sequence, last.doc)
                    deltas[last.owner] = deltas.get(last.owner, 0) - mark
                if image is not None:
                    mark = row_mark(name, key, image.owner, image.epoch, image.sequence, image.doc)
                    deltas[image.owner] = deltas.get(image.owner, 0) + mark
        for owner, delta in deltas.items():
            self.sources[owner].add_digest(delta)
        if last_of_batch:
            return
        for cache in self.caches.values():
            if not cache.spec.local:
                for key in cache.before:
                    counted[(cache, key)] = cache.images[key]

    def confirm(self) -> tuple[list[Entry], list[Seal]]:
        """The commit is durable. Returns what it added to the journal."""
        entries, seals = self._entries, self._seals
        self.commit_number += 1
        if self._new_key is not None:
            self.key = self._new_key
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
        self._entries = []
        self._seals = []
        self._saved = {}
        self._counted = {}
        self._new_key = None
        self.causes.clear()

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
        self.causes.update(loaded.entries)

    def wanted(self, submission: Submission, wanted: Wanted) -> None:
        """Adds to ``wanted`` what the command is known to need and is not in memory."""
        if submission.key_hash is not None and self.keys.unknown(submission.key_hash):
            wanted.commands.add(submission.key_hash)
        spec = self.registry.commands[type(submission.command)]
        if spec.touches is not None:
            for table, key in spec.touches(submission.command):
                if not self.caches[table].knows(key):
                    wanted.rows.setdefault(table, set()).add(key)


def _check_searchable(table: Table[Any], row: Any) -> None:
    for field in table.searchable:
        value = getattr(row, field)
        if type(value) is str and len(value) * 4 > SEARCHABLE_BYTES_MAX and len(value.encode()) > SEARCHABLE_BYTES_MAX:
            raise Rejected("value_too_long", f"{field} is longer than {SEARCHABLE_BYTES_MAX} bytes", field=f"/{field}")

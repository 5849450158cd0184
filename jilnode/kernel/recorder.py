"""What a command changed becomes an entry: its rows are encoded once, judged by the invariants, hashed and appended."""

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, Final

from jilnode.kernel.cache import ROW_OVERHEAD_BYTES, TableCache
from jilnode.kernel.codec import (
    decode_row,
    encode_document,
    encode_header,
    encode_section,
    format_time,
    guard_documents,
    rows_of,
    section_hash,
)
from jilnode.kernel.command import Submission
from jilnode.kernel.entry import CauseReference, CommandReference, Entry, Header, Outcome, SectionReference
from jilnode.kernel.entry_rows import EntryRows
from jilnode.kernel.errors import InvariantBroken, Missing, Parked, Rejected
from jilnode.kernel.image import Image
from jilnode.kernel.invariants import Change, RowChange
from jilnode.kernel.ports import Entropy, Wanted
from jilnode.kernel.registry import Registry
from jilnode.kernel.sources import SourceState
from jilnode.kernel.state import State
from jilnode.kernel.tree import leaf_hash
from jilnode.limits import (
    CAUSES_PER_ENTRY_MAX,
    EVENT_BYTES_MAX,
    HEADER_BYTES_MAX,
    RESIDENT_BYTES_OWN_MAX,
    RESIDENT_BYTES_PER_SOURCE_MAX,
    SEARCHABLE_BYTES_MAX,
    WRITER_BATCH_BYTES_MAX,
    WRITER_CALLERS_BYTES_MAX,
)

__all__ = ("Recorder",)

_COUNTER_BITS: Final = 62
RESIDENT_FULL_RETRY_S: Final = 60


class Recorder:
    """Makes this node's entries. ``entries`` are those of the batch, foreign ones included, in journal order."""

    def __init__(
        self,
        *,
        network: str,
        source: str,
        registry: Registry,
        state: State,
        entropy: Entropy,
        alarms: deque[str],
        weights: defaultdict[str, int],
    ) -> None:
        self._network = network
        self._source = source
        self._registry = registry
        self._state = state
        self._entropy = entropy
        self._alarms = alarms
        self._weights = weights
        self._topics: dict[str, str] = {}
        self._event_counter = int.from_bytes(entropy.bytes(8), "big") >> 2
        self._event_moment = (-1, "")
        """The newest time of an entry, and what an id of that time begins with."""
        self.entries: list[Entry] = []
        self.size = 0
        """Bytes of this node's own entries of the batch."""
        self.causes: dict[tuple[str, int, int], Entry | None] = {}
        """Entries looked up because events of this batch rest on them."""

    @property
    def full(self) -> bool:
        """Whether the batch has as much of this node's own as one commit may have."""
        return self.size >= WRITER_BATCH_BYTES_MAX

    @property
    def full_for_callers(self) -> bool:
        """Whether what is left of the commit is for what the node does unasked."""
        return self.size >= WRITER_CALLERS_BYTES_MAX

    def begin_batch(self) -> None:
        self.entries = []
        self.size = 0
        self.causes.clear()

    def record(
        self,
        own: SourceState,
        event: str,
        status: int,
        submission: Submission,
        time_us: int,
        outcome: Outcome | None,
        reply: Callable[[EntryRows], Any],
    ) -> tuple[Any, Entry | None]:
        """Ends a command: appends the entry of what it changed to ``own``'s tree, and returns what ``reply`` says of
        it. One that changed no replicated row makes an entry only if it has a key, which is used up by that. Raises
        ``Rejected`` when the event is too large, ``InvariantBroken``, and what ``reply`` raises; then nothing is
        appended."""
        changes: dict[str, list[RowChange]] = {}
        sections: dict[str, list[tuple[str, str, bytes | None]]] = {}
        grown = 0
        documents: list[bytes] = []
        for cache, rows in self._changed():
            table, weights = cache.spec, cache.weights
            row_changes: list[RowChange] = []
            section: list[tuple[str, str, bytes | None]] = []
            if not table.local:
                changes[cache.name] = row_changes
                section = sections.setdefault(table.section, section)
            for key, before, image in rows:
                if weights is not None and before is not None:
                    grown -= ROW_OVERHEAD_BYTES + len(before.doc)
                if image is None:
                    doc = row = None
                else:
                    row = image.row
                    doc = image.doc = encode_document(row)
                    documents.append(doc)
                    if weights is not None:
                        # It was weighed when it was set, without its document.
                        weights[self._source] += len(doc)
                        grown += ROW_OVERHEAD_BYTES + len(doc)
                    # No text of a shorter document is longer than that.
                    if len(doc) > SEARCHABLE_BYTES_MAX and (field := table.too_long(row)):
                        detail = f"{field} is longer than {SEARCHABLE_BYTES_MAX} bytes"
                        raise Rejected("value_too_long", detail, field=f"/{field}")
                row_changes.append((key, None if before is None else before.row, row))
                section.append((cache.name, key, doc))
        guard_documents(documents)
        if grown > 0 and (weight := self._weights[self._source]) > RESIDENT_BYTES_OWN_MAX:
            _check_room(grown, weight)
        causes: tuple[CauseReference, ...] = ()
        schema: dict[str, int] = {}
        if changes:
            schema, invariants = self._registry.own_checks(tuple(changes))
            causes = tuple([self._cause(*cause) for cause in self._state.causes])
            change = Change(
                self._source, event, submission.actor, time_us, changes, self.cause_rows(causes), self._registry.kinds
            )
            for invariant in invariants:
                problem = invariant.check(change)
                if problem is not None:
                    self._alarms.append(f"invariant {invariant.name} refused a command of ours: {problem}")
                    raise InvariantBroken(invariant.name, problem)
        answer = reply(EntryRows(self._source, event, changes))
        if not changes and submission.key_hash is None:
            return answer, None
        return answer, self._append(own, event, status, submission, time_us, outcome, causes, schema, sections)

    def _changed(self) -> list[tuple[TableCache, list[tuple[str, Image | None, Image | None]]]]:
        """(key, image before this command, image now) of every row it changed, by table and key."""
        log = self._state.log
        if len(log) == 1:
            cache, key, before = log[0]
            return [(cache, [(key, before, cache.images[key])])]
        first: dict[TableCache, dict[str, Image | None]] = {}
        for cache, key, before in log:
            rows = first.get(cache)
            if rows is None:
                rows = first[cache] = {}
            rows.setdefault(key, before)
        changed = []
        for _, cache in sorted([(cache.name, cache) for cache in first]):
            rows, images = first[cache], cache.images
            kept = [(key, before, image) for key in sorted(rows) if (image := images[key]) is not (before := rows[key])]
            if kept:
                changed.append((cache, kept))
        return changed

    def _cause(self, source: str, epoch: int, sequence: int) -> CauseReference:
        return (source, epoch, sequence, leaf_hash(self.cause_entry(source, epoch, sequence).header).hex())

    def cause_entry(self, source: str, epoch: int, sequence: int) -> Entry:
        """An entry that is applied here: of this batch, or looked up for it. Raises ``Missing``, ``Parked``."""
        where = (source, epoch, sequence)
        entry = self.causes.get(where)
        if entry is None:
            for entry in reversed(self.entries):
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
                table = self._registry.tables.get(name)
                if table is not None and doc is not None:
                    found.setdefault(name, {})[key] = (source, decode_row(doc, table.row))
        return found

    def _append(
        self,
        own: SourceState,
        event: str,
        status: int,
        submission: Submission,
        time_us: int,
        outcome: Outcome | None,
        causes: tuple[CauseReference, ...],
        schema: dict[str, int],
        sections: dict[str, list[tuple[str, str, bytes | None]]],
    ) -> Entry:
        if len(causes) > CAUSES_PER_ENTRY_MAX:
            raise Rejected("event_too_large", f"more than {CAUSES_PER_ENTRY_MAX} causes in one event", status=413)
        encoded: dict[str, bytes] = {}
        references: dict[str, SectionReference] = {}
        length = 0
        for name in sorted(sections):
            data = encoded[name] = encode_section(self._entropy.bytes(32), sections[name])
            references[name] = SectionReference(section_hash(data), len(data))
            length += len(data)
        key_hash = submission.key_hash
        command = None
        if key_hash is not None:
            command = CommandReference(key_hash.hex(), (submission.body_hash or b"").hex(), status)
        topic = self._topics.get(event)
        if topic is None:
            topic = self._topics[event] = f"jil.{event.partition('.')[0]}"
        header = encode_header(
            Header(
                self._event_id(time_us),
                self._network,
                self._source,
                own.epoch,
                own.frontier.size,
                topic,
                event,
                format_time(time_us),
                submission.actor,
                causes or None,
                outcome,
                command,
                schema,
                0,
                references,
                submission.traceparent,
            )
        )
        if len(header) > HEADER_BYTES_MAX or length > EVENT_BYTES_MAX:
            raise Rejected("event_too_large", "the changes of one command exceed one event", status=413)
        entry = Entry(self._source, own.epoch, own.frontier.size, header, encoded, key_hash)
        own.frontier.append(leaf_hash(header))
        own.time_us = time_us
        self.entries.append(entry)
        self.size += len(header) + length
        return entry

    def _event_id(self, time_us: int) -> str:
        """UUIDv7 (RFC 9562): milliseconds, then microseconds and a counter in the bits that may be random."""
        moment, begin = self._event_moment
        if moment != time_us:
            milliseconds, microseconds = divmod(time_us, 1000)
            text = f"{milliseconds:012x}"
            begin = f"{text[:8]}-{text[8:]}-7{microseconds << 2:03x}"
            self._event_moment = (time_us, begin)
        self._event_counter = counter = (self._event_counter + 1) % (1 << _COUNTER_BITS)
        text = f"{counter | 1 << 63:016x}"
        return f"{begin}-{text[:4]}-{text[4:]}"


def _check_room(grown: int, weight: int) -> None:
    """Others would not follow this node beyond a bound. It puts no more rows there before that, and changes none for a
    longer one at it. Raises ``Rejected``."""
    if grown >= ROW_OVERHEAD_BYTES or weight > RESIDENT_BYTES_PER_SOURCE_MAX:
        raise Rejected(
            "resident_full",
            "what others must keep in memory of this node has reached its bound; some of it has to end first",
            status=503,
            retry_after_s=RESIDENT_FULL_RETRY_S,
        )

"""The replicator: what other nodes wrote, verified, applied, exactly once.

Records come from the bus in lanes. Each source's entries are gathered up to a seal, verified against what is known of
the source, and handed to the writer. A source that breaks a rule is suspended with the evidence; one that rests on
something not here yet is parked and accused of nothing; everybody else goes on. What a suspended source sends is kept
raw, and reading resumes before the first record that is not applied, so that a release leaves no gap.
"""

import asyncio
import logging
from collections.abc import Mapping

from jilnode.events.bus import Bus, Lane, Record
from jilnode.events.duplicates import Duplicates
from jilnode.events.feed import Feed
from jilnode.events.quarantine import Quarantine, written
from jilnode.events.record import read_record, record_of_seal, unread_record
from jilnode.kernel.apply import Group, VerifiedGroup, verify
from jilnode.kernel.engine import Engine
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import Breach, CommitFailed, Parked, Unproven
from jilnode.kernel.ports import Store
from jilnode.kernel.sources import FOLLOWING, PARKED, SET_ASIDE, SourceState
from jilnode.kernel.system import MARKS, Mark
from jilnode.kernel.writer import Writer

__all__ = ("MARK_PREFIX", "Replicator")

logger = logging.getLogger("jilnode.replicator")

MARK_PREFIX = "bus/"
RECORDS_PER_RECEIVE = 4096
SEALS_MAX = 4096
RELEASED_LANE = "released"
POSITION_INTERVAL_US = 1_000_000


class Replicator:
    """``trusted`` maps a source to the leaf hash of its genesis. ``run`` follows the bus until it is cancelled."""

    def __init__(self, writer: Writer, store: Store, bus: Bus, network: str, trusted: Mapping[str, str]) -> None:
        self._writer = writer
        self._engine: Engine = writer.engine
        self._store = store
        self._bus = bus
        self._network = network
        self._trusted = trusted
        self._quarantine = Quarantine(writer, store)
        self._duplicates = Duplicates(writer, store, network)
        self._looking = asyncio.Lock()
        """Held by whoever sorts and applies: the bus's reader, or an operator's release."""
        self._feeds: dict[str, Feed] = {}
        self._receipt = 0
        self._positions: dict[Lane, list[tuple[int, str]]] = {}
        """Per lane: (receipt, position after it), oldest first, of receipts not wholly applied."""
        self._source_lanes: dict[str, set[Lane]] = {}
        self._written: dict[Lane, str] = {}
        self._rewound: set[Lane] = set()
        self._missing: dict[tuple[Lane, str], tuple[int, int]] = {}
        """(epoch, sequence) that a lane was last read again for."""
        self._asked_again: dict[str, tuple[int, int]] = {}
        """Where each source stood when its journal was last asked for from the beginning."""
        self._stored_us = 0
        self.received: dict[Lane, str] = {}
        """Position after the newest record that was looked at, per lane: what start-up compares with the bus's end."""
        self.dead_letters = 0
        self.progressed = asyncio.Event()

    def stored_positions(self) -> dict[Lane, str]:
        """Where each lane was when this database last said so."""
        images = self._engine.caches[MARKS].images
        return {
            key.removeprefix(MARK_PREFIX).replace("~", "/"): image.row.value
            for key, image in images.items()
            if image is not None and key.startswith(MARK_PREFIX) and isinstance(image.row, Mark)
        }

    @property
    def lacks_own(self) -> bool:
        """Whether this node itself once sealed more than it has: that has come and is not applied, since it rests on
        what others wrote, was refused by the database, or waits for an operator."""
        source = self._engine.source
        own, feed = self._engine.sources.get(source), self._feeds.get(source)
        if own is not None and own.set_aside:
            return own.status == PARKED
        head = (0, 0) if own is None else (own.epoch, own.size)
        key = self._engine.key.public_key
        return feed is not None and any(
            (seal.epoch, seal.size) > head and self._duplicates.signed(seal, key) for seal in feed.seals
        )

    async def run(self) -> None:
        self._written = self.stored_positions()
        await self._resume_releases()
        while True:
            batches = await self._bus.receive(RECORDS_PER_RECEIVE)
            await self.take(batches)

    async def take(self, batches: list[tuple[Lane, list[Record], str]]) -> None:
        """Looks at one receipt: gathers, applies what is sealed, and stores how far reading may resume."""
        async with self._looking:
            await self._take(batches)

    async def _take(self, batches: list[tuple[Lane, list[Record], str]]) -> None:
        self._receipt += 1
        self._rewound.clear()
        for lane, records, position in batches:
            for record in records:
                await self._sort(lane, record)
            if lane not in self._rewound:
                self._positions.setdefault(lane, []).append((self._receipt, position))
        await self._apply_all()
        for lane, _, position in batches:
            self.received[lane] = position
        self._progress()
        await self.store_positions()

    def _progress(self) -> None:
        self.progressed.set()
        self.progressed.clear()

    # Gathering

    async def _sort(self, lane: Lane, record: Record) -> None:
        try:
            item = read_record(record)
        except Breach as breach:
            await self._dead_letter(record, breach)
        except Exception as error:
            # A fault of ours. Read again it would fail again, and nobody behind it would be followed.
            logger.exception("a record could not be looked at", extra={"fields": {"source": record.source}})
            self._engine.alarms.append(f"unreadable: a record made this program fail ({type(error).__name__})")
            await self._dead_letter(record, Breach("unreadable", f"this program failed ({type(error).__name__})"))
        else:
            if item is not None:
                await self._gather(lane, record, item.source, item)

    async def _gather(self, lane: Lane, record: Record, source: str, item: Entry | Seal) -> None:
        known = self._engine.sources.get(source)
        if known is not None and known.set_aside:
            await self._quarantine.keep(source, record)
            return
        feed = self._feeds.setdefault(source, Feed(source))
        epoch, size = (0, 0) if known is None else (known.epoch, known.size)
        if isinstance(item, Seal):
            if (item.epoch, item.size) > (epoch, size):
                others = [seal for seal in feed.seals if seal != item]
                feed.seals = sorted([*others, item], key=lambda seal: (seal.epoch, seal.size))[:SEALS_MAX]
            await self._compare_seal(source, item, record)
            return
        wanted = feed.next_position(epoch, size)
        where = (item.epoch, item.sequence)
        if feed.full and where >= wanted:
            # Anybody may have sent so many, and only what is signed accuses. A seal of the source's own will tell
            # which of those under the same numbers it wrote.
            await self._dead_letter(record, Unproven("no_seal", f"{where} after a commit's worth without a seal"))
        elif where == wanted or where == (wanted[0] + 1, 0):
            if feed.held_at is None:
                feed.held_at = self._receipt
                self._source_lanes.setdefault(source, set()).add(lane)
            feed.entries.append(item)
        elif where < wanted:
            if (invention := await self._duplicates.entry(feed, item)) is not None:
                await self._dead_letter(record, invention)
        elif not self._redelivered(lane, source):
            # Somebody's invention, or the bus lost what lies between: the source can't be blamed for either.
            self._set_status(source, PARKED, "gap", f"entry {where} came where {wanted} belongs")
            await self._dead_letter(record, Unproven("gap", f"entry {where} where {wanted} belongs"))

    def _redelivered(self, lane: Lane, source: str) -> bool:
        """A gap in a lane that keeps order accuses the source; in one that may lose or reorder records, reading goes
        back."""
        if self._bus.ordered:
            return False
        self._rewind(lane, self._feeds[source])
        return True

    def _rewind(self, lane: Lane, feed: Feed) -> None:
        """Reads the lane again, from the newest position before which everything is applied."""
        feed.clear()
        # What this lane brought meanwhile will come again, so no position of it may be stored.
        self._positions.pop(lane, None)
        self._rewound.add(lane)
        known = self._engine.sources.get(feed.source)
        missing = (0, 0) if known is None else (known.epoch, known.size)
        again = self._missing.get((lane, feed.source)) == missing
        self._missing[(lane, feed.source)] = missing
        # If the stored position did not bring it, it was lost before that was stored.
        self._bus.rewind(lane, None if again else self._written.get(lane))

    async def _compare_seal(self, source: str, seal: Seal, record: Record) -> None:
        try:
            fork = await self._duplicates.seal(seal)
        except Breach as breach:
            await self._dead_letter(record, breach)
            return
        if fork is not None:
            await self._fork(source, fork.here, record, fork.detail)

    async def _fork(self, source: str, here: bytes, record: Record, detail: str) -> None:
        if source == self._engine.source:
            # Signed by our own key, and not by us: a thief, or a twin restored from a copy.
            self._engine.alarms.append(detail)
            self._writer.forbid(f"{detail}: somebody else writes as this node")
        await self._suspend(source, Breach("fork", detail), record, other=here)

    # Applying

    async def _apply_all(self) -> None:
        """Applies what is sealed; a source that was applied may release others that wait for it, so until nothing
        moves."""
        moved = True
        while moved:
            moved = False
            ready = [feed for feed in self._feeds.values() if feed.seals and feed.entries]
            outcomes = await asyncio.gather(*[self._apply_feed(feed) for feed in ready])
            moved = any(outcomes)

    async def _apply_feed(self, feed: Feed) -> bool:
        """Whether anything of the feed was applied. Merged first, since one seal covers many; alone if that is
        refused."""
        applied = False
        for merged in (True, False):
            groups = feed.groups(merged)
            if not groups:
                return applied
            count, error = await self._apply_groups(feed.source, groups)
            if count:
                feed.drop(count)
                applied = True
                self._set_status(feed.source, FOLLOWING, "", "")
            if error is None:
                break
            if not merged and await self._refuse(feed, error):
                return await self._apply_feed(feed) or applied
        if not feed.entries:
            feed.held_at = None
        return applied

    async def _apply_groups(self, source: str, groups: list[Group]) -> tuple[int, Exception | None]:
        """(entries applied, what stopped it). Groups are verified one behind the other and may share one commit."""
        known = self._engine.sources.get(source)
        projected = None if known is None else known.copy()
        queued: list[tuple[VerifiedGroup, asyncio.Future[None]]] = []
        error: Exception | None = None
        for group in groups:
            try:
                verified = verify(group, projected, self._network, self._trusted, self._engine.registry)
            except (Breach, Parked) as refused:
                error = refused
                break
            if source == self._engine.source and self._writer.writable:
                await self._fork(
                    source, b"", record_of_seal(group.seal), f"entries of {source} that this node did not write"
                )
                return 0, None
            if projected is None:
                projected = SourceState(source)
            projected.epoch, projected.frontier = verified.epoch, verified.frontier.copy()
            projected.public_key, projected.zone = verified.public_key, verified.zone
            queued.append((verified, self._writer.apply(verified)))
        applied = 0
        for verified, future in queued:
            try:
                await future
            except (Breach, Parked, CommitFailed) as refused:
                if error is None or applied == 0:
                    error = refused
                for _, other in queued:
                    other.add_done_callback(_ignore)
                break
            applied += len(verified.entries)
        return applied, error

    async def _refuse(self, feed: Feed, error: Exception) -> bool:
        """What becomes of a feed whose first group was refused. Whether trying again makes sense."""
        if isinstance(error, Unproven):
            return await self._settle(feed, error)
        if isinstance(error, Breach) and error.code == "seal_missing" and not self._bus.ordered:
            for lane in self._source_lanes.get(feed.source, ()):
                self._rewind(lane, feed)
        elif isinstance(error, Breach):
            group = feed.groups(False)[0]
            await self._suspend(feed.source, error, None, evidence=[*group.entries, group.seal])
        elif isinstance(error, Parked) and error.code in SET_ASIDE:
            await self._quarantine.park(feed.source, error, _held(feed))
            feed.clear()
        elif isinstance(error, Parked):
            self._set_status(feed.source, PARKED, error.code, error.detail)
        return False

    async def _settle(self, feed: Feed, error: Unproven) -> bool:
        """The seal does not fit the entries. Among those that came under the same numbers, the ones that it fits are
        the source's own; when there are none, the seal is put aside, and the entries wait for another."""
        group = feed.groups(False)[0]
        known = self._engine.sources.get(feed.source)
        for variant in feed.variants(group):
            try:
                verify(variant, known, self._network, self._trusted, self._engine.registry)
            except Unproven:
                continue
            except (Breach, Parked):
                pass
            feed.choose(variant)
            return True
        feed.forget_seal(group.seal)
        await self._dead_letter(record_of_seal(group.seal), error)
        if known is not None and self._duplicates.signed(group.seal, known.public_key):
            self._doubt(feed, known)
        return bool(feed.seals)

    def _doubt(self, feed: Feed, known: SourceState) -> None:
        """The source signed something that does not fit what is here: either these entries are not its own, or it has
        a second history. Where that begins is the proof, so a bus that can tell it again is asked to."""
        self._duplicates.doubt(feed.source)
        self._set_status(
            feed.source, PARKED, "unproven", f"what it signed after {known.size} entries does not fit what came of it"
        )
        if not self._bus.ordered and (known.epoch, known.size) != self._asked_again.get(feed.source):
            self._asked_again[feed.source] = (known.epoch, known.size)
            for lane in self._source_lanes.get(feed.source, ()):
                self._rewound.add(lane)
                self._positions.pop(lane, None)
                self._bus.rewind(lane, f"{known.epoch}/0")
            feed.clear()

    def _set_status(self, source: str, status: str, code: str, detail: str) -> None:
        state = self._engine.sources.get(source)
        if state is not None and (state.status, state.code) != (status, code):
            state.status, state.code, state.detail = status, code, detail
            logger.warning(
                "a source is %s", status, extra={"fields": {"source": source, "code": code, "detail": detail}}
            )

    # Suspension and release

    async def _suspend(
        self,
        source: str,
        breach: Breach,
        record: Record | None,
        *,
        other: bytes = b"",
        evidence: list[Entry | Seal] | None = None,
    ) -> None:
        """Stops following ``source``, with what accuses it. Its records are kept from here on."""
        feed = self._feeds.setdefault(source, Feed(source))
        held = _held(feed)
        if record is not None:
            held.append(record)
        accused = (
            record.value if record is not None else b"\n".join(unread_record(item).value for item in evidence or ())
        )
        await self._quarantine.suspend(source, breach, held, accused, other)
        feed.clear()

    async def release(self, source: str) -> None:
        """An operator's word: follow the source again, from where it was left. What it sent meanwhile was kept; what
        did not fit is read again. Raises ``Rejected`` when the source is not set aside, or is this node itself and
        suspended."""
        async with self._looking:
            kept, complete = await self._quarantine.release(source)
            await self._look_again(source, kept)
            self._progress()
            if not complete or not self._bus.ordered:
                # Duplicates are harmless; nobody knows any more which lanes hold what may be missing.
                for lane in {*self._written, *self._positions, *self.received}:
                    self._positions.pop(lane, None)
                    self._bus.rewind(lane, None)

    async def _look_again(self, source: str, kept: list[Record]) -> None:
        """At what was kept of a source that is followed again. If it is suspended again, all that is kept anew."""
        self._receipt += 1
        for record in kept:
            await self._sort(RELEASED_LANE, record)
        await self._apply_all()
        await self._quarantine.forget(source, len(kept))

    async def _resume_releases(self) -> None:
        """Those that a stop of this node cut short."""
        for source, state in list(self._engine.sources.items()):
            if not state.set_aside and (kept := await self._quarantine.kept(source)):
                await self._look_again(source, kept)

    async def _dead_letter(self, record: Record, breach: Breach) -> None:
        """Unreadable: to the dead letters with the reason; nobody else stops for it."""
        self.dead_letters += 1
        logger.error("a record is unreadable", extra={"fields": {"source": record.source, "code": breach.code}})
        await self._bus.dead_letter(record, f"{breach.code}: {breach.detail}")

    # Positions

    async def store_positions(self, *, now: bool = False) -> None:
        """The newest position of each lane before which everything is applied or kept. Only a hint, since duplicates
        are harmless, so it is written once a second at most."""
        clock_us = self._engine.clock.monotonic_us()
        if not now and clock_us - self._stored_us < POSITION_INTERVAL_US:
            return
        moved: dict[Lane, str] = {}
        for lane, receipts in self._positions.items():
            held = [
                feed.held_at
                for source, feed in self._feeds.items()
                if feed.held_at is not None and lane in self._source_lanes.get(source, ())
            ]
            first = min(held, default=self._receipt + 1)
            done = [position for receipt, position in receipts if receipt < first]
            if done:
                moved[lane] = done[-1]
                self._positions[lane] = [item for item in receipts if item[0] >= first]
        moved = {lane: position for lane, position in moved.items() if self._written.get(lane) != position}
        if not moved:
            return

        def write(engine: Engine) -> None:
            for lane, position in moved.items():
                engine.state[MARKS].put(MARK_PREFIX + lane.replace("/", "~"), Mark(position))

        await written(self._writer, write)
        self._stored_us = clock_us
        self._written.update(moved)


def _held(feed: Feed) -> list[Record]:
    return [*map(unread_record, feed.entries), *map(unread_record, feed.seals)]


def _ignore(future: "asyncio.Future[None]") -> None:
    """Its group came behind one that was refused; its own refusal says nothing new."""
    if not future.cancelled():
        future.exception()

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
from jilnode.events.feeds import Feeds, Place
from jilnode.events.positions import Positions
from jilnode.events.quarantine import Quarantine
from jilnode.events.record import read_record, record_of_seal, unread_record
from jilnode.kernel.engine import Engine
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import Breach, CommitFailed, Parked, Unproven
from jilnode.kernel.ports import Store
from jilnode.kernel.sources import FOLLOWING, PARKED, SET_ASIDE, SourceState
from jilnode.kernel.verify import Group, VerifiedGroup, genesis_key, verify
from jilnode.kernel.writer import Writer
from jilnode.limits import REPLICATOR_QUEUE_MAX

__all__ = ("Replicator",)

logger = logging.getLogger("jilnode.replicator")

RECORDS_PER_RECEIVE = 4096
RELEASED_LANE = "released"


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
        self._positions = Positions(writer, bus)
        self._feeds = Feeds(writer.engine, self._duplicates)
        self._asked_again: dict[str, Place] = {}
        """Where each source stood when its journal was last asked for from the beginning."""
        self.dead_letters = 0
        self.progressed = asyncio.Event()

    @property
    def received(self) -> Mapping[Lane, str]:
        return self._positions.received

    def stored_positions(self) -> dict[Lane, str]:
        return self._positions.stored()

    async def store_positions(self, *, now: bool = False) -> None:
        held = [(feed.source, feed.held_at) for feed in self._feeds if feed.held_at is not None]
        await self._positions.store(held, now=now)

    @property
    def lacks_own(self) -> bool:
        """Whether this node itself once sealed more than it has: that has come and is not applied, since it rests on
        what others wrote, was refused by the database, or waits for an operator."""
        source = self._engine.source
        own = self._engine.sources.get(source)
        if own is not None and own.set_aside:
            return own.status == PARKED
        head = (0, 0) if own is None else (own.epoch, own.size)
        key = self._engine.key.public_key
        seals = [seal for feed in self._feeds.of(source) for seal in feed.seals if (seal.epoch, seal.size) > head]
        return any(self._duplicates.signed(seal, key) for seal in seals)

    async def run(self) -> None:
        await self._positions.start(self._trusted)
        await self._resume_releases()
        while True:
            batches = await self._bus.receive(RECORDS_PER_RECEIVE)
            await self.take(batches)

    async def take(self, batches: list[tuple[Lane, list[Record], str]]) -> None:
        """Looks at one receipt: gathers, applies what is sealed, and stores how far reading may resume."""
        async with self._looking:
            await self._take(batches)

    async def _take(self, batches: list[tuple[Lane, list[Record], str]]) -> None:
        self._positions.begin()
        for lane, records, position in batches:
            for record in records:
                await self._sort(lane, record)
            self._positions.passed(lane, position)
        self._feeds.forget_overtaken(self._engine.source)
        await self._apply_all()
        if self._bus.ordered:
            for source in self._feeds.let_go():
                self._read_again(source)
        for lane, _, position in batches:
            self._positions.looked_at(lane, position)
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
        if known is None and source not in self._trusted:
            # Anybody can invent a name. Once the trust file has this one, the lanes are read from their start.
            return
        if known is not None and known.set_aside:
            await self._quarantine.keep(source, record)
            return
        if lane != RELEASED_LANE:
            self._positions.seen(source, lane)
        head = self._feeds.head(source)
        if known is None and isinstance(item, Entry) and item.sequence == 0:
            try:
                self._feeds.begins(source, genesis_key(item, self._network, self._trusted))
            except Breach as breach:
                await self._dead_letter(record, breach)
                return
        if isinstance(item, Seal):
            if (item.epoch, item.size) > head:
                self._feeds.add_seal(item, self._positions.receipt)
            await self._compare_seal(source, item, record)
        elif (item.epoch, item.sequence) < head:
            if (invention := await self._duplicates.entry(item)) is not None:
                await self._dead_letter(record, invention)
        else:
            await self._gather_entry(lane, record, item, head)

    async def _gather_entry(self, lane: Lane, record: Record, entry: Entry, head: Place) -> None:
        where = (entry.epoch, entry.sequence)
        feed = self._feeds.at(entry.source, entry.epoch)
        wanted = 0 if feed is None else feed.next_sequence(head[1] if entry.epoch == head[0] else 0)
        if feed is not None and feed.is_refused(entry):
            return
        if feed is not None and entry.sequence < wanted:
            feed.offer(entry)
        elif feed is not None and (feed.full or (entry.sequence == wanted and not feed.append(entry))):
            # Anybody may have sent so many, and only what is signed accuses. A seal of the source's own will tell
            # which of those under the same numbers it wrote, and whether more has to be read again.
            await self._dead_letter(record, Unproven("no_seal", f"{where} after a commit's worth without a seal"))
        elif feed is not None and entry.sequence == wanted:
            if feed.held_at is None and entry.epoch == head[0]:
                feed.held_at = self._positions.receipt
        elif not self._redelivered(lane, entry.source):
            # Somebody's invention, or the bus lost what lies between: the source can't be blamed for either.
            belongs = (entry.epoch if feed is not None else head[0], wanted if feed is not None else head[1])
            self._set_status(entry.source, PARKED, "gap", f"entry {where} came where {belongs} belongs")
            await self._dead_letter(record, Unproven("gap", f"entry {where} where {belongs} belongs"))

    def _redelivered(self, lane: Lane, source: str) -> bool:
        """A gap in a lane that keeps order is nobody's; in one that may lose or reorder records, reading goes back."""
        return not self._bus.ordered and self._read_again(source)

    def _read_again(self, source: str) -> bool:
        if not self._positions.again(source):
            return False
        self._feeds.forget(source)
        return True

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
            outcomes = await asyncio.gather(*[self._apply_source(source) for source in self._feeds.ready()])
            moved = any(outcomes)

    async def _apply_source(self, source: str) -> bool:
        applied = False
        for feed in self._feeds.of(source):
            applied = await self._apply_feed(feed) or applied
        self._feeds.end_epochs(source)
        return applied

    async def _apply_feed(self, feed: Feed) -> bool:
        """Whether anything of the feed was applied. Merged first, since one seal covers many; alone if that is
        refused."""
        applied = False
        merged = True
        while groups := feed.groups(merged):
            count, error = await self._apply_groups(feed.source, groups)
            if count:
                feed.drop(count)
                applied = True
                self._set_status(feed.source, FOLLOWING, "", "")
            if error is None or (not merged and not await self._refuse(feed, error)):
                break
            merged = not merged
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
        if isinstance(error, Breach) and error.code == "seal_missing" and self._read_again(feed.source):
            return False
        if isinstance(error, Breach):
            group = feed.groups(False)[0]
            await self._suspend(feed.source, error, None, evidence=[*group.entries, group.seal])
        elif isinstance(error, Parked) and error.code in SET_ASIDE:
            await self._quarantine.park(feed.source, error, self._feeds.held(feed.source))
            self._feeds.forget(feed.source)
        elif isinstance(error, Parked):
            self._set_status(feed.source, PARKED, error.code, error.detail)
        return False

    async def _settle(self, feed: Feed, error: Unproven) -> bool:
        """The seal does not fit the entries. Among those that came under the same numbers, the ones that it fits are
        the source's own; when there are none, the seal is put aside, and the entries wait for another."""
        group = feed.groups(False)[0]
        known = self._engine.sources.get(feed.source)
        if not self._feeds.signed(group.seal):
            feed.forget_seal(group.seal)
            self._feeds.suspect(feed.source)
            await self._dead_letter(record_of_seal(group.seal), error)
            return bool(feed.seals)
        for variant in feed.variants(group):
            # Each is hashed whole: others have their turn between.
            await asyncio.sleep(0)
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
        if feed.refuse(group):
            self._positions.once_more(feed.source)
            self._feeds.forget(feed.source)
        elif known is not None:
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
            for lane in self._positions.lanes(feed.source):
                self._positions.rewind(lane, f"{known.epoch}/0")
            self._feeds.forget(feed.source)

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
        held = self._feeds.held(source)
        if record is not None:
            held.append(record)
        accused = (
            record.value if record is not None else b"\n".join(unread_record(item).value for item in evidence or ())
        )
        await self._quarantine.suspend(source, breach, held, accused, other)
        self._feeds.forget(source)

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
                self._positions.all_again()

    async def _look_again(self, source: str, kept: list[Record]) -> None:
        """At what was kept of a source that is followed again. If it is suspended again, all that is kept anew."""
        for start in range(0, len(kept), REPLICATOR_QUEUE_MAX):
            self._positions.begin()
            for record in kept[start : start + REPLICATOR_QUEUE_MAX]:
                await self._sort(RELEASED_LANE, record)
            await self._apply_all()
        if any(feed.full for feed in self._feeds.of(source)):
            self._positions.all_again()
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


def _ignore(future: "asyncio.Future[None]") -> None:
    """Its group came behind one that was refused; its own refusal says nothing new."""
    if not future.cancelled():
        future.exception()

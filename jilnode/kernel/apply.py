"""Applying what another source wrote and ``verify`` passed, or saying precisely why not.

It needs rows: causes, ownership, key rules, invariants, digest. A group is applied whole or not at all. ``Breach``
accuses the source; ``Parked`` accuses nobody and waits.
"""

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from jilnode.kernel.codec import decode_row
from jilnode.kernel.entry import Header
from jilnode.kernel.errors import Breach, Parked
from jilnode.kernel.image import Image
from jilnode.kernel.invariants import Change, RowChange
from jilnode.kernel.ports import Wanted
from jilnode.kernel.sources import CAUSE_DISPUTED, RESIDENT_FULL, SourceState
from jilnode.kernel.state import key_fits
from jilnode.kernel.system import GENESIS_EVENT, ONE_PER_SOURCE, ROTATION_EVENT, SOURCES, TICK_EVENT
from jilnode.kernel.table import DerivedFrom, Table
from jilnode.kernel.tree import leaf_hash
from jilnode.kernel.verify import Verified, VerifiedGroup, tick_row
from jilnode.limits import SEARCHABLE_BYTES_MAX

if TYPE_CHECKING:
    from jilnode.kernel.engine import Engine

__all__ = ("apply", "needed")

logger = logging.getLogger("jilnode.apply")


def needed(engine: "Engine", verified: VerifiedGroup, wanted: Wanted, *, careful: bool = False) -> None:
    """Adds what applying the group needs and is not in memory: its rows, and those that they answer. Rows of write-once
    tables are looked up only when ``careful``: each has one source that may write it, so the database's own primary key
    refuses a second one."""
    tables, caches = engine.registry.tables, engine.caches
    for item in verified.entries:
        for _, name, key, _ in item.rows:
            table = tables.get(name)
            if table is None or table.local:
                continue
            rule = table.key
            if isinstance(rule, DerivedFrom) and rule.addressed_to is not None and not caches[rule.parent].knows(key):
                wanted.rows.setdefault(rule.parent, set()).add(key)
            if (careful or not table.write_once) and not caches[table].knows(key):
                wanted.rows.setdefault(table, set()).add(key)
        for source, epoch, sequence, _ in item.header.cause or ():
            where = (source, epoch, sequence)
            if where not in engine.recorder.causes and not _holds(verified, *where):
                wanted.entries.add(where)


def apply(engine: "Engine", verified: VerifiedGroup, *, careful: bool = False) -> None:
    """Applies a verified group to the batch. Raises ``Breach``, ``Missing``, or ``Parked`` (``out_of_step``,
    ``cause_not_applied``, ``resident_full``); then nothing of it is applied."""
    source = verified.group.source
    known = engine.sources.get(source)
    saved = None if known is None else known.copy()
    weight = engine.weights[source]
    engine.state.begin(0, 0)
    first = verified.entries[0].header
    if first.sequence and (known is None or (known.epoch, known.size) != (first.epoch, first.sequence)):
        raise Parked("out_of_step", f"entry {first.epoch}/{first.sequence} of {source} is not the next one here")
    if not first.sequence and known is not None and known.size and known.epoch >= first.epoch:
        raise Parked("out_of_step", f"epoch {first.epoch} of {source} has begun here")
    try:
        state = engine.touch_source(source)
        if state.epoch != verified.epoch:
            state.tick_size = 0
        state.public_key = verified.public_key
        state.zone = verified.zone
        state.epoch = verified.epoch
        for item in verified.entries:
            if item.header.type == TICK_EVENT:
                engine.keep_before(engine.state.log)
                _check_digest(engine, state, item)
            _check_causes(engine, verified, item)
            _apply_entry(engine, state, item, careful)
        _check_weight(engine, source, weight)
        state.frontier = verified.frontier
    except BaseException:
        engine.state.undo()
        for item in verified.entries:
            engine.recorder.causes.pop((source, verified.epoch, item.header.sequence), None)
        engine.restore_source(source, saved, counted=verified.entries[-1].header.type == TICK_EVENT)
        raise
    engine.keep_before(engine.state.log)
    engine.add_foreign([item.entry for item in verified.entries], verified.group.seal)


def _check_weight(engine: "Engine", source: str, before: int) -> None:
    """Nobody fills this node's memory: beyond the bound only what makes it less is applied."""
    weight = engine.weights[source]
    if weight > engine.resident_bytes and weight > before and source != engine.source:
        raise Parked(
            RESIDENT_FULL,
            f"its rows would take {weight} bytes of memory here, and may take {engine.resident_bytes}; "
            "with JIL_RESIDENT_BYTES raised, and released, it goes on",
        )


def _apply_entry(engine: "Engine", state: SourceState, item: Verified, careful: bool) -> None:
    header = item.header
    source = header.source_id
    if item.time_us < state.time_us:
        raise Breach("bad_header", f"{header.timestamp} is earlier than the entry before")
    changes: dict[str, list[RowChange]] = {}
    unknown = ""
    for section, name, key, doc in item.rows:
        table = engine.registry.tables.get(name)
        if table is None:
            if name.partition(".")[0] in engine.registry.versions:
                raise Breach("bad_row", f"there is no table {name}")
            unknown = name
            continue
        if not engine.registry.judges[name] <= header.schema.keys():
            raise Breach("bad_header", f"the schema does not name every module that judges {name}")
        if table.local or table.section != section:
            raise Breach("foreign_row", f"{name} does not travel in section {section}")
        if table in ONE_PER_SOURCE and key != source:
            raise Breach("foreign_row", f"{name} {key} is not the source's own")
        applied = _apply_row(engine, table, header, key, doc, careful)
        if name in changes:
            changes[name].append(applied)
        else:
            changes[name] = [applied]
    if header.type == TICK_EVENT:
        state.tick_us = item.time_us
        state.tick_size = header.sequence + 1
    elif SOURCES.name in changes:
        _check_identity(header, changes[SOURCES.name])
    invariants = engine.registry.checks(header.schema, tuple(changes))
    if invariants:
        causes = engine.recorder.cause_rows(header.cause or ())
        change = Change(
            source,
            header.type,
            header.actor or "",
            item.time_us,
            changes,
            causes,
            engine.registry.kinds,
            header.evidence,
        )
        for invariant in invariants:
            problem = invariant.check(change)
            if problem is not None and unknown:
                # What explains it may be a row of a module that is not installed here.
                raise Parked("module_unknown", f"{problem}, as far as can be told without knowing {unknown}")
            if problem is not None:
                raise Breach(f"invariant.{invariant.name}", problem)
    state.time_us = item.time_us


def _check_identity(header: Header, changes: list[RowChange]) -> None:
    """A source is what its genesis says, but for its key."""
    ((_, before, after),) = changes
    if header.type == GENESIS_EVENT:
        return
    if header.type != ROTATION_EVENT:
        raise Breach("foreign_row", "only genesis and key rotation change a source's row")
    if before is None or after is None or msgspec.structs.replace(before, public_key=after.public_key) != after:
        raise Breach("bad_row", "a key rotation changes the key and nothing else")


def _apply_row(
    engine: "Engine", table: Table[Any], header: Header, key: str, doc: bytes | None, careful: bool
) -> RowChange:
    source = header.source_id
    cache = engine.caches[table]
    if table.write_once and not careful:
        before = cache.images.get(key)
    else:
        before = cache.get(key)
    if before is not None:
        if before.owner != source:
            raise Breach("foreign_row", f"{table.name} {key} is owned by {before.owner}")
        if table.write_once:
            raise Breach("rewritten", f"{table.name} {key} is written once")
    elif doc is not None:
        reason = key_fits(table, key, source, engine.state.image)
        if reason is not None:
            raise Breach("foreign_row", f"{table.name} {key}: {reason}")
    if doc is None:
        if before is None or table.write_once:
            raise Breach("bad_row", f"{table.name} {key} is deleted but was not there")
        after = None
    else:
        try:
            decoded = decode_row(doc, table.row)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Breach("bad_row", f"{table.name} {key}: {error}") from None
        if len(doc) > SEARCHABLE_BYTES_MAX and (field := table.too_long(decoded)):
            raise Breach("bad_row", f"{table.name} {key}: {field} is longer than {SEARCHABLE_BYTES_MAX} bytes")
        after = Image(decoded, source, header.epoch, header.sequence, doc)
    engine.state.log.append((cache, key, before))
    cache.set(key, before, after)
    return key, None if before is None else before.row, None if after is None else after.row


def _holds(verified: VerifiedGroup, source: str, epoch: int, sequence: int) -> bool:
    first = verified.entries[0].header
    return source == first.source_id and epoch == first.epoch and sequence >= first.sequence


def _check_causes(engine: "Engine", verified: VerifiedGroup, item: Verified) -> None:
    """Of a source's own entries what an event rests on may be in the very group: the seal between was lost."""
    for source, epoch, sequence, leaf in item.header.cause or ():
        known = engine.sources.get(source)
        if _holds(verified, source, epoch, sequence) and sequence < item.header.sequence:
            cause = verified.entries[sequence - verified.entries[0].header.sequence].entry
            engine.recorder.causes[(source, epoch, sequence)] = cause
        elif known is None or (known.epoch, known.size) <= (epoch, sequence):
            raise Parked("cause_not_applied", f"rests on {source}/{epoch}/{sequence}, which is not applied here yet")
        if leaf_hash(engine.recorder.cause_entry(source, epoch, sequence).header).hex() != leaf:
            raise Parked(CAUSE_DISPUTED, f"{source}/{epoch}/{sequence} is another entry here than the one it rests on")


def _check_digest(engine: "Engine", state: SourceState, item: Verified) -> None:
    """A tick's digest is of the rows just before it. A difference is an alarm between honest nodes, not a proof."""
    engine.digests.fold()
    if f"{state.digest:064x}" != tick_row(item).digest and not state.drift:
        state.drift = True
        logger.error("the rows of a source are not those that it has", extra={"fields": {"source": state.source}})
        engine.alarms.append(f"drift: the rows of {state.source} here are not those that it has")

"""Following another source: verify what it says, then apply it, or say precisely why not.

``verify`` needs only the source's head: tree, seal, hashes, order. ``apply`` needs rows: causes, ownership, key rules,
invariants, digest. Both judge a group: the entries up to one seal. A group is applied whole or not at all. ``Breach``
accuses the source; ``Parked`` accuses nobody and waits.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from jilnode.kernel.codec import decode_row, decode_section, guard_values, section_hash
from jilnode.kernel.entry import SECTION_NAMES, Entry, Header, Seal
from jilnode.kernel.errors import Breach, Parked, Rejected, Unproven
from jilnode.kernel.headers import check_fields, read_header, time_of
from jilnode.kernel.image import Image
from jilnode.kernel.invariants import Change, RowChange
from jilnode.kernel.ports import Wanted
from jilnode.kernel.registry import Registry
from jilnode.kernel.seal import origin_of, parse_seal, verify_seal
from jilnode.kernel.sources import CAUSE_DISPUTED, RESIDENT_FULL, SourceState
from jilnode.kernel.state import key_fits
from jilnode.kernel.system import (
    GENESIS_EVENT,
    KERNEL_VERSION,
    ONE_PER_SOURCE,
    ROTATION_EVENT,
    SOURCES,
    TICK_EVENT,
    TICKS,
    Source,
    Tick,
)
from jilnode.kernel.table import DerivedFrom, Table
from jilnode.kernel.tree import Frontier, leaf_hash
from jilnode.limits import EVENT_BYTES_MAX, SEARCHABLE_BYTES_MAX

if TYPE_CHECKING:
    from jilnode.kernel.engine import Engine

LAST_EVENTS: Final = (TICK_EVENT, ROTATION_EVENT)
"""What a seal must follow at once: the digest of a tick is of a sealed state, and a new key begins with its seal."""

__all__ = ("Group", "Verified", "VerifiedGroup", "apply", "genesis_key", "needed", "verify")


class Group(NamedTuple):
    """Consecutive entries of one source and epoch, ended by the seal that covers them."""

    source: str
    entries: Sequence[Entry]
    seal: Seal


RowRecord = tuple[str, str, str, bytes | None]
"""(section, table, key, document)."""


class Verified(NamedTuple):
    entry: Entry
    header: Header
    rows: list[RowRecord]
    time_us: int


class VerifiedGroup(NamedTuple):
    group: Group
    entries: list[Verified]
    frontier: Frontier
    public_key: bytes
    zone: str
    epoch: int


def verify(
    group: Group, known: SourceState | None, network: str, trusted: Mapping[str, str], registry: Registry
) -> VerifiedGroup:
    """Checks a group against the head that is known of its source. Touches no row.

    Raises ``Breach``: ``forged_source``, ``gap``, ``replayed``, ``bad_header``, ``bad_section``, ``bad_seal``,
    ``bad_genesis``, ``oversized``; and ``Parked``: ``untrusted``, ``not_started``, ``min_reader``, ``epoch_not_ended``.
    """
    source = group.source
    first = group.entries[0]
    starts = first.sequence == 0 and (known is None or known.size == 0 or first.epoch != known.epoch)
    if starts and known is not None and known.size:
        _check_signed(group, Frontier(), known.public_key, origin_of(network, source, first.epoch))
    if starts:
        frontier, public_key, zone, epoch = _begin(first, known, network, source, trusted)
    elif known is None or known.size == 0:
        raise Parked("not_started", f"{source} is not known here yet; its entry {first.sequence} has to wait")
    else:
        frontier, public_key, zone, epoch = known.frontier.copy(), known.public_key, known.zone, known.epoch
    first_sequence = frontier.size
    _check_signed(group, frontier, public_key, origin_of(network, source, epoch))
    signers = [public_key]
    verified: list[Verified] = []
    for sequence, entry in enumerate(group.entries, first_sequence):
        if verified and verified[-1].header.type in LAST_EVENTS:
            raise Breach("seal_missing", f"{verified[-1].header.type} must be the last entry of its commit")
        item = _verify_entry(entry, source, network, epoch, sequence, registry)
        verified.append(item)
        if item.header.type == ROTATION_EVENT:
            signers = [public_key, bytes.fromhex(_source_row(item).public_key)]
        elif item.header.type == TICK_EVENT:
            _tick_row(item)
    if len(signers) > 1:
        verify_seal(parse_seal(group.seal.note), origin_of(network, source, epoch), signers)
    return VerifiedGroup(group, verified, frontier, signers[-1], zone, epoch)


def genesis_key(first: Entry, network: str, trusted: Mapping[str, str]) -> bytes:
    """The key of a source of which nothing is known yet. Raises ``Breach``; ``Unproven`` for another genesis than the
    one that the trust file names."""
    _, public_key, _, _ = _begin(first, None, network, first.source, trusted)
    return public_key


def _check_signed(group: Group, frontier: Frontier, public_key: bytes, origin: str) -> None:
    """First of all: did the source sign these very headers? Until that is sure, nothing can be held against it, and
    nothing is hashed for a seal that anybody may have sent.

    Leaves ``frontier`` as it is after the group.
    """
    try:
        checkpoint = parse_seal(group.seal.note)
        verify_seal(checkpoint, origin, [public_key])
    except Breach as breach:
        raise Unproven(breach.code, breach.detail) from None
    for entry in group.entries:
        frontier.append(leaf_hash(entry.header))
    if checkpoint.size != frontier.size or checkpoint.root != frontier.root():
        raise Unproven("bad_seal", f"the seal of size {checkpoint.size} does not cover these {frontier.size} entries")


def _begin(
    first: Entry, known: SourceState | None, network: str, source: str, trusted: Mapping[str, str]
) -> tuple[Frontier, bytes, str, int]:
    """Genesis: of a source that the trust file names, or of the next epoch of one that is known. Of the first nothing
    is signed yet: that it is the one that was named comes before anything is held against it."""
    begins = known is None or known.size == 0
    if begins:
        wanted = trusted.get(source)
        if wanted is None:
            raise Parked("untrusted", f"the trust file does not name {source}")
        if leaf_hash(first.header).hex() != wanted:
            raise Unproven("bad_genesis", f"the genesis of {source} is not the one that the trust file names")
    header = read_header(first)
    if header.type != GENESIS_EVENT or header.sequence != 0 or header.network != network:
        raise Unproven("bad_genesis", f"entry 0 of {source} is no genesis of network {network}")
    item = Verified(first, header, _rows(first, header), 0)
    row = _source_row(item)
    if row.network != network or header.source_id != source:
        raise Unproven("forged_source", f"the genesis names {row.network}/{header.source_id}, not {network}/{source}")
    if known is None or begins:
        return Frontier(), bytes.fromhex(row.public_key), row.zone, first.epoch
    if first.epoch != known.epoch + 1 or row.previous is None or row.previous[0] != known.epoch:
        raise Breach("bad_genesis", f"epoch {first.epoch} of {source} does not follow epoch {known.epoch}")
    if row.previous[1] > known.size:
        raise Parked(
            "epoch_not_ended", f"{source} ended epoch {known.epoch} at {row.previous[1]}, here is {known.size}"
        )
    if (row.previous[1], row.previous[2]) != (known.size, known.frontier.root().hex()):
        raise Breach("fork", f"{source} ended epoch {known.epoch} at another state than the one that it told us")
    if bytes.fromhex(row.public_key) != known.public_key:
        raise Breach("bad_genesis", f"epoch {first.epoch} of {source} is not of the key that is known")
    return Frontier(), known.public_key, row.zone, first.epoch


def _rows(entry: Entry, header: Header) -> list[RowRecord]:
    if set(entry.sections) != set(header.sections) or not set(entry.sections) <= set(SECTION_NAMES):
        raise Unproven("bad_section", "the sections are not those that the header names")
    found: list[RowRecord] = []
    for name in sorted(entry.sections):
        data = entry.sections[name]
        reference = header.sections[name]
        if reference.length != len(data) or reference.hash != section_hash(data):
            raise Unproven("bad_section", f"section {name} is not the one that the header hashed")
        try:
            if len(data) > EVENT_BYTES_MAX:
                raise Breach("oversized", "a section exceeds one event")
            data.decode()
            guard_values(data)
            rows = decode_section(data)
        except (msgspec.MsgspecError, ValueError, Rejected) as error:
            raise Breach("bad_section", f"section {name}: {error}") from None
        before = ("", "")
        for table, key, doc in rows:
            if (table, key) <= before:
                raise Breach("bad_section", f"section {name} is not sorted by table and key")
            before = (table, key)
            found.append((name, table, key, doc))
    return found


def _verify_entry(entry: Entry, source: str, network: str, epoch: int, sequence: int, registry: Registry) -> Verified:
    header = read_header(entry)
    if (header.source_id, header.network) != (source, network) or entry.source != source:
        raise Breach("forged_source", f"an entry of {header.network}/{header.source_id} in the journal of {source}")
    if header.epoch != epoch or header.sequence != sequence:
        code = "replayed" if (header.epoch, header.sequence) < (epoch, sequence) else "gap"
        raise Breach(code, f"entry {header.epoch}/{header.sequence} where {epoch}/{sequence} belongs")
    if header.min_reader > KERNEL_VERSION:
        raise Parked("min_reader", f"entry {sequence} of {source} needs a reader of version {header.min_reader}")
    for name, version in header.schema.items():
        if version > registry.versions.get(name, version):
            raise Parked("min_reader", f"entry {sequence} of {source} is of {name} version {version}")
    check_fields(header)
    if sequence and header.type == GENESIS_EVENT:
        raise Breach("bad_genesis", f"an epoch begins with its genesis; it is entry {sequence}")
    return Verified(entry, header, _rows(entry, header), time_of(header))


def _source_row(item: Verified) -> Source:
    docs = [doc for _, table, key, doc in item.rows if (table, key) == (SOURCES.name, item.header.source_id)]
    try:
        if not docs or docs[0] is None:
            raise ValueError("it is not there")
        row = decode_row(docs[0], Source)
        if len(bytes.fromhex(row.public_key)) != 32:
            raise ValueError("not an Ed25519 key")
    except (msgspec.MsgspecError, ValueError) as error:
        raise Breach("bad_genesis", f"no source row: {error}") from None
    return row


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
            if (source, epoch, sequence) not in engine.recorder.causes:
                wanted.entries.add((source, epoch, sequence))


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
            _apply_entry(engine, state, item, careful)
        _check_weight(engine, source, weight)
        state.frontier = verified.frontier
    except BaseException:
        engine.state.undo()
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
    _check_causes(engine, item)
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


def _check_causes(engine: "Engine", item: Verified) -> None:
    for source, epoch, sequence, leaf in item.header.cause or ():
        known = engine.sources.get(source)
        if known is None or (known.epoch, known.size) <= (epoch, sequence):
            raise Parked("cause_not_applied", f"rests on {source}/{epoch}/{sequence}, which is not applied here yet")
        if leaf_hash(engine.recorder.cause_entry(source, epoch, sequence).header).hex() != leaf:
            raise Parked(CAUSE_DISPUTED, f"{source}/{epoch}/{sequence} is another entry here than the one it rests on")


def _check_digest(engine: "Engine", state: SourceState, item: Verified) -> None:
    """A tick's digest is of the rows just before it. A difference is an alarm between honest nodes, not a proof."""
    engine.digests.fold()
    if f"{state.digest:064x}" != _tick_row(item).digest and not state.drift:
        state.drift = True
        engine.alarms.append(f"drift: the rows of {state.source} here are not those that it has")


def _tick_row(item: Verified) -> Tick:
    try:
        ((_, table, key, doc),) = item.rows
        if (table, key) != (TICKS.name, item.header.source_id) or doc is None:
            raise ValueError("another row than the source's own tick")
        return decode_row(doc, Tick)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Breach("bad_row", f"not a tick: {error}") from None

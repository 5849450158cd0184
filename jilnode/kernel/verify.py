"""Verifying what another source wrote: tree, seal, hashes, order, genesis. It needs only the source's head, no row.

A group is judged whole: the entries up to one seal. ``Breach`` accuses the source, but for ``Unproven``: that it said
this at all is not sure. ``Parked`` accuses nobody and waits.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from jilnode.kernel.codec import decode_row, decode_section, guard_values, section_hash
from jilnode.kernel.entry import SECTION_NAMES, Entry, Header, Seal
from jilnode.kernel.errors import Breach, Parked, Rejected, Unproven
from jilnode.kernel.headers import check_fields, read_header, time_of
from jilnode.kernel.registry import Registry
from jilnode.kernel.seal import origin_of, parse_seal, verify_seal
from jilnode.kernel.sources import SourceState
from jilnode.kernel.system import (
    GENESIS_EVENT,
    KERNEL_VERSION,
    ROTATION_EVENT,
    SOURCES,
    TICK_EVENT,
    TICKS,
    Source,
    Tick,
)
from jilnode.kernel.tree import Frontier, leaf_hash
from jilnode.limits import EVENT_BYTES_MAX

__all__ = ("Group", "Verified", "VerifiedGroup", "genesis_key", "tick_row", "verify")

LAST_EVENTS: Final = (TICK_EVENT, ROTATION_EVENT)
"""What a seal must follow at once: the digest of a tick is of a sealed state, and a new key begins with its seal."""


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

    Raises ``Breach``: ``forged_source``, ``gap``, ``replayed``, ``fork``, ``bad_header``, ``bad_section``,
    ``bad_seal``, ``seal_missing``, ``bad_genesis``, ``bad_row``, ``oversized``; and ``Parked``: ``untrusted``,
    ``not_started``, ``min_reader``, ``epoch_not_ended``.
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
            tick_row(item)
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


def tick_row(item: Verified) -> Tick:
    """The row of a tick's entry. Raises ``Breach``: ``bad_row``."""
    try:
        ((_, table, key, doc),) = item.rows
        if (table, key) != (TICKS.name, item.header.source_id) or doc is None:
            raise ValueError("another row than the source's own tick")
        return decode_row(doc, Tick)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Breach("bad_row", f"not a tick: {error}") from None

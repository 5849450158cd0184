"""The kernel's own tables and commands: sources, ticks, heads, refusals. To everything else they are a module named
``kernel``."""

import re

import msgspec

from jilnode.kernel.command import Command
from jilnode.kernel.entry_rows import EntryRows
from jilnode.kernel.errors import Rejected
from jilnode.kernel.rows import Local, Owned
from jilnode.kernel.state import Context, State
from jilnode.kernel.table import EndsWithOwner, Table

__all__ = (
    "ADDRESSES",
    "COMMANDS",
    "DECISIONS",
    "EVIDENCE",
    "GENESIS_EVENT",
    "HEADS",
    "KERNEL_VERSION",
    "MARKS",
    "ONE_PER_SOURCE",
    "PENDING",
    "REFUSALS",
    "REFUSED_KEYS",
    "ROTATION_EVENT",
    "SOURCES",
    "TABLES",
    "TICKS",
    "TICK_EVENT",
    "AcceptTail",
    "PublishAddress",
    "is_web_address",
    "no_reply",
)

KERNEL_VERSION = 1
GENESIS_EVENT, TICK_EVENT, ROTATION_EVENT = "kernel.genesis", "kernel.tick.recorded", "kernel.key.rotated"
"""The entries that no command asks for."""
_LABEL = "[A-Za-z0-9_-]{1,63}"
_WEB_ADDRESS = re.compile(
    rf"https?://(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]{{2,45}}\])(?::([0-9]{{1,5}}))?(?:/[A-Za-z0-9._~/-]*)?"
)
_WEB_ADDRESS_CHARS_MAX = 512


class Source(Owned, frozen=True):
    """A source's identity in its current epoch: the row of its genesis entry, changed by a key rotation."""

    network: str
    zone: str
    public_key: str
    authorisation: str | None = None
    """HQ's signed authorisation of exactly these fields; None in dev mode."""
    previous: tuple[int, int, str] | None = None
    """(epoch, size, root in hex) at which the previous epoch ended."""


class Tick(Owned, frozen=True):
    """``digest`` covers the source's rows just before this entry; ``heads`` lists (epoch, size) applied of every other
    source, so that any one tick tells what its node has seen."""

    time_us: int
    digest: str
    heads: dict[str, tuple[int, int]] = {}


class Address(Owned, frozen=True):
    """Where a node is reached: the base URL of its public HTTP."""

    url: str


class Refusal(Owned, frozen=True):
    """A command that a zone refused: recorded, so that the same answer is given again."""

    code: str
    detail: str
    command: str


class TailAcceptance(Owned, frozen=True):
    """An operator took the tail as it is, with nobody to confirm that it is the highest."""

    reason: str
    size: int


class Head(Local, frozen=True):
    """How far a source is known here. ``hashes`` are the frontier of its tree, ``digest`` the sum over its rows."""

    epoch: int
    size: int
    hashes: tuple[str, ...]
    digest: str
    zone: str
    public_key: str
    tick_us: int = 0
    time_us: int = 0
    tick_size: int = 0
    status: str = "following"
    code: str = ""
    detail: str = ""
    drift: bool = False


class Decision(Local, frozen=True):
    """What the zones knew and which rules fired, for the entry of the same key. It begins with its salt."""

    record: str


class Mark(Local, frozen=True):
    """A small named value: the number of the last commit, positions on buses, where the relay is."""

    value: str


class RefusedKey(Local, frozen=True):
    """A final refusal that changed nothing: kept a day, so that a late duplicate can't succeed after it was
    answered."""

    body_hash: str
    code: str
    detail: str
    status: int
    at_us: int
    field: str | None = None
    extra: dict[str, object] = {}


class Evidence(Local, frozen=True):
    """Raw records that accuse a source, kept with the reason."""

    source: str
    code: str
    detail: str
    record: str
    other: str = ""
    at_us: int = 0


class PendingRecord(Local, frozen=True):
    """A raw record of a source that is parked or suspended: kept, so that a release leaves no gap."""

    source: str
    kind: str
    value: str


SOURCES = Table("kernel.source", Source, EndsWithOwner(), resident=True)
TICKS = Table("kernel.tick", Tick, EndsWithOwner(), resident=True)
ADDRESSES = Table("kernel.address", Address, EndsWithOwner(), resident=True)
REFUSALS = Table("kernel.refusal", Refusal, write_once=True)
TAIL_ACCEPTANCES = Table("kernel.tail", TailAcceptance, write_once=True)
DECISIONS = Table("kernel.decision", Decision)
HEADS = Table("kernel.head", Head, resident=True)
MARKS = Table("kernel.mark", Mark, resident=True)
REFUSED_KEYS = Table("kernel.refused", RefusedKey, searchable=("at_us",))
EVIDENCE = Table("kernel.evidence", Evidence, searchable=("source",))
PENDING = Table("kernel.pending", PendingRecord, searchable=("source",))

ONE_PER_SOURCE = frozenset((SOURCES, TICKS, ADDRESSES))
"""Of these a source has one row, under its own id."""

TABLES = (
    SOURCES,
    TICKS,
    ADDRESSES,
    REFUSALS,
    TAIL_ACCEPTANCES,
    DECISIONS,
    HEADS,
    MARKS,
    REFUSED_KEYS,
    EVIDENCE,
    PENDING,
)


class PublishAddress(msgspec.Struct, frozen=True):
    url: str


class AcceptTail(msgspec.Struct, frozen=True):
    """An operator's word that this journal's tail is the highest: nobody who could tell was there."""

    reason: str
    size: int


def is_web_address(text: str) -> bool:
    """Whether it is the base of URLs: a host, perhaps a port and a path, and nothing else. Anybody may have written it,
    and others read it and call there."""
    match = _WEB_ADDRESS.fullmatch(text) if len(text) <= _WEB_ADDRESS_CHARS_MAX else None
    return match is not None and int(match.group(1) or 0) <= 65535


def _publish_address(state: State, context: Context, command: PublishAddress) -> None:
    if not is_web_address(command.url):
        raise Rejected("bad_request", "not the address of a host", field="/url")
    state[ADDRESSES].put(context.source, Address(command.url))


def _accept_tail(state: State, context: Context, command: AcceptTail) -> None:
    if not command.reason:
        raise Rejected("bad_request", "say why the tail is accepted", field="/reason")
    state[TAIL_ACCEPTANCES].insert(context.new_key(), TailAcceptance(command.reason, command.size))


def no_reply(rows: EntryRows) -> None:
    return None


COMMANDS = (
    Command(PublishAddress, "kernel.address.published", _publish_address, no_reply),
    Command(AcceptTail, "kernel.tail.accepted", _accept_tail, no_reply),
)

"""The entry: the unit of the journal, of atomicity and of the wire. ``jilnode/events/README.md`` is its specification.

Entry = header + sections. The header's exact bytes are the Merkle leaf; it carries a salted hash of each section, so
the log verifies when a section is absent, pruned or erased. Bytes are encoded once and never re-encoded: whoever
receives an entry keeps, hashes and forwards the bytes that came.
"""

from typing import Annotated

import msgspec

from jilnode.kernel.names import HASH_PATTERN, SOURCE_PATTERN
from jilnode.limits import ORDINAL_MAX

__all__ = (
    "BusValue",
    "CauseReference",
    "CommandPlace",
    "CommandReference",
    "Entry",
    "Header",
    "Outcome",
    "Place",
    "RowRecord",
    "Seal",
    "Section",
    "SectionReference",
    "Version",
)

Version = Annotated[int, msgspec.Meta(ge=1)]
"""Of a module. Below the first no invariant holds, so nobody could judge an entry that names such a one."""

Ordinal = Annotated[int, msgspec.Meta(ge=0, le=ORDINAL_MAX)]
"""An epoch or a sequence."""

CauseReference = tuple[str, Ordinal, Ordinal, str]
"""(source, epoch, sequence, leaf hash in hex)."""

SECTION_NAMES = ("memo", "rows")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Exact bytes. ``sections`` maps a name to the section's bytes; a pruned or erased section is absent."""

    source: str
    epoch: int
    sequence: int
    header: bytes
    sections: dict[str, bytes]
    key_hash: bytes | None = None
    """The header's ``command.key_hash``, so that a store can index it without decoding."""

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.header) + sum(map(len, self.sections.values()))


class Seal(msgspec.Struct, frozen=True, gc=False):
    """A signed checkpoint (C2SP tlog-checkpoint) over the first ``size`` entries of (source, epoch)."""

    source: str
    epoch: int
    size: int
    note: str


class SectionReference(msgspec.Struct, frozen=True, gc=False):
    hash: str
    length: int


class CommandReference(msgspec.Struct, frozen=True, gc=False):
    """``key_hash`` = SHA-256 over subject and Idempotency-Key; ``body_hash`` = SHA-256 of the request's body."""

    key_hash: str
    body_hash: str
    status: int


class Outcome(msgspec.Struct, frozen=True, gc=False, rename={"class_": "class"}):
    """What the zones said: ``approved`` or ``refused``, and the salted hash of the decision's record, which stays
    here."""

    class_: str
    decision: str


class Header(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Fields in wire order; those with a default are left out when they have it."""

    event_id: str
    network: str
    source_id: str
    epoch: Ordinal
    sequence: Ordinal
    topic: str
    type: str
    timestamp: str
    actor: str | None = None
    cause: tuple[CauseReference, ...] | None = None
    outcome: Outcome | None = None
    command: CommandReference | None = None
    schema: dict[str, Version] = {}
    min_reader: int = 0
    sections: dict[str, SectionReference] = {}
    traceparent: str | None = None
    evidence: msgspec.Raw | None = None


class RowRecord(msgspec.Struct, frozen=True, gc=False):
    table: str
    key: str
    doc: msgspec.Raw


class Section(msgspec.Struct, frozen=True, gc=False):
    salt: str
    data: list[RowRecord]


class CommandPlace(msgspec.Struct, frozen=True, gc=False):
    key_hash: Annotated[str, msgspec.Meta(pattern=rf"\A{HASH_PATTERN}\Z")]


class Place(msgspec.Struct, frozen=True, gc=False):
    """What of a header says where its entry belongs. It is looked at before anybody knows who signed it, if anybody
    did, so each of it is of its form."""

    source_id: Annotated[str, msgspec.Meta(pattern=rf"\A{SOURCE_PATTERN}\Z")]
    epoch: Ordinal
    sequence: Ordinal
    command: CommandPlace | None = None


class BusValue(msgspec.Struct, frozen=True, gc=False):
    """What ``codec.encode_record`` makes, cut into its parts."""

    header: msgspec.Raw
    sections: dict[str, msgspec.Raw]

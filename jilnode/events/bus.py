"""The bus port: how records travel between nodes, at least once, each source's in order.

A lane is one ordered channel with a position that reading can resume at (a Kafka partition; one source's journal at one
peer). Positions are opaque strings that this node's database keeps.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

__all__ = ("Bus", "BusDown", "Lane", "LaneGap", "Record")

Lane = str


class Record(msgspec.Struct, frozen=True):
    """``kind`` is the CloudEvents type: ``jil.seal`` for a seal, the entry's event type, or ``jil.entry`` where that is
    not told. Readers skip other kinds that begin with ``jil.``. ``value``: an entry's ``encode_record`` bytes, or a
    seal's signed note."""

    kind: str
    source: str
    value: bytes


class BusDown(Exception):
    """The bus does not answer now. Trying again later is right; nothing is lost by it."""


class LaneGap(Exception):
    """What a stored position points at is no longer there: the bus forgot records that this node has not read."""

    def __init__(self, lane: Lane, detail: str) -> None:
        super().__init__(f"{lane}: {detail}")
        self.lane = lane


class Bus(Protocol):
    """``ordered``: whether a lane never loses or reorders records, so that a gap accuses the source and not the bus."""

    name: str
    ordered: bool

    async def start(self, positions: Mapping[Lane, str]) -> None:
        """Begins to read every lane after its position, or from its start. Raises ``BusDown``."""

    async def close(self) -> None: ...

    async def publish(self, source: str, records: Sequence[Record]) -> None:
        """Sends in order; durable at the bus when it returns. May send a record again. Raises ``BusDown``."""

    async def receive(self, max_records: int) -> list[tuple[Lane, list[Record], str]]:
        """Waits until there is something; then (lane, records in order, position after them) of each lane that has."""

    def rewind(self, lane: Lane, position: str | None) -> None:
        """The next ``receive`` reads this lane from after ``position``; None: from its start."""

    async def ends(self, source: str) -> dict[Lane, str] | None:
        """The positions up to which a starting node must have read to know all that the bus has of ``source``. None:
        nobody can tell now."""

    def reached(self, lane: Lane, position: str | None, end: str) -> bool:
        """Whether a reader at ``position`` has read everything before ``end``."""

    async def dead_letter(self, record: Record, reason: str) -> None:
        """Puts an unreadable record aside, with the reason. Never raises: losing a dead letter stops nobody."""

    def lag(self) -> dict[Lane, int]:
        """How many records behind each lane is, as far as this node knows."""

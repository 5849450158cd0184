"""A bus in memory: for tests and for the simulation, which decides by a policy what the network does to a record."""

import asyncio
from collections.abc import Mapping, Sequence

from jilnode.events.bus import BusDown, Lane, Record

__all__ = ("MemoryBroker", "MemoryBus")


class MemoryBroker:
    """What the broker holds: one lane a source, every record for ever. Shared by all nodes of a test."""

    def __init__(self) -> None:
        self.lanes: dict[Lane, list[Record]] = {}
        self.dead_letters: list[tuple[Record, str]] = []
        self.down = False
        self._arrived: list[asyncio.Event] = []

    def subscribe(self) -> asyncio.Event:
        event = asyncio.Event()
        self._arrived.append(event)
        return event

    def append(self, records: Sequence[Record]) -> None:
        for record in records:
            self.lanes.setdefault(f"memory/{record.source}", []).append(record)
        for event in self._arrived:
            event.set()


class MemoryBus:
    """One node's connection. Positions are counts of records."""

    name = "memory"
    ordered = True

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._positions: dict[Lane, int] = {}
        self._arrived: asyncio.Event | None = None

    async def start(self, positions: Mapping[Lane, str]) -> None:
        self._check()
        self._positions = {lane: int(position) for lane, position in positions.items()}
        self._arrived = self._broker.subscribe()
        self._arrived.set()

    async def close(self) -> None:
        self._arrived = None

    async def publish(self, source: str, records: Sequence[Record]) -> None:
        self._check()
        self._broker.append(records)

    async def receive(self, max_records: int) -> list[tuple[Lane, list[Record], str]]:
        assert self._arrived is not None, "the bus is not started"
        while True:
            if not self._broker.down and (found := self._read(max_records)):
                return found
            self._arrived.clear()
            await self._arrived.wait()

    def _read(self, max_records: int) -> list[tuple[Lane, list[Record], str]]:
        found: list[tuple[Lane, list[Record], str]] = []
        for lane, records in self._broker.lanes.items():
            start = self._positions.get(lane, 0)
            if start < len(records) and max_records > 0:
                batch = records[start : start + max_records]
                max_records -= len(batch)
                self._positions[lane] = start + len(batch)
                found.append((lane, batch, str(start + len(batch))))
        return found

    def rewind(self, lane: Lane, position: str | None) -> None:
        self._positions[lane] = 0 if position is None else int(position)
        if self._arrived is not None:
            self._arrived.set()

    async def ends(self, source: str) -> dict[Lane, str] | None:
        if self._broker.down:
            return None
        lane = f"memory/{source}"
        return {lane: str(len(self._broker.lanes.get(lane, ())))}

    def reached(self, lane: Lane, position: str | None, end: str) -> bool:
        return int(position or 0) >= int(end)

    async def dead_letter(self, record: Record, reason: str) -> None:
        self._broker.dead_letters.append((record, reason))

    def lag(self) -> dict[Lane, int]:
        return {lane: len(records) - self._positions.get(lane, 0) for lane, records in self._broker.lanes.items()}

    def _check(self) -> None:
        if self._broker.down:
            raise BusDown("the broker is down")

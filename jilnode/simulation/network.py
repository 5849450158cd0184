"""A simulated bus: it delays, duplicates, drops and reorders what it delivers, and cuts nodes off, as the seed says.

What is published is kept for ever, as by a broker; only what a reader is handed suffers. A reader that notices a gap
rewinds, and the end of a lane is never dropped, so in the end everything arrives.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

from jilnode.events.bus import BusDown, Lane, Record
from jilnode.events.record import SEAL_KIND
from jilnode.kernel.codec import decode_record

__all__ = ("Network", "SimulatedBus")


class Network:
    """``faults`` scales the odds of every fault; 0 delivers everything once and in order."""

    def __init__(self, randomness: random.Random) -> None:
        self.random = randomness
        self.lanes: dict[Lane, list[Record]] = {}
        self.cut_off: set[str] = set()
        self.faults = 1.0
        self._events: dict[str, asyncio.Event] = {}

    def subscribe(self, node: str) -> asyncio.Event:
        self._events[node] = asyncio.Event()
        return self._events[node]

    def append(self, records: Sequence[Record]) -> None:
        for record in records:
            self.lanes.setdefault(f"sim/{record.source}", []).append(record)
        self.wake()

    def wake(self) -> None:
        for event in self._events.values():
            event.set()

    def lie(self) -> None:
        """Somebody sends a copy of a source's newest entry as its next one, under a seal that is another's."""
        lane = self.random.choice([lane for lane, records in self.lanes.items() if len(records) > 2] or [""])
        if not lane:
            return
        entries = [record for record in self.lanes[lane] if record.kind != SEAL_KIND]
        seals = [record for record in self.lanes[lane] if record.kind == SEAL_KIND]
        entry = decode_record(entries[-1].value)
        now, then = b'"sequence":%d,' % entry.sequence, b'"sequence":%d,' % (entry.sequence + 1)
        forged = Record(entries[-1].kind, entries[-1].source, entries[-1].value.replace(now, then, 1))
        size, later = f"\n{entry.sequence + 1}\n".encode(), f"\n{entry.sequence + 2}\n".encode()
        self.append([forged, Record(SEAL_KIND, forged.source, seals[-1].value.replace(size, later, 1))])

    def happens(self, odds: float) -> bool:
        return self.random.random() < odds * self.faults


class SimulatedBus:
    """One node's connection. Positions are counts of records in a lane."""

    name = "simulated"
    ordered = False

    def __init__(self, network: Network, node: str, known: Callable[[str], tuple[int, int]]) -> None:
        """``known`` tells how far the node has a source: since records may be dropped, a position proves nothing."""
        self._known = known
        self._network = network
        self._node = node
        self._positions: dict[Lane, int] = {}
        self._arrived = network.subscribe(node)
        self._arrived.set()

    def _check(self) -> None:
        if self._node in self._network.cut_off:
            raise BusDown("cut off")

    async def start(self, positions: Mapping[Lane, str]) -> None:
        self._check()
        self._positions = {lane: int(position) for lane, position in positions.items()}

    async def close(self) -> None:
        return None

    async def publish(self, source: str, records: Sequence[Record]) -> None:
        self._check()
        await asyncio.sleep(0)
        self._network.append(records)
        await asyncio.sleep(0)
        if self._network.happens(0.05):
            raise BusDown("sent, but the answer was lost")

    async def receive(self, max_records: int) -> list[tuple[Lane, list[Record], str]]:
        while True:
            await asyncio.sleep(0)
            if self._node not in self._network.cut_off and (found := self._read()):
                return found
            self._arrived.clear()
            await self._arrived.wait()

    def _read(self) -> list[tuple[Lane, list[Record], str]]:
        network, randomness = self._network, self._network.random
        waiting = [lane for lane, records in network.lanes.items() if self._positions.get(lane, 0) < len(records)]
        if not waiting:
            return []
        lane = randomness.choice(waiting)
        start = self._positions.get(lane, 0)
        count = min(len(network.lanes[lane]) - start, randomness.randint(1, 64))
        begin = start
        if network.happens(0.05):
            begin = max(0, start - randomness.randint(1, 20))
        batch = network.lanes[lane][begin : start + count]
        if len(batch) > 1 and network.happens(0.03):
            dropped = randomness.randrange(len(batch))
            if begin + dropped < _last_entry(network.lanes[lane]):
                del batch[dropped]
        if len(batch) > 1 and network.happens(0.03):
            index = randomness.randrange(len(batch) - 1)
            batch[index], batch[index + 1] = batch[index + 1], batch[index]
        self._positions[lane] = start + count
        return [(lane, batch, str(start + count))]

    def rewind(self, lane: Lane, position: str | None) -> None:
        self._positions[lane] = 0 if position is None else int(position)
        self._arrived.set()

    async def ends(self, source: str) -> dict[Lane, str] | None:
        if self._node in self._network.cut_off:
            return None
        lane = f"sim/{source}"
        entries = [record for record in self._network.lanes.get(lane, ()) if record.kind != SEAL_KIND]
        heads = [(entry.epoch, entry.sequence + 1) for entry in (decode_record(record.value) for record in entries)]
        epoch, size = max(heads, default=(0, 0))
        return {lane: f"{epoch}/{size}"}

    def reached(self, lane: Lane, position: str | None, end: str) -> bool:
        epoch, size = map(int, end.split("/"))
        return self._known(lane.removeprefix("sim/")) >= (epoch, size)

    async def dead_letter(self, record: Record, reason: str) -> None:
        return None

    def lag(self) -> dict[Lane, int]:
        return {}


def _last_entry(records: Sequence[Record]) -> int:
    """The index of a lane's newest entry. What comes after it, and itself, is not dropped: nothing that follows would
    show that it is missing, which no bus does to anybody, and a node that waits for its own last entry writes no
    other."""
    return next((index for index in reversed(range(len(records))) if records[index].kind != SEAL_KIND), 0)

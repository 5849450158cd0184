"""How far each lane of the bus was read: what is stored of it, and from where it is read again."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping

import msgspec

from jilnode.events.bus import Bus, Lane
from jilnode.events.quarantine import written
from jilnode.kernel.engine import Engine
from jilnode.kernel.system import MARKS, Mark
from jilnode.kernel.writer import Writer

__all__ = ("MARK_PREFIX", "Positions")

MARK_PREFIX = "bus/"
TRUST_MARK = "trust"
POSITION_INTERVAL_US = 1_000_000


class Positions:
    """A position is only a hint, since duplicates are harmless; but what is not applied must come again after it."""

    def __init__(self, writer: Writer, bus: Bus) -> None:
        self._writer = writer
        self._engine: Engine = writer.engine
        self._bus = bus
        self.receipt = 0
        """The number of what is being looked at."""
        self.received: dict[Lane, str] = {}
        """Position after the newest record that was looked at, per lane, or from where it is read again: what start-up
        compares with the bus's end. Empty: its start."""
        self._passed: dict[Lane, list[tuple[int, str]]] = {}
        """Per lane: (receipt, position after it), oldest first, of receipts not wholly applied."""
        self._source_lanes: dict[str, set[Lane]] = {}
        self._written: dict[Lane, str] = {}
        self._rewound: set[Lane] = set()
        self._missing: dict[tuple[Lane, str], tuple[tuple[int, int], int]] = {}
        """(head of the source, how often since) that a lane was last read again for."""
        self._stored_us = 0

    def stored(self) -> dict[Lane, str]:
        """Where each lane was when this database last said so."""
        images = self._engine.caches[MARKS].images
        return {
            key.removeprefix(MARK_PREFIX).replace("~", "/"): image.row.value
            for key, image in images.items()
            if image is not None and key.startswith(MARK_PREFIX) and isinstance(image.row, Mark)
        }

    async def start(self, trusted: Mapping[str, str]) -> None:
        """What a source sent before the trust file named it was passed over: once it is named, every lane is read from
        its start."""
        before = self._trusted_before()
        if dict(trusted) != before:
            fresh = any(before.get(source) != trusted[source] and not self._applied(source) for source in trusted)
            lanes = self.stored() if fresh else {}
            named = msgspec.json.encode(trusted, order="sorted").decode()

            def write(engine: Engine) -> None:
                engine.state[MARKS].put(TRUST_MARK, Mark(named))
                for lane in lanes:
                    engine.state[MARKS].delete(_mark(lane))

            await written(self._writer, write)
            for lane in lanes:
                self._bus.rewind(lane, None)
        self._written = self.stored()

    def _trusted_before(self) -> dict[str, str]:
        image = self._engine.caches[MARKS].get(TRUST_MARK)
        if image is None or not isinstance(image.row, Mark):
            return {}
        return msgspec.json.decode(image.row.value, type=dict[str, str])

    def _applied(self, source: str) -> bool:
        state = self._engine.sources.get(source)
        return state is not None and state.size > 0

    # One receipt

    def begin(self) -> None:
        self.receipt += 1
        self._rewound.clear()

    def seen(self, source: str, lane: Lane) -> None:
        """That records of the source come in this lane."""
        self._source_lanes.setdefault(source, set()).add(lane)

    def passed(self, lane: Lane, position: str) -> None:
        if lane not in self._rewound:
            self._passed.setdefault(lane, []).append((self.receipt, position))

    def looked_at(self, lane: Lane, position: str) -> None:
        if lane not in self._rewound:
            self.received[lane] = position

    # Reading again

    def rewind(self, lane: Lane, position: str | None) -> None:
        # What this lane brought meanwhile will come again, so no position of it may be stored.
        self._passed.pop(lane, None)
        self._rewound.add(lane)
        self.received[lane] = position or ""
        self._bus.rewind(lane, position)

    def again(self, source: str) -> bool:
        """Reads the source's lanes again, from before what is not applied; from their start, if that did not bring it.
        False: a lane that keeps order has brought neither time what is missing."""
        state = self._engine.sources.get(source)
        head = (0, 0) if state is None else (state.epoch, state.size)
        found = [self._lane_again(lane, source, head) for lane in self.lanes(source)]
        return any(found)

    def _lane_again(self, lane: Lane, source: str, head: tuple[int, int]) -> bool:
        before, times = self._missing.get((lane, source), (head, 0))
        if before != head:
            times = 0
        if times > 1 and self._bus.ordered:
            return False
        self._missing[(lane, source)] = head, times + 1
        # If the stored position did not bring it, it was lost before that was stored.
        self.rewind(lane, self._written.get(lane) if times == 0 else None)
        return True

    def once_more(self, source: str) -> None:
        """As ``again``, for who knows that this time something else will be kept of what comes."""
        for lane in self.lanes(source):
            self.rewind(lane, self._written.get(lane))

    def all_again(self) -> None:
        for lane in {*self._written, *self._passed, *self.received}:
            self.rewind(lane, None)

    def lanes(self, source: str) -> set[Lane]:
        return self._source_lanes.get(source, set())

    # Storing

    async def store(self, held: Iterable[tuple[str, int]], *, now: bool) -> None:
        """The newest position of each lane before which everything is applied or kept; once a second at most.
        ``held``: (source, receipt) of what waits."""
        clock_us = self._engine.clock.monotonic_us()
        if not now and clock_us - self._stored_us < POSITION_INTERVAL_US:
            return
        waiting = list(held)
        moved: dict[Lane, str] = {}
        for lane, receipts in self._passed.items():
            held_here = sorted([receipt for source, receipt in waiting if lane in self.lanes(source)])
            first = min(held_here, default=self.receipt + 1)
            done = [position for receipt, position in receipts if receipt < first]
            if done:
                moved[lane] = done[-1]
            self._passed[lane] = _ends([item for item in receipts if item[0] >= first], held_here)
        moved = {lane: position for lane, position in moved.items() if self._written.get(lane) != position}
        if not moved:
            return

        def write(engine: Engine) -> None:
            for lane, position in moved.items():
                engine.state[MARKS].put(_mark(lane), Mark(position))

        await written(self._writer, write)
        self._stored_us = clock_us
        self._written.update(moved)


def _ends(receipts: list[tuple[int, str]], held: list[int]) -> list[tuple[int, str]]:
    """Those up to which reading may resume some day: the newest before each that is held, and the newest of all."""
    found: list[tuple[int, str]] = []
    for index, item in enumerate(receipts):
        place = bisect_right(held, item[0])
        if index + 1 == len(receipts) or (place < len(held) and held[place] <= receipts[index + 1][0]):
            found.append(item)
    return found


def _mark(lane: Lane) -> str:
    return MARK_PREFIX + lane.replace("/", "~")

"""The kernel's own entries, which no command asks for: genesis, ticks, key rotations."""

from typing import Any

from jilnode.kernel.command import Submission
from jilnode.kernel.engine import Engine
from jilnode.kernel.seal import SealKey
from jilnode.kernel.system import (
    GENESIS_EVENT,
    ROTATION_EVENT,
    SOURCES,
    TICK_EVENT,
    TICKS,
    Source,
    Tick,
    no_reply,
)
from jilnode.kernel.table import Table
from jilnode.limits import TICK_ENTRIES_MAX, TICK_INTERVAL_S

__all__ = ("genesis", "rotate_key", "tick", "tick_due")


def genesis(engine: Engine, time_us: int, previous: tuple[int, int, str] | None = None) -> None:
    """Entry 0 of an epoch. ``previous`` = (epoch, size, root in hex) at which the one before ended."""
    own = engine.touch_source(engine.source)
    if previous is not None:
        own.epoch = previous[0] + 1
        own.tick_size = 0
        own.frontier = type(own.frontier)()
    own.public_key = engine.key.public_key
    own.zone = engine.zone
    row = Source(engine.network, engine.zone, engine.key.public_key.hex(), None, previous)
    _record(engine, GENESIS_EVENT, SOURCES, row, time_us)


def tick_due(engine: Engine, time_us: int) -> bool:
    own = engine.own
    return time_us - own.tick_us >= TICK_INTERVAL_S * 1_000_000 or own.size - own.tick_size >= TICK_ENTRIES_MAX


def tick(engine: Engine, time_us: int) -> None:
    """The last entry of a commit: the time, the state digest, and how far every other source is applied here."""
    engine.digests.fold()
    own = engine.touch_source(engine.source)
    heads = {
        name: (other.epoch, other.size)
        for name, other in sorted(engine.sources.items())
        if name != engine.source and other.size
    }
    _record(engine, TICK_EVENT, TICKS, Tick(time_us, f"{own.digest:064x}", heads), time_us)
    own.tick_us = time_us
    own.tick_size = own.size


def rotate_key(engine: Engine, new_key: SealKey, time_us: int) -> None:
    """The last entry of a commit, whose seal carries both signatures."""
    own = engine.touch_source(engine.source)
    before = engine.caches[SOURCES].get(engine.source)
    assert before is not None and isinstance(before.row, Source)
    row = Source(engine.network, engine.zone, new_key.public_key.hex(), before.row.authorisation, before.row.previous)
    _record(engine, ROTATION_EVENT, SOURCES, row, time_us)
    own.public_key = new_key.public_key
    engine.new_key = new_key


def _record(engine: Engine, event: str, table: Table[Any], row: Any, time_us: int) -> None:
    own = engine.own
    engine.state.begin(own.epoch, own.size)
    engine.state[table].put(engine.source, row)
    engine.record(event, 201, Submission(row, engine.source), time_us, None, no_reply)
    engine.keep_before(engine.state.log)

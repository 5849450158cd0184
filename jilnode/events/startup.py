"""Before its first write: has this node everything that the bus has of it? So a node restored from a backup never
forks."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from jilnode.events.bus import Bus, BusDown, Lane
from jilnode.events.replicator import Replicator

__all__ = ("OwnHead",)

logger = logging.getLogger("jilnode.startup")

RETRY_PAUSE_S = 1.0


class OwnHead:
    """``confirmed`` returns once the replicator has read and applied what the bus has of this source: its own missing
    tail comes back through the replicator like anybody's entries, and like anybody's may have to wait for others'."""

    def __init__(self, bus: Bus, replicator: Replicator, source: str) -> None:
        self._bus = bus
        self._replicator = replicator
        self._source = source
        self.down_reason = ""
        """Why the bus does not answer; empty once it has."""

    async def start_bus(self, positions: Mapping[Lane, str]) -> None:
        """Tries until the bus answers."""
        while True:
            try:
                await self._bus.start(positions)
                self.down_reason = ""
                return
            except BusDown as error:
                self.down_reason = str(error)
                logger.warning("the bus does not answer yet", extra={"fields": {"detail": str(error)}})
                await asyncio.sleep(RETRY_PAUSE_S)

    async def confirmed(self) -> None:
        while (ends := await self._bus.ends(self._source)) is None:  # noqa: ASYNC110 (nothing tells when a peer is back)
            await asyncio.sleep(RETRY_PAUSE_S)
        positions = self._replicator.stored_positions()
        for lane, end in ends.items():
            while not self._bus.reached(lane, self._replicator.received.get(lane, positions.get(lane)), end):
                await self._replicator.progressed.wait()
        while self._replicator.lacks_own:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_PAUSE_S):
                    await self._replicator.progressed.wait()
                continue
            # Nothing came meanwhile; the database may have refused it only then.
            await self._replicator.take([])

"""A node of the kit with a relay and a replicator on a bus, as the composition root wires them."""

import asyncio
from typing import Any

from jilnode.events.bus import Bus
from jilnode.events.relay import Relay
from jilnode.events.replicator import Replicator
from jilnode.events.startup import OwnHead
from tests.kit.node import TestNode

__all__ = ("BusNode", "converged")


class BusNode:
    """``start`` returns once the node writes, which is when it knows its own head."""

    def __init__(self, node: TestNode, bus: Bus) -> None:
        self.node = node
        self.bus = bus
        self.relay = Relay(node.writer, node.store, bus)
        self.replicator = Replicator(node.writer, node.store, bus, "dev", node.trusted)
        self.opened = False
        """Whether its journal can be read."""
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self) -> "BusNode":
        await self.node.kernel.start()
        await self.node.kernel.begin_journal()
        self.opened = True
        self._tasks.append(self.node.kernel.run())
        own_head = OwnHead(self.bus, self.replicator, self.node.source)
        await own_head.start_bus(self.replicator.stored_positions())
        self._tasks.append(asyncio.create_task(self.replicator.run()))
        await asyncio.wait_for(own_head.confirmed(), 20)
        self.node.kernel.allow_writes()
        self._tasks.append(asyncio.create_task(self.relay.run()))
        return self

    def stop_relay(self) -> None:
        """From now on nobody hears what this node writes."""
        self._tasks[-1].cancel()

    async def close(self) -> None:
        for task in self._tasks[1:]:
            task.cancel()
        results = await asyncio.gather(*self._tasks[1:], return_exceptions=True)
        await self.bus.close()
        await self.node.kernel.close()
        for result in results:
            if isinstance(result, Exception):
                raise result


def converged(one: TestNode, two: TestNode) -> bool:
    """Whether ``two`` has everything that ``one`` wrote, with the same rows and the same tree."""
    mine, theirs = one.engine.sources.get(one.source), two.engine.sources.get(one.source)
    if mine is None or theirs is None:
        return False
    assert not theirs.drift
    return (mine.epoch, mine.size, mine.digest, mine.frontier.root()) == (
        theirs.epoch,
        theirs.size,
        theirs.digest,
        theirs.frontier.root(),
    )

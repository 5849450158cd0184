"""The networks that nodes meet on in these tests: one way to join, whatever carries the records."""

import asyncio
import contextlib
from collections.abc import Generator
from itertools import count
from typing import Protocol

import uvicorn
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from litestar import Litestar, Request, Response

from jilnode.events.bus import Bus, Record
from jilnode.events.kafka import DEAD_LETTERS, KafkaBus, partition_of
from jilnode.events.memory import MemoryBroker, MemoryBus
from jilnode.events.peer import PeerBus
from jilnode.events.peer_server import PeerServer
from jilnode.kernel.errors import Rejected
from jilnode.module import Module
from jilnode.simulation.ledger import MODULE
from jilnode.stores.memory import MemoryStore
from jilnode.stores.memory_disk import MemoryDisk
from jilnode.system_clock import SystemClock
from tests.kit.follower import BusNode
from tests.kit.kafka import KafkaBroker
from tests.kit.node import TestNode
from tests.kit.process import free_port
from tests.kit.wait import eventually

NAMES = ("ch-zug-01", "sg-mas-01", "gb-lon-01")
PARTITIONS = 3
_numbers = count()


class Network(Protocol):
    def bus(self, node: TestNode) -> Bus: ...

    async def joined(self, node: TestNode) -> None: ...

    async def left(self, node: TestNode) -> None: ...

    async def down(self) -> None:
        """Nothing is carried until ``up``."""

    async def up(self) -> None: ...


class _Brokered:
    async def joined(self, node: TestNode) -> None:
        return None

    async def left(self, node: TestNode) -> None:
        return None


class MemoryNetwork(_Brokered):
    def __init__(self) -> None:
        self.broker = MemoryBroker()

    def bus(self, node: TestNode | None = None) -> Bus:
        return MemoryBus(self.broker)

    async def garbage(self, source: str, value: bytes) -> None:
        self.broker.append([Record("no.record.of.ours", source, value)])

    async def dead_letters(self) -> list[bytes]:
        return [record.value for record, _ in self.broker.dead_letters]

    async def down(self) -> None:
        self.broker.down = True

    async def up(self) -> None:
        self.broker.down = False
        self.broker.append([])


class KafkaNetwork(_Brokered):
    """A topic of its own on the broker of the test run."""

    def __init__(self, broker: KafkaBroker) -> None:
        self.broker = broker
        self.topic = f"jil.events.test{next(_numbers)}"

    def bus(self, node: TestNode | None = None) -> Bus:
        return KafkaBus([self.broker.bootstrap], "dev", partitions=PARTITIONS, topic=self.topic)

    async def garbage(self, source: str, value: bytes) -> None:
        async with AIOKafkaProducer(**self.broker.client()) as producer:
            await producer.send_and_wait(self.topic, value, source.encode(), partition=partition_of(source, PARTITIONS))

    async def dead_letters(self) -> list[bytes]:
        consumer = AIOKafkaConsumer(DEAD_LETTERS, auto_offset_reset="earliest", **self.broker.client())
        async with consumer:
            await consumer.seek_to_beginning()
            found = await consumer.getmany(timeout_ms=5_000)
        return [message.value for messages in found.values() for message in messages]

    async def down(self) -> None:
        await asyncio.to_thread(self.broker.kill)

    async def up(self) -> None:
        await asyncio.to_thread(self.broker.start)


class PeerNetwork:
    """Every node serves its journal on a port of its own, and pulls everybody else's."""

    def __init__(self) -> None:
        self._ports = {name: free_port() for name in NAMES}
        self._nodes: dict[str, TestNode] = {}
        self._serving: dict[str, _Serving] = {}

    def bus(self, node: TestNode) -> Bus:
        others = [port for name, port in self._ports.items() if name != node.source]
        return PeerBus([f"http://127.0.0.1:{port}" for port in others], node.writer, node.trusted)

    async def joined(self, node: TestNode) -> None:
        self._nodes[node.source] = node
        self._serving[node.source] = await _Serving(node, self._ports[node.source]).start()

    async def left(self, node: TestNode) -> None:
        self._nodes.pop(node.source, None)
        serving = self._serving.pop(node.source, None)
        if serving is not None:
            await serving.stop()

    async def down(self) -> None:
        for serving in self._serving.values():
            await serving.stop()
        self._serving.clear()

    async def up(self) -> None:
        for node in list(self._nodes.values()):
            await self.joined(node)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _Serving:
    def __init__(self, node: TestNode, port: int) -> None:
        self._peers = PeerServer(node.writer, node.store)
        app = Litestar(
            self._peers.handlers(), exception_handlers={Rejected: _refused}, openapi_config=None, logging_config=None
        )
        self._server = _Server(uvicorn.Config(app, "127.0.0.1", port, lifespan="off", log_config=None))
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> "_Serving":
        self._task = asyncio.create_task(self._server.serve())
        await eventually(lambda: self._server.started)
        return self

    async def stop(self) -> None:
        assert self._task is not None
        self._peers.close()
        self._server.should_exit = True
        await self._task


def _refused(_: Request, rejected: Rejected) -> Response:
    return Response({"code": rejected.code}, status_code=rejected.status)


class Fleet:
    """Nodes with the simulation's module that trust each other. ``close`` ends all that joined."""

    def __init__(self, network: Network, modules: tuple[Module, ...] = (MODULE,)) -> None:
        self.network = network
        self._modules = modules
        self._trusted: dict[str, str] = {}
        self._nodes: list[BusNode] = []

    async def join(self, *names: str) -> list[BusNode]:
        """Trusted by everybody before the first of them starts."""
        disks = [await self.admit(name) for name in names]
        # Side by side: a node asks its peers for its own head before it writes.
        return list(await asyncio.gather(*map(self.rejoin, names, disks)))

    async def admit(self, name: str) -> MemoryDisk:
        """A disk with its genesis, which the trust file names from now on."""
        node = TestNode(name, self._modules, trusted=self._trusted, clock=SystemClock())
        await node.kernel.start()
        await node.kernel.begin_journal()
        self._trusted[name] = await node.genesis_hash()
        await node.kernel.close()
        return node.disk

    async def rejoin(self, name: str, disk: MemoryDisk, *, distrusted: str = "") -> BusNode:
        """``distrusted``: whom its own trust file does not name."""
        trusted = self._trusted
        if distrusted:
            trusted = {source: genesis for source, genesis in trusted.items() if source != distrusted}
        node = TestNode(name, self._modules, trusted=trusted, store=MemoryStore(disk), clock=SystemClock())
        node.disk = disk
        joined = BusNode(node, self.network.bus(node))
        self._nodes.append(joined)
        starting = asyncio.create_task(joined.start())
        await eventually(lambda: joined.opened)
        await self.network.joined(node)
        return await starting

    async def leave(self, node: BusNode) -> None:
        self._nodes.remove(node)
        await self.network.left(node.node)
        await node.close()

    async def close(self) -> None:
        for node in list(self._nodes):
            await self.leave(node)

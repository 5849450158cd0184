"""An in-memory node for tests: a kernel over a memory store, a clock that is told the time, numbers that repeat."""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from compliance.development import ZONE
from jilnode.kernel.command import Submission
from jilnode.kernel.engine import Engine
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.kernel import Kernel
from jilnode.kernel.keys import Answer
from jilnode.kernel.ports import Store
from jilnode.kernel.registry import ModuleLike, Registry
from jilnode.kernel.seal import SealKey
from jilnode.kernel.tree import leaf_hash
from jilnode.kernel.verify import Group, verify
from jilnode.limits import RESIDENT_BYTES_PER_SOURCE_MAX
from jilnode.stores.memory import MemoryStore
from jilnode.stores.memory_disk import MemoryDisk
from jilnode.zone import ZoneBoard

START_US = 1_795_415_580_000_000
"""2026-11-23T06:33:00Z."""


class FakeClock:
    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us
        self.elapsed_us = 0

    def wall_us(self) -> int:
        return self.now_us

    def monotonic_us(self) -> int:
        return self.elapsed_us

    def advance(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)
        self.elapsed_us += int(seconds * 1_000_000)

    def step(self, seconds: float) -> None:
        """The wall clock is set; no time passes."""
        self.now_us += int(seconds * 1_000_000)


class SeededEntropy:
    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0

    def bytes(self, count: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(self._seed + self._count.to_bytes(8, "big")).digest(count)


class TestNode:
    """One node; ``follow(other)`` applies what the other wrote, as a replicator would."""

    __test__ = False

    def __init__(
        self,
        source: str = "ch-zug-01",
        modules: Iterable[ModuleLike] = (),
        *,
        zone: str = "XX_DEV",
        store: Store | None = None,
        clock: FakeClock | None = None,
        trusted: dict[str, str] | None = None,
        cache_bytes: int = 64 * 1024 * 1024,
        zones: Any = None,
        resident_bytes: int = RESIDENT_BYTES_PER_SOURCE_MAX,
    ) -> None:
        self.source = source
        self.clock = clock or FakeClock()
        self.trusted = {} if trusted is None else trusted
        self.disk = MemoryDisk()
        self.key = SealKey.from_seed(hashlib.sha256(source.encode()).digest())
        self.engine = Engine(
            network="dev",
            source=source,
            zone=zone,
            key=self.key,
            registry=Registry(modules),
            zones=zones or ZoneBoard(zone, [ZONE], development=True),
            clock=self.clock,
            entropy=SeededEntropy(source),
            cache_bytes=cache_bytes,
            resident_bytes=resident_bytes,
        )
        self.store: Store = store or MemoryStore(self.disk)
        self.kernel = Kernel(self.engine, self.store)
        self.writer = self.kernel.writer
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> "TestNode":
        await self.kernel.start()
        await self.kernel.begin_journal()
        self._task = self.kernel.run()
        self.kernel.allow_writes()
        return self

    async def close(self) -> None:
        await self.kernel.close()
        if self._task is not None and self._task.done():
            self._task.result()

    async def run(
        self,
        command: Any,
        *,
        actor: str = "tester",
        scopes: Sequence[str] = (),
        key: str | None = None,
        body: bytes = b"",
        session: str = "",
    ) -> Answer:
        return await self.writer.submit(
            Submission(
                command,
                actor,
                frozenset(scopes),
                hashlib.sha256(f"{actor}\x00{key}".encode()).digest() if key is not None else None,
                hashlib.sha256(body).digest() if key is not None else None,
                session=session,
            )
        )

    async def genesis_hash(self) -> str:
        (entry,) = await self.store.journal(self.source, 0, 0, 1)
        return leaf_hash(entry.header).hex()

    async def groups(self, source: str, start: int = 0) -> list[Group]:
        """What this node has of a source's journal after ``start``, cut at its seals."""
        epoch = self.engine.sources[source].epoch
        seals = await self.store.seals(source, epoch, start, 100_000)
        found = []
        for seal in seals:
            entries = await self.store.journal(source, epoch, start, seal.size - start)
            found.append(Group(source, entries, seal))
            start = seal.size
        return found

    async def follow(self, other: "TestNode") -> None:
        self.trusted.setdefault(other.source, await other.genesis_hash())
        known = self.engine.sources.get(other.source)
        for group in await other.groups(other.source, 0 if known is None else known.size):
            await self.apply(group)

    async def apply(self, group: Group) -> None:
        """Raises ``Breach`` or ``Parked``."""
        known = self.engine.sources.get(group.source)
        await self.writer.apply(verify(group, known, "dev", self.trusted, self.engine.registry))

    async def journal(self) -> tuple[list[Entry], list[Seal]]:
        own = self.engine.own
        entries = await self.store.journal(self.source, own.epoch, 0, own.size)
        return entries, await self.store.seals(self.source, own.epoch, 0, own.size)


@asynccontextmanager
async def running(*nodes: TestNode) -> Any:
    for node in nodes:
        await node.start()
    try:
        yield nodes
    finally:
        for node in nodes:
            await node.close()

"""A fleet of real nodes on simulated disks, clocks and network, and the faults that a seed brings upon them."""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any

from jilnode.events.relay import Relay
from jilnode.events.replicator import Replicator
from jilnode.events.startup import OwnHead
from jilnode.kernel.engine import Engine
from jilnode.kernel.errors import CommitFailed, CommitUnknown, Rejected
from jilnode.kernel.kernel import Kernel
from jilnode.kernel.ports import Commit
from jilnode.kernel.registry import ModuleLike, Registry
from jilnode.kernel.seal import SealKey
from jilnode.kernel.tree import leaf_hash
from jilnode.simulation.loop import NodeLoop
from jilnode.simulation.network import Network, SimulatedBus
from jilnode.stores.memory import Fate, MemoryStore
from jilnode.stores.memory_disk import MemoryDisk
from jilnode.zone import Verdict, ZoneBoard

__all__ = ("START_US", "SimulatedNode", "World")

START_US = 1_795_415_580_000_000
ZONE = "XX_DEV"


class _Clock:
    """A node's clock: the world's time, and an offset of its own that may jump."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.skew_us = 0

    def wall_us(self) -> int:
        return START_US + self._world.elapsed_us + self.skew_us

    def monotonic_us(self) -> int:
        return self._world.elapsed_us


class _Entropy:
    def __init__(self, randomness: random.Random) -> None:
        self._random = randomness

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


class _OpenZone:
    code = ZONE

    def review(self, action: Any, time_us: int) -> Verdict:
        return Verdict(True)

    def facts(self) -> dict[str, object]:
        return {}


class SimulatedNode:
    """A disk that lasts, and a process that may die between any two steps."""

    def __init__(self, world: "World", source: str) -> None:
        self.world = world
        self.source = source
        self.disk = MemoryDisk()
        self.backup: MemoryDisk | None = None
        self.clock = _Clock(world)
        self.loop: NodeLoop | None = None
        self.kernel: Kernel | None = None
        self.replicator: Replicator | None = None
        self.dying = False
        self.key = SealKey.from_seed(hashlib.sha256(source.encode()).digest())

    @property
    def alive(self) -> bool:
        return self.loop is not None

    @property
    def engine(self) -> Engine:
        assert self.kernel is not None
        return self.kernel.engine

    @property
    def writable(self) -> bool:
        return self.kernel is not None and self.alive and self.kernel.writer.writable

    def start(self) -> None:
        """A new process on the same disk."""
        world = self.world
        loop = self.loop = NodeLoop(lambda: world.elapsed_us / 1_000_000)  # type: ignore[abstract]

        def build() -> None:
            engine = Engine(
                network="dev",
                source=self.source,
                zone=ZONE,
                key=self.key,
                registry=world.registry,
                zones=ZoneBoard(ZONE, [_OpenZone()], development=True),
                clock=self.clock,
                entropy=_Entropy(world.random),
                cache_bytes=1 << 20,
            )
            store = MemoryStore(self.disk, pause=self._pause, fate=self._fate)
            self.kernel = Kernel(engine, store)
            task = loop.create_task(self._run(self.kernel, store), name=f"{self.source} node")
            task.add_done_callback(self._ended)

        loop.enter(build)

    async def _run(self, kernel: Kernel, store: MemoryStore) -> None:
        """As the composition root does it: open, follow, confirm the own head, write, publish."""
        world, loop = self.world, self.loop
        assert loop is not None
        await kernel.start()
        await kernel.begin_journal()
        if self.source not in world.trusted:
            (entry,) = await store.journal(self.source, 0, 0, 1)
            world.trusted[self.source] = leaf_hash(entry.header).hex()
        kernel.run()
        bus = SimulatedBus(world.network, self.source, lambda source: kernel.head(source))
        relay = Relay(kernel.writer, store, bus)
        self.replicator = Replicator(kernel.writer, store, bus, "dev", world.trusted)
        own_head = OwnHead(bus, self.replicator, self.source)
        await own_head.start_bus(self.replicator.stored_positions())
        loop.create_task(self.replicator.run(), name="replicator")
        await own_head.confirmed()
        kernel.allow_writes()
        await relay.run()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A process whose first commit failed ends, and is started again as after a crash."""
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, CommitFailed | CommitUnknown):
            self.dying = True
        elif failure is not None:
            assert self.loop is not None
            self.loop.errors.append(repr(failure))

    def crash(self) -> None:
        assert self.loop is not None
        self.loop.dead = True
        self.world.graveyard.append(self.loop)
        self.loop = None
        self.kernel = None
        self.replicator = None
        self.dying = False

    async def _pause(self, point: str) -> None:
        """Before and after the durable point of a commit: sometimes the process dies right there."""
        if self.world.network.happens(0.002):
            self.dying = True
        await asyncio.sleep(0)

    def _fate(self, commit: Commit) -> Fate:
        if not self.world.network.happens(0.02):
            return Fate.DURABLE
        return self.world.random.choice([Fate.LOST, Fate.UNKNOWN_DURABLE, Fate.UNKNOWN_LOST])


class World:
    """``step`` is one action of the scheduler: a callback of one node, a fault, a client's command, or time passing."""

    def __init__(self, seed: int, nodes: int, modules: Sequence[ModuleLike], *, names: Callable[[int], str]) -> None:
        self.seed = seed
        self.random = random.Random(seed)  # noqa: S311 (it must repeat)
        self.elapsed_us = 0
        self.network = Network(self.random)
        self.registry = Registry(modules)
        self.trusted: dict[str, str] = {}
        self.graveyard: list[NodeLoop] = []
        self.before_restore: Callable[[SimulatedNode], None] = lambda node: None
        """Called while the disk that will be lost is still there."""
        self.trace = hashlib.sha256()
        self.crashes = 0
        self.restores = 0
        self.cuts = 0
        self.jumps = 0
        self.nodes = [SimulatedNode(self, names(index)) for index in range(nodes)]
        for node in self.nodes:
            node.start()

    def step(self) -> None:
        self.elapsed_us += self.random.randrange(0, 400)
        ready = []
        for node in self.nodes:
            if node.loop is not None:
                node.loop.wake_due()
                if node.loop.ready:
                    ready.append(node)
        if not ready:
            self._pass_time()
            return
        node = self.random.choice(ready)
        assert node.loop is not None
        node.loop.step()
        self.trace.update(node.source.encode())
        if node.dying:
            self.crash(node)

    def _pass_time(self) -> None:
        """Nobody has anything to do: time goes on to the next timer."""
        timers = [when for node in self.nodes if node.loop and (when := node.loop.next_timer()) is not None]
        target_us = int(min(timers, default=self.elapsed_us / 1e6) * 1_000_000) + 1
        self.elapsed_us = max(self.elapsed_us + 1000, target_us)

    # Faults

    def crash(self, node: SimulatedNode) -> None:
        node.crash()
        self.crashes += 1

    def fault(self) -> None:
        """One misfortune, or the end of one."""
        node = self.random.choice(self.nodes)
        what = self.random.random()
        if not node.alive:
            if what < 0.3 and node.backup is not None:
                self.before_restore(node)
                node.disk = node.backup.copy()
                self.restores += 1
            node.start()
        elif what < 0.15:
            self.crash(node)
        elif what < 0.40:
            if node.source in self.network.cut_off:
                self.network.cut_off.discard(node.source)
                self.network.wake()
            elif len(self.network.cut_off) < len(self.nodes) // 3:
                self.network.cut_off.add(node.source)
                self.cuts += 1
        elif what < 0.55:
            # A disk without a journal is a copy of nothing: that the trust file then forbids a second genesis is the
            # composition root's rule, and tested there.
            if node.source in self.trusted:
                node.backup = node.disk.copy()
        elif what < 0.70:
            node.clock.skew_us += self.random.randrange(-1_500_000, 1_500_000)
        elif what < 0.75:
            node.clock.skew_us += self.random.choice((-1, 1)) * 3_600_000_000
            self.jumps += 1
        elif node.kernel is not None and node.kernel.writer.clock_guard.stepped:
            node.kernel.writer.confirm_clock()

    def heal(self) -> None:
        """No more faults: everybody is up, connected, and told that their clocks are right."""
        self.network.faults = 0.0
        self.network.cut_off.clear()
        for node in self.nodes:
            if not node.alive:
                node.start()
            if node.kernel is not None:
                node.kernel.writer.confirm_clock()
        self.network.wake()

    def close(self) -> None:
        """The end of the world: what was still running is let go, in silence."""
        for loop in [*self.graveyard, *[node.loop for node in self.nodes if node.loop is not None]]:
            loop.dead = True
            for task in loop.tasks:
                coroutine: Any = task.get_coro()
                with contextlib.suppress(Exception):
                    loop.enter(coroutine.close)

    def submit(self, node: SimulatedNode, submission: Any, done: Callable[[Any], None]) -> None:
        """Hands a command to a node; ``done`` gets the answer or the refusal, or nothing when the node dies."""
        assert node.loop is not None
        assert node.kernel is not None
        writer = node.kernel.writer

        def hand_over() -> None:
            try:
                future = writer.submit_nowait(submission)
            except Rejected as rejected:
                done(rejected)
                return
            future.add_done_callback(lambda finished: done(finished.exception() or finished.result()))

        node.loop.enter(hand_over)

"""The composition root: builds a node from settings, starts it in order, closes it in reverse. It reads like a
recipe."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from jilnode import __version__
from jilnode.events.bus import Bus
from jilnode.events.kafka import KafkaBus, kafka_tls
from jilnode.events.peer import PeerBus
from jilnode.events.peer_server import PeerServer
from jilnode.events.relay import Relay
from jilnode.events.replicator import Replicator
from jilnode.events.startup import OwnHead
from jilnode.feed import JournalFeed
from jilnode.http.app import AppParts, build_app
from jilnode.http.auth import Authenticator
from jilnode.http.development import DEVELOPMENT_ISSUER, development_key, development_ring
from jilnode.http.forward import Forwarder
from jilnode.http.keys import KeyRing, keys_from_file, keys_from_url
from jilnode.http.metrics import Metrics
from jilnode.http.ports import Reason
from jilnode.http.rate_limit import RateLimiter, RateShare, redis_counts
from jilnode.http.server import HttpServer
from jilnode.identity import load_identity, load_trust
from jilnode.kernel.command import Submission
from jilnode.kernel.engine import Engine
from jilnode.kernel.kernel import Kernel
from jilnode.kernel.ports import Store
from jilnode.kernel.registry import Registry
from jilnode.kernel.sources import FOLLOWING
from jilnode.kernel.system import ADDRESSES, AcceptTail, Address, PublishAddress
from jilnode.limits import CLOSE_TIMEOUT_S, DRAIN_TIMEOUT_S, RELAY_FLUSH_TIMEOUT_S
from jilnode.module import Module, installed_modules
from jilnode.node_metrics import register_metrics
from jilnode.settings import Settings
from jilnode.stores.postgres import PostgresStore
from jilnode.stores.sqlite import SqliteStore
from jilnode.system_clock import SystemClock, SystemEntropy
from jilnode.zone import ZoneBoard, installed_zones

__all__ = ("Node", "build_kernel", "open_store")

logger = logging.getLogger("jilnode.node")


def open_store(settings: Settings) -> Store:
    if settings.database_url:
        return PostgresStore(settings.database_url)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return SqliteStore(settings.data_dir / "node.db")


def build_kernel(settings: Settings, modules: list[Module]) -> Kernel:
    """Raises ``IdentityError``."""
    path = settings.identity_file or settings.data_dir / "identity.pem"
    engine = Engine(
        network=settings.network,
        source=settings.node_id,
        zone=settings.jurisdiction,
        key=load_identity(path, make=settings.identity_file is None),
        registry=Registry(modules),
        zones=ZoneBoard(settings.jurisdiction, installed_zones(), development=settings.development),
        clock=SystemClock(),
        entropy=SystemEntropy(),
        cache_bytes=settings.cache_bytes,
    )
    return Kernel(engine, open_store(settings))


class Node:
    """``start`` returns when requests are taken; ``wait`` when something that the node can't do without has failed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.modules = installed_modules()
        self.trusted = load_trust(settings.trust_file)
        self.kernel = build_kernel(settings, self.modules)
        self.writer = self.kernel.writer
        self.metrics = Metrics()
        self.feed = JournalFeed(self.writer, self.kernel.store)
        self.bus = self._bus()
        self.relay: Relay | None = None
        self.replicator: Replicator | None = None
        self.own_head: OwnHead | None = None
        if self.bus is not None:
            self.relay = Relay(self.writer, self.kernel.store, self.bus)
            self.replicator = Replicator(self.writer, self.kernel.store, self.bus, settings.network, self.trusted)
            self.own_head = OwnHead(self.bus, self.replicator, settings.node_id)
        self.keys = self._keys()
        self.http = HttpServer(
            self._app(),
            settings.http_host,
            settings.http_port,
            certificate_file=_or_none(settings.tls_certificate_file),
            key_file=_or_none(settings.tls_key_file),
            drain_s=DRAIN_TIMEOUT_S,
        )
        self._writable = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closers: list[tuple[str, float, Callable[[], Awaitable[None]]]] = []

    # Building

    def _bus(self) -> Bus | None:
        settings = self.settings
        if settings.redpanda_seeds:
            return KafkaBus(
                settings.redpanda_seeds,
                settings.network,
                partitions=settings.kafka_partitions,
                replication=settings.kafka_replication,
                tls=kafka_tls(
                    _or_none(settings.kafka_ca_file),
                    _or_none(settings.kafka_certificate_file),
                    _or_none(settings.kafka_key_file),
                ),
            )
        if settings.peers:
            return PeerBus(settings.peers, self.writer)
        return None

    def _keys(self) -> KeyRing:
        settings = self.settings
        if settings.jwks_file is not None:
            return KeyRing(keys_from_file(settings.jwks_file))
        if settings.jwks_url:
            return KeyRing(keys_from_url(settings.jwks_url))
        return development_ring(development_key(settings.data_dir / "development.pem"))

    def _app(self) -> Any:
        settings = self.settings
        issuer = settings.jwt_issuer or DEVELOPMENT_ISSUER
        limiter = RateLimiter() if settings.rate_limit else None
        register_metrics(self.metrics, self)
        return build_app(
            AppParts(
                source=settings.node_id,
                modules=self.modules,
                writer=self.writer,
                reader=self.kernel.store,
                authenticator=Authenticator(self.keys, issuer=issuer, audience=settings.jwt_audience),
                readiness=self.reasons,
                ticks=lambda: {name: state.tick_us for name, state in self.kernel.engine.sources.items()},
                events=self.feed,
                metrics=self.metrics,
                rate_limiter=limiter,
                rate_share=RateShare(limiter, redis_counts(settings.redis_url))
                if limiter is not None and settings.redis_url
                else None,
                trusted_proxies=settings.trusted_proxies,
                forwarder=Forwarder(settings.node_id) if settings.forwarding else None,
                extra_handlers=PeerServer(self.writer, self.kernel.store).handlers(),
                version=__version__,
            )
        )

    # Starting

    async def start(self, *, accept_tail: str = "", new_epoch: bool = False) -> None:
        """Opens the database, applies what others wrote, and writes once this node's own head is confirmed."""
        kernel = self.kernel
        await kernel.start()
        self._closers.append(("database", CLOSE_TIMEOUT_S, kernel.close))
        await kernel.begin_journal()
        if new_epoch:
            await kernel.begin_epoch()
        self._tasks.append(kernel.run())
        if self.bus is None or accept_tail or new_epoch:
            self._allow_writes()
        else:
            kernel.forbid_writes("nobody has confirmed this node's highest entry yet (no bus or peer answered)")
        if accept_tail:
            await self.writer.submit(Submission(AcceptTail(accept_tail, kernel.engine.own.size), self.settings.node_id))
        await self.http.start()
        self._closers.append(("http", DRAIN_TIMEOUT_S, self.http.stop))
        if self.bus is not None:
            self._spawn(self._follow(self.bus), "events")
            self._closers.append(("bus", CLOSE_TIMEOUT_S, self.bus.close))
        if self.settings.public_url:
            self._spawn(self._publish_address(), "address")
        gc.collect()
        gc.freeze()

    def _allow_writes(self) -> None:
        self.kernel.allow_writes()
        self._writable.set()

    def _spawn(self, work: Any, name: str) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    async def _follow(self, bus: Bus) -> None:
        """Reads the bus, confirms this node's own head, and publishes what this node writes."""
        assert self.relay is not None
        assert self.replicator is not None
        assert self.own_head is not None
        await self.own_head.start_bus(self.replicator.stored_positions())
        async with asyncio.TaskGroup() as group:
            group.create_task(self.replicator.run())
            if not self.writer.writable:
                await self.own_head.confirmed()
                self._allow_writes()
            group.create_task(self.relay.run())

    async def _publish_address(self) -> None:
        await self._writable.wait()
        image = self.kernel.engine.caches[ADDRESSES].get(self.settings.node_id)
        row = None if image is None else image.row
        if not isinstance(row, Address) or row.url != self.settings.public_url:
            await self.writer.submit(Submission(PublishAddress(self.settings.public_url), self.settings.node_id))

    async def wait(self) -> None:
        """Until a task that the node can't do without has failed. Raises what it raised."""
        while True:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._tasks.remove(task)
                task.result()

    # What others ask

    def reasons(self) -> list[Reason]:
        """What is not as it should be. The bus and other sources never make this node unready: it serves what it
        owns."""
        found: list[Reason] = []
        if not self.writer.writable:
            found.append(Reason("not_writable", self.writer.why_not_writable))
        if self.relay is not None and self.relay.down_since_us is not None:
            found.append(Reason("bus_down", f"{self.relay.lag} entries wait for the bus", blocking=False))
        for source, state in self.kernel.engine.sources.items():
            if state.status != FOLLOWING:
                found.append(
                    Reason(f"source_{state.status}", f"{source}: {state.code}: {state.detail}", blocking=False)
                )
            if state.drift:
                found.append(Reason("drift", f"the rows of {source} differ from its own", blocking=False))
        return found

    # Closing

    async def close(self) -> None:
        """In reverse, each stage with its own bound; what takes longer is left behind, and said so."""
        for name, bound_s, close in reversed(self._closers):
            if name == "bus":
                await self._stop_events()
            try:
                async with asyncio.timeout(bound_s + 1):
                    await close()
            except TimeoutError:
                logger.warning("a shutdown stage took too long", extra={"fields": {"stage": name}})
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stop_events(self) -> None:
        if self.relay is not None and self.relay.down_since_us is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.relay.flush(), RELAY_FLUSH_TIMEOUT_S)
        for task in [task for task in self._tasks if task.get_name() in ("events", "address")]:
            self._tasks.remove(task)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _or_none(path: Any) -> str | None:
    return None if path is None else str(path)

"""The composition root: puts a node together from its parts, starts it in order, closes it in reverse. It reads like
a recipe."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from jilnode import __version__
from jilnode.events.kafka import KafkaBus
from jilnode.events.peer_server import PeerServer
from jilnode.events.relay import Relay
from jilnode.events.replicator import Replicator
from jilnode.events.startup import OwnHead
from jilnode.feed import JournalFeed
from jilnode.http.app import AppParts, NodeApp, build_app
from jilnode.http.metrics import Metrics
from jilnode.http.ports import Reason
from jilnode.http.rate_limit import RateLimiter
from jilnode.identity import load_trust
from jilnode.kernel.command import Submission
from jilnode.kernel.errors import Rejected, WrongDatabase
from jilnode.kernel.sources import FOLLOWING, SUSPENDED
from jilnode.kernel.system import ADDRESSES, MARKS, AcceptTail, Address, Mark, PublishAddress
from jilnode.limits import CLOSE_TIMEOUT_S, DRAIN_TIMEOUT_S, RELAY_FLUSH_TIMEOUT_S
from jilnode.module import installed_modules
from jilnode.node_metrics import register_metrics
from jilnode.parts import (
    build_authenticator,
    build_bus,
    build_forwarder,
    build_kernel,
    build_keys,
    build_rate_share,
    build_server,
)
from jilnode.settings import Settings
from jilnode.source_routes import source_routes

__all__ = ("Node",)

logger = logging.getLogger("jilnode.node")

PARTITIONS_MARK = "kafka.partitions"
RETRY_PAUSE_S = 1.0
STAGE_MARGIN_S = 1.0
"""Each stage of closing has a bound of its own inside; this much later it is left behind."""

COLLECTOR_ALLOCATIONS = 20_000
"""Net new containers between two looks of the garbage collector at the youngest."""

UNCONFIRMED = (
    "this node's highest entry is not confirmed: no bus or peer has answered, or what they have is not applied here; "
    "if it never will be, start it with --accept-tail REASON (what is here is all there was; recorded) or --new-epoch"
)


class Node:
    """``start`` returns when requests are taken; ``wait`` when the node can't go on. ``start`` and ``close`` belong to
    one task."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.modules = installed_modules()
        self.trusted = load_trust(settings.trust_file)
        self.kernel = build_kernel(settings, self.modules)
        self.writer = self.kernel.writer
        self.metrics = Metrics()
        self.failing: dict[str, str] = {}
        """Work beside the writer that failed and is being tried again: its name -> the error's."""
        self.keys = build_keys(settings)
        self.rate_limiter = RateLimiter() if settings.rate_limit else None
        self.rate_share = build_rate_share(settings, self.rate_limiter)
        self.feed = JournalFeed(self.writer, self.kernel.store)
        self.bus = build_bus(settings, self.writer, self.trusted)
        self.relay: Relay | None = None
        self.replicator: Replicator | None = None
        self.own_head: OwnHead | None = None
        if self.bus is not None:
            self.relay = Relay(self.writer, self.kernel.store, self.bus)
            self.replicator = Replicator(self.writer, self.kernel.store, self.bus, settings.network, self.trusted)
            self.own_head = OwnHead(self.bus, self.replicator, settings.node_id)
        self.peer_server = PeerServer(self.writer, self.kernel.store)
        self.http = build_server(settings, self._app())
        self._writing: asyncio.Task[None] | None = None
        self._work: dict[str, asyncio.Task[None]] = {}
        self._confirmed = asyncio.Event()
        self._stages: list[tuple[str, float, Callable[[], Awaitable[None]]]] = []

    def _app(self) -> NodeApp:
        settings = self.settings
        register_metrics(self.metrics, self.kernel, self.bus, self.relay, self.replicator, self.failing)
        return build_app(
            AppParts(
                source=settings.node_id,
                modules=self.modules,
                writer=self.writer,
                reader=self.kernel.store,
                authenticator=build_authenticator(settings, self.keys),
                readiness=self.reasons,
                ticks=lambda: {name: state.tick_us for name, state in self.kernel.engine.sources.items()},
                events=self.feed,
                metrics=self.metrics,
                rate_limiter=self.rate_limiter,
                rate_share=self.rate_share,
                trusted_proxies=settings.trusted_proxies,
                forwarder=build_forwarder(settings, self.kernel.engine),
                extra_handlers=self.peer_server.handlers(),
                operator_routes=source_routes(
                    self.kernel.engine, None if self.replicator is None else self.replicator.release
                ),
                version=__version__,
            )
        )

    # Starting

    async def start(self, *, accept_tail: str = "", new_epoch: bool = False) -> None:
        """Raises ``WrongDatabase``, ``LockLost``, ``ConnectionError``, ``OSError``; ``close`` is due then too."""
        self._stages.append(("database", CLOSE_TIMEOUT_S, self.kernel.close))
        await self.kernel.start()
        await self._begin(new_epoch)
        self._writing = self.kernel.run()
        by_operator = bool(accept_tail or new_epoch) and self.settings.node_id in self.kernel.engine.sources
        if self.bus is None or by_operator:
            self._allow_writes(by_operator=by_operator)
        else:
            self.kernel.forbid_writes(UNCONFIRMED)
        if accept_tail and self.writer.writable:
            size = self.kernel.engine.own.size
            await self.writer.submit(Submission(AcceptTail(accept_tail, size), self.settings.node_id))
        if self.bus is not None:
            self._stages.append(("bus", RELAY_FLUSH_TIMEOUT_S + CLOSE_TIMEOUT_S, self._close_bus))
            self._supervise("events", self._follow)
        self._stages.append(("http", DRAIN_TIMEOUT_S, self._close_http))
        try:
            await self.http.start()
        except OSError as error:
            place = f"{self.settings.http_host}:{self.settings.http_port}"
            raise OSError(f"can't listen on {place}: {error.strerror or error}") from error
        if self.settings.public_url:
            self._supervise("address", self._publish_address)
        # What is here now stays: the collector need not look at it again. Worth 40 ms of the slowest requests. What
        # comes holds few cycles and dies young, so the collector may look more seldom: 3 us less for each transfer.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECTOR_ALLOCATIONS, 20, 20)

    async def _begin(self, new_epoch: bool) -> None:
        """A journal, where there is none. One that the trust file knows was lost: others have it, and a second genesis
        would be a fork."""
        engine = self.kernel.engine
        if engine.source not in engine.sources and engine.source in self.trusted:
            if self.bus is None:
                raise WrongDatabase(
                    "the trust file names this node's genesis and its database is empty: restore it, or name a bus or "
                    "peers (REDPANDA_SEEDS, JIL_PEERS) that have its journal"
                )
            logger.warning("this node's journal is not in its database; others are asked for it")
            return
        await self.kernel.begin_journal()
        if new_epoch:
            engine.own.status, engine.own.code, engine.own.detail = FOLLOWING, "", ""
            await self.kernel.begin_epoch()

    def _allow_writes(self, *, by_operator: bool = False) -> None:
        """Unless what this node knows of itself speaks against it."""
        engine = self.kernel.engine
        own = engine.sources.get(engine.source)
        if own is None:
            self.kernel.forbid_writes(
                "the trust file names a genesis of this node that neither its database nor anybody else has"
            )
        elif own.public_key != engine.key.public_key:
            self.kernel.forbid_writes("this node's key is not the one that sealed its journal")
        elif own.set_aside and not by_operator:
            why = "somebody else wrote as this node" if own.status == SUSPENDED else "its own entries are not applied"
            self.kernel.forbid_writes(f"{own.detail}: {why}; --new-epoch begins anew")
        else:
            self.kernel.allow_writes()
            self._confirmed.set()

    async def _follow(self) -> None:
        """Reads the bus; confirms this node's own head; only then publishes what this node writes."""
        assert self.own_head is not None
        assert self.replicator is not None
        await self.own_head.start_bus(self.replicator.stored_positions())
        if not await self._same_partitions():
            return
        self._supervise("replicator", self._replicate)
        self._supervise("own_head", self._confirm)

    async def _same_partitions(self) -> bool:
        """The number of partitions is recorded at the first join: with another one this node's records would go
        elsewhere, and nobody could tell their order."""
        if not isinstance(self.bus, KafkaBus):
            return True
        found = str(self.bus.partitions)
        image = self.kernel.engine.caches[MARKS].get(PARTITIONS_MARK)
        row = None if image is None else image.row
        if not isinstance(row, Mark):
            await self.writer.write_local(lambda engine: engine.state[MARKS].put(PARTITIONS_MARK, Mark(found)))
        elif row.value != found:
            self.failing["events"] = f"the topic has {found} partitions, and had {row.value} when this node joined"
            logger.error("the topic is not the one that this node joined", extra={"fields": {"partitions": found}})
            return False
        return True

    async def _confirm(self) -> None:
        assert self.own_head is not None
        assert self.relay is not None
        if not self._confirmed.is_set():
            await self.own_head.confirmed()
            self._allow_writes()
        if self._confirmed.is_set():
            self._supervise("relay", self.relay.run)

    async def _replicate(self) -> None:
        """From where this database stands: what was received and not applied is received again."""
        assert self.bus is not None
        assert self.replicator is not None
        stored = self.replicator.stored_positions()
        for lane in self.replicator.received:
            self.bus.rewind(lane, stored.get(lane))
        await self.replicator.run()

    async def _publish_address(self) -> None:
        await self._confirmed.wait()
        image = self.kernel.engine.caches[ADDRESSES].get(self.settings.node_id)
        row = None if image is None else image.row
        if not isinstance(row, Address) or row.url != self.settings.public_url:
            await self.writer.submit(Submission(PublishAddress(self.settings.public_url), self.settings.node_id))

    # Running

    def _supervise(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs ``work`` beside the writer until it returns. A failure is said, and tried again: it costs this node
        events, not its service."""

        async def run() -> None:
            while True:
                try:
                    self.failing.pop(name, None)
                    await work()
                    return
                except Rejected as rejected:
                    self.failing[name] = rejected.code
                except Exception as error:
                    self.failing[name] = type(error).__name__
                    logger.exception("a part of the node failed; it is tried again", extra={"fields": {"part": name}})
                await asyncio.sleep(RETRY_PAUSE_S)

        self._work[name] = asyncio.get_running_loop().create_task(run(), name=name)

    async def wait(self) -> None:
        """Until the writer has ended. Raises what ended it, ``LockLost`` for one."""
        assert self._writing is not None
        await asyncio.shield(self._writing)

    def reasons(self) -> list[Reason]:
        """What is not as it should be. The bus and other sources never make this node unready: it serves what it
        owns."""
        found: list[Reason] = []
        if not self.writer.writable:
            found.append(Reason("not_writable", self.writer.why_not_writable))
        if not self.keys.keys:
            found.append(Reason("no_token_keys", f"no token can be checked: {self.keys.problem or 'not read yet'}"))
        elif self.keys.problem:
            found.append(Reason("token_keys_old", f"not read again: {self.keys.problem}", blocking=False))
        if self.rate_share is not None and self.rate_share.failing:
            found.append(Reason("redis_down", "the rate limit is each process's own now", blocking=False))
        if self.relay is not None and ("replicator" not in self._work or self.relay.down_since_us is not None):
            assert self.own_head is not None
            why = self.relay.down_reason or self.own_head.down_reason or "it has not answered yet"
            found.append(Reason("bus_down", f"{self.relay.lag} entries wait for the bus: {why}", blocking=False))
        if isinstance(self.bus, KafkaBus):
            if self.bus.unread:
                found.append(Reason("bus_unread", f"nothing is read from the bus: {self.bus.unread}", blocking=False))
            found += [Reason("bus_gap", f"{lane}: {gap}", blocking=False) for lane, gap in self.bus.gaps.items()]
        found += [Reason(f"{name}_failing", error, blocking=False) for name, error in sorted(self.failing.items())]
        for source, state in self.kernel.engine.sources.items():
            if state.status != FOLLOWING:
                # The detail may hold what the source wrote: it is told to auditors (/v1/sources), not to everybody.
                found.append(Reason(f"source_{state.status}", f"{source}: {state.code}", blocking=False))
            if state.drift:
                found.append(Reason("drift", f"the rows of {source} differ from its own", blocking=False))
        return found

    # Closing

    async def close(self) -> None:
        """In reverse, each stage with its own bound; what takes longer is left behind, and said so."""
        for name, bound_s, close in reversed(self._stages):
            try:
                async with asyncio.timeout(bound_s + STAGE_MARGIN_S):
                    await close()
            except TimeoutError:
                logger.warning("a shutdown stage took too long", extra={"fields": {"stage": name}})
            except Exception:
                logger.exception("a shutdown stage failed", extra={"fields": {"stage": name}})
        self._stages.clear()
        await _cancel(*self._work.values())
        if self._writing is not None:
            await _cancel(self._writing)

    async def _close_http(self) -> None:
        self.peer_server.close()
        await self.http.stop()

    async def _close_bus(self) -> None:
        """The bus gets what is committed, if it listens; then nothing more is read or sent."""
        assert self.bus is not None
        assert self.relay is not None
        if "relay" in self._work and self.relay.down_since_us is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELAY_FLUSH_TIMEOUT_S):
                    await self.relay.flush()
        await _cancel(*self._work.values())
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await self.bus.close()


async def _cancel(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

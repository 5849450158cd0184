"""The app: one Litestar application made from the modules' declarations, and the hot routes that a server may answer
without it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import Message, Method

from jilnode.http import trace
from jilnode.http.assembly import check_modules, resource_of
from jilnode.http.auth import Authenticator
from jilnode.http.body import read_body
from jilnode.http.channels import Channels
from jilnode.http.clients import ClientAddresses
from jilnode.http.contexts import Contexts
from jilnode.http.events_stream import EventStream
from jilnode.http.feed_route import FeedRoute
from jilnode.http.forward import Forwarder
from jilnode.http.gate import Access, Admitted, Gate, Meters, Sent, peer_of, routed
from jilnode.http.hot_route import HotRoute
from jilnode.http.metrics import Metrics
from jilnode.http.node_routes import NodeRoute, node_routes
from jilnode.http.openapi import openapi_document, template_of
from jilnode.http.parameters import decoded_path, is_alias
from jilnode.http.ports import EventFeed, Readiness, Ticks, WriterPort
from jilnode.http.problems import ProblemBook
from jilnode.http.query_route import QueryRoute
from jilnode.http.rate_limit import RateLimiter, RateShare
from jilnode.http.reply import Reply, send_reply
from jilnode.http.stream_route import STREAM_OPERATION, STREAM_PATH, STREAM_SCOPE, StreamRoute
from jilnode.http.streams import Streams
from jilnode.http.upgrade import as_get
from jilnode.http.visible import Seer
from jilnode.http.write_route import Asked, WriteRoute
from jilnode.kernel.errors import Rejected
from jilnode.limits import PEER_BURST, PEER_RATE
from jilnode.module import Module

__all__ = ("AppParts", "NodeApp", "build_app")

_log = logging.getLogger(__name__)
PEER_PREFIX = "/v1/peer/"
_METHODS: tuple[Method, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class AppParts:
    """Everything that the app is built from. ``reader`` is the store's side of listings (``page``, ``get``)."""

    source: str
    modules: Sequence[Module]
    writer: WriterPort
    reader: Any
    authenticator: Authenticator
    readiness: Readiness
    ticks: Ticks
    events: EventFeed | None = None
    metrics: Metrics = field(default_factory=Metrics)
    metrics_public: bool = True
    rate_limiter: RateLimiter | None = field(default_factory=RateLimiter)
    rate_share: RateShare | None = None
    trusted_proxies: Sequence[str] = ()
    forwarder: Forwarder | None = None
    log_every: int = 0
    """One line in the log for every so many routed requests; 0 = none. Failures are always logged."""
    extra_handlers: Sequence[HTTPRouteHandler] = ()
    """Routes that are not modules': what nodes ask each other. They say who may call them by ``opt["access"]``."""
    operator_routes: Sequence[NodeRoute] = ()
    """What an operator asks of the node and tells it, beside the modules."""
    version: str = "0.1.0"


class NodeApp(Litestar):
    """Limits, measures and answers. It serves every route; ``HttpServer`` answers the hot ones itself.

    ``streams`` must be closed first at shutdown (``HttpServer.stop`` does).
    """

    def __init__(self, parts: AppParts) -> None:
        check_modules(parts.modules)
        self.parts = parts
        self.book = ProblemBook(parts.modules)
        self.streams = Streams()
        self._channels = Channels(parts.writer, [feed for module in parts.modules for feed in module.feeds])
        self._contexts = Contexts(parts.source, parts.modules, parts.writer, parts.ticks)
        self.addresses = ClientAddresses(parts.trusted_proxies)
        self._gate = Gate(parts.authenticator, self.book, self.addresses, parts.forwarder)
        self._meters = Meters(parts.metrics)
        self._limited = parts.metrics.counter("jil_http_rate_limited_total", "Requests refused by the rate limit")
        self._peer_limiter = RateLimiter(PEER_RATE, PEER_BURST)
        self._routed = 0
        self.hot_routes: dict[bytes, HotRoute] = {}
        """By request target: the server answers these without asking the app."""
        self._document = b""
        parts.metrics.gauge("jil_http_event_streams", "Open event streams", lambda: self.streams.count)
        parts.metrics.gauge("jil_http_feed_channels", "Channels of live feeds", lambda: self._channels.count)
        super().__init__(
            route_handlers=self._handlers(),
            middleware=[Access(parts.authenticator)],
            exception_handlers={Exception: self._problem},
            openapi_config=None,
            logging_config=None,
            lifespan=[_background],
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        if scope["type"] == "websocket":
            scope, send = as_get(scope, send)
        limiter = self.parts.rate_limiter
        if limiter is not None and scope["path"].startswith(PEER_PREFIX):
            limiter = self._peer_limiter
        if limiter is not None:
            try:
                limiter.take(self.addresses.client(peer_of(scope), scope["headers"]))
            except Rejected as rejected:
                self._limited.add()
                await send_reply(send, self.book.reply_to(rejected, trace.trace_id_of(scope["headers"])))
                return
        await self._serve_routed(scope, receive, send)

    async def _serve_routed(self, scope: Any, receive: Any, send: Any) -> None:
        started = time.perf_counter()
        status = 0
        # Some servers leave the query in it.
        raw_path = (scope.get("raw_path") or b"").partition(b"?")[0]
        if b"%" in raw_path:
            scope["path"] = decoded_path(raw_path)

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            if is_alias(raw_path):
                nothing = Rejected("not_found", "No such address.", status=404)
                await send_reply(counted, self.book.reply_to(nothing, trace.trace_id_of(scope["headers"])))
            else:
                await super().__call__(scope, receive, counted)
        finally:
            # Without a status the client went away before there was an answer.
            status = status or 499
            elapsed_s = time.perf_counter() - started
            template = template_of(scope.get("path_template") or "unmatched")
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            self._meters.of(method, template).observe(status, elapsed_s)
            self._routed += 1
            if self.parts.log_every and self._routed % self.parts.log_every == 0:
                fields = {
                    "method": method,
                    "route": template,
                    "status": status,
                    "milliseconds": round(elapsed_s * 1e3, 3),
                }
                fields["trace_id"] = trace.trace_id_of(scope["headers"])
                _log.info("request", extra={"fields": fields})

    def _problem(self, request: Request[Any, Any, Any], error: Exception) -> Sent:
        reply = self.book.reply_to(error, trace.trace_id_of(request.scope["headers"]))
        if reply.status == 405:
            reply.headers.append((b"allow", ", ".join(self._allowed(request.scope["path"])).encode()))
        return Sent(reply)

    def _allowed(self, path: str) -> list[str]:
        allowed: list[str] = []
        for method in _METHODS:
            with contextlib.suppress(Exception):
                self.asgi_router.handle_routing(path=path, method=method)
                allowed.append(method)
        return allowed

    def _handlers(self) -> list[HTTPRouteHandler]:
        parts = self.parts
        handlers: list[HTTPRouteHandler] = []
        paths: dict[str, Any] = {}
        for module in parts.modules:
            for write in module.writes:
                write_route = WriteRoute(write, parts.writer, resource_of(module, write))
                if write.hot:
                    meter = self._meters.of(write.method, write.path)
                    hot = HotRoute(self._gate, write_route, meter, parts.rate_limiter, self._limited)
                    self.hot_routes[hot.target] = hot
                handlers.append(self._write_handler(write_route))
            for query in module.queries:
                query_route = QueryRoute(query, parts.writer, parts.reader, self._contexts)
                handlers.append(self._query_handler(query_route))
            for feed in module.feeds:
                feed_route = FeedRoute(feed, self._channels, self.streams, parts.writer, self._contexts)
                handlers.append(routed("GET", feed.path, feed.scope, feed_route.answer, stream=True))
        own_routes = node_routes(
            book=self.book,
            metrics=parts.metrics,
            metrics_public=parts.metrics_public,
            readiness=parts.readiness,
            document=lambda: self._document,
        )
        for own in (*own_routes, *parts.operator_routes):
            paths[own.path] = {own.method.lower(): dict(own.operation)}
            handlers.append(routed(own.method, own.path, own.access, own.answer))
        if parts.events is not None:
            stream = EventStream(self.streams, parts.events, Seer(parts.modules, parts.writer.image))
            paths[STREAM_PATH] = {"get": dict(STREAM_OPERATION)}
            handlers.append(routed("GET", STREAM_PATH, STREAM_SCOPE, StreamRoute(stream).answer, stream=True))
        handlers += parts.extra_handlers
        document = openapi_document(parts.modules, self.book, paths, parts.version)
        self._document = msgspec.json.encode(document)
        return handlers

    def _write_handler(self, write_route: WriteRoute) -> HTTPRouteHandler:
        async def answer(request: Request[Any, Any, Any], admitted: Admitted, values: dict[str, str]) -> Reply:
            principal, headers = admitted
            assert principal is not None
            body = await read_body(request.receive, headers.get(b"content-length"))
            asked = Asked(request.scope["path"], request.scope["query_string"], body)
            return await self._gate.answer(
                request.scope, headers, body, lambda: write_route.answer(asked, principal, headers, values)
            )

        write = write_route.write
        return routed(write.method, write.path, write.scope, answer)

    def _query_handler(self, query_route: QueryRoute) -> HTTPRouteHandler:
        async def answer(request: Request[Any, Any, Any], admitted: Admitted, values: dict[str, str]) -> Reply:
            principal, headers = admitted
            assert principal is not None
            return await self._gate.answer(
                request.scope, headers, b"", lambda: query_route.answer(request.scope, principal, headers, values)
            )

        return routed("GET", query_route.query.path, query_route.query.scope, answer)


@contextlib.asynccontextmanager
async def _background(app: Litestar) -> AsyncIterator[None]:
    """What runs beside the requests: reading token keys, exchanging rate counts."""
    assert isinstance(app, NodeApp)
    parts = app.parts
    ring = parts.authenticator.ring
    await ring.refresh()
    tasks = [asyncio.create_task(ring.run(), name="token keys")]
    if parts.rate_share is not None:
        tasks.append(asyncio.create_task(parts.rate_share.run(), name="rate share"))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if parts.forwarder is not None:
            await parts.forwarder.close()


def build_app(parts: AppParts) -> NodeApp:
    """Raises ``AssemblyError`` when a module's routes can't be served."""
    return NodeApp(parts)

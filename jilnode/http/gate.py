"""What every request passes: authentication, forwarding, problems, measurement. The fast path and the routed one
share it.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from litestar import Request, Response
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler, route
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from jilnode.http import trace
from jilnode.http.auth import PUBLIC, Authenticator, Principal
from jilnode.http.clients import ClientAddresses
from jilnode.http.forward import HOP_HEADER, Forwarder
from jilnode.http.metrics import Metrics
from jilnode.http.parameters import router_path, whole_segments
from jilnode.http.problems import ProblemBook
from jilnode.http.reply import Reply, send_reply
from jilnode.http.write_route import WriteRoute
from jilnode.kernel.errors import Rejected

__all__ = ("Access", "Admitted", "FastRoute", "Gate", "Meters", "RoutedAnswer", "Sent", "peer_of", "routed")

_NO_PARAMETERS: dict[str, str] = {}
_MISDIRECTED = 421

AnswerRequest = Callable[[Receive], Awaitable[Reply]]


def peer_of(scope: HTTPScope) -> str:
    client = scope["client"]
    return client[0] if client else ""


class RouteMeter:
    """Latency and statuses of one route."""

    __slots__ = ("_latency", "_method", "_metrics", "_statuses", "_template")

    def __init__(self, metrics: Metrics, method: str, template: str) -> None:
        self._metrics = metrics
        self._method = method
        self._template = template
        self._latency = metrics.histogram(
            "jil_http_request_seconds", "Time from request to answer", method=method, route=template
        )
        self._statuses: dict[int, Any] = {}

    def observe(self, status: int, elapsed_s: float) -> None:
        self._latency.observe(elapsed_s)
        counter = self._statuses.get(status)
        if counter is None:
            counter = self._statuses[status] = self._metrics.counter(
                "jil_http_requests_total", "Requests", method=self._method, route=self._template, status=str(status)
            )
        counter.value += 1


class Meters:
    """One meter a route; addresses that are no route share one, so that nobody can make series at will."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._meters: dict[tuple[str, str], RouteMeter] = {}

    def of(self, method: str, template: str) -> RouteMeter:
        meter = self._meters.get((method, template))
        if meter is None:
            meter = self._meters[method, template] = RouteMeter(self._metrics, method, template)
        return meter


class _Recorder:
    """Passes a body on and keeps it, for a node that may have to forward it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.body = b""

    async def __call__(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.request":
            self.body += message["body"]
        return message


class Gate:
    def __init__(
        self, authenticator: Authenticator, book: ProblemBook, addresses: ClientAddresses, forwarder: Forwarder | None
    ) -> None:
        self.authenticator = authenticator
        self.book = book
        self._addresses = addresses
        self._forwarder = forwarder

    async def answer(
        self, scope: HTTPScope, receive: Receive, headers: dict[bytes, bytes], run: AnswerRequest
    ) -> Reply:
        """The reply of ``run``; or the owner's, when the rows are another node's and forwarding is on.

        Raises ``Rejected``.
        """
        if self._forwarder is None:
            return await run(receive)
        recorder = _Recorder(receive)
        try:
            return await run(recorder)
        except Rejected as rejected:
            address = rejected.extra.get("address")
            # A batch of which something is done here must not be done again there.
            partly_done = rejected.extra.get("chunks_done", 0)
            if rejected.status != _MISDIRECTED or not isinstance(address, str) or partly_done or HOP_HEADER in headers:
                raise
            query = scope["query_string"]
            target = scope["raw_path"].partition(b"?")[0] + (b"?" + query if query else b"")
            client = self._addresses.client(peer_of(scope), scope["headers"])
            return await self._forwarder.forward(address, scope["method"], target, headers, recorder.body, client)


class FastRoute:
    """A hot write without the framework: the same gate, the same ``WriteRoute``."""

    def __init__(self, gate: Gate, write_route: WriteRoute, meters: Meters) -> None:
        self.method = write_route.write.method
        self._gate = gate
        self._route = write_route
        self._principal = gate.authenticator.principal
        self._meter = meters.of(self.method, write_route.write.path)

    async def serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        try:
            headers = dict(scope["headers"])
            principal = self._principal(headers.get(b"authorization"), self._route.scope)
            reply = await self._gate.answer(
                scope,
                receive,
                headers,
                lambda recorded: self._route.answer(scope, recorded, principal, headers, _NO_PARAMETERS),
            )
        except Exception as error:
            reply = self._gate.book.reply_to(error, trace.trace_id_of(scope["headers"]))
        await send_reply(send, reply)
        self._meter.observe(reply.status, time.perf_counter() - started)


class Admitted(NamedTuple):
    """What the middleware found out, for the handler behind it. Without a token there is no principal."""

    principal: Principal | None
    headers: dict[bytes, bytes]


class Access(ASGIMiddleware):
    """The one middleware. A handler that does not say who may use it can't be used: deny by default."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        access = scope["route_handler"].opt.get("access")
        if access is None:
            raise Rejected("method_not_allowed", "No such method here.", status=405)
        headers = dict(scope["headers"])
        principal: Principal | None = None
        if access != PUBLIC:
            principal = self._authenticator.principal(headers.get(b"authorization"), access)
        admitted: Any = scope
        admitted["jil"] = Admitted(principal, headers)
        await next_app(scope, receive, send)


class Sent(Response[Any]):
    """A reply, or a whole ASGI answer, as the framework's response."""

    def __init__(self, reply: Reply | ASGIApp) -> None:
        super().__init__(content=None)
        self._reply = reply

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIApp:  # type: ignore[override]
        reply = self._reply
        if not isinstance(reply, Reply):
            return reply

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await send_reply(send, reply)

        return application


RoutedAnswer = Callable[[Request[Any, Any, Any], Admitted, dict[str, str]], Awaitable[Reply | ASGIApp]]


def routed(method: str, path: str, access: str, answer: RoutedAnswer) -> HTTPRouteHandler:
    """A handler of the framework. ``answer`` gets the request, who asks, and the path's parameters."""

    async def handle(request: Request[Any, Any, Any]) -> Response[Any]:
        scope: Any = request.scope
        return Sent(await answer(request, scope["jil"], whole_segments(request.path_params)))

    handler = route(router_path(path), http_method=[HttpMethod(method)], opt={"access": access}, status_code=200)
    return handler(handle)

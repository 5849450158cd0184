"""What every request passes: authentication, forwarding, problems, measurement. Hot and routed requests share it."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from litestar import Request, Response
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler, route
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from jilnode.http.auth import PUBLIC, Authenticator, Principal
from jilnode.http.clients import ClientAddresses
from jilnode.http.forward import HOP_HEADER, Forwarder
from jilnode.http.metrics import Metrics
from jilnode.http.parameters import router_path, whole_segments
from jilnode.http.problems import ProblemBook
from jilnode.http.reply import Reply, send_reply
from jilnode.kernel.errors import Rejected

__all__ = ("Access", "Admitted", "Gate", "Meters", "RouteMeter", "RoutedAnswer", "Sent", "peer_of", "routed")

_MISDIRECTED = 421
_OUTCOME_UNKNOWN = "outcome_unknown"


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


class Gate:
    """Passes requests on to the owner of their rows, where forwarding is on."""

    def __init__(
        self, authenticator: Authenticator, book: ProblemBook, addresses: ClientAddresses, forwarder: Forwarder | None
    ) -> None:
        self.authenticator = authenticator
        self.book = book
        self.addresses = addresses
        self._forwarder = forwarder

    def owner_address(self, rejected: Rejected, headers: dict[bytes, bytes]) -> str | None:
        """Where a refused request is to be passed on to; None: nowhere."""
        if self._forwarder is None or HOP_HEADER in headers:
            return None
        if rejected.status != _MISDIRECTED and rejected.code != _OUTCOME_UNKNOWN:
            return None
        address = rejected.extra.get("address")
        if self._forwarder.suspended(str(rejected.extra.get("owner", ""))):
            return None
        # A batch of which something is done here must not be done again there.
        if not isinstance(address, str) or rejected.extra.get("chunks_done", 0):
            return None
        return address

    async def forward(
        self,
        rejected: Rejected,
        address: str,
        method: str,
        target: bytes,
        headers: dict[bytes, bytes],
        body: bytes,
        client: str,
    ) -> Reply:
        """The owner's reply to what was ``rejected`` here. Raises ``Rejected``."""
        assert self._forwarder is not None
        try:
            return await self._forwarder.forward(address, method, target, headers, body, client)
        except Rejected as unreachable:
            if rejected.code == _OUTCOME_UNKNOWN:
                raise rejected from unreachable
            raise

    async def answer(
        self, scope: HTTPScope, headers: dict[bytes, bytes], body: bytes, run: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        """The reply of ``run``; or the owner's. Raises ``Rejected``."""
        try:
            return await run()
        except Rejected as rejected:
            address = self.owner_address(rejected, headers)
            if address is None:
                raise
            query = scope["query_string"]
            target = scope["raw_path"].partition(b"?")[0] + (b"?" + query if query else b"")
            client = self.addresses.client(peer_of(scope), scope["headers"])
            return await self.forward(rejected, address, scope["method"], target, headers, body, client)


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


def routed(method: str, path: str, access: str, answer: RoutedAnswer, *, stream: bool = False) -> HTTPRouteHandler:
    """A handler of the framework. ``answer`` gets the request, who asks, and the path's parameters. What answers GET
    answers HEAD, of which the server sends no body (RFC 9110, 9.3.2); but for a ``stream``, which would never end."""
    methods = [HttpMethod.GET, HttpMethod.HEAD] if method == "GET" and not stream else [HttpMethod(method)]

    async def handle(request: Request[Any, Any, Any]) -> Response[Any]:
        scope: Any = request.scope
        return Sent(await answer(request, scope["jil"], whole_segments(request.path_params)))

    handler = route(router_path(path), http_method=methods, opt={"access": access}, status_code=200)
    return handler(handle)

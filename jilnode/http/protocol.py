"""uvicorn's HTTP/1.1 protocol with the bounds that it lacks: header size, slow requests, number of connections and of
requests that wait on one.

It overrides uvicorn's own callbacks, so uvicorn's minor version is pinned and tests/http/test_server.py holds it
to this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from jilnode.http.clients import OpenConnections
from jilnode.http.hot_protocol import HotProtocol
from jilnode.http.hot_route import HotRoute
from jilnode.http.metrics import Counter, Metrics
from jilnode.http.problems import CORE_PROBLEMS
from jilnode.http.trace import new_trace_id
from jilnode.limits import REQUEST_HEADER_BYTES_MAX

__all__ = ("Bounds", "bounded_protocol")

_TITLES = {kind.code: (kind.status or 500, kind.title) for kind in CORE_PROBLEMS}


@dataclass(frozen=True)
class Bounds:
    """Seconds and numbers. ``client_connections`` are those of one client: more than all streams, so that a proxy
    which nobody named as one still has room. ``pipelined`` requests wait on one connection for their turn.
    ``request_s`` is for headers and body together, ``idle_s`` for a connection between requests, ``linger_s`` for
    reading away what still comes of a request that is answered already.
    """

    connections: int = 4096
    client_connections: int = 512
    pipelined: int = 16
    header_bytes: int = REQUEST_HEADER_BYTES_MAX
    header_s: float = 10
    request_s: float = 30
    idle_s: float = 75
    linger_s: float = 2


def bounded_protocol(
    bounds: Bounds,
    metrics: Metrics,
    hot_routes: Mapping[bytes, HotRoute],
    open_connections: OpenConnections,
) -> type[HotProtocol]:
    """The class that uvicorn makes one of for every connection."""
    refused = {
        code: metrics.counter("jil_http_connections_refused_total", "Connections ended by a bound", reason=code)
        for code in (
            "too_many_connections",
            "too_many_client_connections",
            "pipelined",
            "headers_too_large",
            "request_timeout",
            "bad_request",
        )
    }

    class Bounded(_BoundedProtocol):
        _bounds = bounds
        _refused = refused
        _open = open_connections
        routes = hot_routes

    return Bounded


class _BoundedProtocol(HotProtocol):
    _bounds: Bounds
    _refused: dict[str, Counter]
    _open: OpenConnections
    _holder: str | None = None
    """The client that this connection counts for."""
    _earlier: Any = None
    """What had come before the request that is coming in."""
    _waiting_since = 0.0
    """When the request that is coming in began; 0 when none is."""
    _in_headers = True
    _received = 0
    """Bytes that came since the request that is coming in began, or since something of its body did."""
    _closing_since = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        self._holder, held = self._open.add(self.client[0] if self.client else "")
        if len(self.connections) > self._bounds.connections:
            self._refuse("too_many_connections", "Try again soon.", b"retry-after: 5\r\n")
        elif held > self._bounds.client_connections:
            detail = f"At most {self._bounds.client_connections} of one address."
            self._refuse("too_many_client_connections", detail, b"retry-after: 5\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        self._open.remove(self._holder)
        self._holder = None

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._received += len(data)
        super().data_received(data)
        # Behind the headers there may be trailers and extensions of chunks: nobody reads them, and they may be endless.
        if self._received > self._bounds.header_bytes and not self.transport.is_closing():
            self._refuse("headers_too_large", f"At most {self._bounds.header_bytes} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._waiting_since:
            self._waiting_since = self.loop.time()
        self._in_headers = True
        self._earlier = self.cycle

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            # What came with it, before it, was refused.
            return
        self._in_headers = False
        if len(self.pipeline) >= self._bounds.pipelined:
            self._end("pipelined")
            return
        # The bytes may be the body's or the next request's: only then is it worth counting.
        if self._received > self._bounds.header_bytes and self._header_bytes() > self._bounds.header_bytes:
            self._refuse("headers_too_large", f"At most {self._bounds.header_bytes} bytes.")
            return
        self._received = 0
        super().on_headers_complete()
        # Trailers come into another list: they are no headers (RFC 9110, 6.5.1), and say nothing of who asks for what.
        self.headers = self.headers.copy()

    def on_body(self, body: bytes) -> None:
        self._received = 0
        # A request refused for its headers has no cycle of its own to take a body.
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._waiting_since = 0.0
        self._received = 0
        self._earlier = self.cycle
        if not self.transport.is_closing():
            super().on_message_complete()

    def check(self, now: float) -> None:
        """Called once a second: ends a request that comes in too slowly, and a connection whose end is not taken."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > self._bounds.header_s:
                self.transport.abort()
            return
        if not self._waiting_since:
            if self.idle_since and now - self.idle_since > self._bounds.idle_s:
                self.transport.close()
            return
        if self.ending:
            if now - self._waiting_since > self._bounds.linger_s:
                self.transport.close()
            return
        allowed_s = self._bounds.header_s if self._in_headers else self._bounds.request_s
        if now - self._waiting_since > allowed_s:
            self._refuse("request_timeout", "The request came in too slowly.")

    def handle_websocket_upgrade(self) -> None:
        if self.transport.is_closing():
            # It was refused for its headers.
            return
        if self._owes():
            # It would take the connection from a request that is open.
            self._end("bad_request")
            return
        super().handle_websocket_upgrade()
        # It is another protocol's now: a stream, of which nobody has many, or refused and closed.
        self._leave()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            self._refuse("bad_request", msg or "This is not HTTP/1.1.")

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, code: str, detail: str, header: bytes = b"") -> None:
        """Answers without the app, unless an answer has begun or is given already, or one is owed to an earlier
        request, and closes."""
        cycle = self.cycle
        own = cycle is not None and cycle is not self._earlier
        begun = cycle is not None and cycle.response_started and not cycle.response_complete
        if not begun and not (own and cycle.response_complete) and not self._owes():
            status, title = _TITLES[code]
            problem = {
                "type": f"/problems/{code}",
                "title": title,
                "status": status,
                "detail": detail,
                "code": code,
                "trace_id": new_trace_id(),
            }
            body = msgspec.json.encode(problem)
            header += b"".join([b"%b: %b\r\n" % default for default in self.server_state.default_headers])
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
                b"connection: close\r\n%b\r\n%b" % (status, HTTPStatus(status).phrase.encode(), len(body), header, body)
            )
        self._end(code)

    def _owes(self) -> bool:
        """Whether a request is open that came before the one that is coming in."""
        return self._earlier is not None and not self._earlier.response_complete

    def _end(self, code: str) -> None:
        self._refused[code].add()
        self.transport.close()

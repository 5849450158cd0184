"""uvicorn's HTTP/1.1 protocol with the bounds that it lacks: header size, slow requests, number of connections.

It overrides uvicorn's own callbacks, so uvicorn's minor version is pinned and tests/http/test_server.py holds it
to this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from jilnode.http.hot_protocol import HotProtocol
from jilnode.http.hot_route import HotRoute
from jilnode.http.metrics import Counter, Metrics
from jilnode.http.problems import CORE_PROBLEMS, ProblemBook
from jilnode.http.trace import new_trace_id
from jilnode.limits import REQUEST_HEADER_BYTES_MAX

__all__ = ("Bounds", "bounded_protocol")

_TITLES = {kind.code: (kind.status or 500, kind.title) for kind in CORE_PROBLEMS}


@dataclass(frozen=True)
class Bounds:
    """Seconds and numbers. ``request_s`` is for headers and body together, ``idle_s`` for a connection between
    requests, ``linger_s`` for reading away what still comes of a request that is answered already.
    """

    connections: int = 4096
    header_bytes: int = REQUEST_HEADER_BYTES_MAX
    header_s: float = 10
    request_s: float = 30
    idle_s: float = 75
    linger_s: float = 2


def bounded_protocol(
    bounds: Bounds, metrics: Metrics, hot_routes: Mapping[bytes, HotRoute], problem_book: ProblemBook
) -> type[HotProtocol]:
    """The class that uvicorn makes one of for every connection."""
    refused = {
        code: metrics.counter("jil_http_connections_refused_total", "Connections ended by a bound", reason=code)
        for code in ("too_many_connections", "headers_too_large", "request_timeout", "bad_request")
    }

    class Bounded(_BoundedProtocol):
        _bounds = bounds
        _refused = refused
        routes = hot_routes
        book = problem_book

    return Bounded


class _BoundedProtocol(HotProtocol):
    _bounds: Bounds
    _refused: dict[str, Counter]
    _waiting_since = 0.0
    """When the request that is coming in began; 0 when none is."""
    _in_headers = True
    _received = 0
    """Bytes since the request that is coming in began."""
    _closing_since = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        if len(self.connections) > self._bounds.connections:
            self._refuse("too_many_connections", "Try again soon.", b"retry-after: 5\r\n")

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._received += len(data)
        super().data_received(data)
        if self._in_headers and self._received > self._bounds.header_bytes and not self.transport.is_closing():
            self._refuse("headers_too_large", f"At most {self._bounds.header_bytes} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._waiting_since:
            self._waiting_since = self.loop.time()
        self._in_headers = True

    def on_headers_complete(self) -> None:
        self._in_headers = False
        # The bytes may be the body's or the next request's: only then is it worth counting.
        if self._received > self._bounds.header_bytes and self._header_bytes() > self._bounds.header_bytes:
            self._refuse("headers_too_large", f"At most {self._bounds.header_bytes} bytes.")
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        # A request refused for its headers has no cycle of its own to take a body.
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._waiting_since = 0.0
        self._received = 0
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
        if self.answered_early:
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
        if self.cycle is not None and not self.cycle.response_complete:
            self._refuse("bad_request", "A handshake can't be pipelined.")
            return
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            self._refuse("bad_request", "This is not HTTP/1.1.")

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, code: str, detail: str, header: bytes = b"") -> None:
        """Answers without the app, unless an answer has begun, and closes."""
        self._refused[code].add()
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
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
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
                b"connection: close\r\n%b\r\n%b" % (status, HTTPStatus(status).phrase.encode(), len(body), header, body)
            )
        self.transport.close()

"""Hot writes in uvicorn's HTTP/1.1 protocol: read, decided and answered on the connection itself.

What is not a plain request for a hot route goes uvicorn's own way. It overrides uvicorn's callbacks, so uvicorn's minor
version is pinned and tests/http/test_hot_protocol.py holds it to this.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jilnode.http.fields import fault_of
from jilnode.http.hot_route import HotRoute
from jilnode.http.reply import Headers, Reply
from jilnode.limits import HOT_BODY_BYTES_MAX

__all__ = ("HotProtocol",)

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}


_CLOSE = (b"connection", b"close")


class _NobodyWaits:
    def set(self) -> None:
        """uvicorn wakes the task of a request; a hot one has none."""


class _HotCycle:
    """One hot request, in the place of uvicorn's request-response cycle."""

    __slots__ = (
        "_protocol",
        "body",
        "by_name",
        "disconnected",
        "headers",
        "keep_alive",
        "peer",
        "response_complete",
        "route",
    )

    message_event = _NobodyWaits()
    response_started = False

    def __init__(self, protocol: "HotProtocol", route: HotRoute) -> None:
        self._protocol = protocol
        self.route = route
        self.peer = protocol.client[0] if protocol.client else ""
        self.headers: Headers = protocol.headers
        self.by_name = dict(protocol.headers)
        self.keep_alive = protocol.parser.should_keep_alive()
        self.body = b""
        self.disconnected = False
        self.response_complete = False

    def send(self, reply: Reply) -> None:
        self._protocol.answer(self, reply)


class _PatientTransport:
    """A connection as uvicorn's cycle has it. Where the request still comes in, its end waits until that is here, for
    it would be reset under the answer."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: "HotProtocol", cycle: Any) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        if self._cycle.more_body:
            self._protocol.ending = True
        else:
            self._protocol.transport.close()


class HotProtocol(HttpToolsProtocol):
    routes: Mapping[bytes, HotRoute] = {}
    """By the target of the request line, exactly as it stands there."""
    idle_since = 0.0
    """When the last hot answer was given; 0 while a request is coming in."""
    ending = False
    """Once the request that is answered already is here."""
    _host = b""
    """Of the last request that was looked at."""

    def data_received(self, data: bytes) -> None:
        # uvicorn writes a line into the log for each of what fails here: the metrics count them.
        self._unset_keepalive_if_required()
        try:
            while data and not self.transport.is_closing():
                data = self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("")

    def _feed(self, data: bytes) -> bytes:
        """What is to be read again: the parser takes every request that asks for another protocol for HTTP's end, and
        its body for the beginning of something else."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._asks_in_vain():
                return self._asking_nothing() + data[upgrade.args[0] :]
            self.handle_websocket_upgrade()
        return b""

    def _asks_in_vain(self) -> bool:
        """For a protocol that is not spoken here: that is as good as not asked (RFC 9110, 7.8)."""
        return bool(self.parser.should_upgrade()) and not self._should_upgrade()

    def _asking_nothing(self) -> bytes:
        """The head of the request that came in, without what it asks for, and a parser that has seen nothing yet."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self.send_400_response("")
        fields = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(fields))

    def on_message_begin(self) -> None:
        # uvicorn's scope is made only for requests that go its way.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.idle_since = 0.0

    def on_header(self, name: bytes, value: bytes) -> None:
        # The parser leaves the white space behind a value to others (RFC 9112, 5.1).
        super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        if self._asks_in_vain():
            return
        route = self.routes.get(self.url)
        if route is not None and self._is_plain(route):
            hot: Any = _HotCycle(self, route)
            # Without a length, or with a large one, it goes the long way, where the token is looked at first.
            if int(hot.by_name.get(b"content-length", HOT_BODY_BYTES_MAX + 1)) <= HOT_BODY_BYTES_MAX:
                self.cycle = hot
                # Nearly every request names one host, the one before it did: then there is nothing to look at.
                if len(hot.by_name) != len(self.headers) or hot.by_name.get(b"host") != self._host:
                    self._has_its_form()
                return
        if not self._has_its_form():
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        before = self.cycle
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is not before:
            cycle.transport = cast(Any, _PatientTransport(self, cycle))

    def _has_its_form(self) -> bool:
        fault = fault_of(self.headers, self.parser.get_http_version())
        if fault:
            self.send_400_response(fault)
            return False
        self._host = next((value for name, value in self.headers if name == b"host"), b"")
        return True

    def _is_plain(self, route: HotRoute) -> bool:
        """Neither pipelined behind an open request, nor slow to take answers, nor asking for something special."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.expect_100_continue
            and self.parser.get_method() == route.method
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
        )

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if type(cycle) is not _HotCycle:
            super().on_body(body)
        else:
            cycle.body = cycle.body + body if cycle.body else body

    def on_message_complete(self) -> None:
        if self._asks_in_vain():
            return
        cycle: Any = self.cycle
        if self.ending:
            self.transport.close()
        elif type(cycle) is not _HotCycle or self.parser.should_upgrade():
            # A handshake has no cycle: this one is of a request before it.
            super().on_message_complete()
        else:
            cycle.route.serve(cycle)

    def answer(self, cycle: _HotCycle, reply: Reply) -> None:
        """Head and body in one piece; then what uvicorn does after a response."""
        cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        headers = [*self.server_state.default_headers, *reply.headers]
        keep_alive = cycle.keep_alive and _CLOSE not in headers
        if not cycle.keep_alive:
            headers.append(_CLOSE)
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        length = len(reply.body)
        self.transport.write(
            b"%b%bcontent-length: %d\r\n\r\n%b" % (_STATUS_LINES[reply.status], head, length, reply.body)
        )
        if not keep_alive:
            self.transport.close()
        if self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.idle_since = self.loop.time()

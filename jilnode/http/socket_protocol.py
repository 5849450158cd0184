"""uvicorn's WebSocket protocol with what it lacks: refusals that are problems, an end that does not wait for the
client, and nothing in the log of who asked for what.

It overrides uvicorn's own callbacks, so uvicorn's minor version is pinned and tests/http/test_websocket.py holds it to
this.
"""

import logging
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.http11 import Response
from websockets.server import ServerProtocol

from jilnode.http.problems import ProblemBook
from jilnode.http.trace import new_trace_id
from jilnode.kernel.errors import Rejected
from jilnode.limits import SOCKET_BYTES_AT_ONCE_MAX, SOCKET_BYTES_PER_S

__all__ = ("socket_protocol",)

_log = logging.getLogger(__name__)
# uvicorn writes a line with address and query for every handshake.
_log.setLevel(logging.WARNING)
_POLICY = 1008
_FORM = "a GET without a body, 128 headers of 8 KiB each at most"


class _Handshake(ServerProtocol):
    book: ProblemBook

    def reject(self, status: Any, text: str) -> Response:
        if status >= 500:
            refusal = Rejected("internal_error", "The node could not take the handshake.", status=500)
        else:
            refusal = Rejected("bad_request", f"Not a handshake of RFC 6455, or too large: {_FORM}.", status=400)
        reply = self.book.reply_to(refusal, new_trace_id())
        headers = Headers((name.decode(), value.decode()) for name, value in reply.headers)
        # Who speaks another version learns which one is spoken here (RFC 6455, 4.2.2).
        headers["Sec-WebSocket-Version"] = "13"
        headers["Date"] = formatdate(usegmt=True)
        headers["Connection"] = "close"
        headers["Content-Length"] = str(len(reply.body))
        return Response(reply.status, HTTPStatus(reply.status).phrase, headers, reply.body)


class _SocketProtocol(WebSocketsSansIOProtocol):
    _book: ProblemBook
    _linger_s: float
    _closing_since = 0.0
    _pong = b""
    _allowance = float(SOCKET_BYTES_AT_ONCE_MAX)
    """Bytes that the client may send now, as of ``_allowed_at``."""
    _allowed_at = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = _log
        self.conn = _Handshake(max_size=self.config.ws_max_size, logger=_log)
        self.conn.book = self._book

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated:
            self._take(data)
            return
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            # The HTTP side hands over whole requests: what is not a handshake by now can't be read as one.
            response = self.conn.reject(400, "")
            self.transport.write(response.serialize())
            self.transport.close()

    def _take(self, data: bytes) -> None:
        """Reads what the client may send now, and ends it if there is more: all of it is read in one go, and nobody
        else has a turn meanwhile."""
        now = self.loop.time()
        regained = (now - self._allowed_at) * SOCKET_BYTES_PER_S
        allowed = min(self._allowance + regained, SOCKET_BYTES_AT_ONCE_MAX)
        self._allowance, self._allowed_at = allowed - len(data), now
        super().data_received(data[: int(allowed)])
        if len(data) > allowed and not self.transport.is_closing():
            self.stop_keepalive()
            self.conn.fail(_POLICY, "rate_limited")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.transport.close()

    def handle_ping(self) -> None:
        output = self.conn.data_to_send()
        if self.writable.is_set():
            self.transport.write(b"".join(output))
        elif output:
            # Who does not read gets one, for the last ping: others would wait in memory, as many as there are pings.
            self._pong = output[-1]

    def resume_writing(self) -> None:
        super().resume_writing()
        pong, self._pong = self._pong, b""
        if pong:
            self.transport.write(pong)

    def send_receive_event_to_app(self) -> None:
        # That a client said something is all that matters: it is not decoded.
        self.frames = [b""]
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            # uvicorn would report a handshake that was refused as one that nobody answered.
            self.handshake_complete = True

    def check(self, now: float) -> None:
        """Called once a second: ends a connection whose end is not taken."""
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > self._linger_s:
                self.transport.abort()


def socket_protocol(linger_s: float, problem_book: ProblemBook) -> type[WebSocketsSansIOProtocol]:
    """The class that uvicorn makes one of for every WebSocket. ``linger_s``: how long a client may take to read what
    was sent before the end."""

    class Bounded(_SocketProtocol):
        _book = problem_book
        _linger_s = linger_s

    return Bounded

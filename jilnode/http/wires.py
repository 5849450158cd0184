"""How a stream reaches its client: server-sent events, or a WebSocket where the client asked for one."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

from jilnode.http.frames import StreamFrame, event_stream_end
from jilnode.http.upgrade import SUBPROTOCOL, is_upgrade

__all__ = ("CLOSE_CODES", "ClientGoneError", "Wire", "wire_of")

SEND_TIMEOUT_S = 20.0
CLOSE_CODES = {"closing": 1012, "failed": 1011}
"""RFC 6455's codes, for a WebSocket that this node closes; every other reason is a policy of ours."""
_POLICY = 1008
_HEARTBEAT = b": heartbeat\n\n"
_START: HTTPResponseStartEvent = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        # Proxies that buffer would hold events back.
        (b"x-accel-buffering", b"no"),
    ],
}


class ClientGoneError(Exception):
    """The client has left, or does not read."""


class Wire(Protocol):
    """One client. What sends raises ``ClientGoneError``; a client that does not read for ``SEND_TIMEOUT_S`` is gone."""

    async def start(self) -> None: ...

    async def send(self, frames: Sequence[StreamFrame]) -> None:
        """None is a heartbeat."""

    async def end(self, reason: str) -> None: ...

    async def left(self) -> str:
        """Returns when the client is gone, or must go: why."""


async def _deliver(send: Any, messages: Iterable[Any]) -> None:
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            for message in messages:
                await send(message)
    except (TimeoutError, OSError) as error:
        raise ClientGoneError from error


class EventStreamWire:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def start(self) -> None:
        # The heartbeat, because some servers and proxies hold the head back until there is a body.
        await _deliver(self._send, [_START, _body(_HEARTBEAT)])

    async def send(self, frames: Sequence[StreamFrame]) -> None:
        await _deliver(self._send, [_body(b"".join([frame.as_event for frame in frames]) or _HEARTBEAT)])

    async def end(self, reason: str) -> None:
        await _deliver(self._send, [_body(event_stream_end(reason), more=False)])

    async def left(self) -> str:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        return "disconnected"


def _body(body: bytes, more: bool = True) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": body, "more_body": more}


class WebSocketWire:
    """Each frame is one text message. The protocol itself pings, so there is no heartbeat."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self._subprotocol = SUBPROTOCOL if SUBPROTOCOL in scope["subprotocols"] else None
        self._receive = receive
        self._send = send

    async def start(self) -> None:
        await _deliver(self._send, [{"type": "websocket.accept", "subprotocol": self._subprotocol, "headers": []}])

    async def send(self, frames: Sequence[StreamFrame]) -> None:
        await _deliver(self._send, [{"type": "websocket.send", "text": frame.as_message} for frame in frames])

    async def end(self, reason: str) -> None:
        code = CLOSE_CODES.get(reason, _POLICY)
        await _deliver(self._send, [{"type": "websocket.close", "code": code, "reason": reason}])

    async def left(self) -> str:
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                return "disconnected"
            if event["type"] == "websocket.receive":
                # There is nothing that a client could mean by it.
                return "bad_request"


def wire_of(scope: Scope, receive: Receive, send: Send) -> Wire:
    return WebSocketWire(scope, receive, send) if is_upgrade(scope) else EventStreamWire(receive, send)

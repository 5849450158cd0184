"""A WebSocket handshake is a GET: it takes the way of every GET (limit, router, token, problems), and where it leads to
a stream, the stream goes over the socket.

Browsers can't set ``Authorization`` there: a token may come as the subprotocol ``bearer.<token>``, beside
``jil.stream``.
"""

from typing import Any

from litestar.types import HTTPScope, Scope, Send

__all__ = ("SUBPROTOCOL", "as_get", "is_upgrade")

SUBPROTOCOL = "jil.stream"
_BEARER = "bearer."
_FAILED = 1011


def is_upgrade(scope: Scope) -> bool:
    return scope["scheme"] in ("ws", "wss")


def as_get(scope: Any, send: Any) -> tuple[HTTPScope, Send]:
    """The GET that the handshake is, and where its answer goes: HTTP's events become the handshake's answer, and a
    WebSocket's stay what they are."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if not any(name == b"authorization" for name, _ in headers):
        headers = headers + [
            (b"authorization", b"Bearer " + offered.removeprefix(_BEARER).encode())
            for offered in scope["subprotocols"]
            if offered.startswith(_BEARER)
        ]
    request: Any = {**scope, "type": "http", "method": "GET", "headers": headers}
    accepted = False

    async def answer(message: Any) -> None:
        nonlocal accepted
        kind = message["type"]
        if kind == "websocket.accept":
            accepted = True
        elif kind.startswith("http.response."):
            if accepted:
                # A stream that failed half-way: it is too late for a problem.
                if kind == "http.response.start":
                    await send({"type": "websocket.close", "code": _FAILED, "reason": "failed"})
                return
            message = {**message, "type": f"websocket.{kind}"}
        await send(message)

    return request, answer

"""The address of the live event stream: what a client asks for, in headers and query."""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send

from jilnode.http.events_stream import EventStream, filter_of, position_of
from jilnode.http.gate import Admitted
from jilnode.http.parameters import ParameterReader
from jilnode.http.wires import wire_of

__all__ = ("STREAM_OPERATION", "STREAM_PATH", "STREAM_SCOPE", "StreamRoute")

STREAM_PATH = "/v1/events"
STREAM_SCOPE = "events"


class StreamParameters(msgspec.Struct):
    after: str = ""
    type: str = ""
    source: str = ""
    table: str = ""


class StreamRoute:
    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._reader = ParameterReader(StreamParameters)

    async def answer(self, request: Request[Any, Any, Any], admitted: Admitted, _values: dict[str, str]) -> ASGIApp:
        """Raises ``Rejected``."""
        asked: StreamParameters = self._reader.read({}, request.scope["query_string"])
        principal = admitted.principal
        assert principal is not None
        last = admitted.headers.get(b"last-event-id", b"").decode("latin-1") or asked.after
        start = None if last in ("", "start") else position_of(last)
        wanted = filter_of(asked.type, asked.source, asked.table)

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await self._stream.serve(wire_of(scope, receive, send), principal, wanted, start, live=not last)

        return application


def _text(name: str, place: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": False, "description": description, "schema": {"type": "string"}}


STREAM_OPERATION: Mapping[str, Any] = {
    "tags": ["node"],
    "summary": "Live events",
    "description": (
        "Server-sent events, or a WebSocket where the client upgrades; the id of each is source/epoch/sequence. "
        "A subject sees the rows that are theirs; the scope `audit` sees all but what is sealed. `event: overflow` "
        "means that the client read too slowly: connect again with Last-Event-ID."
    ),
    "security": [{"bearer": []}],
    "parameters": [
        _text("Last-Event-ID", "header", "Resume after this event."),
        _text("after", "query", "The same as Last-Event-ID; `start` = from the first event."),
        _text("type", "query", "Event types, separated by commas; `wallet.*` takes a whole module."),
        _text("source", "query", "Sources, separated by commas."),
        _text("table", "query", "Tables, separated by commas."),
    ],
    "responses": {"200": {"description": "The stream.", "content": {"text/event-stream": {}}}},
    "x-problems": (400, 401, 403, 404, 410, 429, 500, 503),
}

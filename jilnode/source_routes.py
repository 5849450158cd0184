"""The sources that this node follows, for an operator: how each stands, and the release of one that is suspended."""

from collections.abc import Awaitable, Callable

import msgspec

from jilnode.http.node_routes import NodeRoute
from jilnode.http.reply import JSON, Reply
from jilnode.kernel.engine import Engine
from jilnode.kernel.errors import Rejected

__all__ = ("READ_SCOPE", "RELEASE_SCOPE", "SourceView", "source_routes")

READ_SCOPE = "audit"
RELEASE_SCOPE = "node:operate"


class SourceView(msgspec.Struct, frozen=True):
    """``entries``: how many of its journal are applied here. ``status``: following, parked or suspended, with the code
    and the detail that say why. ``resident_bytes``: what its rows take in tables that stay in memory whole."""

    source: str
    epoch: int
    entries: int
    status: str
    code: str
    detail: str
    drift: bool
    resident_bytes: int


def source_routes(engine: Engine, release: Callable[[str], Awaitable[None]] | None) -> list[NodeRoute]:
    """``release``: None where this node has no bus."""

    def view(name: str) -> SourceView:
        state = engine.sources[name]
        return SourceView(
            name,
            state.epoch,
            state.size,
            state.status,
            state.code,
            state.detail,
            bool(state.drift),
            engine.weights.get(name, 0),
        )

    async def listed(*_: object) -> Reply:
        items = [view(name) for name in sorted(engine.sources)]
        return Reply(200, [JSON], msgspec.json.encode({"items": items}))

    async def released(_request: object, _admitted: object, values: dict[str, str]) -> Reply:
        name = values["source"]
        if release is None or name not in engine.sources:
            raise Rejected("not_found", "This node follows no such source.", status=404)
        await release(name)
        return Reply(200, [JSON], msgspec.json.encode(view(name)))

    (of_one,), schemas = msgspec.json.schema_components([SourceView])
    schema = schemas["SourceView"]
    assert of_one
    return [
        NodeRoute(
            "/v1/sources",
            READ_SCOPE,
            listed,
            {
                "tags": ["node"],
                "summary": "Every source that this node has heard of, and how it stands",
                "responses": {"200": _json({"type": "object", "properties": {"items": {"items": schema}}})},
                "security": [{"bearer": []}],
                "x-problems": (401, 403, 429, 500, 503),
            },
        ),
        NodeRoute(
            "/v1/sources/{source}/release",
            RELEASE_SCOPE,
            released,
            {
                "tags": ["node"],
                "summary": "Follow a source again that was set aside, from where it was left",
                "description": "What it sent meanwhile is looked at first, so the answer may say suspended again.",
                "parameters": [{"name": "source", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"200": _json(schema)},
                "security": [{"bearer": []}],
                "x-problems": (400, 401, 403, 404, 409, 429, 500, 503),
            },
            method="POST",
        ),
    ]


def _json(schema: object) -> dict[str, object]:
    return {"description": "How it stands.", "content": {"application/json": {"schema": schema}}}

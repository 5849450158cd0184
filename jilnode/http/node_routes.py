"""The node's own addresses: health, metrics, problems, documentation and the event stream."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from jilnode.http.auth import PUBLIC
from jilnode.http.docs_page import docs_page, docs_viewer
from jilnode.http.gate import RoutedAnswer
from jilnode.http.metrics import Metrics
from jilnode.http.ports import Readiness
from jilnode.http.problems import ProblemBook
from jilnode.http.reply import JSON, Reply
from jilnode.kernel.build import BUILD
from jilnode.kernel.errors import Rejected

__all__ = ("METRICS_SCOPE", "NodeRoute", "node_routes")

METRICS_SCOPE = "metrics"
_NO_STORE = (b"cache-control", b"no-store")


@dataclass(frozen=True)
class NodeRoute:
    path: str
    access: str
    answer: RoutedAnswer
    operation: Mapping[str, Any]
    method: str = "GET"


def node_routes(
    *, book: ProblemBook, metrics: Metrics, metrics_public: bool, readiness: Readiness, document: Callable[[], bytes]
) -> list[NodeRoute]:
    health = msgspec.json.encode({"status": "alive", "build": BUILD})
    problems = msgspec.json.encode(book.listing())
    page, viewer = docs_page(), docs_viewer()

    async def alive(*_: object) -> Reply:
        return Reply(200, [JSON, _NO_STORE], health)

    async def ready(*_: object) -> Reply:
        reasons = readiness()
        blocked = any(reason.blocking for reason in reasons)
        status = "blocked" if blocked else "degraded" if reasons else "ready"
        body = msgspec.json.encode({"status": status, "reasons": reasons})
        return Reply(503 if blocked else 200, [JSON, _NO_STORE], body)

    async def measured(*_: object) -> Reply:
        kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        return Reply(200, [kind, _NO_STORE], metrics.text())

    async def listed(*_: object) -> Reply:
        return Reply(200, [JSON], problems)

    async def explained(_request: object, _admitted: object, values: dict[str, str]) -> Reply:
        try:
            found = book.page(values["code"])
        except KeyError as error:
            raise Rejected("not_found", "There is no such problem.", status=404) from error
        return Reply(200, [JSON], msgspec.json.encode(found))

    async def described(*_: object) -> Reply:
        return Reply(200, [JSON], document())

    async def documented(*_: object) -> Reply:
        return Reply(200, list(page.headers), page.body)

    async def viewed(*_: object) -> Reply:
        return Reply(200, list(viewer.headers), viewer.body)

    metrics_access = PUBLIC if metrics_public else METRICS_SCOPE
    return [
        NodeRoute("/healthz", PUBLIC, alive, _public("The process answers", "application/json")),
        NodeRoute("/livez", PUBLIC, alive, _public("The process answers", "application/json")),
        NodeRoute("/readyz", PUBLIC, ready, _ready_operation()),
        NodeRoute(
            "/metrics", metrics_access, measured, _public("Metrics for Prometheus", "text/plain", metrics_access)
        ),
        NodeRoute("/problems", PUBLIC, listed, _public("Every problem code", "application/json")),
        NodeRoute("/problems/{code}", PUBLIC, explained, _problem_operation()),
        NodeRoute("/openapi.json", PUBLIC, described, _public("This document", "application/json")),
        NodeRoute("/docs", PUBLIC, documented, _public("A page to read this document", "text/html")),
        NodeRoute("/docs/viewer.js", PUBLIC, viewed, _public("The page's program", "text/javascript")),
    ]


def _public(summary: str, kind: str, access: str = PUBLIC) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": ["node"],
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {kind: {}}}},
        "security": [{"bearer": []}] if access else [],
    }
    if access:
        operation["x-problems"] = (401, 403, 429, 500, 503)
    return operation


def _ready_operation() -> dict[str, Any]:
    operation = _public("Ready to serve, and what is not as it should be", "application/json")
    operation["responses"]["503"] = {"description": "Not ready: the reasons", "content": {"application/json": {}}}
    return operation


def _problem_operation() -> dict[str, Any]:
    operation = _public("One problem code", "application/json")
    operation["parameters"] = [{"name": "code", "in": "path", "required": True, "schema": {"type": "string"}}]
    return operation

"""Every route of a real node, with every module, fuzzed from the node's own document: never a 5xx, and every answer as
it is documented. Afterwards the node is whole, and so is its journal."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from litestar.testing import TestClient
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from jilnode.http.app import AppParts, build_app
from jilnode.module import installed_modules
from jilnode.source_routes import source_routes
from tests.http.kit import FakeFeed, FakeWriter, authenticator
from tests.kit.node import TestNode
from tests.kit.node_process import NodeProcess

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
)


def _document() -> dict[str, Any]:
    writer: Any = FakeWriter()
    app = build_app(
        AppParts(
            source="dev-node-01",
            modules=installed_modules(),
            writer=writer,
            reader=None,
            authenticator=authenticator(),
            readiness=list,
            ticks=dict,
            events=FakeFeed(),
            operator_routes=source_routes(TestNode().engine, None),
        )
    )
    with TestClient(app) as client:
        found: dict[str, Any] = client.get("/openapi.json").json()
        return found


DOCUMENT = _document()
"""As a node serves it: it must be known before a node runs."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    node = NodeProcess(tmp_path_factory.mktemp("fuzzed"))
    node.start("/readyz")
    try:
        # So that what is made of the document's examples finds something.
        assert node.post("/v1/wallet/assets", "asset", {"code": "CHFX", "scale": 2})[0] == 201
        for handle in ("kestrel", "heron"):
            assert node.post("/v1/wallet/accounts", handle, {"handle": handle})[0] == 201
        yield node
    finally:
        node.process.kill()


STREAMS = [
    path
    for path, operations in DOCUMENT["paths"].items()
    if "text/event-stream" in operations.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
]
"""What never ends can't be compared with its document."""
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT).exclude(path=STREAMS)


@SCHEMA.parametrize()
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_fuzzed(case: schemathesis.Case, node: NodeProcess) -> None:
    headers = {"authorization": f"Bearer {node.token()}"}
    # Of a parameter that is a list of nothing, nothing is sent: there is nothing to refuse.
    unsent = [] in case.query.values()
    checks = [check for check in CHECKS if not (unsent and check is negative_data_rejection)]
    case.call_and_validate(base_url=node.url, headers=headers, checks=checks)


def test_the_document_is_the_node_s_own(node: NodeProcess) -> None:
    assert node.get("/openapi.json")[1] == DOCUMENT


def test_afterwards_the_node_is_whole(node: NodeProcess) -> None:
    assert node.get("/readyz")[1]["reasons"] == []

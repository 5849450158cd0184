"""The OpenAPI document and its page: what they say, and that the node keeps to it whatever is sent."""

import re

import jsonschema_rs
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from jilnode.limits import PAGE_ITEMS_MAX
from tests.http.kit import FakeWriter, app_of, bearer, client_of

APP = app_of(FakeWriter(), metrics_public=True)
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
)


@SCHEMA.parametrize()
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_fuzzed(case: schemathesis.Case) -> None:
    case.call_and_validate(headers=bearer(), checks=CHECKS)


async def test_the_document() -> None:
    async with client_of(app_of()) as client:
        document = (await client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    write = document["paths"]["/v1/notes"]["post"]
    assert write["tags"] == ["notes"]
    assert write["security"] == [{"bearer": []}]
    (key,) = [parameter for parameter in write["parameters"] if parameter["name"] == "Idempotency-Key"]
    assert key["required"]
    body = write["requestBody"]["content"]["application/json"]
    assert body["examples"]["example"]["value"] == {"text": "hello", "weight": 0}
    schema = document["components"]["schemas"]["PostNote"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["text"]["maxLength"] == 100
    assert "application/problem+json" in write["responses"]["409"]["content"]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    jsonschema_rs.meta.validate(schema)
    for name in re.findall(r'"#/components/schemas/(\w+)"', str(document).replace("'", '"')):
        assert name in document["components"]["schemas"]


async def test_a_page_s_size_has_the_bounds_that_are_kept() -> None:
    async with client_of(app_of()) as client:
        operation = (await client.get("/openapi.json")).json()["paths"]["/v1/notes"]["get"]
        (limit,) = [one["schema"] for one in operation["parameters"] if one["name"] == "limit"]
        assert limit == {"type": "integer", "default": 50, "minimum": 1, "maximum": PAGE_ITEMS_MAX}
        for size, status in ((0, 400), (1, 200), (PAGE_ITEMS_MAX, 200), (PAGE_ITEMS_MAX + 1, 400)):
            answer = await client.get(f"/v1/notes?limit={size}", headers=bearer())
            assert answer.status_code == status


async def test_the_page_needs_nobody_else() -> None:
    async with client_of(app_of()) as client:
        page = await client.get("/docs")
        viewer = await client.get("/docs/viewer.js")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    assert re.findall(r'(?:src|href|url)="([^"]+)"', page.text) == ["data:,", "/docs/viewer.js", "/openapi.json"]
    assert viewer.headers["content-type"].startswith("text/javascript")
    assert b"RapiDoc" in viewer.content[:200]

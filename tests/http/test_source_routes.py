"""What an operator sees of the sources that the node follows, and tells it of them."""

from jilnode.kernel.errors import Rejected
from jilnode.source_routes import source_routes
from tests.http.kit import app_of, bearer, client_of
from tests.kit.node import TestNode, running


async def test_an_operator_sees_every_source_and_releases_one():
    async with running(TestNode("ch-zug-01")) as (node,):
        node.engine.own.status, node.engine.own.code, node.engine.own.detail = "suspended", "gap", "why"

        async def release(source: str) -> None:
            assert source == "ch-zug-01"
            node.engine.own.status, node.engine.own.code, node.engine.own.detail = "following", "", ""

        async with client_of(app_of(operator_routes=source_routes(node.engine, release))) as client:
            assert (await client.get("/v1/sources", headers=bearer())).status_code == 403
            answer = await client.get("/v1/sources", headers=bearer(scopes="audit"))
            (item,) = answer.json()["items"]
            assert (item["source"], item["status"], item["code"], item["detail"]) == (
                *("ch-zug-01", "suspended", "gap", "why"),
            )
            assert item["entries"] == node.engine.own.size
            assert item["resident_bytes"] == node.engine.weights["ch-zug-01"]
            path = "/v1/sources/ch-zug-01/release"
            assert (await client.post(path, headers=bearer(scopes="audit"))).status_code == 403
            answer = await client.post(path, headers=bearer(scopes="node:operate"))
            assert (answer.status_code, answer.json()["status"]) == (200, "following")
            unknown = await client.post("/v1/sources/nobody-01/release", headers=bearer(scopes="node:operate"))
            assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
            described = (await client.get("/openapi.json")).json()["paths"]
            assert {"/v1/sources", "/v1/sources/{source}/release"} <= set(described)


async def test_why_a_release_is_refused_is_said():
    async def release(source: str) -> None:
        raise Rejected("not_suspended", "the source is following", status=409)

    async with running(TestNode("ch-zug-01")) as (node,):
        for given, code in ((release, "not_suspended"), (None, "not_found")):
            async with client_of(app_of(operator_routes=source_routes(node.engine, given))) as client:
                answer = await client.post("/v1/sources/ch-zug-01/release", headers=bearer(scopes="node:operate"))
                assert answer.json()["code"] == code

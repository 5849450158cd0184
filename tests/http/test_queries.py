"""Reads: parameters, ETags, pages."""

import pytest
from litestar.testing import AsyncTestClient

from jilnode.http.app import NodeApp
from jilnode.http.parameters import decoded_path
from tests.http.kit import FakeWriter, bearer

Client = AsyncTestClient[NodeApp]


@pytest.fixture
async def noted(routed: Client) -> Client:
    for number in range(3):
        headers = {**bearer(), "Idempotency-Key": str(number)}
        assert (await routed.post("/v1/notes", json={"text": f"n{number}"}, headers=headers)).status_code == 201
    return routed


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?limit=x", "/limit"),
        ("?limit=1.5", "/limit"),
        ("?limit=0", "/limit"),
        ("?limit=501", "/limit"),
        ("?limit=99999999999999999999999", "/limit"),
        ("?limit=1&limit=2", "/limit"),
        ("?holders=kestrel", "/holders"),
        ("?holder=%00", "/holder"),
        ("?holder=%0a", "/holder"),
        ("?holder=%ff", None),
    ],
)
async def test_a_bad_parameter_is_refused(noted: Client, query: str, field: str | None) -> None:
    answer = await noted.get("/v1/notes" + query, headers=bearer())
    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (400, "bad_request", field)


async def test_parameters_select(noted: Client) -> None:
    assert len((await noted.get("/v1/notes", headers=bearer())).json()["notes"]) == 3
    assert len((await noted.get("/v1/notes?limit=2", headers=bearer())).json()["notes"]) == 2
    assert (await noted.get("/v1/notes?holder=heron", headers=bearer())).json()["notes"] == []


async def test_a_row_key_is_one_segment(noted: Client) -> None:
    for path in ("/v1/notes/ch-zug-01%2F1", "/v1/notes/ch-zug-01%2f1"):
        answer = await noted.get(path, headers=bearer())
        assert (answer.status_code, answer.json()["text"]) == (200, "n0")
    assert (await noted.get("/v1/notes/ch-zug-01/1", headers=bearer())).status_code == 404
    assert (await noted.get("/v1/notes/%00", headers=bearer())).status_code == 400


async def test_if_none_match(noted: Client) -> None:
    path = "/v1/notes/ch-zug-01%2F1"
    first = await noted.get(path, headers=bearer())
    etag = first.headers["etag"]
    for given in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        same = await noted.get(path, headers={**bearer(), "If-None-Match": given})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    other = await noted.get(path, headers={**bearer(), "If-None-Match": '"ch-zug-01:0:9"'})
    assert other.status_code == 200


async def test_a_module_s_own_problem(noted: Client, writer: FakeWriter) -> None:
    answer = await noted.get("/v1/notes/no", headers=bearer())
    assert (answer.status_code, answer.json()["title"]) == (404, "There is no such note")


def test_a_path_keeps_its_encoded_slashes() -> None:
    assert decoded_path(b"/a%20b/c%2Fd%2fe%252F") == "/a b/c%2Fd%2Fe%252F"

"""Problems: one form, stable codes, nothing leaked."""

import logging
import re
from pathlib import Path

import pytest
from litestar.testing import AsyncTestClient

import jilnode
from jilnode.http.app import NodeApp
from jilnode.http.problems import CORE_PROBLEMS, ProblemBook
from jilnode.kernel.errors import Rejected
from jilnode.module import Module
from tests.http.kit import MODULE, FakeWriter, bearer

Client = AsyncTestClient[NodeApp]
HEADERS = {"Idempotency-Key": "k", "Content-Type": "application/json"}


@pytest.mark.parametrize("kind", CORE_PROBLEMS, ids=[kind.code for kind in CORE_PROBLEMS])
async def test_every_code_has_one_form_and_a_page(client: Client, writer: FakeWriter, kind: object) -> None:
    assert kind in CORE_PROBLEMS
    code, title, status, _ = kind  # type: ignore[misc]
    writer.refusal = Rejected(
        code, "why", status=status, field="/x", retry_after_s=7, extra={"owner": "o", "status": 1}
    )
    answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers={**HEADERS, **bearer()})
    problem = answer.json()
    assert len(problem.pop("trace_id")) == 32
    assert problem == {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": "why",
        "code": code,
        "field": "/x",
        "owner": "o",
    }
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "7")
    assert (await client.get(problem["type"])).json()["title"] == title


async def test_a_full_queue_is_told_at_once(client: Client, writer: FakeWriter) -> None:
    writer.refusal = Rejected("queue_full", "busy", status=503, retry_after_s=1)
    writer.at_once = True
    answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers={**HEADERS, **bearer()})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_an_unhandled_failure_leaks_nothing(
    client: Client, writer: FakeWriter, caplog: pytest.LogCaptureFixture
) -> None:
    writer.refusal = RuntimeError("the secret of kestrel")
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    with caplog.at_level(logging.ERROR):
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers={**HEADERS, **bearer(), **trace})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.json()["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert "secret" not in answer.text
    (record,) = [record for record in caplog.records if record.name == "jilnode.http.problems"]
    assert record.fields["trace_id"] == answer.json()["trace_id"]  # type: ignore[attr-defined]


async def test_unknown_address_and_method(routed: Client) -> None:
    assert (await routed.get("/v1/nothing")).json()["code"] == "not_found"
    assert (await routed.get("/problems/nothing")).status_code == 404
    for method in ("DELETE", "PATCH", "OPTIONS", "TRACE"):
        answer = await routed.request(method, "/v1/notes")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize(
    "spelling", ["//v1/notes", "/v1//notes", "/v1/notes/", "/v1/notes/ch-zug-01%2F1/", "/v1/notes/ch-zug-01%252F1"]
)
async def test_an_address_has_one_spelling(routed: Client, spelling: str) -> None:
    """Whoever guards this node by addresses must not be passed by another spelling of one."""
    await routed.post("/v1/notes", content=b'{"text":"a"}', headers={**HEADERS, **bearer()})
    answer = await routed.request("GET", f"http://node{spelling}", headers=bearer())
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_the_list_holds_the_core_and_the_modules(routed: Client) -> None:
    listed = {kind["code"]: kind for kind in (await routed.get("/problems")).json()}
    assert {kind.code for kind in CORE_PROBLEMS} <= listed.keys()
    assert listed["note_unknown"]["module"] == MODULE.name


def test_every_code_that_the_node_raises_is_listed() -> None:
    package = Path(jilnode.__file__).parent
    raised = {
        code
        for path in (*package.glob("kernel/*.py"), *package.glob("http/*.py"), package / "zone.py")
        for code in re.findall(r'(?:Rejected|_refused|_refuse|Verdict)\(\s*(?:False, )?"([a-z_]+)"', path.read_text())
    }
    assert len(raised) > 20
    assert raised <= {kind.code for kind in CORE_PROBLEMS}


def test_codes_are_unique_and_well_formed() -> None:
    assert len({kind.code for kind in CORE_PROBLEMS}) == len(CORE_PROBLEMS)
    with pytest.raises(ValueError, match="not a problem code"):
        ProblemBook([Module("m", 1, problems={"Bad-Code": "x"})])

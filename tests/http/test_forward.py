"""Forwarding: once, unread, and only to the owner's address."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from jilnode.http.forward import Forwarder
from jilnode.kernel.errors import Rejected
from tests.http.kit import FakeWriter, app_of, bearer, client_of, either_client, served_client


def elsewhere(address: str = "https://owner.example") -> Rejected:
    return Rejected("misdirected", "it is there", status=421, extra={"owner": "sg-mas-01", "address": address})


HEADERS = {"Idempotency-Key": "k", "Content-Type": "application/json"}


class Owner:
    """The owner's node, and what it was asked."""

    def __init__(self, failure: Exception | None = None, response: httpx.Response | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self.failure = failure
        self.response = response

    def forwarder(self, **options: Any) -> Forwarder:
        return Forwarder(
            "ch-zug-01", make_client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(self)), **options
        )

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.failure is not None:
            raise self.failure
        if self.response is not None:
            return self.response
        headers = {"content-type": "application/json", "jil-entry": "sg-mas-01/0/9", "set-cookie": "a=b"}
        return httpx.Response(201, headers=headers, content=b'{"note":"n"}')


@pytest.mark.parametrize("hot", [True, False])
async def test_a_request_is_passed_on_and_its_answer_back(hot: bool) -> None:
    owner = Owner()
    writer = FakeWriter(refusal=elsewhere())
    sent = {**HEADERS, **bearer(), "Cookie": "secret=1"}
    async with either_client(app_of(writer, forwarder=owner.forwarder()), hot=hot) as client:
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers=sent)
    assert (answer.status_code, answer.content, answer.headers["jil-entry"]) == (201, b'{"note":"n"}', "sg-mas-01/0/9")
    assert "set-cookie" not in answer.headers
    (request,) = owner.requests
    assert (request.method, str(request.url), request.content) == (
        "POST",
        "https://owner.example/v1/notes",
        b'{"text":"a"}',
    )
    assert request.headers["jil-forwarded"] == "ch-zug-01"
    assert request.headers["authorization"] == sent["Authorization"]
    assert request.headers["idempotency-key"] == "k"
    assert "cookie" not in request.headers


async def test_never_twice() -> None:
    owner = Owner()
    async with client_of(app_of(FakeWriter(refusal=elsewhere()), forwarder=owner.forwarder())) as client:
        sent = {**HEADERS, **bearer(), "JIL-Forwarded": "us-nyc-01"}
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers=sent)
    assert (answer.status_code, answer.json()["address"], owner.requests) == (421, "https://owner.example", [])


async def test_off_is_off() -> None:
    async with client_of(app_of(FakeWriter(refusal=elsewhere()))) as client:
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers={**HEADERS, **bearer()})
    assert (answer.status_code, answer.json()["owner"]) == (421, "sg-mas-01")


async def test_a_batch_that_is_partly_done_stays_here() -> None:
    owner = Owner()
    writer = FakeWriter()
    decide = writer._decide

    def second_elsewhere(submission: object) -> object:
        if len(writer.submissions) == 2:
            raise elsewhere()
        return decide(submission)  # type: ignore[arg-type]

    writer._decide = second_elsewhere  # type: ignore[assignment, method-assign]
    async with client_of(app_of(writer, forwarder=owner.forwarder())) as client:
        body = b'{"notes":[{"text":"1"},{"text":"2"},{"text":"3"}]}'
        answer = await client.post("/v1/notes/batch", content=body, headers={**HEADERS, **bearer()})
    assert (answer.status_code, answer.json()["chunks_done"], owner.requests) == (421, 1, [])


@pytest.mark.parametrize("hot", [True, False])
@pytest.mark.parametrize(
    "address",
    [
        "http://owner.example",
        "file:///etc/passwd",
        "https://",
        "nonsense",
        "",
        "https://[",
        "https://ow ner\x00/",
        "https://owner.example:65536",
        "https://owner.example:",
        "https://me@owner.example",
        "https://owner.example/?q=",
        "https://owner.example/#",
        "https://owner.example\\.other.example",
    ],
)
async def test_an_address_that_can_t_be_used(address: str, hot: bool) -> None:
    owner = Owner()
    writer = FakeWriter(refusal=elsewhere(address))
    async with either_client(app_of(writer, forwarder=owner.forwarder()), hot=hot) as client:
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers={**HEADERS, **bearer()})
    assert (answer.status_code, answer.json()["code"], owner.requests) == (502, "owner_unreachable", [])


async def test_an_owner_that_does_not_answer() -> None:
    owner = Owner(httpx.ConnectTimeout("slow"))
    async with client_of(app_of(FakeWriter(refusal=elsewhere()), forwarder=owner.forwarder())) as client:
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers={**HEADERS, **bearer()})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (502, "owner_unreachable", "2")


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("https://owner.example/", "https://owner.example/v1/notes"),
        ("https://owner.example:8443", "https://owner.example:8443/v1/notes"),
        ("https://owner.example/nodes/one", "https://owner.example/nodes/one/v1/notes"),
        ("https://192.0.2.1", "https://192.0.2.1/v1/notes"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/v1/notes"),
        ("https://node_1", "https://node_1/v1/notes"),
    ],
)
async def test_an_address_that_can_be_used(address: str, asked: str) -> None:
    owner = Owner()
    async with client_of(app_of(FakeWriter(refusal=elsewhere(address)), forwarder=owner.forwarder())) as client:
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers={**HEADERS, **bearer()})
    assert (answer.status_code, [str(request.url) for request in owner.requests]) == (201, [asked])


async def endless() -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(0.005)
        yield b" "


@pytest.mark.parametrize("hot", [True, False])
@pytest.mark.parametrize(
    "respond",
    [
        lambda: httpx.Response(101),
        lambda: httpx.Response(299),
        lambda: httpx.Response(599),
        lambda: httpx.Response(999),
        lambda: httpx.Response(201, headers={"content-encoding": "gzip"}, content=gzip.compress(b"{}")),
        lambda: httpx.Response(201, content=endless()),
    ],
)
async def test_an_owner_whose_answer_is_none(respond: Callable[[], httpx.Response], hot: bool) -> None:
    owner = Owner(response=respond())
    app = app_of(FakeWriter(refusal=elsewhere()), forwarder=owner.forwarder(timeout_s=0.1))
    async with either_client(app, hot=hot) as client, asyncio.timeout(5):
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers={**HEADERS, **bearer()})
    assert (answer.status_code, answer.json()["code"], len(owner.requests)) == (502, "owner_unreachable", 1)


async def test_nothing_of_a_user_s_goes_to_an_owner_that_is_suspended() -> None:
    owner = Owner()
    forwarder = owner.forwarder(suspended=lambda source: source == "sg-mas-01")
    async with client_of(app_of(FakeWriter(refusal=elsewhere()), forwarder=forwarder)) as client:
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers={**HEADERS, **bearer()})
    assert (answer.status_code, answer.json()["address"], owner.requests) == (421, "https://owner.example", [])


async def test_a_token_goes_through_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        # Nobody listens there.
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with served_client(app_of()) as owner:
        forwarder = Forwarder("ch-zug-01", plain_http=True)
        app = app_of(FakeWriter(refusal=elsewhere(str(owner.base_url))), forwarder=forwarder)
        async with served_client(app) as client:
            answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers={**HEADERS, **bearer()})
    assert (answer.status_code, answer.json()["text"]) == (201, "a")


def unknown(address: str = "https://owner.example") -> Rejected:
    extra = {"owner": "sg-mas-01", "address": address}
    return Rejected("outcome_unknown", "ask there", status=409, retry_after_s=2, extra=extra)


@pytest.mark.parametrize("hot", [True, False])
async def test_what_became_of_a_request_of_another_node_s_session_is_asked_there(hot: bool) -> None:
    owner = Owner()
    sent = {**HEADERS, **bearer(), "JIL-Session": "sg-mas-01"}
    async with either_client(app_of(FakeWriter(refusal=unknown()), forwarder=owner.forwarder()), hot=hot) as client:
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers=sent)
    assert answer.status_code == 201
    assert owner.requests[0].headers["jil-session"] == "sg-mas-01"


@pytest.mark.parametrize("hot", [True, False])
async def test_while_that_node_can_t_be_reached_the_outcome_stays_unknown(hot: bool) -> None:
    owner = Owner(httpx.ConnectTimeout("slow"))
    sent = {**HEADERS, **bearer(), "JIL-Session": "sg-mas-01"}
    async with either_client(app_of(FakeWriter(refusal=unknown()), forwarder=owner.forwarder()), hot=hot) as client:
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers=sent)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (409, "outcome_unknown", "2")
    assert answer.json()["address"] == "https://owner.example"


@pytest.mark.parametrize("name", ["SG-MAS-01", "a b", "x", "é"])
async def test_a_session_is_the_id_of_a_node(name: str) -> None:
    async with client_of(app_of(FakeWriter())) as client:
        headers = {**HEADERS, **bearer(), "JIL-Session": name.encode()}
        answer = await client.post("/v1/notes", content=b'{"text":"a"}', headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (400, "/JIL-Session")

"""Writes: idempotency, answers' headers, bodies. On the fast path and behind the router alike."""

from hashlib import sha256
from typing import Any

import httpx
import msgspec
import pytest

from jilnode.kernel.errors import Rejected
from jilnode.limits import BODY_BYTES_MAX
from tests.http.kit import FakeWriter, app_of, bearer, either_client

Client = httpx.AsyncClient


def headers(key: str = "k1", **more: str) -> dict[str, str]:
    return {**bearer(), "Idempotency-Key": key, "Content-Type": "application/json", **more}


async def post(client: Client, body: bytes, **more: str) -> Any:
    return await client.post("/v1/notes", content=body, headers=headers(**more))


async def test_the_same_key_and_body_gets_the_same_answer(client: Client) -> None:
    first = await post(client, b'{"text":"a"}')
    again = await post(client, b'{"text":"a"}')
    assert (first.status_code, first.headers["jil-entry"], first.headers["jil-finality"]) == (
        201,
        "ch-zug-01/0/1",
        "local",
    )
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert again.headers["jil-entry"] == first.headers["jil-entry"]


async def test_the_same_key_with_another_body_is_refused(client: Client) -> None:
    await post(client, b'{"text":"a"}')
    again = await post(client, b'{"text":"b"}')
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_key_reused")


async def test_a_key_belongs_to_its_subject(client: Client) -> None:
    await post(client, b'{"text":"a"}')
    other = {**headers(), **bearer(subject="heron")}
    answer = await client.post("/v1/notes", content=b'{"text":"b"}', headers=other)
    assert answer.status_code == 201


async def test_hashes_are_what_the_wire_says(client: Client, writer: FakeWriter) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await post(client, b'{"text":"a"}', traceparent=trace)
    (submission,) = writer.submissions
    assert submission.key_hash == sha256(b"kestrel\x00k1").digest()
    assert submission.body_hash == sha256(b'POST\x00/v1/notes\x00{"text":"a"}').digest()
    assert (submission.actor, submission.traceparent) == ("kestrel", trace)
    assert "notes.write" in submission.scopes


async def test_a_broken_traceparent_is_ignored(client: Client, writer: FakeWriter) -> None:
    await post(client, b'{"text":"a"}', traceparent="00-0-0-0")
    assert writer.submissions[0].traceparent is None


BAD_BODIES = [
    (b"", "bad_json", None),
    (b"{", "bad_json", None),
    (b'{"text":"a"} x', "bad_json", None),
    (b'{"text":"\xff"}', "bad_json", None),
    (b'{"text":"a\x00"}', "bad_json", None),
    (b'{"text":"\\u0000"}', "bad_json", "/text"),
    (b'{"text":"\\ud800"}', "bad_json", None),
    (b'{"text":"a","weight":99999999999999999999}', "bad_json", "/weight"),
    (b'{"text":"a","weight":9223372036854775808}', "bad_json", "/weight"),
    (b'{"text":"a","weight":1e400}', "bad_request", "/weight"),
    (b'{"text":"a","weight":1.5}', "bad_request", "/weight"),
    (b'{"text":"a","weight":-1}', "bad_request", "/weight"),
    (b'{"text":"a","weight":"1"}', "bad_request", "/weight"),
    (b'{"text":"a","weight":null}', "bad_request", "/weight"),
    (b'{"text":5}', "bad_request", "/text"),
    (b'{"text":""}', "bad_request", "/text"),
    (b"{}", "bad_request", "/text"),
    (b'{"text":"a","more":1}', "bad_request", "/more"),
    (b'{"text":"a","a/b~":1}', "bad_request", "/a~1b~0"),
    (b"[]", "bad_request", "/"),
    (b'"text"', "bad_request", "/"),
    (b"null", "bad_request", "/"),
    (b"[" * 100_000, "bad_request", "/"),
    (b'{"text":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad_request", "/text"),
    (b'{"text":"a","zzz":' + b"[" * 5000 + b"]" * 5000 + b"}", "bad_request", "/zzz"),
]


@pytest.mark.parametrize(("body", "code", "field"), BAD_BODIES, ids=[body[:30] for body, _, _ in BAD_BODIES])
async def test_a_bad_body_is_refused(
    client: Client, writer: FakeWriter, body: bytes, code: str, field: str | None
) -> None:
    answer = await post(client, body)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem.get("field")) == (400, code, field)
    assert writer.submissions == []


async def test_a_deep_pointer(client: Client) -> None:
    answer = await client.post("/v1/notes/batch", content=b'{"notes":[{"text":"a"},{"text":7}]}', headers=headers())
    assert answer.json()["field"] == "/notes/1/text"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"Idempotency-Key": None}, 400, "idempotency_key_required"),
        ({"Idempotency-Key": ""}, 400, "idempotency_key_invalid"),
        ({"Idempotency-Key": "a b"}, 400, "idempotency_key_invalid"),
        ({"Idempotency-Key": "x" * 256}, 400, "idempotency_key_invalid"),
        ({"Content-Type": None}, 415, "unsupported_media_type"),
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content-Type": "application/json; charset=latin-1"}, 415, "unsupported_media_type"),
        ({"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"Authorization": None}, 401, "token_missing"),
        ({"If-Match": '"ch-zug-01:0:1"'}, 412, "precondition_failed"),
    ],
)
async def test_a_bad_header_is_refused(client: Client, change: dict[str, str | None], status: int, code: str) -> None:
    sent = {name: value for name, value in {**headers(), **change}.items() if value is not None}
    request = client.build_request("POST", "/v1/notes", content=b'{"text":"a"}', headers=sent)
    answer = await client.send(request)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_json_with_a_charset_is_taken(client: Client) -> None:
    answer = await client.post(
        "/v1/notes", content=b'{"text":"a"}', headers={**headers(), "Content-Type": "Application/JSON; Charset=utf-8"}
    )
    assert answer.status_code == 201


async def test_a_query_on_a_write_is_refused(client: Client) -> None:
    answer = await client.post("/v1/notes?dry_run=1", content=b'{"text":"a"}', headers=headers())
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_a_body_of_ten_megabytes_is_refused(client: Client, writer: FakeWriter) -> None:
    answer = await post(client, b'{"text":"' + b"a" * 10_000_000 + b'"}')
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert writer.submissions == []


async def test_a_batch_is_cut_into_commands_with_keys_of_their_own(client: Client, writer: FakeWriter) -> None:
    body = b'{"notes":[{"text":"1"},{"text":"2"},{"text":"3"}]}'
    first = await client.post("/v1/notes/batch", content=body, headers=headers())
    assert [note["text"] for note in first.json()["notes"]] == ["1", "2", "3"]
    assert first.headers["jil-entry"] == "ch-zug-01/0/1, ch-zug-01/0/2"
    assert [submission.key_hash for submission in writer.submissions] == [
        sha256(b"kestrel\x00k1#0").digest(),
        sha256(b"kestrel\x00k1#1").digest(),
    ]
    again = await client.post("/v1/notes/batch", content=body, headers=headers())
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_batch_refused_half_way_says_how_far_it_came(client: Client, writer: FakeWriter) -> None:
    decide = writer._decide
    calls = iter([None, Rejected("queue_full", "later", status=503, retry_after_s=1)])

    def once(submission: Any) -> Any:
        if (refusal := next(calls, None)) is not None:
            raise refusal
        return decide(submission)

    writer._decide = once  # type: ignore[method-assign]
    body = b'{"notes":[{"text":"1"},{"text":"2"},{"text":"3"},{"text":"4"},{"text":"5"}]}'
    answer = await client.post("/v1/notes/batch", content=body, headers=headers())
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["chunks"], problem["chunks_done"]) == (503, "queue_full", 3, 2)
    whole = await client.post("/v1/notes/batch", content=body, headers=headers())
    assert (whole.status_code, len(whole.json()["notes"])) == (201, 5)


async def test_if_match(routed: Client) -> None:
    await post(routed, b'{"text":"a"}')
    path = "/v1/notes/ch-zug-01%2F1"
    etag = (await routed.get(path, headers=bearer())).headers["etag"]
    assert etag == '"ch-zug-01:0:1"'
    changed = await routed.put(path, content=b'{"text":"b"}', headers=headers("k2", **{"If-Match": etag}))
    assert (changed.status_code, changed.headers["etag"]) == (200, '"ch-zug-01:0:2"')
    stale = await routed.put(path, content=b'{"text":"c"}', headers=headers("k3", **{"If-Match": etag}))
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    broken = await routed.put(path, content=b'{"text":"c"}', headers=headers("k4", **{"If-Match": "*"}))
    assert (broken.status_code, broken.json()["field"]) == (400, "/If-Match")


async def test_both_ways_answer_alike() -> None:
    """The contract of hot routes: byte for byte, but for the date and the trace id that each makes."""
    requests: list[tuple[bytes, dict[str, str]]] = [
        (b'{"text":"a"}', headers("k1")),
        (b'{"text":"a"}', headers("k1")),
        (b'{"text":"b"}', headers("k1")),
        (b'{"text":5}', headers("k2")),
        (b"{", headers("k2")),
        (b'{"text":"a"}', {**headers("k3"), "Content-Type": "text/plain"}),
        (b'{"text":"a"}', {**headers("k3"), **bearer(scopes="notes.read")}),
        (b'{"text":"a"}', {**headers("k3"), "Authorization": "Bearer no"}),
        (b'{"text":"a"}', {"Content-Type": "application/json"}),
        (b'{"text":"' + b"a" * BODY_BYTES_MAX + b'"}', headers("k4")),
        (b'{"text":"a"}', headers("k5", traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
    ]
    seen: list[list[tuple[int, list[tuple[str, str]], Any]]] = []
    for hot in (True, False):
        writer = FakeWriter()
        answers: list[tuple[int, list[tuple[str, str]], Any]] = []
        async with either_client(app_of(writer), hot=hot) as client:
            for refusal in (
                None,
                Rejected("misdirected", "there", status=421, extra={"owner": "sg-mas-01"}),
                KeyError(),
            ):
                writer.refusal = refusal
                for body, sent in requests:
                    answer = await client.post("/v1/notes", content=body, headers=sent)
                    content = msgspec.json.decode(answer.content)
                    content.pop("trace_id", None)
                    answer.headers.pop("date", None)
                    answers.append((answer.status_code, sorted(answer.headers.items()), content))
        seen.append(answers)
    assert seen[0] == seen[1]
    assert {status for status, _, _ in seen[0]} == {201, 400, 401, 403, 409, 413, 415, 421, 500}

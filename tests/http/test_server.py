"""The real server on loopback: bounds that only show on a socket, TLS, and a clean end."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from jilnode.http.app import NodeApp
from jilnode.http.protocol import Bounds
from jilnode.http.rate_limit import RateLimiter
from jilnode.http.server import HttpServer
from jilnode.limits import BODY_BYTES_MAX
from tests.http.kit import FakeFeed, FakeWriter, app_of, token

AUTHORIZATION = f"Authorization: Bearer {token()}\r\n"
HEAD = f"POST /v1/notes HTTP/1.1\r\nHost: n\r\n{AUTHORIZATION}Idempotency-Key: k\r\nContent-Type: application/json\r\n"


def served(bounds: Bounds | None = None, **options: object) -> "contextlib.AbstractAsyncContextManager[HttpServer]":
    return serving(app_of(**options), bounds)


@contextlib.asynccontextmanager
async def serving(app: NodeApp, bounds: Bounds | None = None) -> AsyncIterator[HttpServer]:
    server = HttpServer(app, "127.0.0.1", 0, bounds=bounds, drain_s=2)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def ask(server: HttpServer, *pieces: str | bytes, source: str = "127.0.0.1") -> bytes:
    """Everything that the server says until it closes the connection, or has answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(source, 0))
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece.encode() if isinstance(piece, str) else piece)
            await writer.drain()
    answer = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(8):
            answer = await reader.read()
    writer.close()
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


CLOSE = "Connection: close\r\n"


async def test_a_write_and_a_read() -> None:
    async with served() as server:
        body = '{"text":"hello"}'
        answer = await ask(server, HEAD, CLOSE, f"Content-Length: {len(body)}\r\n\r\n", body)
        assert status(answer) == 201
        assert b'"note":"ch-zug-01/1"' in answer
        answer = await ask(server, f"GET /v1/notes/ch-zug-01%2F1 HTTP/1.1\r\nHost: n\r\n{AUTHORIZATION}{CLOSE}\r\n")
        assert status(answer) == 200


@pytest.mark.parametrize("spelling", ["/v1/notes", "/v1/note%73"])
async def test_white_space_around_a_header_is_not_of_it(spelling: str) -> None:
    async with served() as server:
        head = HEAD.replace("/v1/notes", spelling).replace(": ", ":  \t").replace("\r\n", " \t \r\n")
        request = head.replace(" HTTP/1.1 \t ", " HTTP/1.1") + f"{CLOSE}Content-Length: 16 \r\n\r\n"
        answer = await ask(server, request, '{"text":"hello"}')
        assert status(answer) == 201


async def test_headers_that_are_too_large() -> None:
    async with served(Bounds(header_bytes=4096)) as server:
        one = f"GET /healthz HTTP/1.1\r\nHost: n\r\nX: {'a' * 5000}\r\n\r\n"
        many = "GET /healthz HTTP/1.1\r\nHost: n\r\n" + "".join(f"X-{n}: a\r\n" for n in range(500)) + "\r\n"
        path = f"GET /{'a' * 5000} HTTP/1.1\r\nHost: n\r\n\r\n"
        endless = "GET /healthz HTTP/1.1\r\nHost: n\r\nX: " + "a" * 5000
        for request in (one, many, path, endless):
            answer = await ask(server, request)
            assert (status(answer), b"headers_too_large" in answer) == (431, True)
        large_body = '{"text":"' + "a" * 90 + '"' + " " * 10_000 + "}"
        answer = await ask(server, HEAD, CLOSE, f"Content-Length: {len(large_body)}\r\n\r\n", large_body)
        assert status(answer) == 201


CHUNKS = "Transfer-Encoding: chunked\r\n\r\n"
WHOLE = "10\r\n" + '{"text":"hello"}' + "\r\n0\r\n"


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/notes/batch"])
@pytest.mark.parametrize(
    "endless",
    [f"{WHOLE}X: " + "a" * 65_536, WHOLE + "X: a\r\n" * 10_000, "1;" + "a" * 65_536],
    ids=["a trailer", "trailers", "an extension"],
)
async def test_what_comes_beside_a_body_is_bounded_like_headers(path: str, endless: str) -> None:
    app = app_of()
    async with serving(app, Bounds(header_bytes=4096)) as server:
        # What the server says to it is lost where more has come than it read.
        await ask(server, HEAD.replace("/v1/notes", path), CHUNKS, endless, *[endless[-60_000:]] * 8)
    refused = 'jil_http_connections_refused_total{reason="headers_too_large"} 1\n'
    assert refused in app.parts.metrics.text().decode()


@pytest.mark.parametrize("spelling", ["/v1/notes", "/v1/note%73"])
async def test_trailers_are_no_headers(spelling: str) -> None:
    writer = FakeWriter()
    async with served(writer=writer) as server:
        request, trailers = f"POST {spelling} HTTP/1.1\r\nHost: n\r\n{CLOSE}", HEAD.partition("Host: n\r\n")[2]
        answer = await ask(server, request + CHUNKS + WHOLE + trailers + "\r\n")
        assert (status(answer), b"token_missing" in answer) == (401, True)
        answer = await ask(server, request + trailers + CHUNKS + WHOLE + "Content-Encoding: gzip\r\n\r\n")
        assert status(answer) == 201
        assert len(writer.submissions) == 1


async def test_a_body_without_a_length_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jilnode.http.server.SWEEP_INTERVAL_S", 0.05)
    writer = FakeWriter()
    async with served(Bounds(linger_s=0.2), writer=writer) as server:
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        answer = await ask(server, HEAD, "Transfer-Encoding: chunked\r\n\r\n", *[piece] * (BODY_BYTES_MAX // 65536 + 1))
        assert (status(answer), b"body_too_large" in answer) == (413, True)
        answer = await ask(server, HEAD, "Content-Length: 10485760\r\n\r\n")
        assert (status(answer), b"body_too_large" in answer) == (413, True)
        assert writer.submissions == []


@pytest.mark.parametrize(
    "request_text",
    [
        "NONSENSE\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: n\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: n\r\nContent-Length: x\r\n\r\n",
        "POST /v1/notes HTTP/1.1\r\nHost: n\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /h\x00 HTTP/1.1\r\nHost: n\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: n\r\nX: a\x00b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        HEAD.replace("Host: n\r\n", "") + "Content-Length: 2\r\n\r\n{}",
        "\x16\x03\x01\x02\x00",
    ],
)
async def test_what_is_not_http_is_refused(request_text: str) -> None:
    async with served() as server:
        answer = await ask(server, request_text)
        assert (status(answer), b'"code":"bad_request"' in answer) == (400, True)
        # An origin that has a clock says when (RFC 9110, 6.6.1).
        assert answer.count(b"\r\ndate: ") == 1


@pytest.mark.parametrize("spelling", ["/v1/notes", "/v1/note%73"])
@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ("Host: n:80\r\n", True),
        ("Host: [::1]:80\r\n", True),
        ("Host: n\r\nHost: n\r\n", False),
        ("Host: n\r\nHost: m\r\n", False),
        ("Host: n/m\r\n", False),
        ("Host: n m\r\n", False),
        ("", False),
        (f"Host: n\r\n{AUTHORIZATION}", True),
        ("Host: n\r\nContent-Type: application/json\r\n", True),
        ("Host: n\r\nAuthorization: Bearer another\r\n", False),
        ("Host: n\r\nIdempotency-Key: another\r\n", False),
        ("Host: n\r\nContent-Type: text/plain\r\n", False),
        ("Host: n\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\n", True),
    ],
)
async def test_what_a_request_has_once(spelling: str, fields: str, taken: bool) -> None:
    """Of two that differ a proxy may go by the one, and this node by the other."""
    writer = FakeWriter()
    async with served(writer=writer) as server:
        # Before what is looked at, and behind it, for it is either that counts.
        for head in (HEAD.replace("Host: n\r\n", fields), HEAD.replace("Host: n\r\n", "") + fields):
            request = f"{head.replace('/v1/notes', spelling)}{CLOSE}Content-Length: 16\r\n\r\n"
            answer = await ask(server, request, '{"text":"hello"}')
            assert status(answer) == (201 if taken else 400)
        assert bool(writer.submissions) == taken


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/notes/batch", "/nowhere"])
async def test_a_request_that_is_answered_already_gets_no_second_answer(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who keeps the connection would take it for the answer to the next one."""
    monkeypatch.setattr("jilnode.http.server.SWEEP_INTERVAL_S", 0.05)
    head = f"POST {path} HTTP/1.1\r\nHost: n\r\n"
    too_long, chunks = f"Content-Length: {2 * BODY_BYTES_MAX}\r\n\r\n", f"{CHUNKS}2\r\n{{}}\r\n"
    async with served(Bounds(request_s=0.4, linger_s=0.2)) as server:
        for body, rest in ((too_long, ""), (chunks, "nonsense\r\n"), (chunks, "1;" + "a" * 20_000)):
            if path == "/v1/notes" and body == chunks:
                # A hot write is answered once it is here.
                continue
            reader, out = await asyncio.open_connection("127.0.0.1", server.port)
            out.write((head + body).encode())
            first = await reader.readuntil(b"\r\n\r\n")
            out.write(rest.encode())
            async with asyncio.timeout(5):
                assert b"HTTP/1.1" not in await reader.read()
            assert status(first) in (401, 404, 413)
            out.close()


async def test_head_is_get_without_a_body() -> None:
    async with served() as server:
        asked = f"/openapi.json HTTP/1.1\r\nHost: n\r\n{CLOSE}\r\n"
        head, got = await ask(server, f"HEAD {asked}"), await ask(server, f"GET {asked}")
        assert (status(head), head.endswith(b"\r\n\r\n")) == (200, True)
        length = b"content-length: %d\r\n" % len(got.partition(b"\r\n\r\n")[2])
        assert length in head
        assert length in got
    async with served(events=FakeFeed()) as server:
        stream = await ask(server, f"HEAD /v1/events HTTP/1.1\r\nHost: n\r\n{AUTHORIZATION}{CLOSE}\r\n")
        assert status(stream) == 405


async def test_slow_clients_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jilnode.http.server.SWEEP_INTERVAL_S", 0.05)
    writer = FakeWriter()
    async with served(Bounds(header_s=0.2, request_s=0.4), writer=writer) as server:
        silent = ask(server)
        in_headers = ask(server, "GET /healthz HTTP/1.1\r\nHos")
        in_body = ask(server, HEAD, "Content-Length: 100\r\n\r\n", '{"te')
        for answer in await asyncio.gather(silent, in_headers, in_body):
            assert (status(answer), b"request_timeout" in answer) == (408, True)
        assert writer.submissions == []


async def test_an_idle_connection_between_requests_is_not_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jilnode.http.server.SWEEP_INTERVAL_S", 0.05)
    async with served(Bounds(header_s=0.15, request_s=0.15)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(2):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.4)
        writer.close()


async def test_connections_are_bounded() -> None:
    async with served(Bounds(connections=2)) as server:
        open_ones = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        answer = await ask(server)
        assert (status(answer), b"too_many_connections" in answer, b"retry-after: 5" in answer) == (503, True, True)
        for _, writer in open_ones:
            writer.close()
            await writer.wait_closed()
        for _ in range(100):
            answer = await ask(server, f"GET /healthz HTTP/1.1\r\nHost: n\r\n{CLOSE}\r\n")
            if status(answer) == 200:
                break
        assert status(answer) == 200


@pytest.mark.parametrize(
    ("limiter", "proxies", "refused"),
    [(RateLimiter(), (), True), (RateLimiter(), ("127.0.0.0/8",), False), (None, (), False)],
)
async def test_one_address_has_a_share_of_the_connections(
    limiter: RateLimiter | None, proxies: tuple[str, ...], refused: bool
) -> None:
    """Unless it is a proxy's, or addresses are not told apart here."""
    asked = f"GET /healthz HTTP/1.1\r\nHost: n\r\n{CLOSE}\r\n"
    bounds = Bounds(connections=8, client_connections=2)
    async with served(bounds, rate_limiter=limiter, trusted_proxies=proxies) as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        answer = await ask(server, "" if refused else asked)
        assert (status(answer), b"too_many_client_connections" in answer) == ((429, True) if refused else (200, False))
        assert status(await ask(server, asked, source="127.0.0.2")) == 200
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        for _ in range(100):
            answer = await ask(server, asked)
            if status(answer) == 200:
                break
        assert status(answer) == 200


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with served() as server:
        requests = "".join(
            HEAD.replace("Idempotency-Key: k", f"Idempotency-Key: k{number}")
            + ("" if number < 2 else CLOSE)
            + f'Content-Length: 12\r\n\r\n{{"text":"{number}"}}'
            for number in range(3)
        )
        answer = await ask(server, requests)
        assert [answer.find(b'"text":"%d"' % number) for number in range(3)] == sorted(
            answer.find(b'"text":"%d"' % number) for number in range(3)
        )
        assert answer.count(b"HTTP/1.1 201") == 3


async def test_stop_ends_streams_first_and_finishes_requests() -> None:
    feed = FakeFeed()
    server = HttpServer(app_of(events=feed), "127.0.0.1", 0, drain_s=5)
    await server.start()
    stream = asyncio.create_task(ask(server, f"GET /v1/events HTTP/1.1\r\nHost: n\r\n{AUTHORIZATION}\r\n"))
    await feed.followed.wait()
    started = asyncio.get_running_loop().time()
    await server.stop()
    assert asyncio.get_running_loop().time() - started < 2
    assert b"event: closing" in await stream
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", server.port)


async def test_a_taken_port_is_an_error_not_an_exit() -> None:
    async with served() as server:
        second = HttpServer(app_of(), "127.0.0.1", server.port)
        with pytest.raises(OSError, match="in use"):
            await second.start()
        await second.stop()


async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    server = HttpServer(app_of(), "127.0.0.1", 0, certificate_file=str(chain), key_file=str(key), drain_s=2)
    await server.start()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    writer.write(f"GET /livez HTTP/1.1\r\nHost: n\r\n{CLOSE}\r\n".encode())
    assert status(await reader.read()) == 200
    writer.close()
    await server.stop()

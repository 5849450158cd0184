"""Hot routes on a socket: what uvicorn does for other routes, and what only a connection can show."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from jilnode.http.protocol import Bounds
from jilnode.kernel.command import Submission
from jilnode.limits import HOT_BODY_BYTES_MAX
from tests.http.kit import FakeFeed, FakeWriter, app_of
from tests.http.test_server import AUTHORIZATION, HEAD, ask, served, serving, status
from tests.http.test_websocket import HANDSHAKE
from tests.kit.wait import eventually

BODY = '{"text":"hello"}'
LENGTH = f"Content-Length: {len(BODY)}\r\n"
CLOSE = "Connection: close\r\n"


@dataclass
class PatientWriter(FakeWriter):
    """Decides when it is told to."""

    waiting: "list[tuple[asyncio.Future[Any], asyncio.Future[Any]]]" = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def submit_nowait(self, submission: Submission) -> "asyncio.Future[Any]":
        decided = super().submit_nowait(submission)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append((future, decided))
        self.asked.set()
        return future

    def answer(self) -> None:
        for future, decided in self.waiting:
            future.set_result(decided.result())
        self.waiting.clear()


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


async def test_one_connection_serves_many() -> None:
    async with served() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for number in range(3):
            key = HEAD.replace("Key: k", f"Key: k{number}")
            writer.write(f"{key}{LENGTH}\r\n{BODY}".encode())
            answer = await read_answer(reader)
            assert status(answer) == 201
            assert b"\r\ndate: " in answer
            assert b'"note":"ch-zug-01/%d"' % (number + 1) in answer
            assert b"connection: close" not in answer
        writer.close()


async def test_a_request_that_comes_in_pieces() -> None:
    async with served() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for byte in f"{HEAD}{CLOSE}{LENGTH}\r\n{BODY}":
            writer.write(byte.encode())
            await writer.drain()
        answer = await reader.read()
        assert (status(answer), b"connection: close" in answer) == (201, True)
        writer.close()


@pytest.mark.parametrize(
    "request_text",
    [
        f"{HEAD}{CLOSE}Transfer-Encoding: chunked\r\n\r\n{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n",
        f"{HEAD}{CLOSE}Expect: 100-continue\r\n{LENGTH}\r\n{BODY}",
        f"{HEAD}{LENGTH}\r\n{BODY}".replace("HTTP/1.1", "HTTP/1.0"),
        f"{HEAD}{CLOSE}{LENGTH}\r\n{BODY}".replace("/v1/notes", "/v1/note%73"),
    ],
)
async def test_unusual_requests_are_answered_too(request_text: str) -> None:
    async with served() as server:
        answer = await ask(server, request_text)
        answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert (status(answer), b'"note":"ch-zug-01/1"' in answer) == (201, True)


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/note%73"])
@pytest.mark.parametrize("asked", ["h2c", "h2c, websocket", "TLS/1.0"])
async def test_a_protocol_that_is_not_spoken_is_as_good_as_not_asked_for(path: str, asked: str) -> None:
    """Some libraries ask each server for HTTP/2 so. What is a body to a proxy on the way is one here."""
    writer = FakeWriter()
    async with served(writer=writer) as server:
        reader, out = await asyncio.open_connection("127.0.0.1", server.port)
        hidden = f"GET /healthz HTTP/1.1\r\nX: {{}}\r\nHost: n\r\n{CLOSE}\r\n"
        head = HEAD.replace("/v1/notes", path) + f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {asked}\r\n"
        out.write(f"{head}{LENGTH}\r\n{BODY}{head}Content-Length: {len(hidden)}\r\n\r\n".encode())
        assert status(await read_answer(reader)) == 201
        out.write(hidden.encode())
        answer = await read_answer(reader)
        assert (status(answer), b"bad_json" in answer) == (400, True)
        out.write(f"GET /healthz HTTP/1.1\r\nHost: n\r\n{CLOSE}\r\n".encode())
        answer = await reader.read()
        assert (status(answer), answer.count(b"HTTP/1.1")) == (200, 1)
        assert len(writer.submissions) == 1
        out.close()


@pytest.mark.parametrize("framing", [f"Content-Length: {HOT_BODY_BYTES_MAX + 1}", "Transfer-Encoding: chunked"])
async def test_nobody_holds_a_large_body_here_without_a_token(framing: str) -> None:
    """It is refused before it is here."""
    async with served() as server:
        reader, out = await asyncio.open_connection("127.0.0.1", server.port)
        out.write(f"{HEAD.replace(AUTHORIZATION, '')}{framing}\r\n\r\n".encode())
        answer = await read_answer(reader)
        assert (status(answer), b"token_missing" in answer) == (401, True)
        out.close()


async def test_no_tunnels() -> None:
    async with served() as server:
        for asked in ("", "Connection: Upgrade\r\nUpgrade: h2c\r\n", HANDSHAKE.partition("\r\n")[2]):
            answer = await ask(server, f"CONNECT n:80 HTTP/1.1\r\nHost: n\r\n{asked}\r\n")
            assert (status(answer), answer.count(b"HTTP/1.1 ")) == (400, 1)


async def test_other_methods_at_a_hot_address() -> None:
    async with served() as server:
        answer = await ask(server, HEAD.replace("POST", "GET", 1), CLOSE, "\r\n")
        assert status(answer) == 200
        answer = await ask(server, HEAD.replace("POST", "DELETE", 1), CLOSE, "\r\n")
        assert (status(answer), b"allow: " in answer) == (405, True)


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/notes/batch"])
@pytest.mark.parametrize("framing", ["Content-Length: 10000000", "Transfer-Encoding: chunked"])
async def test_a_body_that_is_too_large_is_read_away_so_that_the_answer_arrives(path: str, framing: str) -> None:
    writer = FakeWriter()
    async with served(writer=writer) as server:
        body = b" " * 10_000_000
        if framing.endswith("chunked"):
            body = b"989680\r\n" + body + b"\r\n0\r\n\r\n"
        answer = await ask(server, HEAD.replace("/v1/notes", path) + f"{CLOSE}{framing}\r\n\r\n", body)
        assert (status(answer), b"body_too_large" in answer) == (413, True)
        assert writer.submissions == []


async def test_a_body_in_very_many_pieces_does_not_hold_the_node() -> None:
    """Each byte in a chunk of its own: what came before it is not copied again for each."""
    async with served() as server:
        pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in f"{BODY[:-1]}{' ' * 800_000}}}".encode())
        answer = await ask(server, HEAD, CLOSE, "Transfer-Encoding: chunked\r\n\r\n", pieces, "0\r\n\r\n")
        assert status(answer) == 201


async def test_pipelined_behind_an_open_request() -> None:
    """The second goes uvicorn's way, and waits for the first; the third after it."""
    writer = PatientWriter()
    async with served(writer=writer) as server:
        asking = asyncio.create_task(
            ask(
                server,
                "".join(
                    HEAD.replace("Key: k", f"Key: k{number}")
                    + (CLOSE if number == 2 else "")
                    + f"{LENGTH}\r\n{BODY.replace('hello', f'hello{number}').replace('o', '', 1)}"
                    for number in range(3)
                ),
            )
        )
        for _ in range(3):
            await writer.asked.wait()
            writer.asked.clear()
            assert len(writer.waiting) == 1
            writer.answer()
        answer = await asking
        assert [answer.find(b"ch-zug-01/%d" % number) for number in (1, 2, 3)] == sorted(
            answer.find(b"ch-zug-01/%d" % number) for number in (1, 2, 3)
        )
        assert answer.count(b"HTTP/1.1 201") == 3


@pytest.mark.parametrize(
    "behind",
    [
        "NONSENSE\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        f"GET /healthz HTTP/1.1\r\nHost: n\r\nX: {'a' * 20_000}\r\n\r\n",
        "GET /v1/events HTTP/1.1\r\nHost: n\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n" * 30,
    ],
)
async def test_what_is_refused_behind_an_open_request_is_no_answer_to_it(behind: str) -> None:
    writer = PatientWriter()
    async with served(writer=writer) as server:
        reader, out = await asyncio.open_connection("127.0.0.1", server.port)
        out.write(f"{HEAD}{LENGTH}\r\n{BODY}".encode())
        await writer.asked.wait()
        out.write(behind.encode())
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        assert len(writer.waiting) == 1
        writer.answer()
        out.close()


async def test_a_handshake_on_a_connection_that_served_a_hot_write() -> None:
    """A proxy keeps connections, and sends on one of them whatever comes."""
    async with served(events=FakeFeed()) as server:
        reader, out = await asyncio.open_connection("127.0.0.1", server.port)
        out.write(f"{HEAD}{LENGTH}\r\n{BODY}".encode())
        assert status(await read_answer(reader)) == 201
        out.write(f"GET /v1/events HTTP/1.1\r\n{HANDSHAKE}{AUTHORIZATION}\r\n".encode())
        assert status(await reader.readuntil(b"\r\n\r\n")) == 101
        out.close()


async def test_requests_that_wait_on_one_connection_are_bounded() -> None:
    writer = PatientWriter()
    app = app_of(writer=writer)
    async with serving(app) as server:
        _, out = await asyncio.open_connection("127.0.0.1", server.port)
        out.write(f"{HEAD}{LENGTH}\r\n{BODY}".encode())
        await writer.asked.wait()
        (connection,) = server._server.server_state.connections
        out.write(b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n" * 5000)
        await eventually(lambda: not server._server.server_state.connections)
        assert len(connection.pipeline) == Bounds().pipelined
        writer.answer()
        out.close()
    assert 'jil_http_connections_refused_total{reason="pipelined"} 1\n' in app.parts.metrics.text().decode()


async def test_a_client_that_leaves_before_its_answer() -> None:
    writer = PatientWriter()
    async with served(writer=writer) as server:
        _, out = await asyncio.open_connection("127.0.0.1", server.port)
        out.write(f"{HEAD}{LENGTH}\r\n{BODY}".encode())
        await writer.asked.wait()
        out.close()
        await out.wait_closed()
        # Whoever comes later is served later: by then the server has seen the client leave.
        assert status(await ask(server, f"GET /healthz HTTP/1.1\r\nHost: n\r\n{CLOSE}\r\n")) == 200
        writer.answer()
        assert status(await ask(server, f"GET /healthz HTTP/1.1\r\nHost: n\r\n{CLOSE}\r\n")) == 200


async def test_stop_waits_for_open_requests() -> None:
    writer = PatientWriter()
    async with served(writer=writer) as server:
        asking = asyncio.create_task(ask(server, HEAD, f"{LENGTH}\r\n{BODY}"))
        await writer.asked.wait()
        # Well after the server has begun to stop, which takes it a tenth of a second.
        asyncio.get_running_loop().call_later(0.4, writer.answer)
        await server.stop()
        answer = await asking
        assert (status(answer), b"connection: close" in answer) == (201, True)


async def test_a_connection_that_stays_idle_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jilnode.http.server.SWEEP_INTERVAL_S", 0.05)
    async with served(Bounds(idle_s=0.2)) as server:
        answer = await ask(server, HEAD, f"{LENGTH}\r\n{BODY}")
        assert (status(answer), b"connection: close" in answer) == (201, False)


async def test_who_does_not_read_gets_no_more_hot_answers() -> None:
    """Answers that nobody takes are not heaped up: uvicorn's way waits until they can be written."""
    writer = FakeWriter()
    async with served(Bounds(pipelined=1000), writer=writer) as server:
        _, out = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        out.transport.pause_reading()  # type: ignore[attr-defined]
        request = f"{HEAD}{LENGTH}\r\n{BODY}".encode()
        before = -1
        # Until the server takes no more: its answers fill the client's window, then its own small buffer.
        while len(writer.submissions) != before and len(writer.submissions) < 100_000:
            before = len(writer.submissions)
            out.write(request * 200)
            for _ in range(200):
                await asyncio.sleep(0.001)
                if len(writer.submissions) >= before + 200:
                    break
        assert 0 < len(writer.submissions) < 100_000
        out.transport.abort()

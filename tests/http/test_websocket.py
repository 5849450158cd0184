"""WebSockets on the real server: handshakes, tokens, what clients may not send, bounds that only show on a socket."""

import asyncio
import contextlib
import json
import logging
import random
import socket as sockets
import ssl
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from jilnode.http.protocol import Bounds
from jilnode.http.rate_limit import RateLimiter
from jilnode.http.server import HttpServer
from jilnode.limits import SOCKET_BYTES_AT_ONCE_MAX, SOCKET_BYTES_PER_S, SOCKET_MESSAGE_BYTES_MAX
from tests.http.board import BOARD, SetCell, board_app, served
from tests.http.kit import FakeFeed, app_of, bearer, token
from tests.http.test_server import ask, status
from tests.kit.node import TestNode, running
from tests.kit.wait import eventually

PATH = "/v1/events"
HANDSHAKE = (
    "Host: n\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
AUTHORIZATION = f"Authorization: Bearer {token()}\r\n"


@contextlib.asynccontextmanager
async def serving(feed: FakeFeed | None = None, bounds: Bounds | None = None) -> Any:
    async with served(app_of(events=feed or FakeFeed()), bounds=bounds) as server:
        yield server


def opened(server: HttpServer, path: str = PATH, **options: Any) -> connect:
    options.setdefault("additional_headers", bearer())
    return connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None, **options)


async def closed(connection: Any) -> tuple[int, str]:
    async with asyncio.timeout(5):
        await connection.wait_closed()
    return connection.close_code, connection.close_reason


def masked(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0) -> bytes:
    mask = b"\x01\x02\x03\x04"
    first = (0x80 if fin else 0) | reserved | opcode
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
    return bytes([first]) + length + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


async def test_the_event_stream_over_a_socket() -> None:
    feed = FakeFeed()
    feed.add("kestrel", "before")
    async with serving(feed) as server, opened(server, f"{PATH}?after=start") as connection:
        first = json.loads(await connection.recv())
        assert (first["id"], first["event"]) == ("ch-zug-01/0/0", "notes.note.posted")
        assert first["data"]["rows"][0]["doc"]["text"] == "before"
        await feed.followed.wait()
        feed.add("heron", "not mine")
        feed.add("kestrel", "after")
        assert json.loads(await connection.recv())["data"]["sequence"] == 2


async def test_a_browser_brings_its_token_as_a_subprotocol() -> None:
    async with serving() as server:
        offered: Any = ["jil.stream", f"bearer.{token()}"]
        async with opened(server, additional_headers={}, subprotocols=offered) as connection:
            assert connection.subprotocol == "jil.stream"
        # What is answered never repeats the token.
        async with opened(server, additional_headers={}, subprotocols=offered[1:]) as connection:
            assert connection.subprotocol is None
        for bad, code in (("bearer.x", "token_invalid"), ("jil.stream", "token_missing")):
            with pytest.raises(InvalidStatus) as refused:
                await opened(server, additional_headers={}, subprotocols=[bad])  # type: ignore[list-item]
            assert refused.value.response.status_code == 401
            assert json.loads(refused.value.response.body)["code"] == code
            assert b"bearer" in refused.value.response.headers["www-authenticate"].lower().encode()


async def test_every_other_get_is_answered_as_a_get(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        answer = await ask(server, f"GET /livez HTTP/1.1\r\n{HANDSHAKE}\r\n")
        assert (status(answer), b"alive" in answer) == (200, True)
        await eventually(lambda: not server._server.server_state.tasks)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_handshake_is_counted_and_limited() -> None:
    app = app_of(events=FakeFeed(), rate_limiter=RateLimiter(0.001, 1))
    async with served(app) as server:
        async with opened(server):
            pass
        with pytest.raises(InvalidStatus) as refused:
            await opened(server)
        assert refused.value.response.status_code == 429
        assert json.loads(refused.value.response.body)["code"] == "rate_limited"
        await eventually(lambda: app.streams.count == 0)
    assert f'method="GET",route="{PATH}",status="101"}} 1' in app.parts.metrics.text().decode()


@pytest.mark.parametrize(
    ("request_text", "code"),
    [
        (f"POST {PATH} HTTP/1.1\r\n{HANDSHAKE}{AUTHORIZATION}\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\n{HANDSHAKE}{AUTHORIZATION}Content-Length: 5\r\n\r\nhello", 400),
        (f"GET {PATH} HTTP/1.1\r\n{HANDSHAKE.replace('Version: 13', 'Version: 8')}{AUTHORIZATION}\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\n{HANDSHAKE.replace('A==', '')}{AUTHORIZATION}\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\n{HANDSHAKE}{AUTHORIZATION}X: {'a' * 9000}\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\n{HANDSHAKE}" + "".join(f"X-{n}: 1\r\n" for n in range(200)) + "\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\n{HANDSHAKE}X: {'a' * 17000}\r\n\r\n", 431),
        (f"GET {PATH}?a=\x01 HTTP/1.1\r\n{HANDSHAKE}\r\n", 400),
    ],
)
async def test_what_is_no_handshake_is_a_problem(
    request_text: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as server:
        answer = await ask(server, request_text)
        assert (status(answer), b'"type":"/problems/' in answer) == (code, True)
        assert answer.count(b"HTTP/1.1 ") == 1
        # Once: who speaks another version learns which one is spoken here.
        read = answer.lower()
        assert read.count(b"\r\ndate: ") == 1
        assert read.count(b"\r\nsec-websocket-version: 13\r\n") == (b"rfc 6455" in read)
        await eventually(lambda: not server._server.server_state.connections)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_handshake_behind_an_open_request_is_refused() -> None:
    async with serving() as server:
        stream = f"GET {PATH} HTTP/1.1\r\nHost: n\r\n{AUTHORIZATION}\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(stream.encode())
        await reader.readuntil(b"heartbeat")
        writer.write(f"GET {PATH} HTTP/1.1\r\n{HANDSHAKE}{AUTHORIZATION}\r\n".encode())
        assert b"101" not in await reader.read()
        writer.close()


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        (masked(1, b'{"subscribe":"everything"}'), 1008, "bad_request"),
        (masked(2, b"\x00"), 1008, "bad_request"),
        (masked(1, b"a" * (SOCKET_MESSAGE_BYTES_MAX + 1)), 1009, None),
        (masked(1, b"\xff"), 1008, "bad_request"),
        (masked(3, b""), 1002, None),
        (masked(1, b"a", reserved=0x40), 1002, None),
        (b"\x81\x01a", 1002, None),
        (masked(9, b"a" * 126), 1002, None),
        (masked(0, b"a"), 1002, None),
        (b"\x81\xff" + struct.pack(">Q", 2**62) + b"mask", 1009, None),
    ],
)
async def test_clients_have_nothing_to_say(
    sent: bytes, code: int, reason: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as server:
        async with opened(server) as connection:
            connection.transport.write(sent)
            found = await closed(connection)
            assert found[0] == code
            assert reason in (None, found[1])
        app = server._app
        await eventually(lambda: app.streams.count == 0)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_fragmented_message_is_bounded_as_a_whole() -> None:
    async with serving() as server, opened(server) as connection:
        connection.transport.write(masked(1, b"a" * 600, fin=False) + masked(0, b"a" * 600, fin=False))
        assert (await closed(connection))[0] == 1009


async def test_garbage_never_breaks_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        numbers = random.Random(7)
        for _ in range(30):
            async with opened(server) as connection:
                connection.transport.write(numbers.randbytes(64))
                await connection.ping()
                connection.transport.abort()
        async with opened(server):
            pass
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_pings_are_answered_and_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jilnode.http.server.HEARTBEAT_S", 0.02)
    monkeypatch.setattr("jilnode.http.server.PONG_TIMEOUT_S", 0.1)
    async with serving() as server:
        async with opened(server) as connection:
            await asyncio.wait_for(await connection.ping(), 2)
        # One that does not answer is gone.
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET {PATH} HTTP/1.1\r\n{HANDSHAKE}{AUTHORIZATION}\r\n".encode())
        async with asyncio.timeout(5):
            answer = await reader.read()
        assert b"keepalive ping timeout" in answer
        writer.close()
        await eventually(lambda: server._app.streams.count == 0)


async def test_sockets_count_as_connections_and_their_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jilnode.http.server.SWEEP_INTERVAL_S", 0.02)
    async with serving(bounds=Bounds(connections=1, header_s=0.1)) as server:
        async with opened(server):
            assert b"too_many_connections" in await ask(server)
        await eventually(lambda: not server._server.server_state.connections)
        async with opened(server) as connection:
            # A client that does not read keeps neither the server's words nor its connection.
            (protocol,) = server._server.server_state.connections
            connection.transport.pause_reading()
            protocol.transport.write(b"\x89\x7d" + b"a" * 125)
            protocol.transport.set_write_buffer_limits(0)
            protocol.transport.write(b"\x82\x7f" + struct.pack(">Q", 32_000_000) + b"a" * 32_000_000)
            protocol.transport.close()
            await eventually(lambda: not server._server.server_state.connections)
            connection.transport.abort()


@pytest.mark.parametrize(
    ("first", "sent"),
    [
        (b"", masked(9, b"")),
        (b"", masked(10, b"")),
        (b"", masked(9, b"a" * 125)),
        (masked(1, b"", fin=False), masked(0, b"", fin=False)),
        (masked(1, b"a"), masked(1, b"a")),
    ],
    ids=["pings", "pongs", "long pings", "parts of a message", "messages"],
)
async def test_who_floods_is_ended_before_it_takes_the_others_turn(first: bytes, sent: bytes) -> None:
    async with serving() as server, opened(server) as connection:
        (protocol,) = server._server.server_state.connections
        read: list[bytes] = []
        receive = protocol.conn.receive_data
        protocol.conn.receive_data = lambda data: (read.append(data), receive(data))
        connection.transport.write(first + sent * (100_000 // len(sent)))
        await eventually(lambda: not server._server.server_state.connections)
        await eventually(lambda: server._app.streams.count == 0)
        assert sum(map(len, read)) <= SOCKET_BYTES_AT_ONCE_MAX + SOCKET_BYTES_PER_S


async def test_a_flood_is_told_what_it_is() -> None:
    async with serving() as server, opened(server) as connection:
        connection.transport.write(masked(9, b"") * (SOCKET_BYTES_AT_ONCE_MAX // 6 + 1))
        assert await closed(connection) == (1008, "rate_limited")


async def test_a_client_that_pings_now_and_then_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server, opened(server) as connection:
        (protocol,) = server._server.server_state.connections
        elapsed_s = 0.0
        clock = SimpleNamespace(time=lambda: elapsed_s, call_later=protocol.loop.call_later)
        monkeypatch.setattr(protocol, "loop", clock)
        for _ in range(100):
            elapsed_s += 1
            await asyncio.wait_for(await connection.ping(b"a" * 125), 5)


async def test_who_pings_and_does_not_read_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of those, one may send as many as one likes: their number has a bound of its own.
    monkeypatch.setattr("jilnode.http.socket_protocol.SOCKET_BYTES_AT_ONCE_MAX", 2**40)
    monkeypatch.setattr("jilnode.http.socket_protocol.SOCKET_BYTES_PER_S", 2**40)
    async with serving() as server, opened(server) as connection:
        (protocol,) = server._server.server_state.connections
        connection.transport.pause_reading()
        protocol.transport.pause_reading()
        pings = (b"\x89\xfd" + b"\0" * 4 + b"p" * 125) * 1000
        for _ in range(100):
            protocol.data_received(pings)
        assert protocol.transport.get_write_buffer_size() < 1_000_000
        protocol.transport.resume_reading()
        connection.transport.resume_reading()
        await asyncio.wait_for(await connection.ping(), 5)


async def test_shutdown_says_why() -> None:
    server = HttpServer(app_of(events=FakeFeed()), "127.0.0.1", 0, drain_s=2)
    await server.start()
    async with opened(server) as connection:
        ending = asyncio.create_task(closed(connection))
        await server.stop()
        assert await ending == (1012, "closing")


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")
async def test_a_machine_that_vanished_is_noticed_by_the_system() -> None:
    async with serving() as server, opened(server):
        (protocol,) = server._server.server_state.connections
        raw = protocol.transport.get_extra_info("socket")
        assert raw.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_USER_TIMEOUT) == 30_000


async def test_nothing_in_the_log_of_who_asks_for_what(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(TestNode(modules=[BOARD])) as (node,), served(board_app(node)) as server:
        await node.run(SetCell("a", "1", 1))
        headers = bearer(scopes="board.read")
        async with opened(server, "/v1/boards/a/stream", additional_headers=headers) as connection:
            await connection.recv()
        with pytest.raises(InvalidStatus):
            await opened(server, "/v1/boards/b/stream", additional_headers=headers)
    assert "/v1/boards" not in caplog.text.replace(headers["Authorization"], "")


async def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    feed = FakeFeed()
    async with served(app_of(events=feed), certificate_file=str(chain), key_file=str(key)) as server:
        address = f"wss://127.0.0.1:{server.port}{PATH}"
        async with connect(address, additional_headers=bearer(), proxy=None, ssl=context) as connection:
            await feed.followed.wait()
            feed.add("kestrel", "a")
            assert json.loads(await connection.recv())["data"]["sequence"] == 0

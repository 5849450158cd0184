"""Live feeds over both wires: what is sent adds up to the state, whatever happens in between."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from jilnode.http.app import NodeApp
from jilnode.http.auth import Principal
from jilnode.http.server import HttpServer
from jilnode.http.streams import StreamClient
from jilnode.kernel.errors import CommitFailed
from tests.http.board import (
    BOARD,
    WIRES,
    ClearMine,
    SetCell,
    SetOther,
    board_app,
    cells_of,
    served,
    socket,
    sse,
)
from tests.http.kit import authenticator, bearer, client_of
from tests.kit.node import TestNode, running
from tests.kit.wait import eventually

PATH = "/v1/boards/a/stream"
MINE = "/v1/cells/mine/stream"


@pytest.fixture
async def node() -> AsyncIterator[TestNode]:
    async with running(TestNode(modules=[BOARD])) as (node,):
        await node.run(SetCell("a", "1", 1))
        yield node


@pytest.fixture
def app(node: TestNode) -> NodeApp:
    return board_app(node)


@pytest.fixture
async def server(app: NodeApp) -> AsyncIterator[HttpServer]:
    started, done = asyncio.Event(), asyncio.Event()
    found: list[HttpServer] = []

    async def serve() -> None:
        # In one task from start to end, as the framework wants it; a fixture is torn down in another.
        async with served(app) as server:
            found.append(server)
            started.set()
            await done.wait()

    task = asyncio.create_task(serve())
    await started.wait()
    yield found[0]
    done.set()
    await task


@pytest.fixture(params=list(WIRES))
def listen(request: pytest.FixtureRequest) -> Any:
    return WIRES[request.param]


def state_of(node: TestNode, board: str = "a") -> dict[str, int | None]:
    return cells_of(node.writer.view(), "by_board", board)


async def test_a_snapshot_and_then_what_changes(node: TestNode, server: HttpServer, listen: Any) -> None:
    async with listen(server, PATH) as one, listen(server, PATH) as two:
        for listener in (one, two):
            first = await listener.next()
            assert (first.event, first.data) == ("snapshot", {"cells": {"ch-zug-01/a.1": 1}})
        await node.run(SetCell("a", "2", 7))
        await node.run(SetCell("b", "1", 7))
        await node.run(SetOther(1))
        await node.run(SetCell("a", "1", None))
        for listener in (one, two):
            assert (await listener.next()).data == {"cells": {"ch-zug-01/a.2": 7}}
            last = await listener.next()
            assert (last.event, last.data) == ("delta", {"cells": {"ch-zug-01/a.1": None}})
        assert one.id == two.id
    async with listen(server, PATH) as late:
        assert (await late.next()).data == {"cells": {"ch-zug-01/a.2": 7}}


async def test_no_gap_and_no_double_under_concurrent_commits(node: TestNode, server: HttpServer, listen: Any) -> None:
    """Clients that come, go and resume at any moment end with the state that the node has."""
    visiting = 4
    quiet = asyncio.Event()

    async def write(worker: int) -> None:
        number = 0
        while visiting:
            number += 1
            value = None if number % 5 == 0 else number
            await asyncio.gather(*(node.run(SetCell("a", f"{worker}-{(number + k) % 7}", value)) for k in range(3)))

    async def come_and_go() -> None:
        nonlocal visiting
        cells: dict[str, int] = {}
        position = ""
        for visit in range(4):
            async with listen(server, PATH, after=position) as listener:
                listener.cells, listener.id = cells, position
                for _ in range(visit * 10 + 1):
                    message = await listener.next()
                    # After the first it is behind by a few frames, which are still here.
                    assert (message.event == "snapshot") == (position == "")
                    position = message.id
        visiting -= 1
        await quiet.wait()
        async with listen(server, PATH, after=position) as listener:
            listener.cells, listener.id = cells, position
            await listener.until(state_of(node))

    async with asyncio.TaskGroup() as visitors:
        for _ in range(visiting):
            visitors.create_task(come_and_go())
        async with listen(server, PATH) as steady, asyncio.TaskGroup() as writers:
            for worker in range(3):
                writers.create_task(write(worker))
            while visiting:
                await steady.next()
        quiet.set()
        async with listen(server, PATH, after=steady.id) as last:
            last.cells, last.id = steady.cells, steady.id
            await last.until(state_of(node))


async def test_resuming_within_the_ring_and_beyond(
    node: TestNode, app: NodeApp, server: HttpServer, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jilnode.http.channels.FEED_RING_FRAMES", 3)
    async with listen(server, PATH) as listener:
        position = (await listener.next()).id
    for number in range(3):
        await node.run(SetCell("a", "1", 10 + number))
    async with listen(server, PATH, after=position) as listener:
        values = [(await listener.next()).data["cells"]["ch-zug-01/a.1"] for _ in range(3)]
        assert values == [10, 11, 12]
        newest = listener.id
    async with listen(server, PATH, after=newest) as listener:
        await node.run(SetCell("a", "1", 13))
        assert (await listener.next()).data["cells"] == {"ch-zug-01/a.1": 13}
    for gone in (position, newest[:-1] + "9", "0" * 16 + "-1", "nonsense", "-1", "9" * 5000):
        async with listen(server, PATH, after=gone) as listener:
            first = await listener.next()
            assert (first.event, first.data) == ("snapshot", {"cells": {"ch-zug-01/a.1": 13}})


async def test_a_channel_is_forgotten_a_while_after_its_last_client(node: TestNode, listen: Any) -> None:
    now = [0.0]
    app = board_app(node)
    app._channels._clock = lambda: now[0]
    async with served(app) as server:
        async with listen(server, PATH) as listener:
            position = (await listener.next()).id
            now[0] = 50
        await eventually(lambda: app.streams.count == 0)
        now[0] = 110
        await node.run(SetCell("a", "1", 2))
        async with listen(server, PATH, after=position) as listener:
            assert (await listener.next()).event == "delta"
        await eventually(lambda: app.streams.count == 0)
        now[0] = 171
        await node.run(SetCell("a", "1", 3))
        assert app._channels.count == 0
        async with listen(server, PATH, after=position) as listener:
            assert (await listener.next()).event == "snapshot"


async def test_a_channel_that_failed_is_forgotten_once(node: TestNode) -> None:
    """Its clients leave it later, when another may have its place."""
    now = [0.0]
    channels = board_app(node)._channels
    channels._clock = lambda: now[0]
    feed = BOARD.feeds[0]
    failed = channels.open(feed, "a")
    client: Any = StreamClient(Principal("wren", frozenset(), 10), 1, 1, lambda: now[0])
    failed.clients.add(client)
    channels._fail(failed)
    another = channels.open(feed, "a")
    another.clients.add(client)
    channels.leave(failed, client)
    now[0] = 100
    channels._committed([], [])
    assert (channels.count, channels.open(feed, "a")) == (1, another)


async def test_a_channel_that_no_commit_concerns_is_forgotten_too(node: TestNode) -> None:
    """Else every commit is decoded for nobody, for as long as the node runs."""
    now = [0.0]
    app = board_app(node)
    app._channels._clock = lambda: now[0]
    async with served(app) as server:
        async with sse(server, MINE, subject="wren") as listener:
            await listener.next()
        await eventually(lambda: app.streams.count == 0)
        now[0] = 60
        await node.run(SetCell("b", "heron", 5), actor="heron")
        assert app._channels.count == 1
        now[0] = 61
        await node.run(SetCell("b", "heron", 6), actor="heron")
        assert app._channels.count == 0


async def test_channels_are_bounded_and_the_longest_idle_goes_first(
    node: TestNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jilnode.http.channels.FEED_CHANNELS_MAX", 2)
    now = [0.0]
    app = board_app(node)
    app._channels._clock = lambda: now[0]
    positions = {}
    async with served(app) as server:
        for number, subject in enumerate(("heron", "kestrel", "wren")):
            now[0] = number
            async with sse(server, MINE, subject=subject) as listener:
                positions[subject] = (await listener.next()).id
            await eventually(lambda: app.streams.count == 0)
        assert app._channels.count == 2
        for subject, event in (("kestrel", "delta"), ("heron", "snapshot")):
            await node.run(SetCell("b", subject, 5), actor=subject)
            async with sse(server, MINE, after=positions[subject], subject=subject) as listener:
                assert (await listener.next()).event == event


async def test_entries_of_other_nodes(listen: Any) -> None:
    here, there = TestNode(modules=[BOARD]), TestNode("sg-mas-01", modules=[BOARD])
    async with running(here, there), served(board_app(here)) as server:
        await there.run(SetCell("a", "1", 1))
        await here.follow(there)
        async with listen(server, PATH) as listener:
            await listener.until({"sg-mas-01/a.1": 1})
            await there.run(SetCell("a", "2", 2))
            await there.run(SetCell("a", "1", None))
            await here.run(SetCell("a", "1", 5))
            await here.follow(there)
            await listener.until({"ch-zug-01/a.1": 5, "sg-mas-01/a.2": 2})


async def test_each_sees_their_own(node: TestNode, server: HttpServer, listen: Any) -> None:
    async with listen(server, MINE) as kestrel, listen(server, MINE, subject="heron") as heron:
        for listener in (kestrel, heron):
            assert (await listener.next()).data == {"cells": {}}
        await node.run(SetCell("x", "1", 1), actor="kestrel")
        await node.run(SetCell("x", "2", 2), actor="heron")
        await node.run(SetCell("x", "3", 3), actor="kestrel")
        assert (await heron.next()).data == {"cells": {"ch-zug-01/x.2": 2}}
        for number in (1, 3):
            assert (await kestrel.next()).data == {"cells": {f"ch-zug-01/x.{number}": number}}


async def test_a_commit_that_failed_is_not_told(
    node: TestNode, server: HttpServer, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listen(server, PATH) as listener:
        await listener.next()
        with monkeypatch.context() as patch:

            async def fail(commit: Any) -> None:
                raise CommitFailed("no space")

            patch.setattr(node.store, "commit", fail)
            with pytest.raises(Exception, match="commit_failed"):
                await node.run(SetCell("a", "1", 666))
        await node.run(SetCell("a", "1", 2))
        assert (await listener.next()).data == {"cells": {"ch-zug-01/a.1": 2}}


async def test_what_is_refused_before_anything_is_sent(node: TestNode, server: HttpServer) -> None:
    await node.run(SetCell("secret", "1", 1))
    good = bearer(scopes="board.read")
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    headers["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        for path, authorization, status, code in (
            ("/v1/boards/b/stream", good, 404, "board_unknown"),
            ("/v1/boards/secret/stream", bearer(subject="heron", scopes="board.read"), 403, "board_secret"),
            (PATH, {}, 401, "token_missing"),
            (PATH, {"Authorization": "Bearer x"}, 401, "token_invalid"),
            (PATH, bearer(scopes="board.read", lifetime_s=-100), 401, "token_expired"),
            (PATH, bearer(scopes="events"), 403, "insufficient_scope"),
            (PATH + "?board=b", good, 400, "bad_request"),
            (PATH + "?depth=5", good, 400, "bad_request"),
            ("/v1/boards", good, 404, "not_found"),
        ):
            for more in ({}, headers):
                answer = await client.get(path, headers={**authorization, **more})
                assert (answer.status_code, answer.json()["code"]) == (status, code), (path, more)
                assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.post(PATH, headers=good)).status_code == 405


async def test_all_streams_share_one_bound(node: TestNode) -> None:
    app = board_app(node)
    app.streams._clients_max = 1
    async with served(app) as server, sse(server, PATH) as listener:
        await listener.next()
        for path in (PATH, MINE):
            with pytest.raises(AssertionError, match="stream_full"):
                async with sse(server, path):
                    pass


async def test_a_slow_client_is_told_and_resumes(node: TestNode, app: NodeApp, listen: Any) -> None:
    """The queue is what is bounded: deltas come faster than the client's task runs."""
    app.streams._queue_max = 3
    async with served(app) as server, listen(server, PATH) as listener:
        await listener.next()
        position = listener.id
        channel = app._channels.open(BOARD.feeds[0], "a")
        (client,) = channel.clients
        await node.run(SetCell("a", "1", 1))
        await listener.next()
        (entry,) = await node.store.journal(node.source, 0, node.engine.own.size - 1, 1)
        for _ in range(4):
            app._channels._committed([entry], [])
        assert await listener.ended() == "overflow"
        assert listener.code in (0, 1008)
        async with listen(server, PATH, after=position) as again:
            for _ in range(5):
                assert (await again.next()).event == "delta"
            assert client not in channel.clients


@pytest.mark.parametrize("board", ["broken", "absent"])
async def test_a_delta_that_fails_ends_its_channel_and_nothing_else(
    node: TestNode, server: HttpServer, listen: Any, board: str
) -> None:
    await node.run(SetCell(board, "1", 1))
    async with listen(server, PATH) as healthy, listen(server, f"/v1/boards/{board}/stream") as listener:
        position = (await listener.next()).id
        await node.run(SetCell(board, "1", 2))
        assert await listener.ended() == "failed"
        assert listener.code in (0, 1011)
        await node.run(SetCell("a", "1", 2))
        await healthy.until({"ch-zug-01/a.1": 2})
        async with listen(server, f"/v1/boards/{board}/stream", after=position) as again:
            assert (await again.next()).event == "snapshot"


async def test_an_entry_that_can_t_be_shown_ends_the_channels_and_not_the_writer(
    node: TestNode, app: NodeApp, server: HttpServer, listen: Any
) -> None:
    async with listen(server, PATH) as listener:
        await listener.next()
        await node.run(SetCell("a", "1", 1))
        await listener.next()
        (entry,) = await node.store.journal(node.source, 0, node.engine.own.size - 1, 1)
        app._channels._committed([msgspec.structs.replace(entry, sections={"rows": b"["})], [])
        assert await listener.ended() == "failed"
        assert app._channels.count == 0


async def test_a_token_that_expires(node: TestNode, listen: Any) -> None:
    now = [1_000.0]
    app = board_app(node, authenticator=authenticator(clock=lambda: 0))
    app.streams._heartbeat_s = 0.01
    app.streams._clock = lambda: now[0]
    async with served(app) as server, listen(server, PATH) as listener:
        await listener.next()
        now[0] = 4e9
        assert await listener.ended() == "token_expired"
        assert listener.code in (0, 1008)


async def test_shutdown(node: TestNode, listen: Any) -> None:
    app = board_app(node)
    await node.run(SetCell("z", "1", 1), actor="kestrel")
    server = HttpServer(app, "127.0.0.1", 0, drain_s=5)
    await server.start()
    async with listen(server, MINE + "?clear_on_close=true") as listener:
        await listener.next()
        ending = asyncio.create_task(listener.ended())
        await server.stop()
        assert await ending == "closing"
        assert listener.code in (0, 1012)
        # What is due at the end of a stream is done before the node goes on to close.
        assert state_of(node, "z") == {}


@pytest.mark.parametrize("abruptly", [False, True])
@pytest.mark.parametrize("clear", [False, True])
async def test_what_is_due_when_a_client_goes(
    node: TestNode, app: NodeApp, server: HttpServer, listen: Any, abruptly: bool, clear: bool
) -> None:
    await node.run(SetCell("z", "1", 1), actor="kestrel")
    await node.run(SetCell("z", "2", 1), actor="heron")
    path = MINE + ("?clear_on_close=true" if clear else "")
    async with contextlib.AsyncExitStack() as stack:
        listener = await stack.enter_async_context(listen(server, path))
        await listener.next()
        assert len(state_of(node, "z")) == 2
        if abruptly:
            # As if the machine had died: a reset, no word of an end.
            for connection in list(server._server.server_state.connections):
                connection.transport.abort()
            await listener_gone(listener)
    await eventually(lambda: app.streams.count == 0)
    # Whatever was due is queued by now: it is decided before this.
    await node.run(SetCell("y", "1", 1))
    assert set(state_of(node, "z")) == ({"ch-zug-01/z.2"} if clear else {"ch-zug-01/z.1", "ch-zug-01/z.2"})


async def listener_gone(listener: Any) -> None:
    with contextlib.suppress(Exception):
        await listener.ended()


async def test_what_is_due_is_tried_again(node: TestNode, server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    await node.run(SetCell("z", "1", 1), actor="kestrel")
    node.kernel.forbid_writes("not yet")
    refused = asyncio.Event()
    sleep = asyncio.sleep

    async def pause(_seconds: float) -> None:
        refused.set()
        await sleep(0.001)

    monkeypatch.setattr("jilnode.http.feed_route.CLOSE_TRIES_MAX", 10_000)
    monkeypatch.setattr("jilnode.http.feed_route.asyncio.sleep", pause)
    async with socket(server, MINE + "?clear_on_close=true") as listener:
        await listener.next()
    await refused.wait()
    node.kernel.allow_writes()
    await eventually(lambda: state_of(node, "z") == {})


async def test_without_subscribers_a_commit_decodes_nothing(
    node: TestNode, app: NodeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(entry: Any) -> None:
        raise AssertionError("decoded for nobody")

    monkeypatch.setattr("jilnode.http.channels.EntryRows.of", forbidden)
    await node.run(SetCell("a", "1", 2))
    assert app._channels.count == 0


async def test_the_document(app: NodeApp) -> None:
    async with client_of(app) as client:
        document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/boards/{board}/stream"]["get"]
    assert [(one["name"], one["in"]) for one in operation["parameters"]] == [
        ("board", "path"),
        ("Last-Event-ID", "header"),
        ("after", "query"),
    ]
    content = operation["responses"]["200"]["content"]["text/event-stream"]
    assert content["schema"] == {"$ref": "#/components/schemas/CellsMessage"}
    assert content["examples"]["example"]["value"]["cells"]["ch-zug-01/a.2"] is None
    assert "CellsMessage" in document["components"]["schemas"]
    assert {"101", "404", "401"} <= set(operation["responses"])
    assert "A cell that is null was cleared." in operation["description"]
    assert "A live feed" in operation["description"]
    assert json.dumps(ClearMine.__name__) not in json.dumps(document)

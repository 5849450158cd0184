"""A module with live feeds: boards of cells that anybody sets and clears. And clients of a stream, over both wires."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from jilnode.http.app import AppParts, NodeApp, build_app
from jilnode.http.server import HttpServer
from jilnode.kernel.command import Command
from jilnode.kernel.rows import Owned
from jilnode.kernel.table import EqualityIndex, Table
from jilnode.module import EntryRows, Feed, Frame, Module, QueryContext, Rejected
from tests.http.kit import authenticator, token
from tests.kit.node import TestNode

SCOPES = "board.read events"


class Cell(Owned):
    board: str
    holder: str
    value: int


CELLS = Table(
    "board.cell",
    Cell,
    resident=True,
    indexes=(EqualityIndex("by_board", "board"), EqualityIndex("by_holder", "holder")),
)


class Other(Owned):
    value: int


OTHERS = Table("board.other", Other)


class SetCell(msgspec.Struct, forbid_unknown_fields=True):
    board: str
    cell: str
    value: int | None


class ClearMine(msgspec.Struct):
    pass


class SetOther(msgspec.Struct):
    value: int


class BoardParameters(msgspec.Struct, frozen=True):
    board: str


class MineParameters(msgspec.Struct):
    clear_on_close: bool = False


class CellsMessage(msgspec.Struct):
    cells: dict[str, int | None]


def _set(state: Any, context: Any, command: SetCell) -> None:
    key = f"{context.source}/{command.board}.{command.cell}"
    if command.value is None:
        state[CELLS].delete(key)
    else:
        state[CELLS].put(key, Cell(command.board, context.actor, command.value))


def _clear_mine(state: Any, context: Any, command: ClearMine) -> None:
    for key in state[CELLS].keys("by_holder", context.actor):
        state[CELLS].delete(key)


def _check_board(view: Any, context: QueryContext, params: BoardParameters) -> None:
    if params.board.startswith("secret") and context.actor != "kestrel":
        raise Rejected("board_secret", "That board is another's.", status=403)
    if not view[CELLS].keys("by_board", params.board):
        raise Rejected("board_unknown", "There is no such board.", status=404)


def cells_of(view: Any, index: str, value: str) -> dict[str, int | None]:
    return {key: view[CELLS].get(key).value for key in view[CELLS].keys(index, value)}


def _board_delta(view: Any, board: str, changes: Sequence[EntryRows]) -> Frame | None:
    changed = {
        key: None if row is None else row.value
        for rows in changes
        for key, row in rows.changes(CELLS)
        if key.partition("/")[2].partition(".")[0] == board
    }
    # The state after the commit, not what an entry before the last one made of it.
    assert all(value == (found and found.value) for key, value in changed.items() if (found := view[CELLS].get(key)))
    if board == "broken" and changed:
        raise RuntimeError("a defect of the module")
    if board == "absent" and changed:
        view[OTHERS].get("ch-zug-01/none")
    return Frame("delta", CellsMessage(changed)) if changed else None


def _mine_concerns(changes: Sequence[EntryRows]) -> Iterable[str]:
    return (row.holder for rows in changes for _, row in rows.rows(CELLS))


def _mine_delta(view: Any, holder: str, changes: Sequence[EntryRows]) -> Frame | None:
    cells = {key: row.value for rows in changes for key, row in rows.rows(CELLS) if row.holder == holder}
    return Frame("delta", CellsMessage(dict(cells)))


BOARD_FEED = Feed(
    "/v1/boards/{board}/stream",
    BoardParameters,
    CellsMessage,
    "board.read",
    "A board as it changes",
    tables=(CELLS,),
    key=lambda context, params: params.board,
    check=_check_board,
    snapshot=lambda view, board: Frame("snapshot", CellsMessage(cells_of(view, "by_board", board))),
    delta=_board_delta,
    example=CellsMessage({"ch-zug-01/a.1": 5, "ch-zug-01/a.2": None}),
    description="A cell that is null was cleared.",
)
MINE_FEED = Feed(
    "/v1/cells/mine/stream",
    MineParameters,
    CellsMessage,
    "board.read",
    "My cells as I set them",
    tables=(CELLS,),
    key=lambda context, params: context.actor,
    snapshot=lambda view, holder: Frame("snapshot", CellsMessage(cells_of(view, "by_holder", holder))),
    delta=_mine_delta,
    concerns=_mine_concerns,
    on_close=lambda context, params: ClearMine() if params.clear_on_close else None,
)
BOARD = Module(
    "board",
    1,
    tables=(CELLS, OTHERS),
    commands=(
        Command(SetCell, "board.cell.set", _set, lambda rows: None),
        Command(ClearMine, "board.mine.cleared", _clear_mine, lambda rows: None),
        Command(
            SetOther,
            "board.other.set",
            lambda state, context, command: state[OTHERS].insert(context.new_key(), Other(command.value)),
            lambda rows: None,
        ),
    ),
    feeds=(BOARD_FEED, MINE_FEED),
    problems={"board_unknown": "There is no such board", "board_secret": "The board is another's"},
)


def board_app(node: TestNode, **options: Any) -> NodeApp:
    options.setdefault("authenticator", authenticator())
    return build_app(
        AppParts(
            source=node.source,
            modules=(BOARD,),
            writer=node.writer,
            reader=node.store,
            readiness=list,
            ticks=dict,
            rate_limiter=None,
            **options,
        )
    )


@asynccontextmanager
async def served(app: NodeApp, **options: Any) -> AsyncGenerator[HttpServer, None]:
    server = HttpServer(app, "127.0.0.1", 0, drain_s=2, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Message(msgspec.Struct):
    id: str
    event: str
    data: Any


class Listener:
    """One client: messages one by one, and the reason for which the stream ended."""

    def __init__(self) -> None:
        self.cells: dict[str, int] = {}
        """What snapshot and deltas add up to."""
        self.id = ""
        self.reason = ""
        self.code = 0

    async def _message(self) -> Message | None:
        raise NotImplementedError

    async def next(self) -> Message:
        async with asyncio.timeout(5):
            message = await self._message()
        assert message is not None, f"ended: {self.reason}"
        if message.event == "snapshot":
            self.cells.clear()
        for key, value in message.data["cells"].items():
            self.cells.pop(key, None)
            if value is not None:
                self.cells[key] = value
        assert message.id != self.id
        self.id = message.id
        return message

    async def until(self, cells: dict[str, int | None]) -> None:
        while self.cells != cells:
            await self.next()

    async def ended(self) -> str:
        async with asyncio.timeout(5):
            while await self._message() is not None:
                pass
        return self.reason


class SseListener(Listener):
    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self._lines = response.aiter_lines()

    async def _message(self) -> Message | None:
        found: dict[str, str] = {}
        async for line in self._lines:
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                found[name] = value
            elif "id" in found:
                return Message(found["id"], found["event"], json.loads(found["data"]))
            elif found:
                self.reason = found["event"]
                return None
        return None


class SocketListener(Listener):
    def __init__(self, socket: ClientConnection) -> None:
        super().__init__()
        self.socket = socket

    async def _message(self) -> Message | None:
        try:
            return msgspec.json.decode(await self.socket.recv(), type=Message)
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            self.code, self.reason = closed.rcvd.code, closed.rcvd.reason
            return None


@asynccontextmanager
async def sse(
    server: HttpServer, path: str, after: str = "", subject: str = "kestrel", **options: Any
) -> AsyncGenerator[SseListener, None]:
    headers = {"Authorization": f"Bearer {token(subject, SCOPES, **options)}"}
    if after:
        headers["Last-Event-ID"] = after
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client,
        client.stream("GET", path, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "text/event-stream"
        yield SseListener(response)


@asynccontextmanager
async def socket(
    server: HttpServer, path: str, after: str = "", subject: str = "kestrel", **options: Any
) -> AsyncGenerator[SocketListener, None]:
    if after:
        path += ("&" if "?" in path else "?") + "after=" + after
    headers = {"Authorization": f"Bearer {token(subject, SCOPES, **options)}"}
    async with connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers, proxy=None) as connection:
        yield SocketListener(connection)


WIRES = {"sse": sse, "socket": socket}

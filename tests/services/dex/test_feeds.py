"""The book's live feeds over a real server: what is sent adds up to the book, at its own node and at one that
follows."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from jilnode.http.app import AppParts, build_app
from jilnode.http.server import HttpServer
from jilnode.module import QueryContext
from services.dex import queries
from services.dex.intents import CancelAll, MassQuote, PlaceOrder, PlaceOrders, QuoteEntry
from services.dex.module import MODULE as DEX
from services.wallet.module import MODULE as WALLET
from tests.http.kit import authenticator, token
from tests.kit.node import TestNode
from tests.kit.wait import eventually
from tests.services.dex.kit import MARKET, Exchange, book, check_exchange, exchange
from tests.services.wallet.kit import turn

SCOPES = "dex:read dex:trade"
DEPTH = f"/v1/dex/markets/{MARKET}/depth/stream"
TRADES = f"/v1/dex/markets/{MARKET}/trades/stream"


@asynccontextmanager
async def served(node: TestNode) -> AsyncGenerator[HttpServer, None]:
    app = build_app(
        AppParts(
            source=node.source,
            modules=(WALLET, DEX),
            writer=node.writer,
            reader=node.store,
            authenticator=authenticator(),
            readiness=list,
            ticks=dict,
            rate_limiter=None,
        )
    )
    server = HttpServer(app, "127.0.0.1", 0, drain_s=2)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Stream:
    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.messages: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            message = json.loads(await self._socket.recv())
        self.messages.append(message)
        data: dict[str, Any] = message["data"]
        return data


@asynccontextmanager
async def stream(server: HttpServer, path: str, subject: str = "a") -> AsyncGenerator[Stream, None]:
    headers = {"Authorization": f"Bearer {token(subject, SCOPES)}"}
    address = f"ws://127.0.0.1:{server.port}{path}"
    async with connect(address, additional_headers=headers, proxy=None) as socket:
        yield Stream(socket)


class Book:
    """A client's book: what a snapshot and its deltas add up to."""

    def __init__(self) -> None:
        self.sequence = 0
        self.sides: dict[str, dict[str, str]] = {}

    def take(self, message: dict[str, Any], first: bool) -> None:
        if first:
            self.sides = {"bids": {}, "asks": {}}
        else:
            assert message["previous"] == self.sequence, "a gap"
        for side, levels in self.sides.items():
            for price, quantity in message[side]:
                levels.pop(price, None)
                if float(quantity):
                    levels[price] = quantity
        self.sequence = message["sequence"]
        bids, asks = self.levels()
        assert queries.checksum(bids, asks) == message["checksum"]

    def levels(self) -> tuple[list[queries.Level], list[queries.Level]]:
        bids = sorted(self.sides["bids"].items(), key=lambda level: -float(level[0]))
        asks = sorted(self.sides["asks"].items(), key=lambda level: float(level[0]))
        return [queries.Level(*level) for level in bids], [queries.Level(*level) for level in asks]


async def depth(node: TestNode) -> queries.Depth:
    context = QueryContext("a", frozenset(), node.source, node.engine.now_us())
    params = queries.DepthParams(MARKET, 500)
    found: queries.Depth = await node.writer.query(lambda view: queries.depth(view, context, params))
    return found


async def trade_at_random(made: Exchange, accounts: dict[str, str], steps: int, seed: int) -> None:
    randomness = random.Random(seed)
    for _ in range(steps):
        subject = randomness.choice(list(accounts))
        price = f"{randomness.randrange(9900, 10100) / 100:.2f}"
        order = PlaceOrder(
            MARKET,
            accounts[subject],
            randomness.choice(("buy", "sell")),
            f"{randomness.randrange(1, 300) / 100:.2f}",
            price,
            time_in_force=randomness.choice(("gtc", "gtc", "ioc")),
        )
        what = randomness.random()
        command: Any = order
        if what < 0.05:
            command = CancelAll(accounts[subject])
        elif what < 0.2:
            command = MassQuote(
                MARKET, accounts[subject], (QuoteEntry("buy", "98.00", "1"), QuoteEntry("sell", "102.00", "2"))
            )
        elif what < 0.3:
            command = PlaceOrders((order, order))
        await made.home.run(command, actor=subject)


@pytest.mark.parametrize("follows", [False, True])
async def test_depth_adds_up_to_the_book(follows: bool) -> None:
    async with exchange(2) as made:
        accounts = {subject: await made.trader(subject) for subject in "abc"}
        await trade_at_random(made, accounts, 20, 1)
        await made.settle()
        node = made.nodes[1] if follows else made.home
        async with served(node) as server, stream(server, DEPTH) as depths, stream(server, TRADES) as trades:
            mine = Book()
            mine.take(await depths.next(), first=True)
            before = (await trades.next())["number"]
            await trade_at_random(made, accounts, 150, 2)
            await made.settle()
            wanted = await depth(node)
            while mine.sequence < wanted.sequence:
                mine.take(await depths.next(), first=False)
            assert mine.levels() == (wanted.bids, wanted.asks)
            assert [message["event"] for message in depths.messages[:2]] == ["snapshot", "delta"]
            last = (await made.home.writer.query(lambda view: queries.known_market(view, MARKET)))[2].trades
            numbers: list[int] = []
            while not numbers or numbers[-1] < last:
                numbers += [trade["number"] for trade in (await trades.next())["trades"]]
            assert numbers == list(range(before + 1, last + 1))
        check_exchange(made.home)


async def test_depth_tells_nothing_of_what_was_never_in_the_book() -> None:
    """Where stop orders wait, and how far an order that took would have gone, is their owners' business."""
    async with exchange() as made, served(made.home) as server:
        maker, taker = await made.trader("a"), await made.trader("b")
        async with stream(server, DEPTH) as depths:
            await depths.next()

            async def levels() -> tuple[list[list[str]], list[list[str]]]:
                message = await depths.next()
                return message["bids"], message["asks"]

            waiting = await made.order("b", taker, "buy", "1", "106", kind="stop_limit", stop="105")
            assert await levels() == ([], [])
            await made.order("a", maker, "sell", "1", "81", kind="stop", stop="90")
            assert await levels() == ([], [])
            await made.order("b", taker, "buy", "1", "104", time_in_force="ioc")
            assert await levels() == ([], [])
            await made.cancel("b", waiting.id)
            assert await levels() == ([], [])
            await made.order("a", maker, "sell", "1", "103")
            assert await levels() == ([], [["103.00", "1.0000"]])
            # It wakes in the commit of the trade that reaches its stop, takes the other half, and rests.
            woken = await made.order("b", taker, "buy", "2", "110", kind="stop_limit", stop="100")
            assert await levels() == ([], [])
            await made.order("b", taker, "buy", "0.5", "109", time_in_force="ioc")
            assert await levels() == ([["110.00", "1.5000"]], [["103.00", "0.0000"]])
            await made.cancel("b", woken.id)
            assert await levels() == ([["110.00", "0.0000"]], [])
        check_exchange(made.home)


async def test_candles_grow_and_end() -> None:
    async with exchange() as made, served(made.home) as server:
        maker, taker = await made.trader("a"), await made.trader("b")
        async with stream(server, f"/v1/dex/markets/{MARKET}/candles/stream") as candles:
            assert (await candles.next())["running"] is None
            await made.order("a", maker, "sell", "1", "101.00")
            await made.order("a", maker, "sell", "1", "103.00")
            await made.order("b", taker, "buy", "1.5", "103.00")
            running = (await candles.next())["running"]
            assert (running["open"], running["high"], running["close"], running["count"]) == (
                "101.00",
                "103.00",
                "103.00",
                2,
            )
            made.clock.advance(61)
            await turn(made.home)
            last = await candles.next()
            assert (last["ended"], last["running"]) == ([running], None)


async def test_an_account_s_orders_are_cancelled_when_its_stream_ends() -> None:
    async with exchange() as made, served(made.home) as server:
        mine, others = await made.trader("a"), await made.trader("b")
        path = f"/v1/dex/accounts/{mine}/orders/stream"
        await made.order("a", mine, "sell", "1", "101.00")
        async with stream(server, f"{path}?cancel_on_disconnect=true") as orders:
            (first,) = (await orders.next())["orders"]
            assert first["remaining"] == "1.0000"
            await made.order("b", others, "sell", "1", "103.00")
            await made.order("b", others, "buy", "0.4", "101.00")
            changed = await orders.next()
            assert [order["filled"] for order in changed["orders"]] == ["0.4000"]
            assert [(own["order"], own["fill"]["liquidity"]) for own in changed["fills"]] == [(first["id"], "maker")]
            await made.order("a", mine, "buy", "0.5", "100.00")
            assert len((await orders.next())["orders"]) == 1

        async def gone() -> bool:
            await turn(made.home)
            return book(made.home)[0] == []

        assert await eventually(gone)
        assert [price for _, price, _ in book(made.home)[1]] == [10300]
        check_exchange(made.home)


async def test_who_may_only_read_an_account_can_t_have_its_orders_cancelled() -> None:
    async with exchange() as made, served(made.home) as server:
        path = f"/v1/dex/accounts/{await made.trader('a')}/orders/stream"
        headers = {"Authorization": f"Bearer {token('auditor', f'{SCOPES} audit')}"}
        address = f"ws://127.0.0.1:{server.port}{path}"
        async with connect(address, additional_headers=headers, proxy=None) as socket:
            assert json.loads(await socket.recv())["data"]["orders"] == []
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{address}?cancel_on_disconnect=true", additional_headers=headers, proxy=None)
        response = refused.value.response
        assert (response.status_code, json.loads(response.body)["code"]) == (403, "not_your_account")


async def test_a_snapshot_of_many_orders_says_where_their_list_goes_on() -> None:
    """An account may have ten thousand: nobody gets them in one message, and nobody waits while it is made."""
    async with exchange() as made, served(made.home) as server:
        mine = await made.trader("a")
        order = PlaceOrder(MARKET, mine, "sell", "0.01", "101.00")
        for _ in range(6):
            await made.home.run(PlaceOrders((order,) * 100), actor="a")
        async with stream(server, f"/v1/dex/accounts/{mine}/orders/stream") as orders:
            first = await orders.next()
            assert len(first["orders"]) == queries.OPEN_ORDERS_PAGE
            context = QueryContext("a", frozenset(), made.home.source, made.home.engine.now_us())
            params = queries.OpenOrdersParams(mine, after=first["next"])
            rest = await made.home.writer.query(lambda view: queries.open_orders(view, context, params))
            assert (len({order["id"] for order in first["orders"]} | {item.id for item in rest.items}), rest.next) == (
                600,
                None,
            )
            await made.cancel("a", rest.items[-1].id)
            changed = await orders.next()
            assert ([order["status"] for order in changed["orders"]], changed["next"]) == (["cancelled"], None)


async def test_without_asking_for_it_orders_stay_when_a_stream_ends() -> None:
    async with exchange() as made, served(made.home) as server:
        mine = await made.trader("a")
        await made.order("a", mine, "sell", "1", "101.00")
        async with stream(server, f"/v1/dex/accounts/{mine}/orders/stream") as orders:
            await orders.next()
        async with stream(server, f"/v1/dex/accounts/{mine}/orders/stream") as orders:
            assert len((await orders.next())["orders"]) == 1

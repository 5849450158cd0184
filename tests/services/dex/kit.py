"""What the exchange's tests share: nodes with wallet and exchange, two assets, traders with money, and what must always
hold."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from jilnode.kernel.ports import Store
from services.dex.intents import CancelOrder, CreateMarket, PlaceOrder
from services.dex.module import MODULE as DEX
from services.dex.prices import given, rest_cost, wait_cost
from services.dex.rows import BOOKS, CLOSED, MARKETS, ORDERS, SELL, TRADES
from services.wallet.intents import CreateAccount, CreateAsset, Issue
from services.wallet.module import MODULE as WALLET
from tests.kit.node import FakeClock, TestNode, running
from tests.services.wallet.kit import OPERATOR, check_conservation, rows, turn

SOURCES = ("sg-mas-01", "ch-zug-01", "ae-fsra-01")
BASE, QUOTE = "GOLD@sg-mas-01", "USDX@sg-mas-01"
MARKET = "GOLD-USDX@sg-mas-01"
DEX_OPERATOR = (*OPERATOR, "dex:operate")


class Exchange:
    """A fleet that shares one clock. The first node issues GOLD and USDX, of 4 decimals, and has their market: a
    tick of 0.01, a lot of 0.01."""

    def __init__(self, count: int = 1, stores: Sequence[Store | None] = (), **options: Any) -> None:
        self.clock = FakeClock()
        self.nodes = [
            TestNode(source, [WALLET, DEX], clock=self.clock, store=store, **options)
            for source, store in zip(SOURCES[:count], stores or [None] * count, strict=True)
        ]
        self.home = self.nodes[0]

    async def begin(self, **market: Any) -> None:
        await self.operate(CreateAsset("GOLD", 4))
        await self.operate(CreateAsset("USDX", 4))
        values = {"tick": "0.01", "lot": "0.01", "band_bps": 10_000, "states_bps": (1 << 40, 1 << 41, 1 << 42)}
        await self.operate(CreateMarket(BASE, QUOTE, **{**values, **market}))

    async def operate(self, command: Any, node: TestNode | None = None) -> Any:
        answer = await (node or self.home).run(command, actor="operator", scopes=DEX_OPERATOR)
        return answer.reply

    async def trader(self, subject: str, gold: str = "1000", usd: str = "100000") -> str:
        """A new account's id, with money."""
        answer = await self.home.run(CreateAccount(), actor=subject)
        for asset, amount in ((BASE, gold), (QUOTE, usd)):
            if amount:
                await self.operate(Issue(asset, answer.reply.id, amount))
        return str(answer.reply.id)

    async def order(self, subject: str, account: str, side: str, quantity: str, price: str = "", **more: Any) -> Any:
        command = PlaceOrder(MARKET, account, side, quantity, price, **more)
        return (await self.home.run(command, actor=subject)).reply

    async def cancel(self, subject: str, order: str) -> Any:
        return (await self.home.run(CancelOrder(order), actor=subject)).reply

    async def settle(self) -> None:
        """Everybody applies everything, and answers it, until nothing is new."""
        before = None
        while before != (before := [node.engine.own.size for node in self.nodes]):
            for node in self.nodes:
                for other in self.nodes:
                    if other is not node:
                        await node.follow(other)
                await turn(node)


@asynccontextmanager
async def exchange(count: int = 1, *, market: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Exchange]:
    made = Exchange(count, **options)
    async with running(*made.nodes):
        await made.begin(**(market or {}))
        yield made


def book(node: TestNode, market: str = "sg-mas-01/GOLD-USDX") -> tuple[list[Any], list[Any]]:
    """(bids, asks), each (order id, price, remaining) in queue order, as the node's index has them."""
    cache = node.engine.caches[ORDERS]
    sides = []
    for side in ("buy", "sell"):
        found = []
        for *_, key in list(cache.ordered["book"].places((market, side))):
            order: Any = cache.images[key].row  # type: ignore[union-attr]
            found.append((key, order.price, order.remaining))
        sides.append(found)
    return sides[0], sides[1]


def check_exchange(node: TestNode) -> None:
    """What must always hold at a market's own node: money is conserved; open orders hold exactly what they may still
    give with its fee, nothing else is reserved (B9); the book is not crossed (B1); quantities add up (B3); numbers
    have no gaps (B11)."""
    check_conservation(node)
    markets = rows(node, MARKETS)
    orders = {key: row for key, row in rows(node, ORDERS).items() if key.startswith(node.source)}
    for key, order in orders.items():
        market = markets[order.market]
        gives = given(market, order.side, order.price, order.remaining)
        expected = wait_cost(order, gives) if order.stop else rest_cost(order, gives)
        assert (order.reserved.asset, order.reserved.amount) == (
            market.base if order.side == SELL else market.quote,
            expected,
        ), key
        assert order.filled + order.remaining + order.cancelled + order.prevented == order.quantity
        assert order.price % market.tick == 0
        assert order.remaining % market.lot == 0
    for closed in rows(node, CLOSED).values():
        assert closed.filled + closed.cancelled + closed.prevented == closed.quantity
    numbers: dict[str, list[int]] = {}
    for trade in rows(node, TRADES).values():
        numbers.setdefault(trade.market, []).append(trade.number)
    for key, row in rows(node, BOOKS).items():
        assert sorted(numbers.get(key, [])) == list(range(1, row.trades + 1))
        bids, asks = book(node, key)
        assert not bids or not asks or bids[0][1] < asks[0][1]

"""What other nodes write in somebody's name costs that account's commands here nothing: they walk what is here."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jilnode.kernel.cache import TableCache
from jilnode.kernel.indexes import OrderedQueues
from services.dex.intents import CancelAll, CreateMarket, PlaceOrder, PlaceOrders
from services.dex.rfq.intents import OpenRequest, SubmitQuote
from services.dex.rfq.rows import QUOTES, REQUESTS
from services.dex.router.intents import TakeRoute
from services.dex.rows import ORDERS
from services.wallet.intents import CreateAccount, Issue
from tests.services.dex.kit import BASE, MARKET, QUOTE, Exchange, exchange
from tests.services.wallet.kit import rows

ELSEWHERE = 100
HERE = "GOLD-USDX@ch-zug-01"

pytestmark = pytest.mark.patches


class Victim:
    """``v`` has an account at the second node, and money there and at the first, where so many orders, requests and
    quotes are written in its name. ``t`` has an account with money at both too."""

    def __init__(self, made: Exchange) -> None:
        self.made = made
        self.home, self.away = made.nodes
        self.account = self.taker = ""

    async def begin(self) -> None:
        await self.made.settle()
        self.account, self.taker = [(await self.away.run(CreateAccount(), actor=name)).reply.id for name in "vt"]
        await self.made.operate(CreateMarket(BASE, QUOTE, "0.01", "0.01", band_bps=10_000), self.away)
        self.made.clock.advance(31)
        await self.made.settle()
        await self._pay()
        # What lies unused away from home goes home.
        self.made.clock.advance(61)
        await self.made.settle()
        await self._pay()
        order = PlaceOrder(MARKET, self.account, "sell", "0.01", "200")
        assert (await self.made.operate(PlaceOrders((order,) * ELSEWHERE))).placed == ELSEWHERE
        for _ in range(ELSEWHERE):
            await self.made.operate(self.opening(self.account))
            asked = await self.made.operate(self.opening(self.taker))
            await self.made.operate(SubmitQuote(asked.id, self.account, "100"))
        await self.made.settle()
        for table in (ORDERS, REQUESTS, QUOTES):
            written = [row for row in rows(self.away, table).values() if row.account == self.account.replace("~", "/")]
            assert len(written) == ELSEWHERE

    async def _pay(self) -> None:
        for account in (self.account, self.taker):
            for asset in (BASE, QUOTE):
                await self.made.operate(Issue(asset, account, "1000"))

    def opening(self, account: str) -> OpenRequest:
        return OpenRequest(account, BASE, QUOTE, "buy", "0.01", self.made.clock.now_us + 1_000_000_000)

    async def run(self, command: Any, subject: str = "v") -> Any:
        return (await self.away.run(command, actor=subject)).reply


@pytest.fixture
def walked(monkeypatch) -> Callable[[], int]:
    """How many keys of the exchange's rows were taken out of indexes by account since it was last asked."""
    found: list[str] = []
    keys, places = TableCache.keys, OrderedQueues.places

    def counted_keys(cache: Any, index: str, value: Any) -> tuple[str, ...]:
        taken: tuple[str, ...] = keys(cache, index, value)
        if cache.name.startswith("dex."):
            found.extend(taken)
        return taken

    def counted_places(queues: Any, bucket: object, beyond: Any = None) -> Iterator[Any]:
        for place in places(queues, bucket, beyond):
            if queues.spec.name == "at_node":
                found.append(place[-1])
            yield place

    def count() -> int:
        number = len(found)
        found.clear()
        return number

    monkeypatch.setattr(TableCache, "keys", counted_keys)
    monkeypatch.setattr(OrderedQueues, "places", counted_places)
    return count


async def test_commands_walk_what_is_at_their_node(walked, monkeypatch):
    monkeypatch.setattr("services.dex.commands.orders.OPEN_ORDERS_MAX", ELSEWHERE)
    monkeypatch.setattr("services.dex.rfq.commands.quotes.ACCOUNT_QUOTES_MAX", ELSEWHERE)
    async with exchange(2) as made:
        one = Victim(made)
        await one.begin()
        walked()
        await one.run(PlaceOrder(HERE, one.account, "sell", "0.01", "200"))
        assert walked() == 0
        await one.run(one.opening(one.account))
        assert walked() == 0
        request = await one.run(one.opening(one.account))
        assert walked() <= 1
        await one.run(SubmitQuote(request.id, one.taker, "100"), "t")
        asked = await one.run(one.opening(one.taker), "t")
        walked()
        await one.run(SubmitQuote(asked.id, one.account, "100"))
        assert walked() == 0
        assert (await one.run(TakeRoute(one.account, QUOTE, BASE, "1", "0.01", 1 << 62))).lane == "rfq"
        # Those that are here, as often as it is run.
        assert 0 < walked() < ELSEWHERE
        assert len((await one.run(CancelAll(one.account))).cancelled) == 1
        assert walked() == 1
        assert not one.away.engine.alarms

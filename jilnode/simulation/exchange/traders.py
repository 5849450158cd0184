"""Who trades in books: makers and takers at their own and at other nodes, with every kind of order."""

from typing import TYPE_CHECKING, Any

from jilnode.simulation.clients import Errand
from jilnode.simulation.exchange.answers import told
from jilnode.simulation.exchange.audit import CARELESS
from jilnode.simulation.exchange.setting import Market, Setting
from jilnode.simulation.world import START_US
from services.dex.intents import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    MassQuote,
    PlaceOrder,
    PlaceOrders,
    QuoteEntry,
    ReplaceOrder,
    SetMarket,
    SetMarketStatus,
)
from services.dex.matching import PREVENTIONS

if TYPE_CHECKING:
    from jilnode.simulation.world import World

__all__ = ("Traders",)

MID = 10_000
"""The price about which all of them quote, in hundredths."""
SPREAD = 40
REMEMBERED = 60
"""Orders that can still be cancelled, amended or replaced by who placed them."""

KINDS = (
    ("limit", "gtc", 34),
    ("limit", "ioc", 10),
    ("limit", "fok", 8),
    ("limit", "gtd", 8),
    ("post_only", "gtc", 14),
    ("market", "ioc", 6),
    ("stop", "gtc", 8),
    ("stop_limit", "gtc", 8),
)
"""(kind, time in force, how often)."""


class Traders:
    weight = 3

    def __init__(self, world: "World", setting: Setting) -> None:
        self._world = world
        self._random = world.random
        self._setting = setting
        self._open: list[tuple[Market, str, int]] = []
        """(market, order, account) as they were told."""
        self._count = 0

    # What they want

    def errand(self) -> Errand:
        setting, randomness = self._setting, self._random
        market = randomness.choice(setting.open_markets())
        account = setting.trader(market.node, market.base, market.quote)
        what = randomness.random()
        if what < 0.05:
            return self._operator(market, account)
        if what < 0.25 and self._open:
            return self._change()
        if what < 0.31:
            return setting.trade(market.node, account, self._quotes(market, account))
        if what < 0.37:
            orders = [self._order(market, account) for _ in range(randomness.randint(2, 6))]
            return setting.trade(market.node, account, PlaceOrders(tuple(orders)))
        if what < 0.39:
            where = randomness.choice(("", market.name))
            return setting.trade(market.node, account, CancelAll(setting.account(account), where))
        return setting.trade(market.node, account, self._order(market, account))

    def _operator(self, market: Market, account: int) -> Errand:
        """Freezes and halts, which do not last; fees that change while orders are open; money."""
        setting, randomness = self._setting, self._random
        what = randomness.random()
        if what < 0.3:
            return setting.freeze(account)
        if what < 0.5:
            halt, resume = SetMarketStatus(market.name, "news"), SetMarketStatus(market.name)
            return setting.stops.stop(market.node, halt, resume)
        if what < 0.8:
            bps = randomness.randrange(0, 40)
            return setting.operate(market.node, SetMarket(market.name, "0", 10_000, bps // 2, bps, market.states_bps))
        return setting.money(account, randomness.choice((market.base, market.quote)))

    def _change(self) -> Errand:
        """One of their own orders is cancelled, lowered or replaced; it may be gone."""
        randomness = self._random
        market, order, account = randomness.choice(self._open)
        what = randomness.random()
        if what < 0.45:
            command: Any = CancelOrder(order)
        elif what < 0.75:
            command = AmendOrder(order, self._quantity())
        else:
            mode = randomness.choice(("stop_on_failure", "allow_failure"))
            command = ReplaceOrder(order, self._order(market, account), mode)
        return self._setting.trade(market.node, account, command)

    def _order(self, market: Market, account: int) -> PlaceOrder:
        randomness = self._random
        ((kind, time_in_force, _),) = randomness.choices(KINDS, [often for _, _, often in KINDS])
        side = randomness.choice(("buy", "sell"))
        price = MID + randomness.randint(-SPREAD, SPREAD)
        prevention = randomness.choice(PREVENTIONS)
        self._count += 1
        name = f"{CARELESS if prevention == 'none' else 'order-'}{self._count}"
        return PlaceOrder(
            market.name,
            self._setting.account(account),
            side,
            self._quantity(),
            _price(price),
            kind,
            time_in_force,
            START_US + self._world.elapsed_us + randomness.randrange(20_000_000) if time_in_force == "gtd" else 0,
            _price(price + randomness.randint(-5, 5)) if kind.startswith("stop") else "",
            prevention,
            name,
        )

    def _quotes(self, market: Market, account: int) -> MassQuote:
        randomness = self._random
        middle = MID + randomness.randint(-SPREAD // 2, SPREAD // 2)
        quotes = [
            QuoteEntry(side, _price(middle + sign * randomness.randint(1, 20)), self._quantity())
            for side, sign in (("buy", -1), ("sell", 1))
            for _ in range(randomness.randint(0, 3))
        ]
        return MassQuote(market.name, self._setting.account(account), tuple(quotes))

    def _quantity(self) -> str:
        return f"{self._random.randint(1, 500) / 100:.2f}"

    # What they hear

    def heard(self, errand: Errand, reply: Any) -> None:
        setting = self._setting
        markets = {market.name: market for market in setting.markets}
        accounts = {setting.account(account): account for account in setting.accounts()}
        for order in told(reply):
            if order.status in ("open", "waiting") and order.account in accounts:
                mine = (markets[order.market], order.id, accounts[order.account])
                self._open = [*self._open[-REMEMBERED:], mine]


def _price(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02}"

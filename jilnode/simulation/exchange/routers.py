"""Who asks the router: small amounts and large ones, where books, pools and quotes of theirs compete."""

from typing import TYPE_CHECKING, Any

from jilnode.simulation.clients import Errand
from jilnode.simulation.exchange.setting import Setting
from jilnode.simulation.exchange.units import UNITS, text_of, units_of
from services.dex.rfq.views import RequestView
from services.dex.router.intents import TakeRoute

if TYPE_CHECKING:
    from jilnode.simulation.world import World

__all__ = ("Routers",)

PRICE = 100
"""Of one whole base, in wholes of the quote, about which all of them trade."""
REMEMBERED = 8


class Routers:
    weight = 1

    def __init__(self, world: "World", setting: Setting) -> None:
        self._random = world.random
        self._setting = setting
        self._asked: dict[str, tuple[int, RequestView]] = {}
        """request for quotes -> (node, what its taker was told): what a route may accept a quote to."""

    def errand(self) -> Errand:
        setting, randomness = self._setting, self._random
        if self._asked and randomness.random() < 0.5:
            node, request = self._asked[randomness.choice(list(self._asked))]
            return self._by_quote(node, setting.number(request.account), request)
        market = randomness.choice(setting.open_markets())
        account = setting.trader(market.node, market.base, market.quote)
        amount = randomness.randint(1, randomness.choice((100, UNITS // 4, 2 * UNITS)))
        if randomness.random() < 0.5:
            return self._route(market.node, account, market.base, market.quote, amount, amount * PRICE)
        return self._route(market.node, account, market.quote, market.base, amount * PRICE, amount)

    def heard(self, errand: Errand, reply: Any) -> None:
        if isinstance(reply, RequestView):
            self._asked.pop(reply.id, None)
            if reply.ended_us is None:
                self._asked[reply.id] = errand.node, reply
            for key in list(self._asked)[:-REMEMBERED]:
                del self._asked[key]

    def _by_quote(self, node: int, account: int, request: RequestView) -> Errand:
        """With a little more than most quotes want."""
        quantity = units_of(request.quantity)
        if request.side == "sell":
            return self._route(node, account, request.base, request.quote, quantity * 101 // 100, quantity * PRICE)
        return self._route(node, account, request.quote, request.base, quantity * PRICE * 103 // 100, quantity)

    def _route(self, node: int, account: int, asset_in: str, asset_out: str, amount: int, worth: int) -> Errand:
        """The least that they want is sometimes too much, and their time sometimes over."""
        randomness = self._random
        least = max(1, worth * randomness.randint(80, 105) // 100) if randomness.random() < 0.4 else 1
        command = TakeRoute(
            self._setting.account(account),
            asset_in,
            asset_out,
            text_of(amount),
            text_of(least),
            self._setting.deadline_us(node),
        )
        return self._setting.trade(node, account, command)

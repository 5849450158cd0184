"""Who asks for quotes, quotes, accepts, takes back and lets run out, at their own and at other nodes."""

from typing import TYPE_CHECKING, Any

from jilnode.simulation.clients import Errand
from jilnode.simulation.exchange.setting import Setting
from services.dex.rfq.intents import (
    AcceptQuote,
    CancelRequest,
    OpenRequest,
    SetRfqFee,
    SubmitQuote,
    WithdrawQuote,
)
from services.dex.rfq.views import QuoteView, RequestView, SettlementView

if TYPE_CHECKING:
    from jilnode.simulation.world import World

__all__ = ("Quoters",)

REMEMBERED = 8
"""Requests, and quotes, that clients still think of: few, so that some get many quotes."""
MID = 10_000
SPREAD = 200
"""About the price, in hundredths."""
TIMES_US = (300_000, 3_000_000, 20_000_000)
"""For how long, at most, something is asked or offered."""


class Quoters:
    weight = 2

    def __init__(self, world: "World", setting: Setting) -> None:
        self._random = world.random
        self._setting = setting
        self._asked: dict[str, tuple[int, RequestView]] = {}
        """request -> (node, what its taker was told)."""
        self._offers: dict[str, tuple[int, QuoteView]] = {}

    def errand(self) -> Errand:
        """They mostly think of what should still be there; now and then they come too late, or too early."""
        randomness, setting = self._random, self._setting
        what, careful = randomness.random(), randomness.random() < 0.9
        asked = [key for key, item in self._asked.items() if not careful or self._takes(*item)]
        offers = [key for key, item in self._offers.items() if not careful or self._stands(*item)]
        if what < 0.03:
            node = randomness.choice(setting.markets).node
            return setting.operate(node, SetRfqFee(randomness.randrange(0, 40)))
        if what < 0.06 and offers:
            _, quote = self._offers[randomness.choice(offers)]
            return setting.freeze(self._setting.number(quote.account))
        if what < 0.10 and self._asked:
            node, request = self._asked[randomness.choice(list(self._asked))]
            return self._by(node, request.account, CancelRequest(request.id))
        if what < 0.14 and self._offers:
            node, quote = self._offers[randomness.choice(list(self._offers))]
            return self._by(node, quote.account, WithdrawQuote(quote.id))
        if what < 0.40 and offers:
            node, quote = self._offers[randomness.choice(offers)]
            asker = self._asked[quote.request][1].account if quote.request in self._asked else quote.account
            # Now and then it is somebody else who would accept.
            taker = asker if randomness.random() < 0.95 else quote.account
            return self._by(node, taker, AcceptQuote(quote.id))
        if what < 0.80 and asked:
            return self._quote(*self._asked[randomness.choice(asked)])
        return self._request()

    def heard(self, errand: Errand, reply: Any) -> None:
        if isinstance(reply, RequestView):
            _remember(self._asked, errand.node, reply)
        elif isinstance(reply, QuoteView):
            _remember(self._offers, errand.node, reply)
        elif isinstance(reply, SettlementView):
            self._asked.pop(reply.id, None)

    def _takes(self, node: int, request: RequestView) -> bool:
        return request.quotes_until_us > self._setting.now_us(node)

    def _stands(self, node: int, quote: QuoteView) -> bool:
        if quote.request not in self._asked:
            return False
        request, now_us = self._asked[quote.request][1], self._setting.now_us(node)
        return quote.valid_until_us > now_us and (quote.shown or request.quotes_until_us <= now_us)

    def _by(self, node: int, account: str, command: Any) -> Errand:
        return self._setting.trade(node, self._setting.number(account), command)

    def _request(self) -> Errand:
        """Mostly where the assets are traded; now and then at the taker's home, where there may be no market."""
        setting, randomness = self._setting, self._random
        market = randomness.choice(setting.open_markets())
        account = setting.trader(market.node, market.base, market.quote)
        node = market.node if randomness.random() < 0.85 else setting.home(account)
        base, quote = (market.base, market.quote) if randomness.random() < 0.9 else (market.quote, market.base)
        invited: tuple[str, ...] = ()
        if randomness.random() < 0.15:
            others = [setting.account(other) for other in setting.accounts() if other != account]
            invited = tuple(randomness.sample(others, min(3, len(others))))
        quotes_until_us = setting.now_us(node) + self._time_us()
        command = OpenRequest(
            setting.account(account),
            base,
            quote,
            randomness.choice(("buy", "sell")),
            self._quantity(),
            quotes_until_us,
            quotes_until_us + self._time_us() if randomness.random() < 0.5 else 0,
            randomness.random() < 0.4,
            invited,
        )
        return setting.trade(node, account, command)

    def _quote(self, node: int, request: RequestView) -> Errand:
        setting, randomness = self._setting, self._random
        account = setting.trader(node, request.base, request.quote)
        price = MID + randomness.randint(-SPREAD, SPREAD)
        # One more decimal: at many quantities it is not exact.
        text = f"{price // 100}.{price % 100:02}" + ("5" if randomness.random() < 0.1 else "")
        valid_until_us = 0
        if randomness.random() < 0.4:
            valid_until_us = setting.now_us(node) + self._time_us()
        command = SubmitQuote(request.id, setting.account(account), text, valid_until_us)
        return setting.trade(node, account, command)

    def _time_us(self) -> int:
        return self._random.randrange(1_000, self._random.choice(TIMES_US))

    def _quantity(self) -> str:
        """Mostly in hundredths; at four decimals few prices are exact."""
        if self._random.random() < 0.1:
            return f"{self._random.randint(1, 50_000) / 10_000:.4f}"
        return f"{self._random.randint(1, 500) / 100:.2f}"


def _remember(known: dict[str, Any], node: int, view: Any) -> None:
    known.pop(view.id, None)
    if view.ended_us is None:
        known[view.id] = (node, view)
    while len(known) > REMEMBERED:
        del known[next(iter(known))]

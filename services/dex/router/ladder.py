"""The book as a taker with an exact input would walk it: whom it would meet, and how many lots that pays for.

It stops where the desk would: at 100 makers, at an order of the same owner, at the end of the market's band; and it
passes over makers whose account may not pay, or whose time is over. So what it finds is what an order of that quantity
and price is filled with, exactly.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from jilnode.kernel.state import Context, State, View
from jilnode.limits import INT64_MAX
from jilnode.module import Rejected
from services.dex.commands.desk import why_unfit
from services.dex.commands.orders import check_price
from services.dex.matching import MAKERS_MAX
from services.dex.prices import fee_on, given, notional
from services.dex.rows import BOOKS, BUY, MARKETS, ORDERS, SELL, Book, Market, Order
from services.dex.states import HALTED, state_of
from services.wallet.amounts import BASIS_POINTS
from services.wallet.rows import ACCOUNTS

__all__ = ("Ladder", "Taking", "ladder_of")


class Taking(NamedTuple):
    """So many lots of a ladder: ``paid`` without the fee, for ``output``; an order of ``quantity`` at ``limit``."""

    quantity: int
    limit: int
    paid: int
    fee: int
    output: int

    @property
    def spent(self) -> int:
        return self.paid + self.fee


class Ladder:
    """``side`` is the taker's. The rungs are makers, best first."""

    def __init__(self, key: str, market: Market, side: str, makers: list[Order]) -> None:
        self.key = key
        self.market = market
        self.side = side
        self._prices = [maker.price for maker in makers]
        self._lots = [0]
        """Lots up to the rung, and with the last number all of them."""
        self._paid = [0]
        self._output = [0]
        for maker in makers:
            lots = maker.remaining // market.lot
            paid, output = self._lot(maker.price)
            self._lots.append(self._lots[-1] + lots)
            self._paid.append(self._paid[-1] + lots * paid)
            self._output.append(self._output[-1] + lots * output)

    @property
    def lots(self) -> int:
        return self._lots[-1]

    def cost(self, lots: int) -> tuple[int, int]:
        """(paid without fee, output) of the first so many lots."""
        rung = bisect_right(self._lots, lots) - 1
        rest = lots - self._lots[rung]
        paid, output = self._lot(self._prices[rung]) if rest else (0, 0)
        return self._paid[rung] + rest * paid, self._output[rung] + rest * output

    def affordable(self, amount: int) -> int:
        """The most lots that cost no more than ``amount``, with the taker's fee."""
        # p + ceil(p bps / 10,000) <= amount holds for just these p.
        most = amount * BASIS_POINTS // (BASIS_POINTS + self.market.taker_bps)
        rung = bisect_right(self._paid, most) - 1
        if rung == len(self._prices):
            return self.lots
        return self._lots[rung] + (most - self._paid[rung]) // self._lot(self._prices[rung])[0]

    def pays_for_more(self, lots: int, amount: int) -> bool:
        """Whether ``amount`` would pay for one lot more, at the price of the last."""
        taking = self.taking(lots)
        paid = taking.paid + self._lot(taking.limit)[0]
        return paid + fee_on(paid, self.market.taker_bps) <= amount

    def taking(self, lots: int) -> Taking:
        """``lots``: more than none."""
        paid, output = self.cost(lots)
        rung = bisect_right(self._lots, lots - 1) - 1
        fee = fee_on(paid, self.market.taker_bps)
        return Taking(lots * self.market.lot, self._prices[rung], paid, fee, output)

    def check(self, taking: Taking) -> None:
        """Whether the market takes an order of this size. Raises ``Rejected``: ``bad_notional``."""
        amount = notional(self.market, taking.limit, taking.quantity)
        if not max(self.market.min_notional, 1) <= amount <= INT64_MAX:
            raise Rejected("bad_notional", "price times quantity is too little or too much", field="/amount_in")

    def _lot(self, price: int) -> tuple[int, int]:
        """(paid, output) of one lot at a price."""
        turnover, lot = notional(self.market, price, self.market.lot), self.market.lot
        return (turnover, lot) if self.side == BUY else (lot, turnover)


def ladder_of(
    rows: State | View, context: Context, key: str, asset_in: str, amount: int, account: str, group: str
) -> Ladder:
    """With as many makers as ``amount`` pays for, and one more. ``account`` and ``group``, its beneficial owner: who
    would take. Raises ``Rejected``: ``market_halted``."""
    market, book = rows[MARKETS].get(key), rows[BOOKS].get(key)
    if market is None or book is None or state_of(market, book) == HALTED:
        raise Rejected("market_halted", "the market takes no orders now", status=409, retry_after_s=60)
    side = BUY if asset_in == market.quote else SELL
    bucket = (key, SELL if side == BUY else BUY)
    rows.need((ACCOUNTS, order.account) for order in _paid_for(market, side, _queue(rows, bucket), amount))
    makers = _fit(rows, context, bucket, market, book, (account, group))
    return Ladder(key, market, side, _paid_for(market, side, makers, amount))


def _queue(rows: State | View, bucket: tuple[str, str]) -> Iterator[Order]:
    orders = rows[ORDERS]
    for key in orders.ordered("book", bucket):
        order = orders.get(key)
        assert order is not None
        yield order


def _fit(
    rows: State | View, context: Context, bucket: tuple[str, str], market: Market, book: Book, taker: tuple[str, str]
) -> Iterator[Order]:
    """Those whom the taker would be filled by. Whoever is passed over is met too."""
    for order in islice(_queue(rows, bucket), MAKERS_MAX):
        own = order.account == taker[0] or order.group == taker[1]
        if own or not _in_band(market, book, order.price):
            return
        if not why_unfit(rows, context, order):
            yield order


def _paid_for(market: Market, side: str, orders: Iterable[Order], amount: int) -> list[Order]:
    """The first of them that cost more than ``amount`` together, at most as many as one command may meet."""
    found: list[Order] = []
    paid = 0
    for order in orders:
        found.append(order)
        paid += given(market, side, order.price, order.remaining)
        if paid > amount or len(found) == MAKERS_MAX:
            break
    return found


def _in_band(market: Market, book: Book, price: int) -> bool:
    try:
        check_price(market, book, price)
    except Rejected:
        return False
    return True

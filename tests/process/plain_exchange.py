"""An exchange as one would write it on a page: one market, lists and sums, no rows, no holds. What a real node answers
is compared with it."""

from dataclasses import dataclass, field
from decimal import Decimal

BASE_SCALE = QUOTE_SCALE = 4
PRICE_SCALE = 2
BAND_BPS = 1000


@dataclass
class Terms:
    maker_bps: int
    taker_bps: int


@dataclass(frozen=True)
class Fill:
    price: int
    quantity: int
    fee: int


@dataclass
class PlainOrder:
    account: str
    side: str
    quantity: int
    price: int
    kind: str
    prevention: str
    remaining: int
    stop: int = 0
    filled: int = 0
    cancelled: int = 0
    prevented: int = 0
    gave: int = 0
    """As a maker."""
    fills: list[Fill] = field(default_factory=list)
    """As a taker."""
    reason: str = ""
    id: str = ""
    place: int = 0


class Refused(Exception):
    """``code`` is the problem's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class PlainExchange:
    """``owners``: account -> whose it is. Amounts are minor units; a sum of money is ``(account, asset)``."""

    def __init__(self, terms: Terms, base: str, quote: str) -> None:
        self.terms = terms
        self.base = base
        self.quote = quote
        self.owners: dict[str, str] = {}
        self.money: dict[tuple[str, str], int] = {}
        self.open: list[PlainOrder] = []
        self.ended: list[PlainOrder] = []
        self.trades: list[tuple[int, int, str]] = []
        """(price, quantity, the taker's side)."""
        self.last = 0
        self.halted = False
        self._places = 0

    # What can be asked

    def place(
        self,
        account: str,
        side: str,
        quantity: str,
        price: str = "",
        *,
        kind: str = "limit",
        time_in_force: str = "",
        stop: str = "",
        prevention: str = "taker",
    ) -> PlainOrder:
        if self.halted:
            raise Refused("market_halted")
        trigger = minor(stop, PRICE_SCALE) if stop else 0
        limit = minor(price, PRICE_SCALE) if price else self._protection(side, trigger or self.last)
        around = trigger or self.last
        if price and around and abs(limit - around) * 10_000 > around * BAND_BPS:
            raise Refused("price_out_of_band")
        amount = minor(quantity, BASE_SCALE)
        self._places += 1
        order = PlainOrder(account, side, amount, limit, kind, prevention, amount, trigger, place=self._places)
        if trigger:
            if self._hold(order) > self.available(account, self.gives(side)):
                raise Refused("insufficient_funds")
            self.open.append(order)
            return order
        self._enter(order, rests=kind in ("limit", "post_only") and time_in_force in ("", "gtc"), force=time_in_force)
        return order

    def cancel(self, order: PlainOrder, reason: str = "cancelled") -> None:
        if order not in self.open:
            raise Refused("unknown_order")
        self.open.remove(order)
        self._end(order, reason)

    def amend(self, order: PlainOrder, quantity: str) -> None:
        if order not in self.open:
            raise Refused("unknown_order")
        less = order.quantity - order.cancelled - minor(quantity, BASE_SCALE)
        if not 0 < less < order.remaining:
            raise Refused("bad_quantity")
        order.remaining -= less
        order.cancelled += less

    def wake(self) -> PlainOrder | None:
        """The first stop order that the last price reaches: it takes what is there."""
        for side, sign in (("buy", 1), ("sell", -1)):
            waiting = [order for order in self.open if order.stop and order.side == side]
            due = [order for order in waiting if self.last and sign * self.last >= sign * order.stop]
            if due:
                order = min(due, key=lambda order: (sign * order.stop, order.place))
                self.open.remove(order)
                order.stop = 0
                self._places += 1
                order.place = self._places
                self._enter(order, rests=order.kind == "stop_limit", force="")
                return order
        return None

    # What can be seen

    def held(self, account: str, asset: str) -> int:
        mine = [order for order in self.open if order.account == account and self.gives(order.side) == asset]
        return sum(self._hold(order) for order in mine)

    def available(self, account: str, asset: str) -> int:
        return self.money.get((account, asset), 0) - self.held(account, asset)

    def depth(self, side: str) -> list[tuple[int, int]]:
        levels: dict[int, int] = {}
        for order in self.open:
            if order.side == side and not order.stop:
                levels[order.price] = levels.get(order.price, 0) + order.remaining
        return sorted(levels.items(), reverse=side == "buy")

    def gives(self, side: str) -> str:
        return self.quote if side == "buy" else self.base

    def move(self, account: str, asset: str, amount: int) -> None:
        self.money[account, asset] = self.money.get((account, asset), 0) + amount

    # How

    def _protection(self, side: str, around: int) -> int:
        if not around:
            raise Refused("no_reference")
        band = around * BAND_BPS // 10_000
        return around + band if side == "buy" else around - band

    def _enter(self, order: PlainOrder, *, rests: bool, force: str) -> None:
        fills, ends, left, prevented, reason = self._plan(order)
        if fills and order.kind == "post_only":
            raise Refused("would_take")
        if force == "fok" and sum(amount for _, amount in fills) < order.quantity:
            raise Refused("not_filled_whole")
        stays = rests and left > 0 and not reason
        cost = self._cost(order, fills, left if stays else 0)
        if order.kind not in ("stop", "stop_limit") and cost > self.available(order.account, self.gives(order.side)):
            raise Refused("insufficient_funds")
        paid = 0
        for maker, amount in fills:
            paid = self._trade(order, maker, amount, paid)
        for maker, amount, gone in ends:
            if gone:
                self.cancel(maker, "self_trade")
                continue
            maker.prevented += amount
            maker.remaining -= amount
            if not maker.remaining:
                self.cancel(maker, "self_trade")
        order.remaining, order.prevented = left, prevented
        if stays:
            self.open.append(order)
            return
        if not reason:
            reason = "immediate_or_cancel" if left else "filled" if order.filled else "self_trade"
        self._end(order, reason)

    def _plan(
        self, order: PlainOrder
    ) -> tuple[list[tuple[PlainOrder, int]], list[tuple[PlainOrder, int, bool]], int, int, str]:
        """(fills, own orders that are met, what is left, what is prevented, why it may not rest)."""
        sign = 1 if order.side == "buy" else -1
        makers = [maker for maker in self.open if maker.side != order.side and not maker.stop]
        fills: list[tuple[PlainOrder, int]] = []
        ends: list[tuple[PlainOrder, int, bool]] = []
        left, prevented = order.remaining, 0
        for maker in sorted(makers, key=lambda maker: (sign * maker.price, maker.place)):
            if not left or sign * maker.price > sign * order.price:
                break
            amount = min(left, maker.remaining)
            same_owner = self.owners[maker.account] == self.owners[order.account]
            if maker.account != order.account and (not same_owner or order.prevention == "none"):
                fills.append((maker, amount))
                left -= amount
            elif order.prevention == "decrement":
                ends.append((maker, amount, False))
                left -= amount
                prevented += amount
            else:
                if order.prevention in ("maker", "both"):
                    ends.append((maker, 0, True))
                if order.prevention != "maker":
                    return fills, ends, left, prevented, "self_trade"
        return fills, ends, left, prevented, ""

    def _trade(self, taker: PlainOrder, maker: PlainOrder, amount: int, paid: int) -> int:
        """Returns what the taker gave in all."""
        worth = _worth(maker.price, amount)
        gives, gets = (worth, amount) if taker.side == "buy" else (amount, worth)
        fee = _share(paid + gives, self.terms.taker_bps) - _share(paid, self.terms.taker_bps)
        maker_fee = _share(maker.gave + gets, self.terms.maker_bps) - _share(maker.gave, self.terms.maker_bps)
        for payer, payee, asset, sum_, cost in (
            (taker, maker, self.gives(taker.side), gives, fee),
            (maker, taker, self.gives(maker.side), gets, maker_fee),
        ):
            self.move(payer.account, asset, -sum_ - cost)
            self.move(payee.account, asset, sum_)
            self.move("fees", asset, cost)
        maker.gave += gets
        maker.remaining -= amount
        maker.filled += amount
        taker.filled += amount
        taker.fills.append(Fill(maker.price, amount, fee))
        self.trades.append((maker.price, amount, taker.side))
        self.last = maker.price
        if not maker.remaining:
            self.open.remove(maker)
            self._end(maker, "filled")
        return paid + gives

    def _cost(self, order: PlainOrder, fills: list[tuple[PlainOrder, int]], rest: int) -> int:
        paid = sum(_worth(maker.price, amount) if order.side == "buy" else amount for maker, amount in fills)
        resting = _worth(order.price, rest) if order.side == "buy" else rest
        return paid + _share(paid, self.terms.taker_bps) + resting + _share(resting, self.terms.maker_bps)

    def _hold(self, order: PlainOrder) -> int:
        most = _worth(order.price, order.remaining) if order.side == "buy" else order.remaining
        if order.stop:
            return most + _share(most, max(self.terms.maker_bps, self.terms.taker_bps)) + 1
        return most + _share(order.gave + most, self.terms.maker_bps) - _share(order.gave, self.terms.maker_bps)

    def _end(self, order: PlainOrder, reason: str) -> None:
        order.cancelled += order.remaining
        order.remaining = 0
        order.reason = reason
        self.ended.append(order)


def minor(text: str, scale: int) -> int:
    return int(Decimal(text).scaleb(scale))


def decimal(amount: int, scale: int) -> str:
    return f"{Decimal(amount).scaleb(-scale):.{scale}f}"


def _worth(price: int, quantity: int) -> int:
    """Prices and lots are such that there is no remainder."""
    worth = Decimal(price).scaleb(-PRICE_SCALE) * Decimal(quantity).scaleb(QUOTE_SCALE - BASE_SCALE)
    assert worth == int(worth)
    return int(worth)


def _share(amount: int, bps: int) -> int:
    """Rounded up."""
    return (amount * bps + 9_999) // 10_000

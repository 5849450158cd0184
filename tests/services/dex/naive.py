"""The order book a second time, as its rules are told: lists that are sorted when needed, and fractions. It shares
nothing with ``services/dex`` but the commands, and knows no hurry.

One market: prices of 2 decimals, both assets of 4. It is asked with the same commands and is told the id that the
node gave; it answers by changing, or by ``Refused`` with every code that fits what is wrong.
"""

from dataclasses import dataclass, field

from services.dex.intents import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    MassQuote,
    PlaceOrder,
    PlaceOrders,
    ReplaceOrder,
)
from tests.services.dex.naive_rules import Refused, Rest, Rules

TOUCHED_MAX = 100


@dataclass
class Naive(Rules):
    moment: int = 0
    """The number of the command: who came with which."""
    touched: int = 0
    """How many makers this command has met."""
    closed: list[Rest] = field(default_factory=list)
    trades: list[tuple] = field(default_factory=list)
    """(price, quantity, taker's side, maker, taker, maker's fee, taker's fee)"""
    fees_gold: int = 0
    fees_usd: int = 0

    # What is asked

    def place(self, command: PlaceOrder, id: str, actor: str) -> None:
        self._begin()
        self._place(command, id, actor)

    def cancel(self, command: CancelOrder, actor: str) -> None:
        self._begin()
        self._end(self._mine(command.id, actor), "cancelled")

    def amend(self, command: AmendOrder, actor: str) -> None:
        self._begin()
        order = self._mine(command.id, actor)
        quantity = self._quantity(command.quantity)
        rest = quantity - order.filled - order.prevented
        if not 0 < rest < order.remaining:
            raise Refused("bad_quantity")
        if self._notional(max(order.price, order.stop), quantity) < self.min_notional:
            raise Refused("bad_notional")
        order.cancelled += order.remaining - rest
        order.remaining = rest
        self._hold(order)

    def replace(self, command: ReplaceOrder, id: str, actor: str) -> None:
        self._begin()
        saved = self._saved()
        try:
            if command.mode not in ("stop_on_failure", "allow_failure"):
                raise Refused("bad_mode")
            try:
                self._end(self._mine(command.id, actor), "replaced")
            except Refused as refused:
                if command.mode != "allow_failure" or refused.codes != {"unknown_order"}:
                    raise
            self._place(command.order, id, actor)
        except Refused:
            self._restore(saved)
            raise

    def cancel_all(self, command: CancelAll, actor: str) -> None:
        self._begin()
        self._owner(command.account, actor)
        for order in list(self.open):
            if order.account == command.account:
                self._end(order, "cancelled")

    def mass_quote(self, command: MassQuote, ids: list[str], actor: str) -> list[set[str]]:
        """For each quote why it is refused; empty when it is not."""
        self._begin()
        self._owner(command.account, actor)
        if len(command.quotes) > 50:
            raise Refused("bad_count")
        for order in list(self.open):
            if order.account == command.account and order.quote:
                self._end(order, "quoted_again")
        orders = [
            PlaceOrder(command.market, command.account, quote.side, quote.quantity, quote.price, kind="post_only")
            for quote in command.quotes
        ]
        return self._each(orders, ids, actor, quote=True)

    def batch(self, command: PlaceOrders, ids: list[str], actor: str) -> list[set[str]]:
        """Each for itself, in their order; together they meet no more than one would."""
        self._begin()
        if not 1 <= len(command.orders) <= 100:
            raise Refused("bad_count")
        return self._each(list(command.orders), ids, actor, quote=False)

    def _each(self, orders: list[PlaceOrder], ids: list[str], actor: str, quote: bool) -> list[set[str]]:
        answers = []
        for number, wanted in enumerate(orders):
            saved = self._saved()
            try:
                self._place(wanted, ids[number], actor, place=number, quote=quote)
                answers.append(set())
            except Refused as refused:
                self._restore(saved)
                answers.append(refused.codes)
        return answers

    # What happens by itself

    def time_is(self, now: int) -> None:
        self.now = now
        for order in list(self.open):
            if order.expires and order.expires <= now:
                self._end(order, "expired")

    def wake(self) -> None:
        """Stop orders that a price has reached since they came, or that the last one has reached, one after the other:
        buys first, the nearest stop first."""
        while self.last and not self.halted:
            reached = [order for order in self.open if order.stop and (order.reached or _reaches(self.last, order))]
            if not reached:
                return
            order = min(
                reached,
                key=lambda one: (one.side != "buy", one.stop if one.side == "buy" else -one.stop, one.came),
            )
            self._begin()
            if self.traders[order.account].frozen:
                self._end(order, "account_frozen")
                continue
            self.open.remove(order)
            order.stop = 0
            order.came = (self.moment, 0)
            order.rests = order.kind == "stop_limit"
            self._enter(order)

    # What is there

    def side(self, side: str) -> list[Rest]:
        found = [order for order in self.open if order.side == side and not order.stop]
        return sorted(found, key=lambda order: (-order.price if side == "buy" else order.price, order.came))

    def book(self) -> tuple[list[tuple], list[tuple]]:
        bids, asks = (
            [(order.id, order.price, order.remaining) for order in self.side(side)] for side in ("buy", "sell")
        )
        return bids, asks

    def find(self, id: str) -> Rest | None:
        return next((order for order in self.open if order.id == id), None)

    # How

    def _begin(self) -> None:
        self.moment += 1
        self.touched = 0

    def _place(self, command: PlaceOrder, id: str, actor: str, place: int = 0, quote: bool = False) -> None:
        order = self._order(command, id, actor)
        order.came = (self.moment, place)
        order.quote = quote
        if order.stop:
            most = self._given(order.side, order.price, order.quantity)
            need = most + self._fee(most, max(order.maker_bps, order.taker_bps)) + 1
            self._take(order, need)
            self.open.append(order)
        else:
            self._enter(order)

    def _enter(self, order: Rest) -> None:
        """Meets the other side, best first, who came first first."""
        given = fee = 0
        fills: list[tuple[Rest, int, int]] = []
        ends: list[tuple[Rest, str]] = []
        shrinks: list[tuple[Rest, int]] = []
        left, prevented, reason = order.remaining, 0, ""
        touched = 0
        for maker in self.side("sell" if order.side == "buy" else "buy"):
            if left == 0 or (maker.price > order.price if order.side == "buy" else maker.price < order.price):
                break
            if self.touched + touched == TOUCHED_MAX:
                reason = "fill_limit"
                break
            touched += 1
            same = maker.owner == order.owner or maker.account == order.account
            if self.traders[maker.account].frozen:
                ends.append((maker, "account_frozen"))
            elif not same or (order.prevention == "none" and maker.account != order.account):
                quantity = min(left, maker.remaining)
                give = self._given(order.side, maker.price, quantity)
                given += give
                part = self._fee(given, order.taker_bps) - fee
                fee += part
                fills.append((maker, quantity, part))
                left -= quantity
            elif order.prevention == "decrement":
                quantity = min(left, maker.remaining)
                shrinks.append((maker, quantity))
                left -= quantity
                prevented += quantity
                reason = "" if left else "self_trade"
            else:
                if order.prevention in ("maker", "both"):
                    ends.append((maker, "self_trade"))
                else:
                    touched -= 1
                if order.prevention != "maker":
                    reason = "self_trade"
                    break
        if order.kind == "post_only" and fills:
            raise Refused("would_take")
        if order.whole and (left or prevented):
            raise Refused("not_filled_whole")
        stays = order.rests and left > 0 and not reason
        rest = self._given(order.side, order.price, left) if stays else 0
        need = given + fee + rest + self._fee(rest, order.maker_bps)
        self._take(order, need)
        self.touched += touched
        for maker, quantity, part in fills:
            self._trade(order, maker, quantity, part)
        for maker, why in ends:
            self._end(maker, why)
        for maker, quantity in shrinks:
            maker.remaining -= quantity
            maker.prevented += quantity
            if maker.remaining:
                self._hold(maker)
            else:
                self._end(maker, "self_trade")
        order.remaining = left
        order.prevented += prevented
        # As a maker it begins anew: what it gave as a taker had the taker's fee.
        order.gave = order.fees = 0
        if stays:
            self.open.append(order)
            return
        self._ended(order, reason or ("immediate_or_cancel" if left else "filled"))

    def _trade(self, taker: Rest, maker: Rest, quantity: int, taker_fee: int) -> None:
        cash = self._notional(maker.price, quantity)
        taker_gives, maker_gives = (cash, quantity) if taker.side == "buy" else (quantity, cash)
        maker.gave += maker_gives
        maker_fee = self._fee(maker.gave, maker.maker_bps) - maker.fees
        maker.fees += maker_fee
        for order, gives, fee, gets in (
            (taker, taker_gives, taker_fee, maker_gives),
            (maker, maker_gives, maker_fee, taker_gives),
        ):
            trader = self.traders[order.account]
            order.held -= gives + fee
            order.filled += quantity
            if order.side == "buy":
                trader.held_usd -= gives + fee
                trader.gold += gets
                self.fees_usd += fee
            else:
                trader.held_gold -= gives + fee
                trader.usd += gets
                self.fees_gold += fee
        maker.remaining -= quantity
        self.last = maker.price
        for order in self.open:
            if order.stop and _reaches(maker.price, order):
                order.reached = True
        self.trades.append((maker.price, quantity, taker.side, maker.id, taker.id, maker_fee, taker_fee))
        if not maker.remaining:
            self._end(maker, "filled")

    def _end(self, order: Rest, reason: str) -> None:
        self.open.remove(order)
        self._ended(order, reason)

    def _ended(self, order: Rest, reason: str) -> None:
        self._set_held(order, 0)
        order.cancelled += order.remaining
        order.remaining = 0
        order.reason = reason
        self.closed.append(order)

    def _hold(self, order: Rest) -> None:
        """What an open order holds: what it may still give, and the fee that this will add."""
        rest = self._given(order.side, order.price, order.remaining)
        if order.stop:
            self._set_held(order, rest + self._fee(rest, max(order.maker_bps, order.taker_bps)) + 1)
        else:
            self._set_held(order, rest + self._fee(order.gave + rest, order.maker_bps) - order.fees)

    def _take(self, order: Rest, need: int) -> None:
        """One that waited has its money."""
        trader = self.traders[order.account]
        if (trader.usd if order.side == "buy" else trader.gold) + order.held < need:
            raise Refused("insufficient_funds")
        self._set_held(order, need)

    def _set_held(self, order: Rest, amount: int) -> None:
        trader = self.traders[order.account]
        more = amount - order.held
        order.held = amount
        if order.side == "buy":
            trader.usd -= more
            trader.held_usd += more
        else:
            trader.gold -= more
            trader.held_gold += more

    def _mine(self, id: str, actor: str) -> Rest:
        order = self.find(id)
        if order is None:
            raise Refused("unknown_order")
        self._owner(order.account, actor)
        return order

    def _saved(self) -> tuple:
        rows = [(order, dict(vars(order))) for order in self.open]
        money = {key: dict(vars(trader)) for key, trader in self.traders.items()}
        return rows, list(self.open), len(self.closed), len(self.trades), money, self.last

    def _restore(self, saved: tuple) -> None:
        rows, self.open, closed, trades, money, self.last = saved[0], list(saved[1]), *saved[2:]
        for order, values in rows:
            vars(order).update(values)
        for key, values in money.items():
            vars(self.traders[key]).update(values)
        del self.closed[closed:], self.trades[trades:]


def _reaches(price: int, stop: Rest) -> bool:
    return price >= stop.stop if stop.side == "buy" else price <= stop.stop

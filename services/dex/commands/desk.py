"""One command's work: on a floor with a desk for each market that it touches. At a desk orders are placed and ended and
fills are paid; the book's row is written once."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from jilnode.kernel.state import Context, State, View
from jilnode.limits import INT64_MAX
from jilnode.module import Rejected
from services.dex.commands.watch import Prices, after, first_of, judged, look
from services.dex.matching import MAKERS_MAX, Fill, Match, match
from services.dex.prices import fee_on, given, notional, rest_cost, saturated, wait_cost
from services.dex.rows import (
    BOOKS,
    BUY,
    CLOSED,
    ORDERS,
    PLACES_PER_EVENT,
    SELL,
    TRADES,
    Book,
    Closed,
    Market,
    Order,
    Trade,
)
from services.wallet.commands.shares import Purpose
from services.wallet.kinds import Reserved
from services.wallet.ledger import Ledger, may_pay
from services.wallet.rows import ACCOUNTS, SHARES

__all__ = ("Desk", "Floor", "why_unfit")


class Floor:
    """One for each command; ``finish`` ends it. Its desks share the ledger and the number of makers that a command may
    meet."""

    def __init__(self, state: State, context: Context) -> None:
        self.state = state
        self.context = context
        self.ledger = Ledger(state, context)
        self.makers_left = MAKERS_MAX
        self._desks: dict[str, Desk] = {}

    def desk(self, key: str, market: Market) -> "Desk":
        found = self._desks.get(key)
        if found is None:
            found = self._desks[key] = Desk(self, key, market)
        return found

    def finish(self) -> None:
        for desk in self._desks.values():
            desk.finish()
        self.ledger.write()


class Desk:
    """Comes from a floor."""

    def __init__(self, floor: Floor, key: str, market: Market) -> None:
        self.state = state = floor.state
        self.context = floor.context
        self.ledger = floor.ledger
        book = state[BOOKS].get(key)
        assert book is not None
        self.key = key
        self.market = market
        self.book: Book = book
        self._floor = floor
        self.sequence = book.sequence + 1
        """Of this event."""
        self.looks = False
        """Whether the market is to be looked at although nothing was traded: a stop order came, or its time has
        come."""
        self._came = 0
        self._traded = book
        """With the trades of this command so far."""

    @property
    def now(self) -> Book:
        """The market as it is after what this command has traded so far: a batch's next order is judged by that."""
        if self._traded is self.book:
            return self.book
        return judged(self.context.time_us, self.market, self._traded)

    # What comes

    def place(self) -> int:
        """The priority of whoever comes now."""
        self._came += 1
        assert self._came < PLACES_PER_EVENT
        return self.sequence * PLACES_PER_EVENT + self._came

    def enter(
        self,
        key: str,
        order: Order,
        *,
        takes: bool = True,
        rests: bool = True,
        whole: bool = False,
        waited: bool = False,
    ) -> None:
        """Matches the order, pays what it fills, and lets the rest into the book or ends it. What it needs is known
        once it is matched, and is set aside then. ``takes``: it may; ``whole``: all of it or nothing; ``waited``: it
        was a row before, for its stop. Raises ``Rejected`` (``would_take``, ``not_filled_whole``, and what the
        ledger raises); nothing is changed then."""
        floor = self._floor
        if self._meets(order):
            found = match(order, self._makers(order), floor.makers_left, self.unfit)
        else:
            found = Match([], [], 0, order.remaining, 0, "", [])
        if found.fills and not takes:
            raise Rejected("would_take", "a post-only order would have been filled at once", field="/price")
        if whole and found.filled < order.remaining:
            raise Rejected("not_filled_whole", "the book can't fill all of it in one command", field="/quantity")
        market, side = self.market, order.side
        taker_bps = order.taker_bps if waited else market.taker_bps
        turnovers = [notional(market, fill.maker.price, fill.quantity) for fill in found.fills]
        paid = sum(turnovers) if side == BUY else found.filled
        stays = bool(rests and found.remaining and not found.reason)
        rest = given(market, side, order.price, found.remaining) if stays else 0
        cost = paid + fee_on(paid, taker_bps) + rest_cost(order, rest)
        reserved = order.reserved
        if waited:
            reserved = self.ledger.keep(order.account, reserved, cost)
        elif cost:
            reserved = self.ledger.reserve(order.account, reserved.asset, cost, paid + rest, _purpose(order))
        floor.makers_left -= len(found.fills) + len(found.met) + len(found.unfit)
        if found.fills:
            reserved = self._pay(key, order, reserved, found.fills, turnovers, taker_bps)
        for unfit in found.unfit:
            self.end(unfit.key, unfit.maker, unfit.code)
        for met in found.met:
            if met.cancelled:
                self.end(met.key, met.maker, "self_trade")
            else:
                self._prevent(met.key, met.maker, met.quantity)
        orders = self.state[ORDERS]
        filled, prevented = order.filled + found.filled, order.prevented + found.prevented
        turnover = saturated(order.turnover + sum(turnovers))
        if stays:
            left = replace(
                order,
                reserved=reserved,
                remaining=found.remaining,
                filled=filled,
                prevented=prevented,
                turnover=turnover,
            )
            (orders.put if waited else orders.insert)(key, left)
            return
        self.ledger.keep(order.account, reserved, 0)
        if waited:
            orders.delete(key)
        reason = found.reason or ("immediate_or_cancel" if found.remaining else "filled")
        self._close(key, order, reason, filled, order.cancelled + found.remaining, prevented, turnover)

    def wait(self, key: str, order: Order) -> None:
        """A stop order waits outside the book, funded."""
        most = self._gives(order, order.remaining)
        cost, purpose = wait_cost(order, most), _purpose(order)
        reserved = self.ledger.reserve(order.account, order.reserved.asset, cost, most, purpose)
        self.state[ORDERS].insert(key, replace(order, reserved=reserved))
        self.looks = True

    # What goes

    def end(self, key: str, order: Order, reason: str) -> None:
        """Takes an open order out: what it holds goes back."""
        self.ledger.keep(order.account, order.reserved, 0)
        self.state[ORDERS].delete(key)
        cancelled = order.cancelled + order.remaining
        self._close(key, order, reason, order.filled, cancelled, order.prevented, order.turnover)

    def lower(self, key: str, order: Order, quantity: int) -> None:
        """Cancels ``quantity`` of what remains, less than all. The order keeps its place."""
        remaining = order.remaining - quantity
        cost = wait_cost if order.stop else rest_cost
        reserved = self.ledger.keep(order.account, order.reserved, cost(order, self._gives(order, remaining)))
        cancelled = order.cancelled + quantity
        left = replace(order, reserved=reserved, remaining=remaining, cancelled=cancelled)
        self.state[ORDERS].put(key, left)

    # The end of the command

    def finish(self) -> None:
        """Writes the book's row: its sequence; after a trade, or when the market is looked at, the last price, the
        minute's candle, the market's state, and when to look again."""
        book = self.book
        if self._traded is not book or self.looks:
            book = look(self.state, self.context.time_us, self.key, self.market, book, self._traded)
        self.state[BOOKS].put(self.key, replace(book, sequence=self.sequence))

    def unfit(self, order: Order) -> str:
        return why_unfit(self.state, self.context, order)

    def gives(self, side: str) -> str:
        return self.market.quote if side == BUY else self.market.base

    # The rest is how

    def _gives(self, order: Order, remaining: int) -> int:
        return given(self.market, order.side, order.price, remaining)

    def _meets(self, taker: Order) -> bool:
        best = first_of(self.state, "book", self.key, SELL if taker.side == BUY else BUY)
        return best is not None and _crosses(taker, best[1])

    def _makers(self, taker: Order) -> Iterator[tuple[str, Order]]:
        """The other side of the book, best first, as far as it crosses. What they need comes into memory together: for
        as many as fill the taker if all may trade, then for a hundred at a time."""
        orders = self.state[ORDERS]
        keys = orders.ordered("book", (self.key, SELL if taker.side == BUY else BUY))
        wanted = taker.remaining
        while True:
            found: list[tuple[str, Order]] = []
            for key in keys:
                order: Any = orders.get(key)
                if not _crosses(taker, order):
                    break
                found.append((key, order))
                wanted -= order.remaining
                if wanted <= 0 or len(found) == MAKERS_MAX:
                    break
            if not found:
                return
            self.state.need(self._needed(taker, found))
            yield from found
            wanted = INT64_MAX

    def _needed(self, taker: Order, makers: list[tuple[str, Order]]) -> list[tuple[Any, str]]:
        base, quote, source = self.market.base, self.market.quote, self.context.source
        found: list[tuple[Any, str]] = []
        for account in (taker.account, *[maker.account for _, maker in makers]):
            found.append((ACCOUNTS, account))
            found.append((SHARES, f"{account}/{base}/{source}"))
            found.append((SHARES, f"{account}/{quote}/{source}"))
        return found

    def _pay(
        self, key: str, order: Order, reserved: Reserved, fills: list[Fill], turnovers: list[int], taker_bps: int
    ) -> Reserved:
        """Pays each fill both ways, and writes its trade. Returns what the taker has left of what is ``reserved``."""
        state, context, market, ledger = self.state, self.context, self.market, self.ledger
        prices: Prices = []
        taker_paid = 0
        buys = order.side == BUY
        for fill, turnover in zip(fills, turnovers, strict=True):
            maker, quantity, price = fill.maker, fill.quantity, fill.maker.price
            taker_gives, maker_gives = (turnover, quantity) if buys else (quantity, turnover)
            taker_fee = fee_on(taker_paid + taker_gives, taker_bps) - fee_on(taker_paid, taker_bps)
            maker_fee = fee_on(maker.given + maker_gives, maker.maker_bps) - fee_on(maker.given, maker.maker_bps)
            taker_paid += taker_gives
            taker_scale, maker_scale = market.quote_scale, market.base_scale
            if not buys:
                taker_scale, maker_scale = maker_scale, taker_scale
            left = ledger.give_reserved(maker.account, maker.reserved, order.account, maker_gives, maker_fee)
            reserved = ledger.give_reserved(order.account, reserved, maker.account, taker_gives, taker_fee)
            state[TRADES].insert(
                context.new_key(),
                Trade(
                    order.account,
                    maker.account,
                    reserved.asset,
                    taker_gives,
                    taker_fee,
                    taker_scale,
                    left.asset,
                    maker_gives,
                    maker_fee,
                    maker_scale,
                    context.time_us,
                    self.key,
                    self._traded.trades + len(prices) + 1,
                    price,
                    order.side,
                    fill.key,
                    key,
                ),
            )
            prices.append((price, quantity, turnover, order.priority))
            self._filled(fill.key, maker, left, quantity, maker_gives, turnover)
        self._traded = after(context.time_us, self._traded, prices)
        return reserved

    def _filled(self, key: str, maker: Order, reserved: Reserved, quantity: int, gave: int, turnover: int) -> None:
        remaining, filled = maker.remaining - quantity, maker.filled + quantity
        moved = saturated(maker.turnover + turnover)
        orders = self.state[ORDERS]
        if remaining:
            left = replace(
                maker, reserved=reserved, remaining=remaining, filled=filled, turnover=moved, given=maker.given + gave
            )
            orders.put(key, left)
            return
        self.ledger.keep(maker.account, reserved, 0)
        orders.delete(key)
        self._close(key, maker, "filled", filled, maker.cancelled, maker.prevented, moved)

    def _prevent(self, key: str, maker: Order, quantity: int) -> None:
        remaining, prevented = maker.remaining - quantity, maker.prevented + quantity
        if remaining:
            reserved = self.ledger.keep(maker.account, maker.reserved, rest_cost(maker, self._gives(maker, remaining)))
            left = replace(maker, reserved=reserved, remaining=remaining, prevented=prevented)
            self.state[ORDERS].put(key, left)
        else:
            self.end(key, replace(maker, remaining=0, prevented=prevented), "self_trade")

    def _close(
        self, key: str, order: Order, reason: str, filled: int, cancelled: int, prevented: int, turnover: int
    ) -> None:
        """Writes the row of an order that has ended, with what became of it in all."""
        self.state[CLOSED].insert(
            key,
            Closed(
                order.market,
                order.account,
                order.side,
                order.price,
                order.quantity,
                order.priority,
                order.placed_us,
                self.context.time_us,
                reason,
                order.kind,
                order.time_in_force,
                order.client_id,
                filled,
                cancelled,
                prevented,
                turnover,
                order.stop,
            ),
        )


def why_unfit(rows: State | View, context: Context, order: Order) -> str:
    """Why an open order may not trade now; empty when it may. Its time may be over and the kernel's turn to say so not
    yet come."""
    if order.expires_us and order.expires_us <= context.time_us:
        return "expired"
    return may_pay(context, order.account, rows[ACCOUNTS].get(order.account))


def _purpose(order: Order) -> Purpose:
    """By which money that is asked for elsewhere is known when the same order comes again."""
    return (f"order.{order.side}", order.market, order.quantity)


def _crosses(taker: Order, maker: Order) -> bool:
    return maker.price <= taker.price if taker.side == BUY else maker.price >= taker.price

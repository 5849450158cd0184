"""One market as its events tell it: an order book kept beside the exchange's own, and judged after each event."""

from typing import Any, NamedTuple

from jilnode.simulation.exchange.money import Hold, Moved
from jilnode.simulation.finding import Finding
from services.dex.rows import BUY, SELL, Book, Closed, Market, Order, Trade

__all__ = ("Event", "ShadowBook", "Shape", "ceiling", "notional")

BASIS_POINTS = 10_000

Place = tuple[str, int, int]
"""(order, price, remaining); of an order that waits, its stop in place of the price."""
Shape = dict[tuple[str, str], tuple[Place, ...]]
"""(``book`` or ``stops``, side) -> who stands there, first in the queue first."""


class Event(NamedTuple):
    """What one entry says about one market; rows by their keys, None where they are deleted."""

    where: str
    orders: dict[str, Order | None]
    closed: dict[str, Closed]
    trades: dict[str, Trade]


class ShadowBook:
    def __init__(self, key: str, terms: Market, row: Book) -> None:
        self.key = key
        self.terms = terms
        self.row = row
        self.orders: dict[str, Order] = {}
        self.shapes: list[tuple[int, Shape]] = [(0, _shape([]))]
        """(size of the journal, the book from then on), rising."""
        self._last_place = 0

    def apply(self, event: Event, row: Book, size: int) -> None:
        before = self.orders
        after = {key: order for key, order in before.items() if key not in event.orders}
        after |= {key: order for key, order in event.orders.items() if order is not None}
        self._numbered(event, row)
        self._counted(event, before)
        self._placed(event, before)
        shape = _shape(list(after.items()))
        self._traded(event, before, shape)
        bids, asks = shape["book", BUY], shape["book", SELL]
        if bids and asks and bids[0][1] >= asks[0][1]:
            raise Finding(f"crossed: {event.where} leaves {self.key} with {bids[0]} over {asks[0]} (B1)")
        self.orders, self.row = after, row
        self.shapes.append((size, shape))

    def give(self, side: str) -> str:
        return self.terms.quote if side == BUY else self.terms.base

    def holds(self) -> dict[str, Hold]:
        """B9: what is reserved for each open order."""
        return {
            key: Hold(order.account, self.give(order.side), self._hold(order)) for key, order in self.orders.items()
        }

    def pay(self, source: str, event: Event, expected: Moved) -> None:
        """Adds what the event's trades should move, each fee computed on all that its order gave so far; before the
        event is applied."""
        gave: dict[tuple[str, bool], int] = {}
        for trade in sorted(event.trades.values(), key=lambda trade: trade.number):
            buys = trade.side == "buy"
            taker, maker = (trade.turnover, trade.quantity) if buys else (trade.quantity, trade.turnover)
            taker_asset, maker_asset = self.give(trade.side), self.give("sell" if buys else "buy")
            for key, payer, payee, asset, amount, fee, takes in (
                (trade.taker_order, trade.taker, trade.maker, taker_asset, taker, trade.taker_fee, True),
                (trade.maker_order, trade.maker, trade.taker, maker_asset, maker, trade.maker_fee, False),
            ):
                order = self.orders.get(key)
                if takes:
                    bps = order.taker_bps if order is not None else self.terms.taker_bps
                    start = gave.get((key, True), 0)
                else:
                    bps = order.maker_bps if order is not None else self.terms.maker_bps
                    start = gave.get((key, False), 0 if order is None else order.given)
                gave[key, takes] = start + amount
                if fee != ceiling(start + amount, bps) - ceiling(start, bps):
                    raise Finding(f"paid: {event.where}, trade {trade.number} of {self.key}, takes a fee of {fee}")
                for account, change in ((payer, -amount - fee), (payee, amount), (f"{source}/fees", fee)):
                    balance = f"{account}/{asset}"
                    expected[balance] = expected.get(balance, 0) + change

    def _hold(self, order: Order) -> int:
        """What an open order holds: what it may still give, with the fee on that. One that waits may be taken in one
        part and rest in another, each with its fee rounded up."""
        rest = notional(self.terms, order.price, order.remaining) if order.side == BUY else order.remaining
        if order.stop:
            return rest + ceiling(rest, max(order.taker_bps, order.maker_bps)) + 1
        return rest + ceiling(order.given + rest, order.maker_bps) - ceiling(order.given, order.maker_bps)

    def _numbered(self, event: Event, row: Book) -> None:
        if row.sequence != self.row.sequence + 1:
            raise Finding(f"sequence: {event.where} takes {self.key} from {self.row.sequence} to {row.sequence} (B11)")
        numbers = sorted(trade.number for trade in event.trades.values())
        if numbers != list(range(self.row.trades + 1, row.trades + 1)):
            raise Finding(f"sequence: {event.where} numbers the trades of {self.key} {numbers} (B11)")

    def _counted(self, event: Event, before: dict[str, Order]) -> None:
        """B3, and that what was traded is what orders were filled with."""
        filled: dict[str, int] = {}
        for trade in event.trades.values():
            for key in (trade.maker_order, trade.taker_order):
                filled[key] = filled.get(key, 0) + trade.quantity
        for key in {**event.orders, **event.closed}:
            old, ended = before.get(key), event.closed.get(key)
            now: Any = ended or event.orders.get(key)
            if now is None or (ended is not None and event.orders.get(key) is not None):
                raise Finding(f"counted: {event.where} ends {key} without a word, or twice")
            remaining = 0 if ended is not None else now.remaining
            if now.filled + remaining + now.cancelled + now.prevented != now.quantity or remaining < 0:
                raise Finding(f"counted: {event.where} leaves {key} with parts that are not its quantity (B3)")
            if old is not None and (old.price, old.side, old.quantity) != (now.price, now.side, now.quantity):
                raise Finding(f"counted: {event.where} changes what {key} is")
            if now.filled - (0 if old is None else old.filled) != filled.pop(key, 0):
                raise Finding(f"counted: {event.where} fills {key} with what was not traded")
        if filled:
            raise Finding(f"counted: {event.where} trades for {sorted(filled)} and does not count it")

    def _placed(self, event: Event, before: dict[str, Order]) -> None:
        """B6 and B10: who may rest, and that each comes behind all who came before."""
        places = []
        for key, order in event.orders.items():
            if order is None:
                continue
            if order.time_in_force in ("ioc", "fok") or (order.kind in ("market", "stop") and not order.stop):
                raise Finding(f"rests: {event.where} lets {key}, {order.kind} {order.time_in_force}, rest (B6)")
            old = before.get(key)
            if old is None or bool(old.stop) != bool(order.stop):
                places.append(order.priority)
            elif old.priority != order.priority:
                raise Finding(f"place: {event.where} moves {key} in its queue (B10)")
        places.sort()
        if places and (places[0] <= self._last_place or len(set(places)) != len(places)):
            raise Finding(f"place: {event.where} gives a newcomer a place that is not the last")
        self._last_place = max([self._last_place, *places])

    def _traded(self, event: Event, before: dict[str, Order], shape: Shape) -> None:
        """B2, B4, B6: nobody is passed over, everybody pays what they offered, and a post-only order never takes."""
        orders: dict[str, Any] = {**before, **event.closed}
        orders |= {key: order for key, order in event.orders.items() if order is not None}
        for trade in sorted(event.trades.values(), key=lambda trade: trade.number):
            maker, taker = orders[trade.maker_order], orders[trade.taker_order]
            where = f"{event.where}, trade {trade.number} of {self.key},"
            if self.terms.halted:
                raise Finding(f"traded: {where} is of a halted market")
            if trade.price != maker.price:
                raise Finding(f"traded: {where} is at {trade.price}, its maker's price is {maker.price} (B4)")
            waited = before.get(trade.maker_order)
            if waited is not None and 0 < waited.expires_us <= trade.at_us:
                raise Finding(f"traded: {where} is of an order whose time was over")
            if trade.turnover != notional(self.terms, trade.price, trade.quantity):
                raise Finding(f"traded: {where} moves {trade.turnover}")
            if trade.price > taker.price if trade.side == BUY else trade.price < taker.price:
                raise Finding(f"traded: {where} is beyond its taker's limit (B4)")
            if taker.kind == "post_only" or (taker.time_in_force == "fok" and taker.filled != taker.quantity):
                raise Finding(f"traded: {where} has a taker that is {taker.kind} {taker.time_in_force} (B6)")
            for key, price, _ in shape["book", maker.side]:
                other = orders[key]
                better = price < maker.price if maker.side == SELL else price > maker.price
                if not better and (price != maker.price or other.priority >= maker.priority):
                    break
                if other.priority < taker.priority:
                    raise Finding(f"priority: {where} passes over {key} (B2)")


def notional(terms: Market, price: int, quantity: int) -> int:
    """Minor units of the quote; a market is made so that there is no remainder."""
    whole, rest = divmod(
        price * quantity * int(10**terms.quote_scale), int(10 ** (terms.price_scale + terms.base_scale))
    )
    if rest:
        raise Finding(f"{price} x {quantity} leaves a remainder")
    return whole


def ceiling(amount: int, bps: int) -> int:
    whole, rest = divmod(amount * bps, BASIS_POINTS)
    return whole + (rest > 0)


def _shape(orders: list[tuple[str, Order]]) -> Shape:
    found: dict[tuple[str, str], list[tuple[int, int, str, Order]]] = {
        (name, side): [] for name in ("book", "stops") for side in (BUY, SELL)
    }
    for key, order in orders:
        rank = order.stop or order.price
        # Buyers stand with the highest price first; those who wait to buy with the lowest stop.
        if (order.side == BUY) != bool(order.stop):
            rank = -rank
        found["stops" if order.stop else "book", order.side].append((rank, order.priority, key, order))
    return {
        where: tuple((key, order.stop or order.price, order.remaining) for _, _, key, order in sorted(places))
        for where, places in found.items()
    }

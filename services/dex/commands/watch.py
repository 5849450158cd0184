"""What a trade, or the passing of time, does to a market's row: the last price, the minute's candle, the state, and
when to look again."""

from typing import Final

from msgspec.structs import replace

from jilnode.kernel.state import State
from jilnode.limits import INT64_MAX
from services.dex.prices import saturated
from services.dex.rows import BUY, CANDLES, ORDERS, SELL, Book, Candle, Market, Order
from services.dex.states import MINUTE_US, NORMAL, STATES, WINDOW_MINUTES, next_state, volatility

__all__ = ("after", "first_of", "judged", "look", "of_minute", "reaches", "woken")

WAKING_STATES: Final = STATES[:2]

Prices = list[tuple[int, int, int, int]]
"""(price, quantity, turnover, the taker's place) of each trade."""


def look(state: State, now_us: int, key: str, market: Market, book: Book, traded: Book) -> Book:
    """The row after what this command has ``traded``; with the candle of the minute that is over, and when to look
    again."""
    if book.count and book.minute < now_us // MINUTE_US:
        state[CANDLES].insert(
            f"{key}/{book.minute:010d}",
            Candle(key, book.open, book.high, book.low, book.last, book.volume, book.turnover, book.count),
        )
    book = judged(now_us, market, traded)
    first = _first_reached(state, key, book)
    wakes = first is not None and _is_calm(market, book)
    reach = () if first is None else book.reach
    return replace(book, reach=reach, due_us=_due_us(now_us, book, wakes))


def after(now_us: int, book: Book, prices: Prices) -> Book:
    """The last price and the minute's candle after these trades."""
    minute = now_us // MINUTE_US
    book = of_minute(book, minute)
    first, last = prices[0][0], prices[-1][0]
    opened, high, low = (book.open, book.high, book.low) if book.count else (first, first, first)
    volume, turnover = book.volume, book.turnover
    peak, peak_place, trough, trough_place = book.reach or (0, 0, INT64_MAX, 0)
    for price, quantity, moved, place in prices:
        high, low = max(high, price), min(low, price)
        if price >= peak:
            peak, peak_place = price, place
        if price <= trough:
            trough, trough_place = price, place
        volume += quantity
        turnover += moved
    before = [item for item in book.ranges if minute - WINDOW_MINUTES < item[0] < minute]
    return replace(
        book,
        trades=book.trades + len(prices),
        last=last,
        minute=minute,
        open=opened,
        high=high,
        low=low,
        volume=saturated(volume),
        turnover=saturated(turnover),
        count=book.count + len(prices),
        ranges=(*before, (minute, low, high)),
        reach=(peak, peak_place, trough, trough_place),
    )


def judged(now_us: int, market: Market, book: Book) -> Book:
    """The market's state as it follows from the book's prices, in a minute that may have none yet."""
    minute = now_us // MINUTE_US
    book = of_minute(book, minute)
    wild_bps = volatility(book.ranges, minute)
    now = next_state(book.state, book.since_us, now_us, wild_bps, market.states_bps)
    if now != book.state:
        book = replace(book, state=now, since_us=now_us)
    return book


def woken(state: State, key: str, market: Market, book: Book) -> tuple[str, Order] | None:
    """The first stop order that was reached, unless the market is too wild for it."""
    return _first_reached(state, key, book) if _is_calm(market, book) else None


def reaches(book: Book, order: Order) -> bool:
    """Whether the last price wakes a stop order; or one that was traded since it came, and that the market has left
    before the order had its turn."""
    last, stop, priority = book.last, order.stop, order.priority
    if not last:
        return False
    peak, peak_place, trough, trough_place = book.reach or (0, 0, 0, 0)
    if order.side == BUY:
        return last >= stop or (peak >= stop and priority < peak_place)
    return last <= stop or (trough <= stop and priority < trough_place)


def first_of(state: State, index: str, market: str, side: str) -> tuple[str, Order] | None:
    orders = state[ORDERS]
    for key in orders.ordered(index, (market, side)):
        order = orders.get(key)
        assert order is not None
        return key, order
    return None


def _is_calm(market: Market, book: Book) -> bool:
    return not market.halted and book.state in WAKING_STATES


def _first_reached(state: State, key: str, book: Book) -> tuple[str, Order] | None:
    """Buys first, the nearest stop first. Those that came after the price that would have reached them are passed
    over."""
    last, reach = book.last, book.reach
    orders = state[ORDERS]
    for side in (BUY, SELL):
        for order_key in orders.ordered("stops", (key, side)):
            order = orders.get(order_key)
            assert order is not None
            if reaches(book, order):
                return order_key, order
            if not reach or (max(last, reach[0]) < order.stop if side == BUY else min(last, reach[2]) > order.stop):
                break
    return None


def _due_us(now_us: int, book: Book, wakes: bool) -> int:
    if wakes:
        # One that runs right now is asked again one microsecond later, else at the end of this very batch.
        return now_us + 1 if 0 < book.due_us <= now_us else now_us
    if book.count:
        return (book.minute + 1) * MINUTE_US
    return now_us + MINUTE_US if book.state != NORMAL else 0


def of_minute(book: Book, minute: int) -> Book:
    """The minute before is over: its candle's numbers are not this one's."""
    if book.count and book.minute < minute:
        return replace(book, count=0, volume=0, turnover=0)
    return book

"""A market's book: what it is of never changes, what it counts has no gaps, and its prices are what was traded."""

from typing import Any

from jilnode.module import Change
from services.dex.commands.markets import BPS_MAX
from services.dex.commands.watch import Prices, of_minute
from services.dex.commands.watch import after as after_trades
from services.dex.prices import PRICE_SCALE_MAX, is_exact
from services.dex.rows import (
    BOOKS,
    CANDLES,
    CLOSED,
    MARKETS,
    ORDERS,
    PLACES_PER_EVENT,
    TRADES,
    Book,
    Candle,
    Market,
    Order,
)
from services.dex.states import MINUTE_US
from services.wallet.invariants import SCALE_MAX

__all__ = ("charted", "listed", "numbered")


def listed(change: Change) -> str | None:
    """What a market is stays what it was, and its book is of the same; decimals are in bounds, so that nobody counts in
    absurd numbers, and nothing that is traded is rounded."""
    markets = {}
    begun: set[str] = set()
    for key, before, after in change.rows(MARKETS):
        if after is None or (before is not None and _fixed(before) != _fixed(after)):
            return f"market {key} is deleted, or of something else than it was"
        if before is None:
            if not _countable(after):
                return f"market {key} has decimals out of bounds, or no tick or lot, or rounds what is traded"
            begun.add(key)
        if not (0 <= after.maker_bps <= BPS_MAX and 0 <= after.taker_bps <= BPS_MAX):
            return f"market {key} takes a fee that nobody takes"
        markets[key] = ((after.price_scale, after.base_scale, after.quote_scale), (after.base, after.quote))
    for key, before, after in change.rows(BOOKS):
        if after is None:
            return f"book {key} is deleted"
        was = markets.get(key) if before is None else (before.scales, before.assets)
        if was != (after.scales, after.assets):
            return f"book {key} is of other assets or decimals than its market"
        begun.discard(key)
    if begun:
        return f"market {next(iter(begun))} has no book"
    return None


def numbered(change: Change) -> str | None:
    """B11: the sequence of a book and the numbers of its trades have no gaps, and nothing happens to an order without
    its book's knowing. Who comes, or wakes, gets a place of this event (B2)."""
    prices: dict[str, dict[int, tuple[int, int, int, int]]] = {}
    trades = change.rows(TRADES)
    places = _places(change) if trades else {}
    for key, _, trade in trades:
        numbers = prices.setdefault(trade.market, {})
        if trade.number in numbers:
            return f"trade {key} has the number of another"
        numbers[trade.number] = (trade.price, trade.quantity, trade.turnover, places.get(trade.taker_order, 0))
    sequences: dict[str, int] = {}
    for key, before, after in change.rows(BOOKS):
        sequences[key] = after.sequence
        traded = prices.pop(key, {})
        problem = _book(change, key, before, after, traded)
        if problem is not None:
            return f"book {key} {problem}"
    if prices:
        return f"{next(iter(prices))} has trades and its book does not know"
    ended: dict[str, Order] = {}
    for key, before, after in change.rows(ORDERS):
        if after is None:
            ended[key] = before
            continue
        problem = _known(sequences, before, after)
        if problem is not None:
            return f"order {key} {problem}"
    for key, _, closed in change.rows(CLOSED):
        problem = _known(sequences, ended.get(key), closed)
        if problem is not None:
            return f"order {key} {problem}"
    return None


def charted(change: Change) -> str | None:
    """A candle is what the book had of its minute, when it is over."""
    minute = change.time_us // MINUTE_US
    books = {key: before for key, before, _ in change.rows(BOOKS)}
    for key, before, candle in change.rows(CANDLES):
        if before is not None or candle is None:
            return f"candle {key} is written once"
        book = books.get(candle.market)
        if book is None or not _is_over(book, minute) or key != _candle_key(candle.market, book):
            return f"candle {key} is not of its market's minute"
        if candle != _candle(candle.market, book):
            return f"candle {key} is something else than its market had of its minute"
    return None


def _fixed(market: Market) -> tuple[object, ...]:
    return (
        market.base,
        market.quote,
        market.base_scale,
        market.quote_scale,
        market.price_scale,
        market.tick,
        market.lot,
    )


def _countable(market: Market) -> bool:
    if not (0 <= market.price_scale <= PRICE_SCALE_MAX and market.tick > 0 and market.lot > 0):
        return False
    return 0 <= market.base_scale <= SCALE_MAX and 0 <= market.quote_scale <= SCALE_MAX and is_exact(market)


def _known(sequences: dict[str, int], before: Order | None, now: Any) -> str | None:
    """``sequences``: of the books of the event. ``now``: the order as it is, or as it ended."""
    sequence = sequences.get(now.market)
    if sequence is None:
        return "is of a book that does not know"
    comes = before is None or now.stop != before.stop
    return "comes and has another's place" if comes and now.priority // PLACES_PER_EVENT != sequence else None


def _book(
    change: Change, key: str, before: Book | None, after: Book, traded: dict[int, tuple[int, int, int, int]]
) -> str | None:
    """``traded``: number -> (price, quantity, turnover, the taker's place)."""
    if before is None:
        empty = Book(after.scales, since_us=after.since_us, assets=after.assets)
        return "begins with a past" if traded or after != empty else None
    # The counts first: what a node says that it traded is as large as it likes, what it wrote is not.
    if after.sequence != before.sequence + 1 or after.trades - before.trades != len(traded):
        return "skips a number"
    if traded and (min(traded), max(traded)) != (before.trades + 1, after.trades):
        return "skips a number"
    minute = change.time_us // MINUTE_US
    candle = _is_over(before, minute) and _has_candle(change, _candle_key(key, before))
    expected = before
    if traded:
        if _is_over(before, minute) and not candle:
            return "goes on without a candle of the minute that is over"
        prices: Prices = [traded[number] for number in sorted(traded)]
        expected = after_trades(change.time_us, before, prices)
    elif candle:
        expected = of_minute(before, minute)
    # When those whom a price reached have had their turn, it is forgotten.
    if after.reach not in ((), expected.reach) or _prices(after) != _prices(expected):
        return "has other prices than were traded"
    return None


def _places(change: Change) -> dict[str, int]:
    """Where whoever came or stays in the event has its place."""
    found = {key: after.priority for key, _, after in change.rows(ORDERS) if after is not None}
    return found | {key: closed.priority for key, _, closed in change.rows(CLOSED)}


def _prices(book: Book) -> tuple[object, ...]:
    return (
        book.last,
        book.minute,
        book.open,
        book.high,
        book.low,
        book.volume,
        book.turnover,
        book.count,
        book.ranges,
    )


def _is_over(book: Book, minute: int) -> bool:
    return book.count > 0 and book.minute < minute


def _has_candle(change: Change, key: str) -> bool:
    return key in [found for found, _, _ in change.rows(CANDLES)]


def _candle_key(market: str, book: Book) -> str:
    return f"{market}/{book.minute:010d}"


def _candle(market: str, book: Book) -> Candle:
    return Candle(market, book.open, book.high, book.low, book.last, book.volume, book.turnover, book.count)

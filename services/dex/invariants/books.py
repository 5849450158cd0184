"""A market's book: of what it is, what it counts, and its candles."""

from jilnode.module import Change
from services.dex.prices import PRICE_SCALE_MAX
from services.dex.rows import BOOKS, CANDLES, CLOSED, MARKETS, ORDERS, PLACES_PER_EVENT, TRADES, Book, Candle, Market
from services.wallet.invariants import SCALE_MAX

__all__ = ("charted", "listed", "numbered")


def listed(change: Change) -> str | None:
    """What a market is stays what it was, and its book is of the same; decimals are in bounds, so that nobody counts in
    absurd numbers."""
    markets = {}
    begun: set[str] = set()
    for key, before, after in change.rows(MARKETS):
        if after is None or (before is not None and _fixed(before) != _fixed(after)):
            return f"market {key} is deleted, or of something else than it was"
        if not 0 <= after.price_scale <= PRICE_SCALE_MAX or after.tick <= 0 or after.lot <= 0:
            return f"market {key} has decimals out of bounds, or no tick or lot"
        if before is None:
            begun.add(key)
        markets[key] = ((after.price_scale, after.base_scale, after.quote_scale), (after.base, after.quote))
    for key, before, after in change.rows(BOOKS):
        if after is None:
            return f"book {key} is deleted"
        was = markets.get(key) if before is None else (before.scales, before.assets)
        bounded = before is not None or 0 <= min(after.scales) <= max(after.scales) <= SCALE_MAX
        if was != (after.scales, after.assets) or not bounded:
            return f"book {key} is of other assets than its market, or of absurd decimals"
        begun.discard(key)
    if begun:
        return f"market {next(iter(begun))} has no book"
    return None


def numbered(change: Change) -> str | None:
    """B11: the sequence of a book and the numbers of its trades have no gaps, and nothing happens to an order without
    its book's knowing. Who comes, or wakes, gets a place of this event (B2)."""
    prices: dict[str, dict[int, int]] = {}
    for key, _, trade in change.rows(TRADES):
        if prices.setdefault(trade.market, {}).setdefault(trade.number, trade.price) != trade.price:
            return f"trade {key} has the number of another"
    sequences: dict[str, int] = {}
    for key, before, after in change.rows(BOOKS):
        sequences[key] = after.sequence
        traded = prices.pop(key, {})
        problem = _book(before, after, traded)
        if problem is not None:
            return f"book {key} {problem}"
    if prices:
        return f"{next(iter(prices))} has trades and its book does not know"
    for key, before, after in change.rows(ORDERS):
        sequence = sequences.get((after or before).market)
        if sequence is None:
            return f"the book of order {key} does not know"
        comes = after is not None and (before is None or (before.stop and not after.stop))
        if comes and after.priority // PLACES_PER_EVENT != sequence:
            return f"order {key} comes and has another's place"
    for key, _, closed in change.rows(CLOSED):
        if closed is not None and closed.market not in sequences:
            return f"the book of order {key} does not know"
    return None


def charted(change: Change) -> str | None:
    """A candle is what the book had of its minute."""
    books = {key: before for key, before, _ in change.rows(BOOKS)}
    for key, before, candle in change.rows(CANDLES):
        if before is not None or candle is None:
            return f"candle {key} is written once"
        book = books.get(candle.market)
        if book is None or key != f"{candle.market}/{book.minute:010d}" or candle != _candle(candle.market, book):
            return f"candle {key} is not of its market's minute"
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


def _book(before: Book | None, after: Book, traded: dict[int, int]) -> str | None:
    """``traded``: number -> price."""
    if before is None:
        return "begins with a past" if after.sequence or after.trades or after.last or traded else None
    # The counts first: what a node says that it traded is as large as it likes, what it wrote is not.
    if after.sequence != before.sequence + 1 or after.trades - before.trades != len(traded):
        return "skips a number"
    if traded and (min(traded), max(traded)) != (before.trades + 1, after.trades):
        return "skips a number"
    if after.last != (traded[after.trades] if traded else before.last):
        return "has another last price than its last trade's"
    return None


def _candle(market: str, book: Book) -> Candle:
    return Candle(market, book.open, book.high, book.low, book.last, book.volume, book.turnover, book.count)

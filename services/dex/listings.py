"""Long reads of the exchange, beside the writer: ended orders, trades, candles, in pages with cursors."""

from typing import Any

import msgspec

from jilnode.limits import PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from jilnode.module import QueryContext, Rejected
from services.dex.commands.markets import market_key
from services.dex.replies import closed_view, fill_view, market_name
from services.dex.rows import BOOKS, BUY, CANDLES, CLOSED, MARKETS, SELL, TRADES, Book, Candle, Trade
from services.dex.states import MINUTE_US
from services.dex.views import FillView, OrderView
from services.wallet.amounts import format_amount
from services.wallet.listings import HistoryParams, own_account
from services.wallet.pages import cursor_of, next_of, start_of
from services.wallet.replies import outside

__all__ = (
    "CandleView",
    "Candles",
    "CandlesParams",
    "Fills",
    "Orders",
    "OwnFill",
    "TradeView",
    "Trades",
    "TradesParams",
    "candle_view",
    "candles",
    "closed_orders",
    "fills",
    "minute_of",
    "own_fill",
    "running_candle",
    "trade_view",
    "trades",
)

CANDLE_MINUTES = (1, 5, 15, 60, 240, 1440)
CANDLE_ROWS_MAX = 1500


class TradesParams(msgspec.Struct, frozen=True):
    """Newest first. ``after``: the cursor of the page before."""

    market: str
    after: str = ""
    limit: int = PAGE_ITEMS_DEFAULT


class CandlesParams(msgspec.Struct, frozen=True):
    """Oldest first, from ``from_us`` on. ``minutes``: 1, 5, 15, 60, 240 or 1440. ``after``: the cursor of the page
    before."""

    market: str
    minutes: int = 1
    from_us: int = 0
    after: str = ""


class Orders(msgspec.Struct, frozen=True):
    items: list[OrderView]
    next: str | None


class TradeView(msgspec.Struct, frozen=True):
    """``side`` is the taker's. Who traded is nobody else's business."""

    id: str
    number: int
    price: str
    quantity: str
    turnover: str
    side: str
    at_us: int


class Trades(msgspec.Struct, frozen=True):
    market: str
    items: list[TradeView]
    next: str | None


class OwnFill(msgspec.Struct, frozen=True):
    """One of the account's fills: which order, in which market, and when."""

    market: str
    order: str
    side: str
    at_us: int
    fill: FillView


class Fills(msgspec.Struct, frozen=True):
    items: list[OwnFill]
    next: str | None


class CandleView(msgspec.Struct, frozen=True):
    from_us: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    turnover: str
    count: int


class Candles(msgspec.Struct, frozen=True):
    """Times without trades have no candle. The minute that runs is not in it: the market's depth and trades tell."""

    market: str
    minutes: int
    items: list[CandleView]
    next: str | None


async def closed_orders(reader: Any, context: QueryContext, params: HistoryParams) -> Orders:
    account = await own_account(reader, context, params.account)
    after = start_of(params.after, params.limit)
    page = await reader.page([CLOSED], [("account", account)], after=after, limit=params.limit, descending=True)
    scales = await _scales(reader, [image.row.market for _, image in page.items])
    items = [closed_view(key, image.row, scales[image.row.market]) for key, image in page.items]
    return Orders(items, next_of(page))


async def fills(reader: Any, context: QueryContext, params: HistoryParams) -> Fills:
    account = await own_account(reader, context, params.account)
    after = start_of(params.after, params.limit)
    page = await reader.page(
        [TRADES], [("credit", account), ("debit", account)], after=after, limit=params.limit, descending=True
    )
    scales = await _scales(reader, [image.row.market for _, image in page.items])
    items = [own_fill(key, image.row, account, scales[image.row.market]) for key, image in page.items]
    return Fills(items, next_of(page))


def own_fill(key: str, trade: Trade, account: str, scales: tuple[int, int, int]) -> OwnFill:
    """The trade as one of its two accounts sees it."""
    made = trade.maker == account
    side = trade.side if not made else (SELL if trade.side == BUY else BUY)
    own = trade.maker_order if made else trade.taker_order
    fill = fill_view(key, trade, scales, maker=made)
    return OwnFill(market_name(trade.market), outside(own), side, trade.at_us, fill)


async def _scales(reader: Any, markets: list[str]) -> dict[str, tuple[int, int, int]]:
    found = await reader.get(BOOKS, sorted(set(markets)))
    return {key: image.row.scales for key, image in found.items() if image is not None}


async def trades(reader: Any, context: QueryContext, params: TradesParams) -> Trades:
    key, scales = await _market(reader, params.market)
    after = start_of(params.after, params.limit)
    page = await reader.page([TRADES], [("market", key)], after=after, limit=params.limit, descending=True)
    items = [trade_view(trade, image.row, scales) for trade, image in page.items]
    return Trades(market_name(key), items, next_of(page))


def trade_view(key: str, trade: Trade, scales: tuple[int, int, int]) -> TradeView:
    price, base, quote = scales
    return TradeView(
        outside(key),
        trade.number,
        format_amount(trade.price, price),
        format_amount(trade.quantity, base),
        format_amount(trade.turnover, quote),
        trade.side,
        trade.at_us,
    )


async def candles(reader: Any, context: QueryContext, params: CandlesParams) -> Candles:
    if params.minutes not in CANDLE_MINUTES:
        allowed = ", ".join(map(str, CANDLE_MINUTES))
        raise Rejected("bad_request", f"minutes is one of {allowed}", status=400, field="/minutes")
    key, scales = await _market(reader, params.market)
    first = max(params.from_us, 0) // MINUTE_US
    after = start_of(params.after, 1) or f"{key}/{first - first % params.minutes - 1:010d}"
    rows: list[tuple[int, Candle]] = []
    more = True
    while more and len(rows) < CANDLE_ROWS_MAX:
        page = await reader.page([CANDLES], [("market", key)], after=after, limit=PAGE_ITEMS_MAX, descending=False)
        rows += [(minute_of(candle), image.row) for candle, image in page.items]
        more = page.more
        after = page.items[-1][0] if page.items else after
    groups: dict[int, list[Candle]] = {}
    for minute, row in rows:
        groups.setdefault(minute - minute % params.minutes, []).append(row)
    if more:
        # The last one may be cut in two: the next page begins with it.
        last, _ = groups.popitem() if len(groups) > 1 else (next(iter(groups)) + params.minutes, [])
        after = f"{key}/{last - 1:010d}"
    items = [candle_view(minute, group, scales) for minute, group in groups.items()]
    return Candles(market_name(key), params.minutes, items, cursor_of(after) if more else None)


def minute_of(key: str) -> int:
    """The minute since 1970 that a candle's key ends with."""
    return int(key.rpartition("/")[2])


def running_candle(key: str, book: Book) -> CandleView | None:
    """That of the minute of the last trade, until it is over."""
    if not book.count:
        return None
    row = Candle(key, book.open, book.high, book.low, book.last, book.volume, book.turnover, book.count)
    return candle_view(book.minute, [row], book.scales)


def candle_view(minute: int, rows: list[Candle], scales: tuple[int, int, int]) -> CandleView:
    """One candle of candles that follow each other."""
    price, base, quote = scales
    return CandleView(
        minute * MINUTE_US,
        format_amount(rows[0].open, price),
        format_amount(max(row.high for row in rows), price),
        format_amount(min(row.low for row in rows), price),
        format_amount(rows[-1].close, price),
        format_amount(sum(row.volume for row in rows), base),
        format_amount(sum(row.turnover for row in rows), quote),
        sum(row.count for row in rows),
    )


async def _market(reader: Any, name: str) -> tuple[str, tuple[int, int, int]]:
    key = market_key(name)
    image = (await reader.get(MARKETS, [key])).get(key) if key else None
    if image is None:
        raise Rejected("unknown_market", "no such market is known here", status=404, field="/market")
    row = image.row
    return key, (row.price_scale, row.base_scale, row.quote_scale)

"""How the order book's answers are made of its rows."""

from collections.abc import Iterable
from functools import lru_cache

from jilnode.kernel.entry_rows import EntryRows
from jilnode.kernel.names import nth_key
from services.dex.rows import (
    BATCHES,
    BOOKS,
    CLOSED,
    GROUPS,
    MARKETS,
    ORDERS,
    PLACES_PER_EVENT,
    SWEEPS,
    TRADES,
    Book,
    Closed,
    Market,
    Order,
    Trade,
)
from services.dex.states import state_of
from services.dex.views import (
    BatchItem,
    BatchView,
    CancelledView,
    FillView,
    GroupView,
    MarketView,
    OrderView,
    ReplacedView,
)
from services.wallet.amounts import format_amount
from services.wallet.replies import outside

__all__ = (
    "batch_reply",
    "cancelled_reply",
    "closed_view",
    "fill_view",
    "group_reply",
    "market_name",
    "market_reply",
    "market_view",
    "order_reply",
    "order_view",
    "replaced_reply",
)

Scales = tuple[int, int, int]
"""Decimals of a price, of the base and of the quote asset."""


@lru_cache(maxsize=1024)
def market_name(key: str) -> str:
    node, _, symbol = key.partition("/")
    return f"{symbol}@{node}"


def market_view(key: str, market: Market, book: Book) -> MarketView:
    return MarketView(
        market_name(key),
        market.base,
        market.quote,
        format_amount(market.tick, market.price_scale),
        format_amount(market.lot, market.base_scale),
        format_amount(market.min_notional, market.quote_scale),
        market.band_bps,
        market.maker_bps,
        market.taker_bps,
        market.states_bps,
        state_of(market, book),
        market.halted,
        format_amount(book.last, market.price_scale) if book.last else None,
        book.trades,
        book.sequence,
    )


def order_view(key: str, order: Order, scales: Scales, fills: Iterable[FillView] = ()) -> OrderView:
    price, base, quote = scales
    return OrderView(
        outside(key),
        market_name(order.market),
        outside(order.account),
        order.side,
        order.kind,
        order.time_in_force,
        "waiting" if order.stop else "open",
        "",
        format_amount(order.price, price),
        format_amount(order.stop, price) if order.stop else None,
        format_amount(order.quantity, base),
        format_amount(order.filled, base),
        format_amount(order.remaining, base),
        format_amount(order.cancelled, base),
        format_amount(order.prevented, base),
        format_amount(order.turnover, quote),
        order.client_id,
        order.placed_us,
        None,
        list(fills),
        order.expires_us or None,
    )


def closed_view(key: str, order: Closed, scales: Scales, fills: Iterable[FillView] = ()) -> OrderView:
    price, base, quote = scales
    return OrderView(
        outside(key),
        market_name(order.market),
        outside(order.account),
        order.side,
        order.kind,
        order.time_in_force,
        order.reason if order.reason in ("filled", "expired") else "cancelled",
        order.reason,
        format_amount(order.price, price),
        format_amount(order.stop, price) if order.stop else None,
        format_amount(order.quantity, base),
        format_amount(order.filled, base),
        format_amount(0, base),
        format_amount(order.cancelled, base),
        format_amount(order.prevented, base),
        format_amount(order.turnover, quote),
        order.client_id,
        order.placed_us,
        order.closed_us,
        list(fills),
    )


def fill_view(key: str, trade: Trade, scales: Scales, *, maker: bool) -> FillView:
    """The trade as one side sees it."""
    price, base, quote = scales
    buys = (trade.side == "buy") != maker
    return FillView(
        outside(key),
        trade.number,
        format_amount(trade.price, price),
        format_amount(trade.quantity, base),
        format_amount(trade.turnover, quote),
        format_amount(trade.maker_fee if maker else trade.taker_fee, quote if buys else base),
        "maker" if maker else "taker",
    )


def order_reply(rows: EntryRows) -> OrderView:
    """The order that came, was cancelled or lowered: of the event's orders the one that has its sequence, else the
    only one."""
    _, book = rows.one(BOOKS)
    return _came(rows, book) or _only(rows, book)


def _came(rows: EntryRows, book: Book) -> OrderView | None:
    for key, order in rows.rows(ORDERS):
        if order.priority // PLACES_PER_EVENT == book.sequence:
            return order_view(key, order, book.scales, _fills(rows).get(key, ()))
    for key, closed in rows.rows(CLOSED):
        if closed.priority // PLACES_PER_EVENT == book.sequence:
            return closed_view(key, closed, book.scales, _fills(rows).get(key, ()))
    return None


def _only(rows: EntryRows, book: Book) -> OrderView:
    for key, closed in rows.rows(CLOSED):
        return closed_view(key, closed, book.scales)
    key, order = rows.one(ORDERS)
    return order_view(key, order, book.scales)


def _fills(rows: EntryRows) -> dict[str, list[FillView]]:
    """taker's order -> what it filled, in the order of the trades."""
    found: dict[str, list[FillView]] = {}
    for key, trade in sorted(rows.rows(TRADES), key=lambda item: item[1].number):
        book = rows.get(BOOKS, trade.market)
        assert book is not None
        found.setdefault(trade.taker_order, []).append(fill_view(key, trade, book.scales, maker=False))
    return found


def replaced_reply(rows: EntryRows) -> ReplacedView:
    _, book = rows.one(BOOKS)
    came = _came(rows, book)
    assert came is not None
    old = [closed_view(key, row, book.scales) for key, row in rows.rows(CLOSED) if row.reason == "replaced"]
    return ReplacedView(came, old[0] if old else None)


def cancelled_reply(rows: EntryRows) -> CancelledView:
    return CancelledView([outside(key) for key, _ in rows.rows(CLOSED)], bool(rows.rows(SWEEPS)))


def batch_reply(rows: EntryRows) -> BatchView:
    """Order number n has the batch's key with a number behind it."""
    key, batch = rows.one(BATCHES)
    scales = {market: book.scales for market, book in rows.rows(BOOKS)}
    fills = _fills(rows)
    keys = [nth_key(key, index + 1) for index in range(batch.orders)]
    own = frozenset(keys)
    found: dict[str, OrderView] = {}
    for order, row in rows.rows(ORDERS):
        if order in own:
            found[order] = order_view(order, row, scales[row.market], fills.get(order, ()))
    for order, ended in rows.rows(CLOSED):
        if order in own:
            found[order] = closed_view(order, ended, scales[ended.market], fills.get(order, ()))
    refused = {index: BatchItem(index, None, code, detail, field) for index, code, detail, field in batch.refused}
    items = [refused.get(index) or BatchItem(index, found[order]) for index, order in enumerate(keys)]
    return BatchView(outside(key), len(items) - len(refused), len(refused), batch.withdrawn, items)


def group_reply(rows: EntryRows) -> GroupView:
    key, row = rows.one(GROUPS)
    return GroupView(outside(key.partition("/")[2]), row.name)


def market_reply(rows: EntryRows) -> MarketView:
    key, market = rows.one(MARKETS)
    _, book = rows.one(BOOKS)
    return market_view(key, market, book)

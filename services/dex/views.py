"""What the order book answers: decimal strings, ids that fit into a URL (``~`` for ``/``), markets by their names."""

from collections.abc import Iterable

import msgspec

from jilnode.kernel.entry import EntryRows
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
from services.wallet.amounts import format_amount
from services.wallet.views import outside

__all__ = (
    "BatchItem",
    "BatchView",
    "CancelledView",
    "FillView",
    "GroupView",
    "MarketView",
    "OrderView",
    "ReplacedView",
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


class MarketView(msgspec.Struct, frozen=True):
    """``state``: ``normal``, ``elevated``, ``restricted`` or ``halted``; ``halted`` says why an operator stopped it.
    ``last``: the price of the last trade, null before the first."""

    market: str
    base: str
    quote: str
    tick: str
    lot: str
    min_notional: str
    band_bps: int
    maker_bps: int
    taker_bps: int
    states_bps: tuple[int, int, int]
    state: str
    halted: str
    last: str | None
    trades: int
    sequence: int


class FillView(msgspec.Struct, frozen=True):
    """``fee`` is in what the order gives: the quote asset of a buy, the base asset of a sell."""

    trade: str
    number: int
    price: str
    quantity: str
    turnover: str
    fee: str
    liquidity: str


class OrderView(msgspec.Struct, frozen=True):
    """``status``: ``open``, ``waiting`` (for its stop), ``filled``, ``cancelled`` or ``expired``; ``reason`` says
    why one ended. ``stop``: the price that it waits for, or waited for when it ended; null once it woke. quantity =
    filled + remaining + cancelled + prevented. ``fills`` are those of this very request."""

    id: str
    market: str
    account: str
    side: str
    kind: str
    time_in_force: str
    status: str
    reason: str
    price: str
    stop: str | None
    quantity: str
    filled: str
    remaining: str
    cancelled: str
    prevented: str
    turnover: str
    client_id: str
    placed_us: int
    closed_us: int | None
    fills: list[FillView] = []


class ReplacedView(msgspec.Struct, frozen=True):
    """``replaced`` is null where the old order could not be cancelled, and that was allowed."""

    order: OrderView
    replaced: OrderView | None


class CancelledView(msgspec.Struct, frozen=True):
    """``goes_on``: there are more; the node cancels them step by step."""

    cancelled: list[str]
    goes_on: bool


class BatchItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """``order`` as it stands after the whole batch, or the problem's code, detail and field."""

    index: int
    order: OrderView | None = None
    code: str = ""
    detail: str = ""
    field: str = ""


class BatchView(msgspec.Struct, frozen=True):
    """``withdrawn``: how many old quotes went for these."""

    id: str
    placed: int
    refused: int
    withdrawn: int
    items: list[BatchItem]


class GroupView(msgspec.Struct, frozen=True):
    id: str
    group: str


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

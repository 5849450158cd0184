"""Live feeds of the order book: a snapshot, then what each commit changed. They are made of committed rows only, so
every node that follows a market has the same ones, numbered by the book's own sequence."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from jilnode.module import EntryRows, Feed, Frame, QueryContext
from services.dex import examples
from services.dex.commands.markets import market_key
from services.dex.intents import CancelAll
from services.dex.listings import (
    CandleView,
    OwnFill,
    TradeView,
    candle_view,
    minute_of,
    own_fill,
    running_candle,
    trade_view,
)
from services.dex.queries import (
    CHECKSUM_LEVELS,
    LEVELS_MAX,
    Level,
    MarketParams,
    checksum,
    known_market,
    level_views,
    levels,
    open_page,
)
from services.dex.replies import closed_view, market_name, order_view
from services.dex.routes import BASE
from services.dex.rows import BOOKS, BUY, CANDLES, CLOSED, MARKETS, ORDERS, PLACES_PER_EVENT, SELL, TRADES
from services.dex.states import state_of
from services.dex.views import OrderView
from services.wallet.queries import check_actor, check_reader, outside_key
from services.wallet.rows import ACCOUNTS

__all__ = ("FEEDS", "CandlesMessage", "DepthMessage", "OrdersMessage", "OrdersStreamParams", "TradesMessage")


class OrdersStreamParams(msgspec.Struct, frozen=True):
    """``account`` is an id, not a handle."""

    account: str
    cancel_on_disconnect: bool = False


class DepthMessage(msgspec.Struct, frozen=True):
    """Of a snapshot the best 500 levels; of a delta those that changed, with their new quantities, 0 when they are
    gone. A delta goes on from the message whose ``sequence`` is its ``previous``. ``checksum`` is that of the depth
    query, after the change."""

    market: str
    sequence: int
    previous: int
    state: str
    bids: list[Level]
    asks: list[Level]
    checksum: int


class TradesMessage(msgspec.Struct, frozen=True):
    """``number`` is that of the last trade. Of a snapshot there are no trades: what is before can be listed."""

    market: str
    number: int
    trades: list[TradeView]


class CandlesMessage(msgspec.Struct, frozen=True):
    """Candles of one minute: those that ended since the last message, and the one that runs, null while nothing was
    traded in it."""

    market: str
    ended: list[CandleView]
    running: CandleView | None


class OrdersMessage(msgspec.Struct, frozen=True):
    """Of a snapshot the first 500 open orders, and where there are more, in ``next``, the cursor with which the list of
    open orders goes on; of a delta those that changed, as they are now or as they ended, and the account's fills."""

    account: str
    orders: list[OrderView]
    fills: list[OwnFill]
    next: str | None = None


def _depth(view: Any, key: str) -> Frame:
    _, market, book = known_market(view, key)
    bids, asks = (level_views(market, levels(view, key, side, LEVELS_MAX)) for side in (BUY, SELL))
    message = DepthMessage(
        market_name(key), book.sequence, book.sequence, state_of(market, book), bids, asks, checksum(bids, asks)
    )
    return Frame("snapshot", message)


def _depth_delta(view: Any, key: str, changes: Sequence[EntryRows]) -> Frame | None:
    sequences: list[int] = []
    touched: dict[tuple[str, int], None] = {}
    for rows in changes:
        book = rows.get(BOOKS, key)
        if book is None:
            continue
        sequences.append(book.sequence)
        for _, order in rows.rows(ORDERS):
            if order.market == key and not order.stop:
                touched[(order.side, order.price)] = None
        for _, ended in rows.rows(CLOSED):
            # What waited for its stop, or came in this very event, was never in the book: its price is nobody's
            # business.
            rested = not ended.stop and ended.priority // PLACES_PER_EVENT != book.sequence
            if ended.market == key and rested:
                touched[(ended.side, ended.price)] = None
    if not sequences:
        return None
    market, book = view[MARKETS].get(key), view[BOOKS].get(key)
    sides: dict[str, list[tuple[int, int]]] = {BUY: [], SELL: []}
    for side, price in touched:
        sides[side].append((price, view[ORDERS].total("depth", (key, side, price))))
    best = (level_views(market, levels(view, key, side, CHECKSUM_LEVELS)) for side in (BUY, SELL))
    message = DepthMessage(
        market_name(key),
        book.sequence,
        min(sequences) - 1,
        state_of(market, book),
        level_views(market, sorted(sides[BUY], reverse=True)),
        level_views(market, sorted(sides[SELL])),
        checksum(*best),
    )
    return Frame("delta", message)


def _trades(view: Any, key: str) -> Frame:
    _, _, book = known_market(view, key)
    return Frame("snapshot", TradesMessage(market_name(key), book.trades, []))


def _trades_delta(view: Any, key: str, changes: Sequence[EntryRows]) -> Frame | None:
    book = view[BOOKS].get(key)
    found = [
        trade_view(trade, row, book.scales) for rows in changes for trade, row in rows.rows(TRADES) if row.market == key
    ]
    if not found:
        return None
    found.sort(key=lambda trade: trade.number)
    return Frame("delta", TradesMessage(market_name(key), found[-1].number, found))


def _candles(view: Any, key: str) -> Frame:
    _, _, book = known_market(view, key)
    return Frame("snapshot", CandlesMessage(market_name(key), [], running_candle(key, book)))


def _candles_delta(view: Any, key: str, changes: Sequence[EntryRows]) -> Frame | None:
    book = view[BOOKS].get(key)
    found = [item for rows in changes for item in rows.rows(CANDLES) if item[1].market == key]
    traded = any(trade.market == key for rows in changes for _, trade in rows.rows(TRADES))
    if not found and not traded:
        return None
    ended = [candle_view(minute_of(candle), [row], book.scales) for candle, row in sorted(found)]
    return Frame("delta", CandlesMessage(market_name(key), ended, running_candle(key, book)))


def _check_market(view: Any, context: QueryContext, params: MarketParams) -> None:
    known_market(view, params.market)


def _markets(changes: Sequence[EntryRows]) -> Iterable[str]:
    return {key for rows in changes for key, _ in rows.rows(BOOKS)}


def _orders(view: Any, account: str) -> Frame:
    page = open_page(view, account)
    return Frame("snapshot", OrdersMessage(account.replace("/", "~"), page.items, [], page.next))


def _orders_delta(view: Any, account: str, changes: Sequence[EntryRows]) -> Frame | None:
    orders: dict[str, OrderView] = {}
    fills: list[OwnFill] = []
    for rows in changes:
        for key, order in rows.rows(ORDERS):
            if order.account == account:
                orders[key] = order_view(key, order, view[BOOKS].get(order.market).scales)
        for key, ended in rows.rows(CLOSED):
            if ended.account == account:
                orders[key] = closed_view(key, ended, view[BOOKS].get(ended.market).scales)
        for key, trade in rows.rows(TRADES):
            if account in (trade.maker, trade.taker):
                fills.append(own_fill(key, trade, account, view[BOOKS].get(trade.market).scales))
    if not orders and not fills:
        return None
    return Frame("delta", OrdersMessage(account.replace("/", "~"), list(orders.values()), fills))


def _check_account(view: Any, context: QueryContext, params: OrdersStreamParams) -> None:
    account = check_reader(context, view[ACCOUNTS].get(outside_key(params.account, "/account")))
    if params.cancel_on_disconnect:
        check_actor(context, account)


def _accounts(changes: Sequence[EntryRows]) -> Iterable[str]:
    found: set[str] = set()
    for rows in changes:
        found.update(row.account for _, row in rows.rows(ORDERS))
        found.update(row.account for _, row in rows.rows(CLOSED))
        for _, trade in rows.rows(TRADES):
            found.update((trade.maker, trade.taker))
    return found


def _cancel(context: QueryContext, params: OrdersStreamParams) -> CancelAll | None:
    return CancelAll(params.account) if params.cancel_on_disconnect else None


_BIDS = [Level("101.20", "4.5000")]

FEEDS = (
    Feed(
        f"{BASE}/markets/{{market:str}}/depth/stream",
        MarketParams,
        DepthMessage,
        "dex:read",
        "A market's book as it changes",
        tables=(BOOKS,),
        key=lambda context, params: market_key(params.market),
        check=_check_market,
        snapshot=_depth,
        delta=_depth_delta,
        concerns=_markets,
        example=DepthMessage(
            examples.MARKET_NAME,
            examples.DEPTH.sequence + 1,
            examples.DEPTH.sequence,
            "normal",
            _BIDS,
            [Level("101.30", "0.0000")],
            checksum(_BIDS, []),
        ),
        description="Set each level of a delta to its new quantity, and take out those of 0. If `previous` is not the "
        "`sequence` that you have, or your ten best levels give another `checksum`, begin again.",
    ),
    Feed(
        f"{BASE}/markets/{{market:str}}/trades/stream",
        MarketParams,
        TradesMessage,
        "dex:read",
        "A market's trades as they are made",
        tables=(BOOKS,),
        key=lambda context, params: market_key(params.market),
        check=_check_market,
        snapshot=_trades,
        delta=_trades_delta,
        concerns=_markets,
        example=TradesMessage(examples.MARKET_NAME, examples.TRADES.items[0].number, examples.TRADES.items),
        description="Trades are numbered without gaps; what was missed can be listed.",
    ),
    Feed(
        f"{BASE}/markets/{{market:str}}/candles/stream",
        MarketParams,
        CandlesMessage,
        "dex:read",
        "A market's candles as they grow and end",
        tables=(BOOKS,),
        key=lambda context, params: market_key(params.market),
        check=_check_market,
        snapshot=_candles,
        delta=_candles_delta,
        concerns=_markets,
        example=CandlesMessage(examples.MARKET_NAME, [], examples.CANDLES.items[0]),
        description="Of one minute each; longer ones are sums of these.",
    ),
    Feed(
        f"{BASE}/accounts/{{account:str}}/orders/stream",
        OrdersStreamParams,
        OrdersMessage,
        "dex:trade",
        "An account's orders and fills as they change",
        tables=(BOOKS,),
        key=lambda context, params: outside_key(params.account, "/account"),
        check=_check_account,
        snapshot=_orders,
        delta=_orders_delta,
        concerns=_accounts,
        on_close=_cancel,
        example=OrdersMessage(examples.ACCOUNT_ID, examples.OPEN_ORDERS.items, examples.FILLS.items),
        description="With `cancel_on_disconnect=true` every open order of the account at this node is cancelled when "
        "the stream ends, whatever ended it; not when the node itself is killed, so give such orders an expiry too.",
    ),
)

"""What can be asked of markets and orders: committed rows, of this node's markets and of those that it follows."""

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import msgspec

from jilnode.kernel.system import SOURCES
from jilnode.limits import INT64_MAX
from jilnode.module import QueryContext, Rejected, Table, Touch
from services.dex.commands.markets import market_key
from services.dex.queues import account_at
from services.dex.replies import closed_view, market_name, market_view, order_view
from services.dex.rows import BOOKS, BUY, CLOSED, MARKETS, ORDERS, SELL, Book, Closed, Market
from services.dex.states import state_of
from services.dex.views import MarketView, OrderView
from services.wallet.amounts import format_amount
from services.wallet.commands.accounts import asset_of
from services.wallet.pages import cursor_of, start_of
from services.wallet.queries import check_reader, outside_key, resolve
from services.wallet.rows import ACCOUNTS

__all__ = (
    "CHECKSUM_LEVELS",
    "LEVELS_MAX",
    "OPEN_ORDERS_PAGE",
    "BookMarket",
    "ConsolidatedBook",
    "ConsolidatedLevel",
    "ConsolidatedParams",
    "Depth",
    "DepthParams",
    "Level",
    "MarketParams",
    "Markets",
    "NoParams",
    "OpenOrders",
    "OpenOrdersParams",
    "OrderParams",
    "age_ms",
    "checksum",
    "consolidated",
    "depth",
    "keys_at_all_nodes",
    "known_market",
    "level_views",
    "levels",
    "market",
    "markets",
    "open_orders",
    "open_page",
    "order",
    "order_touch",
)

LEVELS_MAX = 500
CHECKSUM_LEVELS = 10
OPEN_ORDERS_PAGE = 500


class NoParams(msgspec.Struct, frozen=True):
    pass


class MarketParams(msgspec.Struct, frozen=True):
    market: str


class DepthParams(msgspec.Struct, frozen=True):
    market: str
    levels: int = 50


class ConsolidatedParams(msgspec.Struct, frozen=True):
    base: str
    quote: str
    levels: int = 50


class OpenOrdersParams(msgspec.Struct, frozen=True):
    """``market`` empty: in every market. ``after``: the cursor of the page before."""

    account: str
    market: str = ""
    after: str = ""


class OrderParams(msgspec.Struct, frozen=True):
    id: str


class Markets(msgspec.Struct, frozen=True):
    items: list[MarketView]


class Level(msgspec.Struct, frozen=True, array_like=True):
    """``[price, quantity]``."""

    price: str
    quantity: str


class Depth(msgspec.Struct, frozen=True):
    """Best first. ``checksum`` is the CRC-32 of the best ten levels, ``price:quantity`` of each bid, then of each ask,
    joined by ``|``. ``age_ms`` is how old this node's knowledge of the market's node is, 0 for its own."""

    market: str
    sequence: int
    state: str
    age_ms: int | None
    bids: list[Level]
    asks: list[Level]
    checksum: int


class ConsolidatedLevel(msgspec.Struct, frozen=True):
    price: str
    quantity: str
    markets: dict[str, str]


class BookMarket(msgspec.Struct, frozen=True):
    market: str
    sequence: int
    state: str
    age_ms: int | None


class ConsolidatedBook(msgspec.Struct, frozen=True):
    """All books of one pair, at whatever node, as this node has them. An order goes to one of them. A market
    that counts in other decimals than the pair's assets have is none of them."""

    base: str
    quote: str
    markets: list[BookMarket]
    bids: list[ConsolidatedLevel]
    asks: list[ConsolidatedLevel]


class OpenOrders(msgspec.Struct, frozen=True):
    items: list[OrderView]
    next: str | None


def known_market(view: Any, name: str) -> tuple[str, Market, Book]:
    """(key, market, book) of a market here or elsewhere. Raises ``Rejected``: ``unknown_market``."""
    key = market_key(name)
    found, book = (view[MARKETS].get(key), view[BOOKS].get(key)) if key else (None, None)
    if found is None or book is None:
        raise Rejected("unknown_market", "no such market is known here", status=404, field="/market")
    return key, found, book


def age_ms(context: QueryContext, key: str) -> int | None:
    """How old what this node knows of a market is; None when its node was never heard."""
    node = key.partition("/")[0]
    if node == context.source:
        return 0
    heard_us = context.heads.get(node)
    return None if not heard_us else max(0, context.time_us - heard_us) // 1000


def markets(view: Any, context: QueryContext, params: NoParams) -> Markets:
    found = []
    for key, row in view[MARKETS].all():
        book = view[BOOKS].get(key)
        if book is not None:
            found.append(market_view(key, row, book))
    return Markets(found)


def market(view: Any, context: QueryContext, params: MarketParams) -> MarketView:
    return market_view(*known_market(view, params.market))


def levels(view: Any, key: str, side: str, count: int) -> list[tuple[int, int]]:
    """(price, quantity) of the best levels of one side. From each the next is looked up, however many orders are
    between."""
    found: list[tuple[int, int]] = []
    orders = view[ORDERS]
    beyond = None
    while len(found) < count:
        first = next(iter(orders.ordered("book", (key, side), beyond)), None)
        if first is None:
            break
        price = orders.get(first).price
        found.append((price, orders.total("depth", (key, side, price))))
        beyond = (-price if side == BUY else price, INT64_MAX)
    return found


def level_views(market: Market, found: list[tuple[int, int]]) -> list[Level]:
    return [
        Level(format_amount(price, market.price_scale), format_amount(quantity, market.base_scale))
        for price, quantity in found
    ]


def depth(view: Any, context: QueryContext, params: DepthParams) -> Depth:
    if not 1 <= params.levels <= LEVELS_MAX:
        raise Rejected("bad_request", f"1 to {LEVELS_MAX} levels", status=400, field="/levels")
    key, row, book = known_market(view, params.market)
    count = max(params.levels, CHECKSUM_LEVELS)
    bids, asks = (level_views(row, levels(view, key, side, count)) for side in (BUY, SELL))
    return Depth(
        market_name(key),
        book.sequence,
        state_of(row, book),
        age_ms(context, key),
        bids[: params.levels],
        asks[: params.levels],
        checksum(bids, asks),
    )


def checksum(bids: list[Level], asks: list[Level]) -> int:
    lines = [f"{level.price}:{level.quantity}" for side in (bids, asks) for level in side[:CHECKSUM_LEVELS]]
    return crc32("|".join(lines).encode())


def consolidated(view: Any, context: QueryContext, params: ConsolidatedParams) -> ConsolidatedBook:
    if not 1 <= params.levels <= LEVELS_MAX:
        raise Rejected("bad_request", f"1 to {LEVELS_MAX} levels", status=400, field="/levels")
    books: list[BookMarket] = []
    sides: dict[str, dict[int, dict[str, int]]] = {BUY: {}, SELL: {}}
    base_scale = asset_of(view, params.base, "/base").scale
    quote_scale = asset_of(view, params.quote, "/quote").scale
    wanted = (params.base, params.quote, base_scale, quote_scale)
    rows = [
        (key, row)
        for key, row in view[MARKETS].all()
        if (row.base, row.quote, row.base_scale, row.quote_scale) == wanted
    ]
    scale = max([row.price_scale for _, row in rows], default=0)
    for key, row in rows:
        book = view[BOOKS].get(key)
        name = market_name(key)
        books.append(BookMarket(name, book.sequence, state_of(row, book), age_ms(context, key)))
        finer = int(10 ** (scale - row.price_scale))
        for side, found in sides.items():
            for price, quantity in levels(view, key, side, params.levels):
                found.setdefault(price * finer, {})[name] = quantity
    bids, asks = (
        [
            ConsolidatedLevel(
                format_amount(price, scale),
                format_amount(sum(parts.values()), base_scale),
                {name: format_amount(part, base_scale) for name, part in parts.items()},
            )
            for price, parts in sorted(found.items(), reverse=side == BUY)[: params.levels]
        ]
        for side, found in sides.items()
    )
    return ConsolidatedBook(params.base, params.quote, books, bids, asks)


def open_orders(view: Any, context: QueryContext, params: OpenOrdersParams) -> OpenOrders:
    """In the order of their ids, at this node and at others."""
    account = resolve(view, params.account)
    check_reader(context, view[ACCOUNTS].get(account) if account else None)
    wanted = known_market(view, params.market)[0] if params.market else ""
    return open_page(view, account, start_of(params.after, OPEN_ORDERS_PAGE) or "", wanted)


def open_page(view: Any, account: str, after: str = "", wanted: str = "") -> OpenOrders:
    """Open orders of an account, in the market ``wanted`` or, where that is empty, in all; those behind ``after``."""
    found: list[OrderView] = []
    for key in keys_at_all_nodes(view, ORDERS, account, after):
        order = view[ORDERS].get(key)
        if wanted not in ("", order.market):
            continue
        if len(found) == OPEN_ORDERS_PAGE:
            return OpenOrders(found, cursor_of(after))
        after = key
        found.append(order_view(key, order, view[BOOKS].get(order.market).scales))
    return OpenOrders(found, None)


def keys_at_all_nodes(view: Any, table: Table[Any], account: str, after: str) -> Iterator[str]:
    """Of an account's rows at this node and at others, in the order of their keys, from the one behind ``after``."""
    for node in sorted([f"{source}/" for source, _ in view[SOURCES].all()]):
        for key in view[table].keys("at_node", account_at(node, account)):
            if key > after:
                yield key


def order(view: Any, context: QueryContext, params: OrderParams) -> OrderView:
    """An order of the caller's, open or ended."""
    key = outside_key(params.id, "/id")
    found = view[ORDERS].get(key) or view[CLOSED].get(key)
    try:
        check_reader(context, None if found is None else view[ACCOUNTS].get(found.account))
    except Rejected:
        raise Rejected("unknown_order", "no such order of yours is known here", status=404, field="/id") from None
    scales = view[BOOKS].get(found.market).scales
    return closed_view(key, found, scales) if isinstance(found, Closed) else order_view(key, found, scales)


def order_touch(params: OrderParams) -> Touch:
    """The row that changes while an order is open. What has ended does not change."""
    return ORDERS, params.id.replace("~", "/")

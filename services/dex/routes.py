"""The order book's HTTP routes, as data."""

from collections.abc import Mapping

import msgspec

from jilnode.module import Query, Write
from services.dex import examples, listings, queries
from services.dex.intents import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    CreateMarket,
    MassQuote,
    PlaceOrder,
    PlaceOrders,
    QuoteEntry,
    ReplaceOrder,
    SetGroup,
    SetMarket,
    SetMarketStatus,
)
from services.dex.views import BatchView, CancelledView, GroupView, MarketView, OrderView, ReplacedView
from services.wallet.listings import HistoryParams

__all__ = ("BASE", "QUERIES", "WRITES")

BASE = "/v1/dex"
_OF_ACCOUNT = HistoryParams(examples.ACCOUNT_ID)


class NoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``{}``."""


class HaltBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str


class MarketBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All terms at once. Fees hold for orders that come from then on."""

    min_notional: str = "0"
    band_bps: int = 1000
    maker_bps: int = 0
    taker_bps: int = 0
    states_bps: tuple[int, int, int] = (300, 1000, 2000)


class AmendBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The new quantity in all, with what is filled."""

    quantity: str


class ReplaceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``mode``: ``stop_on_failure`` (both or neither) or ``allow_failure``."""

    order: PlaceOrder
    mode: str = "stop_on_failure"


class GroupBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    group: str = ""


def _halt(parameters: Mapping[str, str], body: HaltBody) -> SetMarketStatus:
    return SetMarketStatus(parameters["market"], body.reason or "halted by an operator")


def _resume(parameters: Mapping[str, str], body: NoBody) -> SetMarketStatus:
    return SetMarketStatus(parameters["market"], "")


def _set_market(parameters: Mapping[str, str], body: MarketBody) -> SetMarket:
    return SetMarket(parameters["market"], **msgspec.structs.asdict(body))


def _cancel(parameters: Mapping[str, str], body: NoBody) -> CancelOrder:
    return CancelOrder(parameters["id"])


def _amend(parameters: Mapping[str, str], body: AmendBody) -> AmendOrder:
    return AmendOrder(parameters["id"], body.quantity)


def _replace(parameters: Mapping[str, str], body: ReplaceBody) -> ReplaceOrder:
    return ReplaceOrder(parameters["id"], body.order, body.mode)


def _group(parameters: Mapping[str, str], body: GroupBody) -> SetGroup:
    return SetGroup(parameters["account"], body.group)


WRITES = (
    Write(
        f"{BASE}/markets",
        CreateMarket,
        MarketView,
        "dex:operate",
        "Open a market at this node",
        example=CreateMarket("GOLD@sg-mas-01", "USDX@sg-mas-01", "0.01", "0.01", maker_bps=5, taker_bps=10),
        reply_example=examples.MARKET,
        description="Tick times lot must be a whole number of the quote's minor units, so that no fill is rounded.",
    ),
    Write(
        f"{BASE}/markets/{{market:str}}",
        MarketBody,
        MarketView,
        "dex:operate",
        "Set a market's terms",
        method="PUT",
        status=200,
        command=_set_market,
        example=MarketBody(maker_bps=5, taker_bps=10),
        reply_example=examples.MARKET,
    ),
    Write(
        f"{BASE}/markets/{{market:str}}/halt",
        HaltBody,
        MarketView,
        "dex:operate",
        "Stop a market, until it is resumed",
        status=200,
        command=_halt,
        example=HaltBody("news pending"),
        reply_example=examples.HALTED,
        description="Open orders stay and can be cancelled; nothing is filled.",
    ),
    Write(
        f"{BASE}/markets/{{market:str}}/resume",
        NoBody,
        MarketView,
        "dex:operate",
        "Let a market go on",
        status=200,
        command=_resume,
        example=NoBody(),
        reply_example=examples.MARKET,
    ),
    Write(
        f"{BASE}/accounts/{{account:str}}/group",
        GroupBody,
        GroupView,
        "dex:operate",
        "Say whose an account is, for self-trade prevention",
        method="PUT",
        status=200,
        command=_group,
        example=GroupBody("house-7"),
        reply_example=examples.GROUP,
    ),
    Write(
        f"{BASE}/orders",
        PlaceOrder,
        OrderView,
        "dex:trade",
        "Place an order",
        hot=True,
        example=examples.PLACE,
        reply_example=examples.ORDER,
        description="Decided, filled and durable once answered. What it may cost is set aside before it rests. "
        "`421`: the market's book is at another node.",
    ),
    Write(
        f"{BASE}/orders/batch",
        PlaceOrders,
        BatchView,
        "dex:trade",
        "Place up to 100 orders, each for itself",
        example=PlaceOrders((examples.PLACE, examples.PLACE_BETWEEN_LOTS)),
        reply_example=examples.BATCH,
        description="One event. Together they meet at most 100 resting orders.",
    ),
    Write(
        f"{BASE}/orders/cancel-all",
        CancelAll,
        CancelledView,
        "dex:trade",
        "Cancel all open orders of an account",
        status=200,
        example=CancelAll("kestrel@sg-mas-01", examples.MARKET_NAME),
        reply_example=examples.CANCELLED,
        description="One hundred at once; the node goes on by itself while there are more.",
    ),
    Write(
        f"{BASE}/orders/{{id:str}}/cancel",
        NoBody,
        OrderView,
        "dex:trade",
        "Cancel an open order",
        status=200,
        command=_cancel,
        example=NoBody(),
        reply_example=examples.ENDED,
    ),
    Write(
        f"{BASE}/orders/{{id:str}}/amend",
        AmendBody,
        OrderView,
        "dex:trade",
        "Lower an order's quantity; it keeps its place",
        status=200,
        command=_amend,
        example=AmendBody("1.00"),
        reply_example=examples.LOWERED,
    ),
    Write(
        f"{BASE}/orders/{{id:str}}/replace",
        ReplaceBody,
        ReplacedView,
        "dex:trade",
        "Cancel an order and place another, in one step",
        command=_replace,
        example=ReplaceBody(examples.PLACE),
        reply_example=examples.REPLACED,
        description="What the old order was filled with does not count for the new one. With `If-Match` and the ETag "
        "of the order as you know it, nothing is done if it was filled meanwhile.",
    ),
    Write(
        f"{BASE}/quotes",
        MassQuote,
        BatchView,
        "dex:trade",
        "Quote both sides of a market: the new quotes take the place of the old",
        method="PUT",
        status=201,
        example=MassQuote(
            examples.MARKET_NAME,
            "kestrel@sg-mas-01",
            (QuoteEntry("buy", "101.20", "5.00"), QuoteEntry("sell", "101.30", "5.00")),
        ),
        reply_example=examples.QUOTED,
    ),
)

QUERIES = (
    Query(
        f"{BASE}/markets",
        queries.NoParams,
        queries.Markets,
        "dex:read",
        "All markets known here, at whatever node",
        queries.markets,
        reply_example=queries.Markets([examples.MARKET]),
    ),
    Query(
        f"{BASE}/markets/{{market:str}}",
        queries.MarketParams,
        MarketView,
        "dex:read",
        "One market",
        queries.market,
        example=queries.MarketParams(examples.MARKET_NAME),
        reply_example=examples.MARKET,
    ),
    Query(
        f"{BASE}/markets/{{market:str}}/depth",
        queries.DepthParams,
        queries.Depth,
        "dex:read",
        "A market's book, level by level",
        queries.depth,
        example=queries.DepthParams(examples.MARKET_NAME),
        reply_example=examples.DEPTH,
        description="At the market's own node, or from a replica; `age_ms` says how old that is.",
    ),
    Query(
        f"{BASE}/markets/{{market:str}}/trades",
        listings.TradesParams,
        listings.Trades,
        "dex:read",
        "A market's trades, newest first",
        listing=listings.trades,
        example=listings.TradesParams(examples.MARKET_NAME),
        reply_example=examples.TRADES,
    ),
    Query(
        f"{BASE}/markets/{{market:str}}/candles",
        listings.CandlesParams,
        listings.Candles,
        "dex:read",
        "A market's candles, oldest first",
        listing=listings.candles,
        example=listings.CandlesParams(examples.MARKET_NAME),
        reply_example=examples.CANDLES,
    ),
    Query(
        f"{BASE}/depth",
        queries.ConsolidatedParams,
        queries.ConsolidatedBook,
        "dex:read",
        "The books of one pair at all nodes, as one",
        queries.consolidated,
        example=queries.ConsolidatedParams(examples.BASE_ASSET, examples.QUOTE_ASSET),
        reply_example=examples.CONSOLIDATED,
        description="From this node's replicas; `age_ms` says of each book how old what this node knows of it is.",
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/orders",
        queries.OpenOrdersParams,
        queries.OpenOrders,
        "dex:read",
        "An account's open orders",
        queries.open_orders,
        example=queries.OpenOrdersParams(examples.ACCOUNT_ID),
        reply_example=examples.OPEN_ORDERS,
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/orders/ended",
        HistoryParams,
        listings.Orders,
        "dex:read",
        "An account's orders that have ended, newest first",
        listing=listings.closed_orders,
        example=_OF_ACCOUNT,
        reply_example=examples.ENDED_ORDERS,
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/fills",
        HistoryParams,
        listings.Fills,
        "dex:read",
        "An account's fills, newest first",
        listing=listings.fills,
        example=_OF_ACCOUNT,
        reply_example=examples.FILLS,
    ),
    Query(
        f"{BASE}/orders/{{id:str}}",
        queries.OrderParams,
        OrderView,
        "dex:read",
        "One order, open or ended",
        queries.order,
        etag=queries.order_touch,
        example=queries.OrderParams(examples.ORDER.id),
        reply_example=examples.OPEN_ORDERS.items[0],
        description="One that is open has an ETag, which moves whenever it is filled or changed.",
    ),
)

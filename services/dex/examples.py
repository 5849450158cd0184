"""What the order book's routes take and answer, as the node's document shows it."""

from msgspec.structs import replace

from services.dex import listings, queries
from services.dex.intents import PlaceOrder
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

BASE_ASSET, QUOTE_ASSET = "GOLD@sg-mas-01", "USDX@sg-mas-01"
MARKET_NAME = "GOLD-USDX@sg-mas-01"
ACCOUNT_ID = "sg-mas-01~0-0000000004"
_AT_US = 1_795_415_580_000_000
_FILL = FillView("sg-mas-01~0-00000004d2-1", 4711, "101.20", "0.5000", "50.6000", "0.0506", "taker")

PLACE = PlaceOrder(MARKET_NAME, "kestrel@sg-mas-01", "buy", "1.50", "101.25", client_id="mine-1")
PLACE_BETWEEN_LOTS = replace(PLACE, quantity="1.505", client_id="mine-2")
MARKET = MarketView(
    MARKET_NAME,
    BASE_ASSET,
    QUOTE_ASSET,
    "0.01",
    "0.0100",
    "0.0000",
    1000,
    5,
    10,
    (300, 1000, 2000),
    "normal",
    "",
    "101.25",
    4711,
    52301,
)
HALTED = replace(MARKET, state="halted", halted="news pending")
ORDER = OrderView(
    "sg-mas-01~0-00000004d2",
    MARKET_NAME,
    ACCOUNT_ID,
    "buy",
    "limit",
    "gtc",
    "open",
    "",
    "101.25",
    None,
    "1.5000",
    "0.5000",
    "1.0000",
    "0.0000",
    "0.0000",
    "50.6000",
    "mine-1",
    _AT_US,
    None,
    [_FILL],
)
ENDED = replace(
    ORDER,
    status="cancelled",
    reason="cancelled",
    remaining="0.0000",
    cancelled="1.0000",
    closed_us=_AT_US + 60_000_000,
    fills=[],
)
LOWERED = replace(ORDER, remaining="0.5000", cancelled="0.5000", fills=[])
REPLACED = ReplacedView(
    replace(
        ORDER,
        id="sg-mas-01~0-00000004d9",
        filled="0.0000",
        remaining="1.5000",
        turnover="0.0000",
        placed_us=_AT_US + 60_000_000,
        fills=[],
    ),
    replace(ENDED, reason="replaced"),
)
BATCH = BatchView(
    "sg-mas-01~0-00000004d1",
    1,
    1,
    0,
    [
        BatchItem(0, replace(ORDER, id="sg-mas-01~0-00000004d1-1")),
        BatchItem(1, None, "off_lot", "a quantity is a multiple of the market's lot", "/orders/1/quantity"),
    ],
)
_QUOTE = replace(ORDER, kind="post_only", filled="0.0000", turnover="0.0000", client_id="", fills=[])
QUOTED = BatchView(
    "sg-mas-01~0-00000004d3",
    2,
    0,
    2,
    [
        BatchItem(
            index,
            replace(
                _QUOTE,
                id=f"sg-mas-01~0-00000004d3-{index + 1}",
                side=side,
                price=price,
                quantity="5.0000",
                remaining="5.0000",
            ),
        )
        for index, (side, price) in enumerate((("buy", "101.20"), ("sell", "101.30")))
    ],
)
CANCELLED = CancelledView([ORDER.id], False)
GROUP = GroupView(ACCOUNT_ID, "house-7")

_BIDS, _ASKS = [queries.Level("101.20", "5.0000")], [queries.Level("101.30", "5.0000")]
DEPTH = queries.Depth(MARKET_NAME, 52301, "normal", 0, _BIDS, _ASKS, queries.checksum(_BIDS, _ASKS))
CONSOLIDATED = queries.ConsolidatedBook(
    BASE_ASSET,
    QUOTE_ASSET,
    [
        queries.BookMarket(MARKET_NAME, 52301, "normal", 0),
        queries.BookMarket("GOLD-USDX@ch-zug-01", 871, "normal", 4200),
    ],
    [queries.ConsolidatedLevel("101.20", "7.5000", {MARKET_NAME: "5.0000", "GOLD-USDX@ch-zug-01": "2.5000"})],
    [queries.ConsolidatedLevel("101.30", "5.0000", {MARKET_NAME: "5.0000"})],
)
OPEN_ORDERS = queries.OpenOrders([replace(ORDER, fills=[])], None)
ENDED_ORDERS = listings.Orders([ENDED], None)
FILLS = listings.Fills([listings.OwnFill(MARKET_NAME, ORDER.id, "buy", _AT_US, _FILL)], None)
_TRADE = listings.TradeView(_FILL.trade, _FILL.number, _FILL.price, _FILL.quantity, _FILL.turnover, ORDER.side, _AT_US)
TRADES = listings.Trades(MARKET_NAME, [_TRADE], _TRADE.id)
_CANDLE = listings.CandleView(_AT_US, "101.00", "101.40", "101.00", "101.20", "12.5000", "1264.0000", 9)
CANDLES = listings.Candles(MARKET_NAME, 1, [_CANDLE], None)

"""The order book's rows. Prices are integers in the market's price scale, quantities and amounts in minor units.

A market is named ``BASE-QUOTE@node`` outside and ``<node>/BASE-QUOTE`` in keys; its node owns it and every order in it.
Open orders are rows of a resident table, so the book is what its indexes say; what has ended is a row that is written
once (``dex.closed``), and stays out of memory.
"""

from typing import Final

from jilnode.module import (
    CreatedBy,
    DeadlineIndex,
    EqualityIndex,
    OrderedIndex,
    Owned,
    SumIndex,
    Table,
)
from services.dex.intents import ExpireOrder, ReviewMarket, SweepOrders
from services.dex.queues import (
    BUY,
    SELL,
    at_node,
    book_place,
    book_side,
    level_of,
    own_name,
    quoting_name,
    stop_place,
    stop_side,
)
from services.wallet.kinds import Exchange, Holding

__all__ = (
    "BATCHES",
    "BOOKS",
    "BUY",
    "CANDLES",
    "CLOSED",
    "GROUPS",
    "MARKETS",
    "ORDERS",
    "PLACES_PER_EVENT",
    "SELL",
    "SWEEPS",
    "TRADES",
    "Batch",
    "Book",
    "Candle",
    "Closed",
    "Group",
    "Market",
    "Order",
    "Sweep",
    "Trade",
)

PLACES_PER_EVENT: Final = 128
"""So many orders at most come to one book in one event."""


class Market(Owned, frozen=True):
    """What an operator set. ``tick``: prices are multiples of it; ``lot``: quantities of it; ``min_notional`` in the
    quote's minor units. ``band_bps``: how far a price may be from the last one. ``states_bps``: the volatility at which
    the market becomes elevated, restricted, halted. ``maker_bps``, ``taker_bps``: the fee, of what each side gives."""

    base: str
    quote: str
    base_scale: int
    quote_scale: int
    price_scale: int
    tick: int
    lot: int
    min_notional: int
    band_bps: int
    maker_bps: int = 0
    taker_bps: int = 0
    states_bps: tuple[int, int, int] = (300, 1000, 2000)
    halted: str = ""
    """Why an operator stopped it; empty while it runs."""


class Book(Owned, frozen=True):
    """What moves, one row for each market under its key. ``sequence`` counts the events that changed the book,
    without gaps; ``trades`` the trades. ``open`` to ``turnover`` are the candle of ``minute``; ``ranges`` are
    (minute, low, high) of the last minutes with trades, from which volatility comes. ``reach`` is, while a stop
    order that was reached waits for its turn, (highest price, place of who took it last, lowest price, place of who
    took it last) since then; else it is empty. At ``due_us`` the kernel has the market looked at."""

    scales: tuple[int, int, int]
    """Decimals of a price, of the base asset, of the quote asset: an answer is made from an event's rows alone."""
    sequence: int = 0
    trades: int = 0
    last: int = 0
    state: str = "normal"
    since_us: int = 0
    minute: int = 0
    open: int = 0
    high: int = 0
    low: int = 0
    volume: int = 0
    turnover: int = 0
    count: int = 0
    ranges: tuple[tuple[int, int, int], ...] = ()
    due_us: int = 0
    reach: tuple[int, ...] = ()
    assets: tuple[str, str] = ("", "")
    """(base, quote), so that a replica can tell from an event alone what orders hold and trades pay."""


class Order(Holding, frozen=True):
    """An open order: what is left of it, ``remaining``, is funded by what is ``reserved`` of its account. quantity =
    filled + cancelled + prevented + remaining. ``price`` is the limit, of a stop order without one the price that
    protects it. ``stop`` is the price that wakes it, 0 once it is in the book. ``priority`` is its place among
    orders of one price: the book's sequence when it came. ``turnover`` is the quote that its fills moved; ``given``
    what it paid as maker, of which its fee is the ceiling of ``maker_bps``; ``taker_bps`` is the fee of what a stop
    order takes when it wakes."""

    market: str
    side: str
    price: int
    quantity: int
    remaining: int
    priority: int
    placed_us: int
    group: str
    kind: str = "limit"
    time_in_force: str = "gtc"
    expires_us: int = 0
    stop: int = 0
    prevention: str = "taker"
    client_id: str = ""
    filled: int = 0
    cancelled: int = 0
    prevented: int = 0
    turnover: int = 0
    given: int = 0
    maker_bps: int = 0
    quoting: bool = False
    taker_bps: int = 0

    at_node = property(at_node)
    named = property(own_name)
    quoted = property(quoting_name)
    level = property(level_of)


class Closed(Owned, frozen=True):
    """An order that has ended, and why: ``reason``. ``priority`` as above; ``stop`` too, 0 of one that woke before."""

    market: str
    account: str
    side: str
    price: int
    quantity: int
    priority: int
    placed_us: int
    closed_us: int
    reason: str
    kind: str = "limit"
    time_in_force: str = "gtc"
    client_id: str = ""
    filled: int = 0
    cancelled: int = 0
    prevented: int = 0
    turnover: int = 0
    stop: int = 0


class Trade(Exchange, frozen=True):
    """One fill, and its payment: the taker is ``debit``, the maker ``credit``. ``side`` is the taker's, so a taker who
    buys pays the turnover, and the maker pays the quantity back. Each fee is in what its payer gave."""

    market: str
    number: int
    price: int
    side: str
    maker_order: str
    taker_order: str

    @property
    def taker(self) -> str:
        return self.debit

    @property
    def maker(self) -> str:
        return self.credit

    @property
    def quantity(self) -> int:
        return self.back_amount if self.side == BUY else self.amount

    @property
    def turnover(self) -> int:
        return self.amount if self.side == BUY else self.back_amount

    @property
    def taker_fee(self) -> int:
        return self.fee

    @property
    def maker_fee(self) -> int:
        return self.back_fee


class Candle(Owned, frozen=True):
    """One minute of trades, written when it is over, under ``<market>/<minute since 1970>``."""

    market: str
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover: int
    count: int


class Group(Owned, frozen=True):
    """The beneficial owner of an account, under ``<node>/<account>``. Without one an account's subject is it."""

    name: str


class Sweep(Owned, frozen=True):
    """Orders of an account that are being cancelled, step by step: those that were placed before it, in ``market`` or,
    where that is empty, in every market of this node."""

    account: str
    market: str
    at_us: int
    due_us: int


class Batch(Owned, frozen=True):
    """Orders that came together, each for itself: how many, how many old quotes went for them, and what was refused:
    (index, code, detail, field). The keys of the orders are those that were made after the batch's (``nth_key``)."""

    orders: int
    withdrawn: int = 0
    refused: tuple[tuple[int, str, str, str], ...] = ()


MARKETS = Table("dex.market", Market, CreatedBy(), resident=True)
BOOKS = Table(
    "dex.book",
    Book,
    CreatedBy(),
    resident=True,
    indexes=(DeadlineIndex("due", "due_us", lambda key, row: ReviewMarket(key)),),
)
ORDERS = Table(
    "dex.order",
    Order,
    CreatedBy(),
    resident=True,
    indexes=(
        OrderedIndex("book", book_side, book_place),
        OrderedIndex("stops", stop_side, stop_place),
        EqualityIndex("at_node", "at_node"),
        EqualityIndex("by_name", "named"),
        EqualityIndex("quotes", "quoted"),
        SumIndex("depth", "level", "remaining"),
        DeadlineIndex("expiry", "expires_us", lambda key, row: ExpireOrder(key)),
    ),
)
CLOSED = Table("dex.closed", Closed, CreatedBy(), write_once=True, searchable=("account",))
TRADES = Table("dex.trade", Trade, CreatedBy(), write_once=True, searchable=("market", "debit", "credit"))
CANDLES = Table("dex.candle", Candle, CreatedBy(), write_once=True, searchable=("market",))
GROUPS = Table("dex.group", Group, CreatedBy(), resident=True)
SWEEPS = Table(
    "dex.sweep",
    Sweep,
    CreatedBy(),
    resident=True,
    indexes=(DeadlineIndex("due", "due_us", lambda key, row: SweepOrders(key)),),
)
BATCHES = Table("dex.batch", Batch, CreatedBy(), write_once=True)

TABLES = (MARKETS, BOOKS, ORDERS, CLOSED, TRADES, CANDLES, GROUPS, SWEEPS, BATCHES)

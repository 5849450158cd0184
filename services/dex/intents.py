"""What the order book can be asked to do. Prices, quantities and amounts are decimal strings."""

import msgspec

__all__ = (
    "AmendOrder",
    "CancelAll",
    "CancelOrder",
    "CreateMarket",
    "ExpireOrder",
    "MassQuote",
    "PlaceOrder",
    "PlaceOrders",
    "QuoteEntry",
    "ReplaceOrder",
    "ReviewMarket",
    "SetGroup",
    "SetMarket",
    "SetMarketStatus",
    "SweepOrders",
)


class _Intent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class CreateMarket(_Intent, frozen=True):
    """``base``, ``quote``: assets, ``CODE@issuer``. ``tick``, a decimal, also says how many decimals a price has;
    ``lot`` is in the base asset, ``min_notional`` in the quote asset. ``band_bps`` is how far a price may be from the
    last one; ``states_bps`` the volatility at which the market becomes elevated, restricted, halted."""

    base: str
    quote: str
    tick: str
    lot: str
    min_notional: str = "0"
    band_bps: int = 1000
    maker_bps: int = 0
    taker_bps: int = 0
    states_bps: tuple[int, int, int] = (300, 1000, 2000)


class SetMarket(_Intent, frozen=True):
    """Fees hold for orders that come from then on."""

    market: str
    min_notional: str = "0"
    band_bps: int = 1000
    maker_bps: int = 0
    taker_bps: int = 0
    states_bps: tuple[int, int, int] = (300, 1000, 2000)


class SetMarketStatus(_Intent, frozen=True):
    """Halts with a reason; resumes with an empty one."""

    market: str
    halted: str = ""


class SetGroup(_Intent, frozen=True):
    """Accounts of one ``group`` are one beneficial owner's. Empty: the account's subject is the owner."""

    account: str
    group: str = ""


class PlaceOrder(_Intent, frozen=True):
    """``side``: ``buy`` or ``sell``. ``kind``: ``limit``, ``market``, ``stop``, ``stop_limit`` or ``post_only``.
    ``time_in_force``: ``gtc``, ``ioc``, ``fok`` or ``gtd`` (until ``expires_us``); empty: ``ioc`` of a market order,
    else ``gtc``. ``price`` is the limit; of ``market`` and ``stop`` the price that protects them, from the market's
    band when empty. ``stop`` is the price that wakes a stop order. ``prevention`` says what ends when an order meets
    one of the same owner: ``none``, ``taker``, ``maker``, ``both``, or ``decrement``."""

    market: str
    account: str
    side: str
    quantity: str
    price: str = ""
    kind: str = "limit"
    time_in_force: str = ""
    expires_us: int = 0
    stop: str = ""
    prevention: str = "taker"
    client_id: str = ""


class PlaceOrders(_Intent, frozen=True):
    """At most 100, each for itself, in their order, in one event."""

    orders: tuple[PlaceOrder, ...]


class CancelOrder(_Intent, frozen=True):
    id: str


class AmendOrder(_Intent, frozen=True):
    """Lowers ``quantity``, which counts what is filled already. The order keeps its place."""

    id: str
    quantity: str


class ReplaceOrder(_Intent, frozen=True):
    """Cancels ``id`` and places ``order``, at the end of the queue. ``mode``: ``stop_on_failure`` does both or neither;
    ``allow_failure`` places the order although the other could not be cancelled (it was filled, say)."""

    id: str
    order: PlaceOrder
    mode: str = "stop_on_failure"


class CancelAll(_Intent, frozen=True):
    """Every open order of the account, in ``market`` or, where that is empty, in each market of this node."""

    account: str
    market: str = ""


class QuoteEntry(_Intent, frozen=True):
    side: str
    price: str
    quantity: str


class MassQuote(_Intent, frozen=True):
    """A market maker's quotes: they take the place of those of the same account and market from before. Each is a
    post-only order, for itself; which were refused stands in the answer."""

    market: str
    account: str
    quotes: tuple[QuoteEntry, ...]


class ExpireOrder(_Intent, frozen=True):
    key: str


class ReviewMarket(_Intent, frozen=True):
    """The kernel's own: wakes a stop order, ends a candle, calms a market down."""

    key: str


class SweepOrders(_Intent, frozen=True):
    key: str

"""What the order book answers: decimal strings, ids that fit into a URL (``~`` for ``/``), markets by their names."""

import msgspec

__all__ = (
    "BatchItem",
    "BatchView",
    "CancelledView",
    "FillView",
    "GroupView",
    "MarketView",
    "OrderView",
    "ReplacedView",
)


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
    filled + remaining + cancelled + prevented. ``fills`` are those of this very request. ``expires_us``: until when an
    open ``gtd`` order is good; null of all others."""

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
    expires_us: int | None = None


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

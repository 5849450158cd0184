"""What the RFQ desk answers: decimal strings, ids that fit into a URL."""

import msgspec

__all__ = ("FeeView", "LegView", "QuoteView", "RequestView", "SettlementView")


class RequestView(msgspec.Struct, frozen=True):
    """``state``: ``open``, ``quoted`` (there are quotes that the taker sees), ``settled``, ``expired`` or
    ``cancelled``. ``side`` is the taker's. ``fee_bps``: what each side will pay, of what it gives."""

    id: str
    account: str
    base: str
    quote: str
    side: str
    quantity: str
    sealed: bool
    invited: list[str]
    fee_bps: int
    state: str
    placed_us: int
    quotes_until_us: int
    accept_until_us: int
    ended_us: int | None


class LegView(msgspec.Struct, frozen=True):
    """What one side gives: ``amount`` to the other, ``fee`` to the node."""

    asset: str
    amount: str
    fee: str
    total: str


class QuoteView(msgspec.Struct, frozen=True):
    """``status``: ``live``, or why it ended. ``void``: why its maker may not pay now, while that lasts. The legs are
    exactly what acceptance moves and charges."""

    id: str
    request: str
    account: str
    price: str
    status: str
    shown: bool
    taker_gives: LegView
    maker_gives: LegView
    placed_us: int
    valid_until_us: int
    ended_us: int | None
    void: str = ""


class SettlementView(msgspec.Struct, frozen=True):
    """``id`` is the request's."""

    id: str
    quote_id: str
    taker: str
    maker: str
    side: str
    price: str
    quantity: str
    turnover: str
    taker_gives: LegView
    maker_gives: LegView
    at_us: int


class FeeView(msgspec.Struct, frozen=True):
    """Basis points of what each side gives, at this node, for requests that are opened now."""

    bps: int

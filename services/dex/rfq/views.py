"""What the RFQ desk answers: decimal strings, ids that fit into a URL."""

import msgspec

from jilnode.kernel.entry_rows import EntryRows
from services.dex.rfq.rows import (
    ENDED_QUOTES,
    ENDED_REQUESTS,
    FEES,
    QUOTES,
    REQUESTS,
    SETTLEMENTS,
    EndedQuote,
    EndedRequest,
    Quote,
    Request,
    Settlement,
)
from services.dex.rfq.terms import Leg, format_price, legs
from services.wallet.amounts import format_amount
from services.wallet.replies import outside
from services.wallet.rows import Account

__all__ = (
    "FeeView",
    "LegView",
    "QuoteView",
    "RequestView",
    "SettlementView",
    "ended_quote_reply",
    "ended_quote_view",
    "ended_request_reply",
    "ended_request_view",
    "fee_reply",
    "live_quote_view",
    "quote_reply",
    "request_reply",
    "request_view",
    "settlement_reply",
    "settlement_view",
)


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


def request_view(key: str, row: Request, state: str | None = None, ended_us: int | None = None) -> RequestView:
    terms = row.terms
    return RequestView(
        outside(key),
        outside(row.account),
        terms.base,
        terms.quote,
        terms.side,
        format_amount(terms.quantity, terms.base_scale),
        row.sealed,
        [outside(account) for account in row.invited],
        terms.fee_bps,
        row.state if state is None else state,
        row.placed_us,
        row.quotes_until_us,
        row.accept_until_us,
        ended_us,
    )


def ended_request_view(key: str, row: EndedRequest) -> RequestView:
    return request_view(key, row.request, row.state, row.ended_us)


def quote_view(key: str, row: Quote, status: str = "live", ended_us: int | None = None, void: str = "") -> QuoteView:
    taker, maker = legs(row.terms, row.price)
    return QuoteView(
        outside(key),
        outside(row.request),
        outside(row.account),
        format_price(row.price),
        status,
        row.shown,
        _leg_view(taker),
        _leg_view(maker),
        row.placed_us,
        row.valid_until_us,
        ended_us,
        void,
    )


def live_quote_view(key: str, row: Quote, maker: Account | None) -> QuoteView:
    """``maker``: its account; None while the account's home is not heard here yet."""
    void = "" if maker is None or maker.status == "active" else f"account_{maker.status}"
    return quote_view(key, row, void=void)


def ended_quote_view(key: str, row: EndedQuote) -> QuoteView:
    return quote_view(key, row.quote, row.reason, row.ended_us)


def settlement_view(key: str, row: Settlement) -> SettlementView:
    terms = row.terms
    taker, maker = legs(terms, row.price)
    return SettlementView(
        outside(key),
        outside(row.quote),
        outside(row.taker),
        outside(row.maker),
        terms.side,
        format_price(row.price),
        format_amount(terms.quantity, terms.base_scale),
        format_amount(row.turnover, terms.quote_scale),
        _leg_view(taker),
        _leg_view(maker),
        row.at_us,
    )


def _leg_view(leg: Leg) -> LegView:
    return LegView(
        leg.asset,
        format_amount(leg.amount, leg.scale),
        format_amount(leg.fee, leg.scale),
        format_amount(leg.amount + leg.fee, leg.scale),
    )


def request_reply(rows: EntryRows) -> RequestView:
    return request_view(*rows.one(REQUESTS))


def ended_request_reply(rows: EntryRows) -> RequestView:
    return ended_request_view(*rows.one(ENDED_REQUESTS))


def quote_reply(rows: EntryRows) -> QuoteView:
    return quote_view(*rows.one(QUOTES))


def ended_quote_reply(rows: EntryRows) -> QuoteView:
    return ended_quote_view(*rows.one(ENDED_QUOTES))


def settlement_reply(rows: EntryRows) -> SettlementView:
    return settlement_view(*rows.one(SETTLEMENTS))


def fee_reply(rows: EntryRows) -> FeeView:
    return FeeView(rows.one(FEES)[1].bps)

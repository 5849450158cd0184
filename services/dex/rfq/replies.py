"""How the RFQ desk's answers are made of its rows."""

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
from services.dex.rfq.views import FeeView, LegView, QuoteView, RequestView, SettlementView
from services.wallet.amounts import format_amount
from services.wallet.replies import outside
from services.wallet.rows import Account

__all__ = (
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


def settlement_view(row: Settlement) -> SettlementView:
    terms = row.terms
    taker, maker = row.legs
    return SettlementView(
        outside(row.request),
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
    _, settlement = rows.one(SETTLEMENTS)
    return settlement_view(settlement)


def fee_reply(rows: EntryRows) -> FeeView:
    return FeeView(rows.one(FEES)[1].bps)

"""Acceptance: the quote that is accepted settles in the same event, both legs or neither."""

from jilnode.kernel.state import Context, State
from jilnode.module import Action, Rejected
from services.dex.pairs import check_pair
from services.dex.rfq.commands.ending import end_quote, end_request
from services.dex.rfq.commands.quotes import check_owners, known_quote, unknown_quote
from services.dex.rfq.commands.requests import check_here
from services.dex.rfq.intents import AcceptQuote
from services.dex.rfq.rows import REQUESTS, SETTLED, SETTLEMENTS, Quote, Request, Settlement
from services.dex.rfq.terms import format_price, legs, turnover
from services.wallet.amounts import format_amount
from services.wallet.commands.accounts import check_owner
from services.wallet.commands.shares import check_debit
from services.wallet.ledger import Ledger, may_pay
from services.wallet.rows import ACCOUNTS, Account
from services.wallet.views import outside

__all__ = ("accept_quote", "review_acceptance")


def accept_quote(state: State, context: Context, command: AcceptQuote) -> None:
    """The maker pays out of what the quote holds, the taker out of what is available. What the taker lacks refuses the
    command and leaves everything as it was: the quote too."""
    key, quote, taker = _offered(state, context, command)
    request = _request(state, quote)
    check_debit(context, quote.taker, taker)
    if context.time_us >= request.accept_until_us:
        raise Rejected("request_expired", "the time to accept is over", status=409, field="/id")
    if context.time_us >= quote.valid_until_us:
        raise Rejected("quote_expired", "the quote is not valid any more", status=409, field="/id")
    check_pair(state, context.source, quote.terms.base, quote.terms.quote, "/id")
    check_owners(state, context, quote.taker, quote.account)
    _check_maker(state, context, quote)
    taker_gives, maker_gives = legs(quote.terms, quote.price)
    ledger = Ledger(state, context)
    ledger.pay(
        quote.taker,
        quote.account,
        taker_gives.asset,
        taker_gives.amount,
        taker_gives.fee,
        taker_gives.scale,
        quote.request,
        ("rfq.accept", key, taker_gives.amount),
    )
    left = ledger.pay_reserved(
        quote.account,
        quote.reserved,
        quote.taker,
        maker_gives.amount,
        maker_gives.fee,
        maker_gives.scale,
        quote.request,
    )
    end_quote(state, context, ledger, key, quote, left, "accepted")
    end_request(state, context, ledger, quote.request, request, SETTLED, "lost")
    ledger.write()
    moved = turnover(quote.terms, quote.price)
    assert moved is not None
    state[SETTLEMENTS].insert(
        quote.request,
        Settlement(
            key,
            quote.taker,
            quote.account,
            quote.price,
            quote.terms,
            moved,
            taker_gives.fee,
            maker_gives.fee,
            context.time_us,
        ),
    )


def review_acceptance(state: State, context: Context, command: AcceptQuote) -> Action:
    """The zones of both parties, with all that will move."""
    _, quote, taker = _offered(state, context, command)
    maker = state[ACCOUNTS].get(quote.account)
    assert maker is not None
    terms = quote.terms
    moved = turnover(terms, quote.price)
    assert moved is not None
    return Action(
        "dex.rfq.acceptance",
        tuple(zone for zone in (taker.zone, maker.zone) if zone),
        {
            "taker": outside(quote.taker),
            "maker": outside(quote.account),
            "request": outside(quote.request),
            "base": terms.base,
            "quote": terms.quote,
            "side": terms.side,
            "quantity": format_amount(terms.quantity, terms.base_scale),
            "price": format_price(quote.price),
            "turnover": format_amount(moved, terms.quote_scale),
            "leverage": 1,
        },
    )


def _offered(state: State, context: Context, command: AcceptQuote) -> tuple[str, Quote, Account]:
    """(key, quote, the taker's account). A quote is not there but for the taker who is shown it. Raises ``Rejected``:
    ``unknown_quote``, ``misdirected``."""
    key, quote = known_quote(state, command.id)
    taker = state[ACCOUNTS].get(quote.taker)
    assert taker is not None
    try:
        check_owner(context, taker, "/id")
    except Rejected:
        raise unknown_quote() from None
    if not quote.shown:
        raise unknown_quote()
    check_here(state, context, quote.request)
    return key, quote, taker


def _request(state: State, quote: Quote) -> Request:
    request = state[REQUESTS].get(quote.request)
    assert request is not None
    return request


def _check_maker(state: State, context: Context, quote: Quote) -> None:
    """A quote whose maker was frozen since is void; where the maker's home was only not heard, trying again helps."""
    code = may_pay(context, quote.account, state[ACCOUNTS].get(quote.account))
    if code:
        raise Rejected(
            "quote_void",
            f"the quote's maker may not pay now: {code}",
            status=409,
            field="/id",
            retry_after_s=5 if code == "home_not_heard" else None,
            extra={"reason": code},
        )

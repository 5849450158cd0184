"""Acceptance: the quote that is accepted settles in the same event, both legs or neither."""

from jilnode.kernel.state import Context, State
from jilnode.module import Action, Rejected
from services.dex.fields import sent_as
from services.dex.rfq.commands.ending import end_quote, end_request
from services.dex.rfq.commands.quotes import known_quote, unknown_quote
from services.dex.rfq.commands.requests import check_here
from services.dex.rfq.intents import AcceptQuote
from services.dex.rfq.rows import REQUESTS, SETTLED, SETTLEMENTS, Quote, Request, Settlement
from services.dex.rfq.standing import check_acceptable
from services.dex.rfq.terms import format_price, legs, turnover
from services.wallet.amounts import format_amount
from services.wallet.commands.accounts import check_owner, known_account
from services.wallet.commands.shares import check_debit
from services.wallet.ledger import Ledger
from services.wallet.replies import outside
from services.wallet.rows import Account

__all__ = ("accept_quote", "acceptance", "review_acceptance", "settle")


@sent_as("/id", "/id")
def accept_quote(state: State, context: Context, command: AcceptQuote) -> None:
    """The maker pays out of what the quote holds, the taker out of what is available. What the taker lacks refuses the
    command and leaves everything as it was: the quote too."""
    key, quote, taker = _offered(state, context, command)
    check_debit(context, quote.taker, taker)
    check_acceptable(state, context, quote, _request(state, quote))
    ledger = Ledger(state, context)
    settle(state, context, ledger, key, quote)
    ledger.write()


def settle(state: State, context: Context, ledger: Ledger, key: str, quote: Quote) -> None:
    """Accepts a quote that may be, within somebody's ledger: both legs are paid, and its request and all of its quotes
    end. Raises what ``Ledger.give`` does."""
    taker_gives, maker_gives = legs(quote.terms, quote.price)
    purpose = ("rfq.accept", key, taker_gives.amount)
    ledger.give(quote.taker, quote.account, taker_gives.asset, taker_gives.amount, taker_gives.fee, purpose)
    left = ledger.give_reserved(quote.account, quote.reserved, quote.taker, maker_gives.amount, maker_gives.fee)
    end_quote(state, context, ledger, key, quote, left, "accepted")
    end_request(state, context, ledger, quote.request, _request(state, quote), SETTLED, "lost")
    state[SETTLEMENTS].insert(
        context.new_key(),
        Settlement(
            quote.taker,
            quote.account,
            taker_gives.asset,
            taker_gives.amount,
            taker_gives.fee,
            taker_gives.scale,
            maker_gives.asset,
            maker_gives.amount,
            maker_gives.fee,
            maker_gives.scale,
            context.time_us,
            quote.request,
            key,
            quote.price,
            quote.terms,
        ),
    )


def review_acceptance(state: State, context: Context, command: AcceptQuote) -> Action:
    _, quote, _ = _offered(state, context, command)
    return acceptance(state, quote)


def acceptance(state: State, quote: Quote) -> Action:
    """What the zones of both parties judge, with all that will move."""
    taker, maker = known_account(state, quote.taker, "/id"), known_account(state, quote.account, "/id")
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
    try:
        taker = known_account(state, quote.taker, "/id")
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

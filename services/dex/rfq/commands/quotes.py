"""Quotes: submitted, bettered and withdrawn by makers, expired by the kernel. Each is funded while it lives."""

import msgspec

from jilnode.kernel.names import valid_key
from jilnode.kernel.state import Context, State
from jilnode.module import Action, Rejected
from services.dex.fields import sent_as
from services.dex.pairs import check_pair
from services.dex.queues import account_at
from services.dex.rfq.commands.ending import end_quote, live_quotes
from services.dex.rfq.commands.requests import check_here, known_request, unknown_request
from services.dex.rfq.intents import ExpireQuote, SubmitQuote, WithdrawQuote
from services.dex.rfq.rows import OPEN, QUOTED, QUOTES, REQUESTS, Quote, Request
from services.dex.rfq.standing import check_owners
from services.dex.rfq.terms import legs, parse_price
from services.dex.rows import BUY
from services.wallet.amounts import format_amount
from services.wallet.commands.accounts import account_of, check_owner, known_account
from services.wallet.commands.shares import check_debit
from services.wallet.kinds import Reserved
from services.wallet.ledger import Ledger
from services.wallet.rows import Account

__all__ = (
    "expire_quote",
    "known_quote",
    "review_quote",
    "submit_quote",
    "unknown_quote",
    "withdraw_quote",
)

QUOTES_MAX = 100
"""Live ones of one request: whatever ends it releases them all in one event."""
ACCOUNT_QUOTES_MAX = 1000
"""Live ones of one account, at this node."""


@sent_as("/price")
def submit_quote(state: State, context: Context, command: SubmitQuote) -> None:
    request_key, request, account, row = _asked(state, context, command)
    check_debit(context, account, row)
    if context.time_us >= request.quotes_until_us:
        raise Rejected("quotes_ended", "the time for quotes is over", status=409, field="/id")
    check_pair(state, context.source, request.terms.base, request.terms.quote, "/id")
    check_owners(state, context, request.account, account)
    price = parse_price(request.terms, command.price)
    gives = legs(request.terms, price)[1]
    quote = Quote(
        account,
        Reserved(gives.asset, 0),
        request_key,
        request.account,
        price,
        request.terms,
        context.time_us,
        _valid_until_us(context, request, command),
        not request.sealed,
    )
    key = context.new_key()
    _make_room(state, context, quote)
    ledger = Ledger(state, context)
    purpose = ("rfq.quote", request_key, gives.amount)
    reserved = ledger.reserve(account, gives.asset, gives.amount + gives.fee, gives.amount, purpose)
    ledger.write()
    state[QUOTES].insert(key, msgspec.structs.replace(quote, reserved=reserved))
    if quote.shown and request.state == OPEN:
        state[REQUESTS].put(request_key, msgspec.structs.replace(request, state=QUOTED))


def withdraw_quote(state: State, context: Context, command: WithdrawQuote) -> None:
    key, quote = known_quote(state, command.id)
    try:
        check_owner(context, known_account(state, quote.account, "/id"), "/id")
    except Rejected:
        # Whether there is a sealed quote is nobody else's business.
        raise unknown_quote() from None
    check_here(state, context, quote.request)
    _release(state, context, key, quote, "withdrawn")


def expire_quote(state: State, context: Context, command: ExpireQuote) -> None:
    """The kernel's own, when ``valid_until_us`` has come."""
    quote = state[QUOTES].get(command.key)
    assert quote is not None
    _release(state, context, command.key, quote, "expired")


def review_quote(state: State, context: Context, command: SubmitQuote) -> Action:
    """Before the money is set aside: the maker's zone and the taker's."""
    _, request, _, row = _asked(state, context, command)
    taker = known_account(state, request.account, "/id")
    terms = request.terms
    return Action(
        "dex.rfq.quote",
        tuple(zone for zone in (row.zone, taker.zone) if zone),
        {
            "account": command.account,
            "request": command.request,
            "base": terms.base,
            "quote": terms.quote,
            "side": terms.side,
            "quantity": format_amount(terms.quantity, terms.base_scale),
            "price": command.price,
            "leverage": 1,
        },
    )


def known_quote(state: State, reference: str) -> tuple[str, Quote]:
    """(key, row) of a live quote, here or elsewhere. Raises ``Rejected``: ``unknown_quote``."""
    key = reference.replace("~", "/")
    quote = state[QUOTES].get(key) if valid_key(key) else None
    if quote is None:
        raise unknown_quote()
    return key, quote


def unknown_quote() -> Rejected:
    return Rejected("unknown_quote", "no such live quote is known here", status=404, field="/id")


def _asked(state: State, context: Context, command: SubmitQuote) -> tuple[str, Request, str, Account]:
    """The request and the maker's account. A request is not there for those who are not invited."""
    key, request = known_request(state, command.request)
    account, row = account_of(state, command.account, "/account")
    check_owner(context, row, "/account")
    if request.invited and account not in request.invited:
        raise unknown_request()
    check_here(state, context, key)
    return key, request, account, row


def _valid_until_us(context: Context, request: Request, command: SubmitQuote) -> int:
    """A sealed quote that nobody could accept is refused."""
    valid_until_us = command.valid_until_us or request.accept_until_us
    from_us = request.quotes_until_us if request.sealed else context.time_us
    if not from_us < valid_until_us <= request.accept_until_us:
        raise Rejected(
            "bad_expiry",
            "a quote is valid for a time in which it can be accepted, and no longer",
            field="/valid_until_us",
            status=400,
        )
    return valid_until_us


def _make_room(state: State, context: Context, quote: Quote) -> None:
    """Ends the quote that this one takes the place of: the account's own, or the last one where there are too many.
    With a ledger of its own, so that limits count the old one no more when the new one is counted."""
    quotes = state[QUOTES]
    for key in quotes.keys("of_maker", quote.of_maker):
        old = quotes.get(key)
        assert old is not None
        if _rank(quote) > _rank(old) or (quote.price == old.price and quote.valid_until_us <= old.valid_until_us):
            raise Rejected(
                "quote_not_better",
                "a firm quote is replaced by a better price, or by the same for longer",
                status=409,
                field="/price",
            )
        _release(state, context, key, old, "improved")
        return
    if quotes.count("at_node", account_at(context.source, quote.account)) >= ACCOUNT_QUOTES_MAX:
        raise Rejected("too_many_quotes", f"at most {ACCOUNT_QUOTES_MAX} live quotes", status=409, field="/account")
    if quotes.count("by_request", quote.request) >= QUOTES_MAX:
        key, last = live_quotes(state, quote.request)[-1]
        if _rank(quote) >= _rank(last):
            raise Rejected(
                "too_many_quotes", f"there are {QUOTES_MAX} that are as good or better", status=409, field="/price"
            )
        _release(state, context, key, last, "outbid")


def _rank(quote: Quote) -> int:
    """Less is better for the taker."""
    return quote.price if quote.terms.side == BUY else -quote.price


def _release(state: State, context: Context, key: str, quote: Quote, reason: str) -> None:
    ledger = Ledger(state, context)
    end_quote(state, context, ledger, key, quote, quote.reserved, reason)
    ledger.write()

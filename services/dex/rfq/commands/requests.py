"""Requests: opened and cancelled by takers, looked at by the kernel when their time comes; and the node's fee."""

import msgspec

from jilnode.kernel.names import valid_key
from jilnode.kernel.state import Context, State
from jilnode.module import Action, Rejected
from services.dex.commands.markets import BPS_MAX
from services.dex.fields import sent_as
from services.dex.pairs import check_pair
from services.dex.rfq.commands.ending import end_request, live_quotes
from services.dex.rfq.intents import CancelRequest, OpenRequest, ReviewRequest, SetRfqFee
from services.dex.rfq.rows import CANCELLED, EXPIRED, FEES, QUOTED, QUOTES, REQUESTS, Fee, Request
from services.dex.rfq.standing import requests_here
from services.dex.rfq.terms import Terms
from services.dex.rows import BUY, SELL
from services.wallet.amounts import parse_amount
from services.wallet.commands.accounts import (
    FEES_NAME,
    account_of,
    asset_of,
    check_owner,
    known_account,
    open_system_account,
)
from services.wallet.commands.limits import DAY_US
from services.wallet.commands.shares import check_debit
from services.wallet.ledger import Ledger

__all__ = (
    "cancel_request",
    "check_here",
    "known_request",
    "open_request",
    "review_opening",
    "review_request",
    "set_fee",
    "unknown_request",
)

INVITED_MAX = 20
OPEN_REQUESTS_MAX = 100
"""Of one account, at this node."""
QUOTES_DAYS_MAX = 7
ACCEPT_DAYS_MAX = 1
ACCEPT_DEFAULT_US = 60_000_000


@sent_as("/quantity")
def open_request(state: State, context: Context, command: OpenRequest) -> None:
    account, row = account_of(state, command.account, "/account")
    check_owner(context, row, "/account")
    check_debit(context, account, row)
    terms = _terms(state, context, command)
    check_pair(state, context.source, terms.base, terms.quote, "/base")
    accept_until_us = _accept_until_us(context, command)
    invited = _invited(state, account, command.invited)
    if len(requests_here(state, context, account)) >= OPEN_REQUESTS_MAX:
        raise Rejected(
            "too_many_open_requests", f"at most {OPEN_REQUESTS_MAX} open requests", status=409, field="/account"
        )
    state[REQUESTS].insert(
        context.new_key(),
        Request(
            account,
            terms,
            context.time_us,
            command.quotes_until_us,
            accept_until_us,
            command.quotes_until_us,
            command.sealed,
            invited,
        ),
    )


def cancel_request(state: State, context: Context, command: CancelRequest) -> None:
    key, request = known_request(state, command.id)
    check_here(state, context, key)
    check_owner(context, known_account(state, request.account, "/id"), "/id")
    ledger = Ledger(state, context)
    end_request(state, context, ledger, key, request, CANCELLED, "request_cancelled")
    ledger.write()


def review_request(state: State, context: Context, command: ReviewRequest) -> None:
    """The kernel's own. When quotes end, a request that has none expires; of one that is sealed all are shown. When
    acceptance ends, it expires."""
    request = state[REQUESTS].get(command.key)
    assert request is not None
    quotes = live_quotes(state, command.key)
    if context.time_us >= request.accept_until_us or not quotes:
        ledger = Ledger(state, context)
        end_request(state, context, ledger, command.key, request, EXPIRED, "request_expired")
        ledger.write()
        return
    for key, quote in quotes:
        if not quote.shown:
            state[QUOTES].put(key, msgspec.structs.replace(quote, shown=True))
    state[REQUESTS].put(command.key, msgspec.structs.replace(request, state=QUOTED, due_us=request.accept_until_us))


def review_opening(state: State, context: Context, command: OpenRequest) -> Action:
    _, account = account_of(state, command.account, "/account")
    return Action(
        "dex.rfq.request",
        (account.zone,) if account.zone else (),
        {
            "account": command.account,
            "base": command.base,
            "quote": command.quote,
            "side": command.side,
            "quantity": command.quantity,
            "sealed": command.sealed,
            "leverage": 1,
        },
    )


def set_fee(state: State, context: Context, command: SetRfqFee) -> None:
    """It also opens the node's fee account."""
    if not 0 <= command.bps <= BPS_MAX:
        raise Rejected("bad_fee", f"a fee is 0 to {BPS_MAX} basis points", field="/bps", status=400)
    state[FEES].put(context.source, Fee(command.bps))
    open_system_account(state, context, FEES_NAME)


def known_request(state: State, reference: str) -> tuple[str, Request]:
    """(key, row) of an open request, here or elsewhere. Raises ``Rejected``: ``unknown_request``."""
    key = reference.replace("~", "/")
    request = state[REQUESTS].get(key) if valid_key(key) else None
    if request is None:
        raise unknown_request()
    return key, request


def unknown_request() -> Rejected:
    return Rejected("unknown_request", "no such open request is known here", status=404, field="/id")


def check_here(state: State, context: Context, key: str) -> None:
    """Raises ``Rejected``: ``misdirected``, with the node where the request was opened."""
    owner = state[REQUESTS].owner(key)
    if owner != context.source:
        raise Rejected("misdirected", f"the request lives at node {owner}", status=421, extra={"owner": owner})


def _terms(state: State, context: Context, command: OpenRequest) -> Terms:
    base = asset_of(state, command.base, "/base")
    quote = asset_of(state, command.quote, "/quote")
    if command.base == command.quote:
        raise Rejected("bad_pair", "base and quote are two assets", field="/quote", status=400)
    if command.side not in (BUY, SELL):
        raise Rejected("bad_side", "a side is buy or sell", field="/side", status=400)
    quantity = parse_amount(command.quantity, base.scale, "/quantity")
    fee = state[FEES].get(context.source)
    fee_bps = 0 if fee is None else fee.bps
    return Terms(command.base, command.quote, command.side, quantity, base.scale, quote.scale, fee_bps)


def _accept_until_us(context: Context, command: OpenRequest) -> int:
    now_us, quotes_until_us = context.time_us, command.quotes_until_us
    if not now_us < quotes_until_us <= now_us + QUOTES_DAYS_MAX * DAY_US:
        raise Rejected(
            "bad_expiry", f"in the future, at most {QUOTES_DAYS_MAX} days", field="/quotes_until_us", status=400
        )
    accept_until_us = command.accept_until_us or quotes_until_us + ACCEPT_DEFAULT_US
    if not quotes_until_us < accept_until_us <= quotes_until_us + ACCEPT_DAYS_MAX * DAY_US:
        raise Rejected(
            "bad_expiry",
            f"after the last quote may come, at most {ACCEPT_DAYS_MAX} day",
            field="/accept_until_us",
            status=400,
        )
    return accept_until_us


def _invited(state: State, taker: str, references: tuple[str, ...]) -> tuple[str, ...]:
    if len(references) > INVITED_MAX:
        raise Rejected("bad_invited", f"at most {INVITED_MAX} accounts", field="/invited", status=400)
    found: dict[str, None] = {}
    for index, reference in enumerate(references):
        key, _ = account_of(state, reference, f"/invited/{index}")
        if key == taker:
            raise Rejected("bad_invited", "a taker does not quote", field=f"/invited/{index}", status=400)
        found[key] = None
    return tuple(found)

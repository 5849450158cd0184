"""What must be true of every event of the RFQ desk: checked here before commit, and by every replica again.

Q1: a request ends once, and a quote is accepted only before it, the request and their times end. Q2: a quote is funded
from its first event to its last, with exactly what its maker would give. Q3: what a settlement says that both sides
paid, which the wallet judges, is what was quoted.
"""

import msgspec

from jilnode.limits import INT64_MAX
from jilnode.module import Change, Invariant
from services.dex.commands.markets import BPS_MAX
from services.dex.rfq.rows import (
    CANCELLED,
    ENDED_QUOTES,
    ENDED_REQUESTS,
    EXPIRED,
    OPEN,
    QUOTED,
    QUOTES,
    REQUESTS,
    SETTLED,
    SETTLEMENTS,
    EndedQuote,
    EndedRequest,
    Quote,
    Request,
    Settlement,
)
from services.dex.rfq.terms import Terms, legs, turnover
from services.dex.rows import BUY, SELL

__all__ = ("INVARIANTS",)

SCALE_MAX = 9
QUOTE_REASONS = (
    "accepted",
    "lost",
    "withdrawn",
    "expired",
    "improved",
    "outbid",
    "request_expired",
    "request_cancelled",
)


def _requested(change: Change) -> str | None:
    """A request is opened, is quoted, and ends once, as it stood; it is settled if there is a settlement."""
    ended = {key: after for key, _, after in change.rows(ENDED_REQUESTS)}
    settled = {settlement.request for _, _, settlement in change.rows(SETTLEMENTS)}
    for key, before, after in change.rows(REQUESTS):
        last = ended.pop(key, None)
        if (after is None) != (last is not None):
            return f"request {key} ends without saying how, or says so and goes on"
        if before is None:
            problem = _opened(change, after)
        elif after is not None:
            problem = _goes_on(before, after)
        else:
            problem = _ended_request(change, before, last, settled=key in settled)
        if problem is not None:
            return f"request {key} {problem}"
    for key in ended:
        return f"request {key} was not open"
    return None


def _opened(change: Change, request: Request) -> str | None:
    if request.state != OPEN or request.placed_us != change.time_us:
        return "does not begin open, now"
    if not request.placed_us < request.quotes_until_us < request.accept_until_us:
        return "has no time for quotes, or none to accept one"
    if request.due_us != request.quotes_until_us or request.account in request.invited:
        return "is not as a request begins"
    return _terms(request.terms)


def _goes_on(before: Request, after: Request) -> str | None:
    if after != msgspec.structs.replace(before, state=after.state, due_us=after.due_us):
        return "is changed"
    if after.state != QUOTED or after.due_us not in (before.due_us, before.accept_until_us):
        return f"goes from {before.state} to {after.state}"
    return None


def _ended_request(change: Change, before: Request, last: EndedRequest, *, settled: bool) -> str | None:
    if (last.account, last.request, last.ended_us) != (before.account, before, change.time_us):
        return "ends as another than it was"
    if last.state not in (SETTLED, EXPIRED, CANCELLED) or (last.state == SETTLED) != settled:
        return f"ends as {last.state}, and its settlement says otherwise"
    if last.state == EXPIRED and change.time_us < before.due_us:
        return "expires before its time"
    return None


def _terms(terms: Terms) -> str | None:
    if terms.side not in (BUY, SELL) or terms.base == terms.quote or not 0 < terms.quantity <= INT64_MAX:
        return "is of no side, pair or quantity"
    if not (0 <= terms.base_scale <= SCALE_MAX and 0 <= terms.quote_scale <= SCALE_MAX):
        return "is in no scale"
    return None if 0 <= terms.fee_bps <= BPS_MAX else f"has a fee of {terms.fee_bps}"


def _quoted(change: Change) -> str | None:
    """A quote never changes but for being shown, ends as it stood, and holds what its maker gives all the time."""
    ended = {key: after for key, _, after in change.rows(ENDED_QUOTES)}
    accepted = {settlement.quote for _, _, settlement in change.rows(SETTLEMENTS)}
    for key, before, after in change.rows(QUOTES):
        last = ended.pop(key, None)
        if (after is None) != (last is not None):
            return f"quote {key} ends without saying how, or says so and goes on"
        if before is None:
            problem = _submitted(change, after) or _funded(after)
        elif after is not None:
            shown = not before.shown and after == msgspec.structs.replace(before, shown=True)
            problem = None if shown else "is changed, or what it holds is"
        else:
            problem = _ended_quote(change, before, last, accepted=key in accepted)
        if problem is not None:
            return f"quote {key} {problem}"
    for key in ended:
        return f"quote {key} was not live"
    return None


def _submitted(change: Change, quote: Quote) -> str | None:
    # The request's row is not in the event; that it is this node's is in its key.
    if not quote.request.startswith(f"{change.source}/") or quote.account == quote.taker:
        return "is of a request elsewhere, or of the taker's own"
    if not quote.placed_us == change.time_us < quote.valid_until_us:
        return "does not begin now, or has no time"
    problem = _terms(quote.terms)
    if problem is not None:
        return problem
    amount = turnover(quote.terms, quote.price)
    return None if quote.price > 0 and amount is not None else "is at a price that is none, or not exact"


def _funded(quote: Quote) -> str | None:
    gives, reserved = legs(quote.terms, quote.price)[1], quote.reserved
    if (reserved.asset, reserved.amount, reserved.paid) != (gives.asset, gives.amount + gives.fee, 0):
        return "holds something else than its maker would give"
    return None


def _ended_quote(change: Change, before: Quote, last: EndedQuote, *, accepted: bool) -> str | None:
    shown_in = before.request if before.shown else ""
    if (last.account, last.shown_in, last.quote, last.ended_us) != (before.account, shown_in, before, change.time_us):
        return "ends as another than it was"
    if last.reason not in QUOTE_REASONS or (last.reason == "accepted") != accepted:
        return f"ends as {last.reason}, and the settlement says otherwise"
    if last.reason == "expired" and change.time_us < before.valid_until_us:
        return "expires before its time"
    return None


def _settled(change: Change) -> str | None:
    """A settlement ends its request and its quote, in their time, is the only one of them, and says that both sides
    paid what was quoted."""
    requests = {key: (before, after) for key, before, after in change.rows(REQUESTS)}
    # One that is accepted has been shown, so all that its row can do in this event is end.
    quotes = {key: before for key, before, _ in change.rows(QUOTES)}
    for key, _, settlement in change.rows(SETTLEMENTS):
        # Each ends with one settlement, so the next one of it finds nothing.
        request, goes_on = requests.pop(settlement.request, (None, None))
        quote = quotes.get(settlement.quote)
        if request is None or goes_on is not None or quote is None:
            return f"settlement {key} is of no request or quote that ends with it"
        problem = _settlement(change, settlement, request, quote)
        if problem is not None:
            return f"settlement {key} {problem}"
    return None


def _settlement(change: Change, settlement: Settlement, request: Request, quote: Quote) -> str | None:
    if quote.request != settlement.request or not quote.shown:
        return "is of a quote that its taker did not see"
    if (settlement.taker, settlement.taker) != (request.account, quote.taker) or settlement.maker != quote.account:
        return "is between others than asked and quoted"
    if request.invited and settlement.maker not in request.invited:
        return "is with a maker who was not invited"
    if not settlement.terms == quote.terms == request.terms or settlement.price != quote.price:
        return "is at another price than was quoted, or for something else"
    if settlement.legs != legs(quote.terms, quote.price):
        return "moves something else than was quoted"
    if settlement.at_us != change.time_us or not change.time_us < min(quote.valid_until_us, request.accept_until_us):
        return "comes too late"
    return None


INVARIANTS = (
    Invariant("rfq_requested", range(1, 2), _requested, (REQUESTS, ENDED_REQUESTS, SETTLEMENTS)),
    Invariant("rfq_quoted", range(1, 2), _quoted, (QUOTES, ENDED_QUOTES, SETTLEMENTS)),
    Invariant("rfq_settled", range(1, 2), _settled, (SETTLEMENTS,)),
)

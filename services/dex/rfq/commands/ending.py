"""How quotes and requests end: what a quote holds goes back, and a row says what stood and why it ended."""

from jilnode.kernel.state import Context, State
from services.dex.rfq.rows import (
    ENDED_QUOTES,
    ENDED_REQUESTS,
    QUOTES,
    REQUESTS,
    EndedQuote,
    EndedRequest,
    Quote,
    Request,
)
from services.wallet.kinds import Reserved
from services.wallet.ledger import Ledger
from services.wallet.rows import SHARES, share_key

__all__ = ("end_quote", "end_request", "live_quotes")


def live_quotes(state: State, request: str) -> list[tuple[str, Quote]]:
    """Best first. At most ``QUOTES_MAX``, so all of them end in one event."""
    found: list[tuple[str, Quote]] = []
    for key in state[QUOTES].ordered("best", request):
        quote = state[QUOTES].get(key)
        assert quote is not None
        found.append((key, quote))
    return found


def end_quote(
    state: State, context: Context, ledger: Ledger, key: str, quote: Quote, left: Reserved, reason: str
) -> None:
    """``left``: of what it holds, when it ends."""
    ledger.keep(quote.account, left, 0)
    state[QUOTES].delete(key)
    shown_in = quote.request if quote.shown else ""
    state[ENDED_QUOTES].insert(key, EndedQuote(quote.account, shown_in, quote, reason, context.time_us))


def end_request(
    state: State, context: Context, ledger: Ledger, key: str, request: Request, outcome: str, reason: str
) -> None:
    """``outcome`` is the request's state from now on; ``reason`` is why the quotes end that are left."""
    quotes = live_quotes(state, key)
    state.need([(SHARES, share_key(f"{quote.account}/{quote.reserved.asset}", context.source)) for _, quote in quotes])
    for quote_key, quote in quotes:
        end_quote(state, context, ledger, quote_key, quote, quote.reserved, reason)
    state[REQUESTS].delete(key)
    state[ENDED_REQUESTS].insert(key, EndedRequest(request.account, request, outcome, context.time_us))

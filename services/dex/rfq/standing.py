"""What could be accepted now, over rows as they stand: for acceptance itself, for queries, and for the router."""

from jilnode.kernel.state import Context, State, View
from jilnode.module import Rejected
from services.dex.commands.orders import group_of
from services.dex.pairs import check_pair
from services.dex.queues import account_at
from services.dex.rfq.rows import QUOTES, REQUESTS, Quote, Request
from services.dex.rfq.terms import legs
from services.dex.rows import SELL
from services.wallet.commands.accounts import known_account
from services.wallet.ledger import may_pay
from services.wallet.rows import ACCOUNTS

__all__ = ("best_offer", "check_acceptable", "check_owners", "requests_here")

OFFERS_MAX = 100
"""Quotes that one command looks at."""


def check_acceptable(rows: State | View, context: Context, quote: Quote, request: Request) -> None:
    """Whether the quote may settle now, but for what its taker has. Raises ``Rejected``: ``request_expired``,
    ``quote_expired``, ``market_halted``, ``self_trade``, ``quote_void``, ``unknown_account``."""
    if context.time_us >= request.accept_until_us:
        raise Rejected("request_expired", "the time to accept is over", status=409, field="/id")
    if context.time_us >= quote.valid_until_us:
        raise Rejected("quote_expired", "the quote is not valid any more", status=409, field="/id")
    check_pair(rows, context.source, quote.terms.base, quote.terms.quote, "/id")
    check_owners(rows, context, quote.taker, quote.account)
    _check_maker(rows, context, quote)


def check_owners(rows: State | View, context: Context, taker: str, maker: str) -> None:
    """Raises ``Rejected``: ``self_trade``, when one beneficial owner has both accounts; ``unknown_account``."""
    groups = [
        group_of(rows, context, account, known_account(rows, account, "/id").subject) for account in (taker, maker)
    ]
    if taker == maker or groups[0] == groups[1]:
        raise Rejected("self_trade", "taker and maker are one owner's", field="/account")


def best_offer(
    rows: State | View, context: Context, account: str, asset_in: str, asset_out: str, amount: int
) -> tuple[str, Quote] | None:
    """(key, row) of the quote to a request of the account's, at this node, that gives the most of ``asset_out`` for at
    most ``amount`` of ``asset_in``, fees included; of those that give the same it is what takes the least, then who
    came first. None without one."""
    requests = [
        (key, request)
        for key in requests_here(rows, context, account)
        if (request := _of_pair(rows, key, asset_in, asset_out)) is not None
    ]
    firsts = [next(iter(rows[QUOTES].ordered("best", key)), "") for key, _ in requests]
    quotes = [quote for key in firsts if key and (quote := rows[QUOTES].get(key)) is not None]
    rows.need((ACCOUNTS, party) for quote in quotes for party in (quote.account, quote.taker))
    found: list[tuple[tuple[int, int, int, str], Quote]] = []
    left = OFFERS_MAX
    for key, request in requests:
        for quote_key in rows[QUOTES].ordered("best", key):
            quote = rows[QUOTES].get(quote_key)
            assert quote is not None
            pays, gets = legs(quote.terms, quote.price)
            # Best first, so all that follow take as much or more.
            if not left or not quote.shown or pays.amount + pays.fee > amount:
                break
            left -= 1
            if _is_acceptable(rows, context, quote, request):
                found.append(((-gets.amount, pays.amount + pays.fee, quote.placed_us, quote_key), quote))
                break
    if not found:
        return None
    (*_, best), quote = min(found, key=lambda offer: offer[0])
    return best, quote


def requests_here(rows: State | View, context: Context, account: str) -> list[str]:
    """Keys of the account's open requests at this node, in their order. At most ``OPEN_REQUESTS_MAX``."""
    return list(rows[REQUESTS].ordered("at_node", account_at(context.source, account)))


def _of_pair(rows: State | View, key: str, asset_in: str, asset_out: str) -> Request | None:
    request = rows[REQUESTS].get(key)
    assert request is not None
    terms = request.terms
    pair = (terms.base, terms.quote) if terms.side == SELL else (terms.quote, terms.base)
    return request if pair == (asset_in, asset_out) else None


def _is_acceptable(rows: State | View, context: Context, quote: Quote, request: Request) -> bool:
    try:
        check_acceptable(rows, context, quote, request)
    except Rejected:
        return False
    return True


def _check_maker(rows: State | View, context: Context, quote: Quote) -> None:
    """A quote whose maker was frozen since is void; where the maker's home was only not heard, trying again helps."""
    code = may_pay(context, quote.account, rows[ACCOUNTS].get(quote.account))
    if code:
        raise Rejected(
            "quote_void",
            f"the quote's maker may not pay now: {code}",
            status=409,
            field="/id",
            retry_after_s=5 if code == "home_not_heard" else None,
            extra={"reason": code},
        )

"""What can be asked of live requests and quotes: committed rows, of this node and of those that it follows.

A sealed quote is its maker's alone until its row says that it is shown, whoever asks: auditors and operators too.
"""

from typing import Any

import msgspec

from jilnode.limits import PAGE_ITEMS_DEFAULT
from jilnode.module import QueryContext
from services.dex.queries import keys_at_all_nodes
from services.dex.rfq.commands.requests import unknown_request
from services.dex.rfq.replies import live_quote_view
from services.dex.rfq.rows import FEES, QUOTES, REQUESTS, Quote
from services.dex.rfq.views import FeeView, QuoteView
from services.wallet.pages import cursor_of, start_of
from services.wallet.queries import check_reader, outside_key, resolve
from services.wallet.rows import ACCOUNTS

__all__ = (
    "AUDITS",
    "IdParams",
    "LiveQuotes",
    "NoParams",
    "OwnQuotesParams",
    "Quotes",
    "fee",
    "may_see_quote",
    "own_quotes",
    "quotes",
)

AUDITS = frozenset({"audit", "dex:operate"})


class NoParams(msgspec.Struct, frozen=True):
    pass


class IdParams(msgspec.Struct, frozen=True):
    id: str


class OwnQuotesParams(msgspec.Struct, frozen=True):
    """In the order of their ids. ``after``: the cursor of the page before."""

    account: str
    after: str = ""
    limit: int = PAGE_ITEMS_DEFAULT


class LiveQuotes(msgspec.Struct, frozen=True):
    """The taker's best price first, then who came first."""

    request: str
    items: list[QuoteView]


class Quotes(msgspec.Struct, frozen=True):
    items: list[QuoteView]
    next: str | None


def may_see_quote(context: QueryContext, quote: Quote, maker: str, taker: str) -> bool:
    """``maker``, ``taker``: the subjects of the two accounts."""
    return context.actor == maker or (quote.shown and (context.actor == taker or bool(context.scopes & AUDITS)))


def quotes(view: Any, context: QueryContext, params: IdParams) -> LiveQuotes:
    """Those of one request that the caller may see: the taker those that are shown, a maker their own."""
    key = outside_key(params.id, "/id")
    request = view[REQUESTS].get(key)
    if request is None:
        raise unknown_request()
    live = [(quote_key, view[QUOTES].get(quote_key)) for quote_key in view[QUOTES].ordered("best", key)]
    parties = (request.account, *request.invited, *(quote.account for _, quote in live))
    # All at once, and not one after the other: how many another node's request has is that node's word.
    view.need((ACCOUNTS, account) for account in parties)
    taker = _subject(view, request.account)
    found = []
    for quote_key, quote in live:
        if may_see_quote(context, quote, _subject(view, quote.account), taker):
            found.append(live_quote_view(quote_key, quote, view[ACCOUNTS].get(quote.account)))
    if not found and request.invited:
        subjects = {_subject(view, account) for account in (request.account, *request.invited)}
        if context.actor not in subjects and not context.scopes & AUDITS:
            raise unknown_request()
    return LiveQuotes(params.id, found)


def own_quotes(view: Any, context: QueryContext, params: OwnQuotesParams) -> Quotes:
    account = resolve(view, params.account)
    maker = check_reader(context, view[ACCOUNTS].get(account) if account else None).subject
    after = start_of(params.after, params.limit) or ""
    found: list[QuoteView] = []
    for key in keys_at_all_nodes(view, QUOTES, account, after):
        quote = view[QUOTES].get(key)
        if not may_see_quote(context, quote, maker, ""):
            continue
        if len(found) == params.limit:
            return Quotes(found, cursor_of(after))
        after = key
        found.append(live_quote_view(key, quote, view[ACCOUNTS].get(account)))
    return Quotes(found, None)


def fee(view: Any, context: QueryContext, params: NoParams) -> FeeView:
    row = view[FEES].get(context.source)
    return FeeView(0 if row is None else row.bps)


def _subject(view: Any, account: str) -> str:
    """Nobody's, while the account's home is not heard here yet."""
    row = view[ACCOUNTS].get(account)
    return "" if row is None else str(row.subject)

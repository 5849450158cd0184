"""Long reads of the RFQ desk, beside the writer: in pages, with cursors."""

from typing import Any

import msgspec

from jilnode.limits import PAGE_ITEMS_DEFAULT
from jilnode.module import QueryContext, Rejected
from services.dex.rfq.commands.quotes import unknown_quote
from services.dex.rfq.commands.requests import unknown_request
from services.dex.rfq.queries import AUDITS, IdParams, Quotes, may_see_quote
from services.dex.rfq.replies import (
    ended_quote_view,
    ended_request_view,
    live_quote_view,
    request_view,
    settlement_view,
)
from services.dex.rfq.rows import ENDED_QUOTES, ENDED_REQUESTS, QUOTES, REQUESTS, SETTLEMENTS, Quote, Request
from services.dex.rfq.views import QuoteView, RequestView, SettlementView
from services.wallet.listings import HistoryParams, own_account
from services.wallet.pages import next_of, start_of
from services.wallet.queries import outside_key
from services.wallet.rows import ACCOUNTS

__all__ = (
    "Requests",
    "RequestsParams",
    "SeenQuotesParams",
    "Settlements",
    "ended_quotes",
    "ended_requests",
    "quote",
    "request",
    "requests",
    "seen_quotes",
    "settlement",
    "settlements",
)


class RequestsParams(msgspec.Struct, frozen=True):
    """``base``, ``quote``: only those of this pair. ``after``: the cursor of the page before. A page may hold fewer
    than ``limit``: what the caller may not see, or did not want, is left out."""

    base: str = ""
    quote: str = ""
    after: str = ""
    limit: int = PAGE_ITEMS_DEFAULT


class SeenQuotesParams(msgspec.Struct, frozen=True):
    """Newest first. ``after``: the cursor of the page before."""

    id: str
    after: str = ""
    limit: int = PAGE_ITEMS_DEFAULT


class Requests(msgspec.Struct, frozen=True):
    items: list[RequestView]
    next: str | None


class Settlements(msgspec.Struct, frozen=True):
    items: list[SettlementView]
    next: str | None


async def requests(reader: Any, context: QueryContext, params: RequestsParams) -> Requests:
    """Open ones, at this node and at those that it follows: for all, and those that invite an account of the
    caller's."""
    after = start_of(params.after, params.limit)
    page = await reader.page([REQUESTS], [], after=after, limit=params.limit)
    items = []
    for key, image in page.items:
        terms = image.row.terms
        wanted = params.base in ("", terms.base) and params.quote in ("", terms.quote)
        if wanted and await _may_see_request(reader, context, image.row):
            items.append(request_view(key, image.row))
    return Requests(items, next_of(page))


async def request(reader: Any, context: QueryContext, params: IdParams) -> RequestView:
    """Open or ended."""
    key = outside_key(params.id, "/id")
    image = (await reader.get(REQUESTS, [key])).get(key)
    if image is not None:
        row, view = image.row, request_view(key, image.row)
    else:
        image = (await reader.get(ENDED_REQUESTS, [key])).get(key)
        if image is None:
            raise unknown_request()
        row, view = image.row.request, ended_request_view(key, image.row)
    if not await _may_see_request(reader, context, row):
        raise unknown_request()
    return view


async def ended_requests(reader: Any, context: QueryContext, params: HistoryParams) -> Requests:
    account = await own_account(reader, context, params.account)
    after = start_of(params.after, params.limit)
    page = await reader.page([ENDED_REQUESTS], [("account", account)], after=after, limit=params.limit, descending=True)
    items = [ended_request_view(key, image.row) for key, image in page.items]
    return Requests(items, next_of(page))


async def quote(reader: Any, context: QueryContext, params: IdParams) -> QuoteView:
    """Live or ended."""
    key = outside_key(params.id, "/id")
    image = (await reader.get(QUOTES, [key])).get(key)
    if image is not None:
        maker = (await reader.get(ACCOUNTS, [image.row.account])).get(image.row.account)
        row, view = image.row, live_quote_view(key, image.row, None if maker is None else maker.row)
    else:
        image = (await reader.get(ENDED_QUOTES, [key])).get(key)
        if image is None:
            raise unknown_quote()
        row, view = image.row.quote, ended_quote_view(key, image.row)
    if not await _may_see_quote(reader, context, row):
        raise unknown_quote()
    return view


async def ended_quotes(reader: Any, context: QueryContext, params: HistoryParams) -> Quotes:
    """A maker's own."""
    account = await own_account(reader, context, params.account)
    return await _ended_quotes(reader, context, ("account", account), params.after, params.limit)


async def seen_quotes(reader: Any, context: QueryContext, params: SeenQuotesParams) -> Quotes:
    """Those of one request that have ended and that its taker could see: what the one accepted was chosen from."""
    return await _ended_quotes(reader, context, ("shown_in", outside_key(params.id, "/id")), params.after, params.limit)


async def settlement(reader: Any, context: QueryContext, params: IdParams) -> SettlementView:
    """By its request, of which there is one."""
    page = await reader.page([SETTLEMENTS], [("request", outside_key(params.id, "/id"))], limit=1)
    for _, image in page.items:
        subjects = await _subjects(reader, (image.row.taker, image.row.maker))
        if context.actor in subjects or context.scopes & AUDITS:
            return settlement_view(image.row)
    raise Rejected("unknown_settlement", "no such settlement of yours is known here", status=404, field="/id")


async def settlements(reader: Any, context: QueryContext, params: HistoryParams) -> Settlements:
    account = await own_account(reader, context, params.account)
    after = start_of(params.after, params.limit)
    page = await reader.page(
        [SETTLEMENTS], [("debit", account), ("credit", account)], after=after, limit=params.limit, descending=True
    )
    items = [settlement_view(image.row) for _, image in page.items]
    return Settlements(items, next_of(page))


async def _ended_quotes(reader: Any, context: QueryContext, wanted: tuple[str, str], after: str, limit: int) -> Quotes:
    page = await reader.page([ENDED_QUOTES], [wanted], after=start_of(after, limit), limit=limit, descending=True)
    items = [
        ended_quote_view(key, image.row)
        for key, image in page.items
        if await _may_see_quote(reader, context, image.row.quote)
    ]
    return Quotes(items, next_of(page))


async def _may_see_request(reader: Any, context: QueryContext, row: Request) -> bool:
    if not row.invited or context.scopes & AUDITS:
        return True
    return context.actor in await _subjects(reader, (row.account, *row.invited))


async def _may_see_quote(reader: Any, context: QueryContext, row: Quote) -> bool:
    maker, taker = await _subjects(reader, (row.account, row.taker))
    return may_see_quote(context, row, maker, taker)


async def _subjects(reader: Any, accounts: tuple[str, ...]) -> list[str]:
    """Nobody, where an account's home is not heard here yet."""
    found = await reader.get(ACCOUNTS, list(dict.fromkeys(accounts)))
    images = [found.get(account) for account in accounts]
    return ["" if image is None else image.row.subject for image in images]

"""What can be asked of the router: a dry run, and routes that were taken."""

from typing import Any

import msgspec

from jilnode.kernel.state import Context
from jilnode.module import QueryContext, Rejected
from services.dex.commands.orders import group_of
from services.dex.router.lanes import quotes_of, request_for
from services.dex.router.replies import route_view
from services.dex.router.rows import ROUTES, Route
from services.dex.router.rules import choose
from services.dex.router.views import RouteView
from services.wallet.amounts import parse_amount
from services.wallet.commands.accounts import asset_of
from services.wallet.listings import HistoryParams, own_account
from services.wallet.pages import next_of, start_of
from services.wallet.queries import check_reader, outside_key, resolve
from services.wallet.rows import ACCOUNTS

__all__ = ("DryRunParams", "RouteParams", "Routes", "dry_run", "route", "routes")


class DryRunParams(msgspec.Struct, frozen=True):
    """``account``: who would take it, since nobody meets their own orders; empty: somebody without any."""

    asset_in: str
    asset_out: str
    amount_in: str
    account: str = ""


class RouteParams(msgspec.Struct, frozen=True):
    id: str


class Routes(msgspec.Struct, frozen=True):
    items: list[RouteView]
    next: str | None


def dry_run(view: Any, context: QueryContext, params: DryRunParams) -> RouteView:
    """What taking the route would do now: the same lanes over the same rows."""
    account, group = "", ""
    as_handler = Context(context.source, 0, 0, context.time_us, context.actor, context.scopes, {}, context.heads.get)
    if params.account:
        account = resolve(view, params.account)
        row = check_reader(context, view[ACCOUNTS].get(account) if account else None)
        group = group_of(view, as_handler, account, row.subject)
    asset_in, asset_out = asset_of(view, params.asset_in, "/asset_in"), asset_of(view, params.asset_out, "/asset_out")
    if params.asset_in == params.asset_out:
        raise Rejected("bad_pair", "a route leads to another asset", field="/asset_out", status=400)
    amount = parse_amount(params.amount_in, asset_in.scale, "/amount_in")
    request = request_for(view, as_handler, params.asset_in, params.asset_out, amount, account, group)
    quotes = quotes_of(view, as_handler, request)
    rule, chosen = choose(quotes)
    return route_view(
        "",
        Route(
            account,
            params.asset_in,
            params.asset_out,
            asset_in.scale,
            asset_out.scale,
            amount,
            0,
            0,
            request.market,
            request.pool,
            tuple(quotes),
            rule,
            "" if chosen is None else chosen.lane,
            context.time_us,
        ),
    )


async def route(reader: Any, context: QueryContext, params: RouteParams) -> RouteView:
    """One of the caller's."""
    key = outside_key(params.id, "/id")
    image = (await reader.get(ROUTES, [key])).get(key)
    if image is not None:
        account = (await reader.get(ACCOUNTS, [image.row.account])).get(image.row.account)
        mine = account is not None and account.row.subject == context.actor
        if mine or context.scopes & {"audit", "wallet:operate"}:
            return route_view(key, image.row)
    raise Rejected("unknown_route", "no such route of yours is known here", status=404, field="/id")


async def routes(reader: Any, context: QueryContext, params: HistoryParams) -> Routes:
    account = await own_account(reader, context, params.account)
    after = start_of(params.after, params.limit)
    page = await reader.page([ROUTES], [("account", account)], after=after, limit=params.limit, descending=True)
    items = [route_view(key, image.row) for key, image in page.items]
    return Routes(items, next_of(page))

"""How the router's answers are made of its rows."""

from jilnode.kernel.entry_rows import EntryRows
from services.dex.pools.problems import PROBLEMS as POOL_PROBLEMS
from services.dex.pools.replies import ratio
from services.dex.pools.rows import pool_name
from services.dex.problems import PROBLEMS as BOOK_PROBLEMS
from services.dex.replies import market_name
from services.dex.router.problems import PROBLEMS
from services.dex.router.rows import ROUTES, LaneQuote, Route
from services.dex.router.views import LaneView, RouteView
from services.wallet.amounts import format_amount
from services.wallet.replies import outside

__all__ = ("route_reply", "route_view")

REASONS = {**BOOK_PROBLEMS, **POOL_PROBLEMS, **PROBLEMS}


def route_view(key: str, row: Route) -> RouteView:
    """A dry run has no key."""
    scales = row.scale_in, row.scale_out
    chosen = next((quote for quote in row.lanes if quote.lane == row.lane), None)
    return RouteView(
        outside(key) or None,
        outside(row.account) or None,
        row.asset_in,
        row.asset_out,
        format_amount(row.amount_in, row.scale_in),
        market_name(row.market) if row.market else None,
        pool_name(row.pool) if row.pool else None,
        row.rule or None,
        row.lane or None,
        None if chosen is None else format_amount(chosen.spent, row.scale_in),
        None if chosen is None else format_amount(chosen.output, row.scale_out),
        [_lane_view(quote, *scales) for quote in row.lanes],
        row.at_us if key else None,
    )


def _lane_view(quote: LaneQuote, scale_in: int, scale_out: int) -> LaneView:
    if quote.code:
        return LaneView(quote.lane, quote.code, REASONS.get(quote.code, quote.code), None, None, None, None, None)
    return LaneView(
        quote.lane,
        "",
        "",
        format_amount(quote.spent, scale_in),
        format_amount(quote.output, scale_out),
        format_amount(quote.fee, scale_in),
        format_amount(quote.pool_in, scale_in) if quote.pool_in else None,
        ratio(quote.output, scale_out, quote.spent, scale_in),
        outside(quote.accepted) or None,
    )


def route_reply(rows: EntryRows) -> RouteView:
    return route_view(*rows.one(ROUTES))

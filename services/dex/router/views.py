"""What the router answers."""

import msgspec

from jilnode.kernel.entry_rows import EntryRows
from services.dex.pools.problems import PROBLEMS as POOL_PROBLEMS
from services.dex.pools.rows import pool_name
from services.dex.pools.views import ratio
from services.dex.problems import PROBLEMS as BOOK_PROBLEMS
from services.dex.replies import market_name
from services.dex.router.problems import PROBLEMS
from services.dex.router.rows import ROUTES, LaneQuote, Route
from services.wallet.amounts import format_amount
from services.wallet.replies import outside

__all__ = ("LaneView", "RouteView", "route_reply", "route_view")

REASONS = {**BOOK_PROBLEMS, **POOL_PROBLEMS, **PROBLEMS}


class LaneView(msgspec.Struct, frozen=True):
    """``code`` and ``reason`` say why a lane can't be used; empty when it can, and null is what it does not have. All
    of ``spent``, ``fee`` and ``pool_in`` is in ``asset_in``; ``price``: what one whole ``asset_in`` gives of
    ``asset_out``, fees included, cut after 12 decimals. ``pool_in`` is the part that goes to the pool, ``quote_id``
    the firm quote that is accepted."""

    lane: str
    code: str
    reason: str
    spent: str | None
    output: str | None
    fee: str | None
    pool_in: str | None
    price: str | None
    quote_id: str | None = None


class RouteView(msgspec.Struct, frozen=True):
    """``rule`` is the rule by which ``lane`` was chosen, both null when no lane can be used. ``id`` and ``at_us`` are
    null in a dry run."""

    id: str | None
    account: str | None
    asset_in: str
    asset_out: str
    amount_in: str
    market: str | None
    pool: str | None
    rule: str | None
    lane: str | None
    spent: str | None
    output: str | None
    lanes: list[LaneView]
    at_us: int | None


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

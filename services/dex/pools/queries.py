"""What can be asked of pools: committed rows, of this node's pools and of those that it follows."""

from typing import Any

import msgspec

from jilnode.module import QueryContext, Rejected
from services.dex.pools.curve import fee_in
from services.dex.pools.quoting import check_open, input_for, output_of, pool_of, sides_of
from services.dex.pools.replies import pool_view, ratio
from services.dex.pools.rows import POOLS, pool_name
from services.dex.pools.views import PoolView
from services.wallet.amounts import format_amount, parse_amount
from services.wallet.rows import home_of

__all__ = ("NoParams", "PoolParams", "Pools", "SwapQuote", "SwapQuoteParams", "pool", "pools", "quote")


class NoParams(msgspec.Struct, frozen=True):
    pass


class PoolParams(msgspec.Struct, frozen=True):
    pool: str


class SwapQuoteParams(msgspec.Struct, frozen=True):
    """Either ``amount_in``, what is paid, or ``amount_out``, what is wanted."""

    pool: str
    asset_in: str
    amount_in: str = ""
    amount_out: str = ""


class Pools(msgspec.Struct, frozen=True):
    items: list[PoolView]


class SwapQuote(msgspec.Struct, frozen=True):
    """What a swap of ``amount_in`` would give now. ``amount_in`` for a wanted output is the least that gives it; the
    whole of what it gives stands in ``amount_out``."""

    pool: str
    asset_in: str
    asset_out: str
    amount_in: str
    amount_out: str
    fee: str
    price: str


def pools(view: Any, context: QueryContext, params: NoParams) -> Pools:
    return Pools([_view(context, key, row) for key, row in view[POOLS].all()])


def pool(view: Any, context: QueryContext, params: PoolParams) -> PoolView:
    return _view(context, *pool_of(view, params.pool))


def quote(view: Any, context: QueryContext, params: SwapQuoteParams) -> SwapQuote:
    """At another node's pool: as far as this node has heard."""
    key, row = pool_of(view, params.pool)
    if bool(params.amount_in) == bool(params.amount_out):
        raise Rejected("bad_request", "either amount_in or amount_out", status=400, field="/amount_in")
    check_open(view, key, row, swapping=True)
    sides = sides_of(row, params.asset_in)
    if params.amount_in:
        amount = parse_amount(params.amount_in, sides.scale_in, "/amount_in")
    else:
        amount = input_for(row, sides, parse_amount(params.amount_out, sides.scale_out, "/amount_out"))
    out = output_of(row, sides, amount)
    return SwapQuote(
        pool_name(key),
        sides.asset_in,
        sides.asset_out,
        format_amount(amount, sides.scale_in),
        format_amount(out, sides.scale_out),
        format_amount(fee_in(amount, row.fee_bps), sides.scale_in),
        ratio(out, sides.scale_out, amount, sides.scale_in),
    )


def _view(context: QueryContext, key: str, row: Any) -> PoolView:
    """Of another node's pool nobody here knows how long the reserves stay what they were."""
    return pool_view(key, row, context.time_us if home_of(key) == context.source else 0)

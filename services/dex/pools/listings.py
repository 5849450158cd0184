"""Long reads of pools, beside the writer: in pages, with cursors, newest first."""

from typing import Any

import msgspec

from jilnode.limits import PAGE_ITEMS_DEFAULT
from jilnode.module import QueryContext, Rejected
from services.dex.pools.quoting import pool_key
from services.dex.pools.replies import liquidity_view, swap_view
from services.dex.pools.rows import LIQUIDITY, POOLS, SWAPS
from services.dex.pools.views import LiquidityView, SwapView
from services.wallet.listings import HistoryParams, own_account
from services.wallet.pages import next_of, start_of

__all__ = (
    "LiquidityPage",
    "PoolSwapsParams",
    "Swaps",
    "account_liquidity",
    "account_swaps",
    "pool_swaps",
)


class PoolSwapsParams(msgspec.Struct, frozen=True):
    """``after``: the cursor of the page before."""

    pool: str
    after: str = ""
    limit: int = PAGE_ITEMS_DEFAULT


class Swaps(msgspec.Struct, frozen=True):
    items: list[SwapView]
    next: str | None


class LiquidityPage(msgspec.Struct, frozen=True):
    items: list[LiquidityView]
    next: str | None


async def pool_swaps(reader: Any, context: QueryContext, params: PoolSwapsParams) -> Swaps:
    """Who swapped is nobody else's business."""
    key = pool_key(params.pool)
    after = start_of(params.after, params.limit)
    if not key or (await reader.get(POOLS, [key])).get(key) is None:
        raise Rejected("unknown_pool", "no such pool is known here", status=404, field="/pool")
    page = await reader.page([SWAPS], [("credit", key)], after=after, limit=params.limit, descending=True)
    items = [swap_view(swap, image.row, named=False) for swap, image in page.items]
    return Swaps(items, next_of(page))


async def account_swaps(reader: Any, context: QueryContext, params: HistoryParams) -> Swaps:
    account = await own_account(reader, context, params.account)
    after = start_of(params.after, params.limit)
    page = await reader.page([SWAPS], [("debit", account)], after=after, limit=params.limit, descending=True)
    items = [swap_view(swap, image.row, named=True) for swap, image in page.items]
    return Swaps(items, next_of(page))


async def account_liquidity(reader: Any, context: QueryContext, params: HistoryParams) -> LiquidityPage:
    account = await own_account(reader, context, params.account)
    after = start_of(params.after, params.limit)
    page = await reader.page([LIQUIDITY], [("account", account)], after=after, limit=params.limit, descending=True)
    items = [liquidity_view(act, image.row) for act, image in page.items]
    return LiquidityPage(items, next_of(page))

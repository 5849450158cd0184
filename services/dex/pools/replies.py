"""How the pools' answers are made of their rows."""

from jilnode.kernel.entry_rows import EntryRows
from services.dex.pools.curve import accumulated
from services.dex.pools.rows import LIQUIDITY, POOLS, SWAPS, Liquidity, Pool, Swapped, pool_name
from services.dex.pools.views import LiquidityView, PoolView, SwapView
from services.wallet.amounts import format_amount
from services.wallet.replies import outside

__all__ = (
    "PRICE_DECIMALS",
    "liquidity_reply",
    "liquidity_view",
    "pool_reply",
    "pool_view",
    "ratio",
    "swap_reply",
    "swap_view",
)

PRICE_DECIMALS = 12


def ratio(amount: int, scale: int, base: int, base_scale: int) -> str:
    """Whole units of ``amount`` for one whole unit of ``base``, cut after ``PRICE_DECIMALS``."""
    return format_amount(amount * 10 ** (base_scale + PRICE_DECIMALS) // (base * 10**scale), PRICE_DECIMALS)


def pool_view(key: str, pool: Pool, now_us: int = 0) -> PoolView:
    """With ``now_us``, what has accumulated until then at the same reserves."""
    as_of_us, sums, price = pool.at_us, (pool.base_cumulative, pool.quote_cumulative), None
    if pool.shares:
        as_of_us = max(pool.at_us, now_us)
        sums = (
            accumulated(pool.base_cumulative, pool.base_reserve, pool.quote_reserve, as_of_us - pool.at_us),
            accumulated(pool.quote_cumulative, pool.quote_reserve, pool.base_reserve, as_of_us - pool.at_us),
        )
        price = ratio(pool.quote_reserve, pool.quote_scale, pool.base_reserve, pool.base_scale)
    return PoolView(
        pool_name(key),
        pool.base,
        pool.quote,
        pool.fee_bps,
        format_amount(pool.base_reserve, pool.base_scale),
        format_amount(pool.quote_reserve, pool.quote_scale),
        format_amount(pool.shares, pool.share_scale),
        price,
        *sums,
        as_of_us,
        pool.halted,
    )


def swap_view(key: str, row: Swapped, *, named: bool) -> SwapView:
    return SwapView(
        outside(key),
        pool_name(row.pool),
        outside(row.account) if named else None,
        row.asset_in,
        row.asset_out,
        format_amount(row.amount_in, row.scale_in),
        format_amount(row.amount_out, row.scale_out),
        format_amount(row.kept, row.scale_in),
        ratio(row.amount_out, row.scale_out, row.amount_in, row.scale_in),
        row.at_us,
    )


def liquidity_view(key: str, row: Liquidity) -> LiquidityView:
    base, quote, shares = row.scales
    return LiquidityView(
        outside(key),
        pool_name(row.pool),
        outside(row.account),
        row.kind,
        format_amount(row.base, base),
        format_amount(row.quote, quote),
        format_amount(row.shares, shares),
        row.at_us,
    )


def pool_reply(rows: EntryRows) -> PoolView:
    return pool_view(*rows.one(POOLS))


def swap_reply(rows: EntryRows) -> SwapView:
    return swap_view(*rows.one(SWAPS), named=True)


def liquidity_reply(rows: EntryRows) -> LiquidityView:
    return liquidity_view(*rows.one(LIQUIDITY))

"""What pools answer: decimal strings, pools by the names of their shares."""

import msgspec

__all__ = ("LiquidityView", "PoolView", "SwapView")


class PoolView(msgspec.Struct, frozen=True):
    """``price``: of one whole base in quote, cut after 12 decimals; null while the pool is empty. ``base_cumulative``,
    ``quote_cumulative``: integers, the sums of price times microseconds up to ``as_of_us``, a price being minor units
    for a minor unit with 112 bits after the point. The mean price of the base between two answers is the difference of
    the sums / the difference of the times / 2^112."""

    pool: str
    base: str
    quote: str
    fee_bps: int
    base_reserve: str
    quote_reserve: str
    shares: str
    price: str | None
    base_cumulative: str
    quote_cumulative: str
    as_of_us: int
    halted: str


class SwapView(msgspec.Struct, frozen=True):
    """``fee`` is the part of ``amount_in`` that stays with the pool for its owners; ``price``: what one whole
    ``asset_in`` gave of ``asset_out``, fee included, cut after 12 decimals. ``account`` is null where others read."""

    id: str
    pool: str
    account: str | None
    asset_in: str
    asset_out: str
    amount_in: str
    amount_out: str
    fee: str
    price: str
    at_us: int


class LiquidityView(msgspec.Struct, frozen=True):
    """``side``: ``add`` or ``remove``."""

    id: str
    pool: str
    account: str
    side: str
    base: str
    quote: str
    shares: str
    at_us: int

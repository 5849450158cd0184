"""The arithmetic of a constant-product pool: pure, in integers, each rounding against whoever trades with the pool.

With reserves x and y, fee f in basis points and g = 10,000 - f, an input d gives

    out = floor(d g y / (10,000 x + d g))

which is the most for which (10,000 x + d g)(y - out) >= 10,000 x y: the product never falls, with the fee outside it
(Uniswap v2 core, ``UniswapV2Pair.swap``, with 0.3 % there). One input in two parts never gives more than in one.

Liquidity: the first gives isqrt(x y) shares, of which ``MINIMUM_LIQUIDITY`` are nobody's for ever (Uniswap v2 core,
``mint``). Later ones: s of S shares cost ceil(s x / S) of each reserve, and are worth floor(s x / S). So what a share
is worth never falls, and taking out what was put in never gives more. By induction shares <= isqrt(x y): they fit into
64 bits as the reserves do.
"""

from math import isqrt

__all__ = (
    "BASIS_POINTS",
    "MINIMUM_LIQUIDITY",
    "PRICE_BITS",
    "accumulated",
    "amount_in",
    "amount_out",
    "cost_of",
    "fee_in",
    "first_shares",
    "price_of",
    "shares_for",
    "worth_of",
)

BASIS_POINTS = 10_000
MINIMUM_LIQUIDITY = 1000
PRICE_BITS = 112
"""After the point, of a price in an accumulator."""


def amount_out(amount: int, reserve_in: int, reserve_out: int, fee_bps: int) -> int:
    """The most that an exact input gives."""
    paid = amount * (BASIS_POINTS - fee_bps)
    return paid * reserve_out // (reserve_in * BASIS_POINTS + paid)


def amount_in(amount: int, reserve_in: int, reserve_out: int, fee_bps: int) -> int:
    """The least that gives ``amount``, which is less than ``reserve_out``."""
    return -(-amount * reserve_in * BASIS_POINTS // ((BASIS_POINTS - fee_bps) * (reserve_out - amount)))


def fee_in(amount: int, fee_bps: int) -> int:
    """What of an input stays with the pool as its fee; for people to read, nothing is computed from it."""
    return -(-amount * fee_bps // BASIS_POINTS)


def first_shares(base: int, quote: int) -> int:
    """All of them, with those that nobody gets."""
    return isqrt(base * quote)


def shares_for(base: int, quote: int, base_reserve: int, quote_reserve: int, shares: int) -> int:
    """The most shares that cost no more than ``base`` and ``quote``."""
    return min(base * shares // base_reserve, quote * shares // quote_reserve)


def cost_of(part: int, reserve: int, shares: int) -> int:
    """What ``part`` new shares cost of one reserve."""
    return -(-part * reserve // shares)


def worth_of(part: int, reserve: int, shares: int) -> int:
    """What ``part`` of all shares gets of one reserve."""
    return part * reserve // shares


def price_of(reserve: int, other: int) -> int:
    """Minor units of ``other`` for one of ``reserve``: the floor, with ``PRICE_BITS`` after the point."""
    return (other << PRICE_BITS) // reserve


def accumulated(cumulative: str, reserve: int, other: int, elapsed_us: int) -> str:
    """The sum of price times microseconds, after so many more at the same reserves. A price is rounded once, however
    often somebody looks in between, so the sum does not depend on that."""
    return str(int(cumulative) + price_of(reserve, other) * elapsed_us)

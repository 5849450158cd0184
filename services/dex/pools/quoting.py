"""What a pool would do, over rows as they stand: for the pool's own commands, for queries, and for the router."""

from typing import NamedTuple

from jilnode.kernel.names import valid_key
from jilnode.kernel.state import Context, State, View
from jilnode.limits import INT64_MAX
from jilnode.module import Rejected
from services.dex.pairs import check_pair
from services.dex.pools.curve import amount_in, amount_out
from services.dex.pools.rows import POOLS, Pool, pair_of
from services.wallet.rows import ACCOUNTS, home_of

__all__ = (
    "Sides",
    "check_filled",
    "check_open",
    "input_for",
    "output_of",
    "own_pool",
    "own_pool_of_pair",
    "pool_key",
    "pool_of",
    "sides_of",
)


class Sides(NamedTuple):
    """A pool as one direction of a swap sees it."""

    asset_in: str
    asset_out: str
    reserve_in: int
    reserve_out: int
    scale_in: int
    scale_out: int


def pool_key(name: str) -> str:
    """``dex.LP1@node`` as a key, ``<node>/dex.LP1``; a key stays one. Empty when it can't be one."""
    code, at, node = name.partition("@")
    key = f"{node}/{code}" if at else name.replace("~", "/")
    return key if valid_key(key) else ""


def pool_of(rows: State | View, name: str) -> tuple[str, Pool]:
    """(key, row) of a pool at whatever node. Raises ``Rejected``: ``unknown_pool``."""
    key = pool_key(name)
    pool = rows[POOLS].get(key) if key else None
    if pool is None:
        raise Rejected("unknown_pool", "no such pool is known here", status=404, field="/pool")
    return key, pool


def own_pool(state: State, context: Context, name: str) -> tuple[str, Pool]:
    """(key, row) of a pool of this node. Raises ``Rejected``: ``unknown_pool``, ``misdirected``."""
    key, pool = pool_of(state, name)
    owner = state[POOLS].owner(key)
    if owner != context.source:
        raise Rejected("misdirected", f"the pool {name} is at node {owner}", status=421, extra={"owner": owner})
    return key, pool


def own_pool_of_pair(rows: State | View, source: str, one: str, other: str) -> str:
    """The key of the node's pool of two assets; empty without one."""
    keys = rows[POOLS].keys("by_pair", pair_of(one, other))
    return next((key for key in keys if home_of(key) == source), "")


def check_open(rows: State | View, key: str, pool: Pool, *, swapping: bool) -> None:
    """Raises ``Rejected``: ``pool_halted``, ``market_halted``. Who only takes out may do so while a pool is halted, but
    not while its account is frozen."""
    account = rows[ACCOUNTS].get(key)
    if account is None or account.status != "active":
        raise Rejected("pool_halted", "the pool's account is frozen", status=409, field="/pool", retry_after_s=60)
    if not swapping:
        return
    if pool.halted:
        raise Rejected("pool_halted", "the pool is halted", status=409, field="/pool", retry_after_s=60)
    check_pair(rows, home_of(key), pool.base, pool.quote, "/pool")


def sides_of(pool: Pool, asset_in: str) -> Sides:
    """Raises ``Rejected``: ``not_in_pool``."""
    base = (pool.base, pool.base_reserve, pool.base_scale)
    quote = (pool.quote, pool.quote_reserve, pool.quote_scale)
    if asset_in not in (pool.base, pool.quote):
        raise Rejected("not_in_pool", f"the pool has {pool.base} and {pool.quote}", field="/asset_in")
    (in_asset, in_reserve, in_scale), (out_asset, out_reserve, out_scale) = (
        (base, quote) if asset_in == pool.base else (quote, base)
    )
    return Sides(in_asset, out_asset, in_reserve, out_reserve, in_scale, out_scale)


def output_of(pool: Pool, sides: Sides, amount: int) -> int:
    """What ``amount`` gives, at least 1. Raises ``Rejected``: ``pool_empty``, ``pool_full``, ``amount_too_small``."""
    check_filled(pool)
    _check_room(sides, amount)
    out = amount_out(amount, sides.reserve_in, sides.reserve_out, pool.fee_bps)
    if not out:
        raise Rejected("amount_too_small", "so little gives nothing", field="/amount_in")
    return out


def input_for(pool: Pool, sides: Sides, amount: int) -> int:
    """The least that gives ``amount``. Raises ``Rejected``: ``pool_empty``, ``pool_full``."""
    check_filled(pool)
    if amount >= sides.reserve_out:
        raise Rejected("pool_full", "the pool does not have that much", field="/amount_out")
    needed = amount_in(amount, sides.reserve_in, sides.reserve_out, pool.fee_bps)
    _check_room(sides, needed)
    return needed


def check_filled(pool: Pool) -> None:
    """Raises ``Rejected``: ``pool_empty``."""
    if not pool.shares:
        raise Rejected("pool_empty", "nobody has put anything in yet", status=409, field="/pool", retry_after_s=60)


def _check_room(sides: Sides, amount: int) -> None:
    if sides.reserve_in + amount > INT64_MAX:
        raise Rejected("pool_full", "the reserve would pass 64 bits", field="/amount_in")

"""What must be true of every event that touches a pool: checked here before commit, and by every replica again.

Together with the wallet's: a pool's reserves are what lies on its account, to the unit; they move by swaps and by
liquidity, one in an event; a swap, which is its own payment, gives exactly what the product allows; liquidity, paid by
its own transfers, exactly what its shares are worth; shares are made and burned with it and in no other way.
"""

from typing import Any

from jilnode.module import Change, Invariant
from services.dex.pools.curve import BASIS_POINTS, MINIMUM_LIQUIDITY, accumulated, fee_in
from services.dex.pools.rows import (
    ADD,
    CODE_PREFIX,
    LIQUIDITY,
    POOLS,
    REMOVE,
    SWAPS,
    Liquidity,
    Pool,
    Swapped,
    pool_name,
)
from services.wallet.invariants import SCALE_MAX
from services.wallet.rows import SHARES, SUPPLY, TRANSFERS, Share

__all__ = ("INVARIANTS",)

Legs = list[tuple[str, str, str, int, int]]
"""(debit, credit, asset, amount, fee) of transfers, sorted."""

_MARK = f"/{CODE_PREFIX}"
"""What keys of pools, of their accounts, and of the supply of their shares have in them, and no other account's."""


def _moved(change: Change) -> str | None:
    """M1, M4: how each pool changes is what one act says and the curve allows; its accumulators go on exactly."""
    acts: dict[str, tuple[str, Any]] = {}
    for table in (SWAPS, LIQUIDITY):
        for key, before, act in change.rows(table):
            if before is not None or act is None:
                return f"{table.name} {key} is written once"
            if act.pool in acts or act.at_us != change.time_us:
                return f"{key} is a second act of one event at pool {act.pool}, or of another time"
            acts[act.pool] = (key, act)
    paid, made = _paid(change)
    for key, before, after in change.rows(POOLS):
        act_key, act = acts.pop(key, ("", None))
        problem = _pool(change, before, after, act)
        if problem is not None:
            return f"pool {key} {problem}"
        if act is not None and (
            paid.get(act_key, []) != _legs(after, act) or made.get(pool_name(key), []) != _makings(before, act)
        ):
            return f"pool {key} is not paid for as {act_key} says"
    return f"{next(iter(acts))} is acted on and does not change" if acts else None


def _paid(change: Change) -> tuple[dict[str, Legs], dict[str, Legs]]:
    """(act -> its transfers, asset -> how it was issued and burned)."""
    paid: dict[str, Legs] = {}
    made: dict[str, Legs] = {}
    for _, _, row in change.rows(TRANSFERS):
        if row is None:
            continue
        leg = (row.debit, row.credit, row.asset, row.amount, row.fee)
        if row.kind == "trade":
            paid.setdefault(row.of, []).append(leg)
        elif row.kind in ("issue", "burn"):
            made.setdefault(row.asset, []).append(leg)
    return {of: sorted(legs) for of, legs in paid.items()}, {asset: sorted(legs) for asset, legs in made.items()}


def _legs(pool: Pool, act: Swapped | Liquidity) -> Legs:
    """The transfers that an act is paid by: none where it says itself what was paid."""
    if isinstance(act, Swapped):
        return []
    debit, credit = (act.account, act.pool) if act.kind == ADD else (act.pool, act.account)
    return sorted([(debit, credit, pool.base, act.base, 0), (debit, credit, pool.quote, act.quote, 0)])


def _makings(before: Pool, act: Swapped | Liquidity) -> Legs:
    """How an act makes and burns shares: for and from its account, and once for nobody."""
    if isinstance(act, Swapped):
        return []
    asset = pool_name(act.pool)
    if act.kind == REMOVE:
        return [(act.account, "", asset, act.shares, 0)]
    first = [] if before.shares else [("", act.pool, asset, MINIMUM_LIQUIDITY, 0)]
    return sorted([("", act.account, asset, act.shares, 0), *first])


def _pool(change: Change, before: Pool | None, after: Pool | None, act: Swapped | Liquidity | None) -> str | None:
    if after is None:
        return "is deleted"
    amounts = (after.base_reserve, after.quote_reserve, after.shares)
    if before is None:
        sums = (after.base_cumulative, after.quote_cumulative)
        if act is not None or any(amounts) or sums != ("0", "0") or after.base == after.quote:
            return "does not begin empty"
        if not 0 <= min(_scales(after)) <= max(_scales(after)) <= SCALE_MAX:
            return "is in no scale"
        return None if 0 <= after.fee_bps < BASIS_POINTS else "has a fee of everything"
    if _terms(before) != _terms(after):
        return "has other terms than it was made with"
    if act is None:
        same = (before.base_reserve, before.quote_reserve, before.shares)
        timed = (before.base_cumulative, before.quote_cumulative, before.at_us)
        if same != amounts or timed != (after.base_cumulative, after.quote_cumulative, after.at_us):
            return "moves and nobody acted"
        return None
    if min(amounts) <= 0:
        return "is left with nothing"
    if after.at_us != change.time_us or not _accumulated(before, after):
        return "has accumulated something else than its prices"
    return _swapped(before, after, act) if isinstance(act, Swapped) else _liquid(before, after, act)


def _terms(pool: Pool) -> tuple[Any, ...]:
    return (pool.base, pool.quote, pool.base_scale, pool.quote_scale, pool.share_scale, pool.fee_bps)


def _scales(pool: Pool) -> tuple[int, int, int]:
    return (pool.base_scale, pool.quote_scale, pool.share_scale)


def _accumulated(before: Pool, after: Pool) -> bool:
    found = (after.base_cumulative, after.quote_cumulative)
    if not before.shares:
        return found == (before.base_cumulative, before.quote_cumulative)
    elapsed_us = after.at_us - before.at_us
    return elapsed_us >= 0 and found == (
        accumulated(before.base_cumulative, before.base_reserve, before.quote_reserve, elapsed_us),
        accumulated(before.quote_cumulative, before.quote_reserve, before.base_reserve, elapsed_us),
    )


def _swapped(before: Pool, after: Pool, act: Swapped) -> str | None:
    """M1, tight on both sides: the product holds with the fee outside it, and would not with one unit more out. That
    something was paid, and that it is what moved, the wallet judges."""
    if before.shares != after.shares or act.fee or act.back_fee:
        return "is swapped for shares, or for a fee"
    if act.kept != fee_in(act.amount_in, before.fee_bps):
        return "says that it kept another fee than its own"
    x, y, x_after, y_after = before.base_reserve, before.quote_reserve, after.base_reserve, after.quote_reserve
    base, quote = (before.base, before.base_scale), (before.quote, before.quote_scale)
    assets = (base, quote)
    if act.asset_in == before.quote:
        x, y, x_after, y_after = y, x, y_after, x_after
        assets = (quote, base)
    if ((act.asset_in, act.scale_in), (act.asset_out, act.scale_out)) != assets:
        return "is swapped in something else than its assets"
    if (x + act.amount_in, y - act.amount_out) != (x_after, y_after):
        return "moves by something else than was swapped"
    reached = x * BASIS_POINTS + act.amount_in * (BASIS_POINTS - before.fee_bps)
    product = x * y * BASIS_POINTS
    if reached * y_after < product:
        return "gives more than its product allows"
    if reached * (y_after - 1) >= product:
        return "gives less than its product allows"
    return None


def _liquid(before: Pool, after: Pool, act: Liquidity) -> str | None:
    """M4, tight on both sides: what a share is worth does not fall, and nobody pays or is paid a unit more."""
    sign = {ADD: 1, REMOVE: -1}.get(act.kind, 0)
    if not sign or min(act.base, act.quote, act.shares) <= 0 or act.scales != _scales(before):
        return "is changed by nothing, or in other decimals"
    shares = after.shares - before.shares
    moved = (after.base_reserve - before.base_reserve, after.quote_reserve - before.quote_reserve)
    if moved != (sign * act.base, sign * act.quote):
        return "moves by something else than was put in or taken out"
    if not before.shares:
        product = act.base * act.quote
        if shares != act.shares + MINIMUM_LIQUIDITY or not shares**2 <= product < (shares + 1) ** 2:
            return "begins with other shares than its product makes"
        return None
    if shares != sign * act.shares or after.shares < MINIMUM_LIQUIDITY:
        return "has other shares than were made or given back"
    for amount, reserve in ((moved[0], before.base_reserve), (moved[1], before.quote_reserve)):
        # amount = ceil(shares reserve / all shares): of what comes in; of what goes out, both below zero, the floor.
        if not shares * reserve <= amount * before.shares < shares * reserve + before.shares:
            return "prices its shares as something else than they are worth"
    return None


def _backed(change: Change) -> str | None:
    """M6: what lies on a pool's account is its reserves, available; its shares are what was issued of them."""
    pools: dict[str, tuple[Pool | None, Pool]] = {}
    expected: dict[str, int] = {}
    for key, before, after in change.rows(POOLS):
        if after is None:
            return f"pool {key} is deleted"
        pools[key] = (before, after)
        for asset, reserve, was in (
            (after.base, after.base_reserve, 0 if before is None else before.base_reserve),
            (after.quote, after.quote_reserve, 0 if before is None else before.quote_reserve),
        ):
            if reserve != was:
                expected[f"{key}/{asset}/{change.source}"] = reserve
        made = after.shares - (0 if before is None else before.shares)
        if before is not None and not before.shares and made:
            expected[f"{key}/{pool_name(key)}/{change.source}"] = MINIMUM_LIQUIDITY
    for key, _, share in change.rows(SHARES):
        if share is None:
            return f"share {key} is deleted"
        if _MARK in share.account and not _holds(share, expected.pop(key, None)):
            return f"share {key} is not what its pool says"
    if expected:
        return f"share {next(iter(expected))} does not move with its pool"
    return _supplied(change, pools)


def _holds(share: Share, reserve: int | None) -> bool:
    return (share.available, share.held, share.bound) == (reserve, 0, 0)


def _supplied(change: Change, pools: dict[str, tuple[Pool | None, Pool]]) -> str | None:
    made: dict[str, int] = {}
    for key, (before, after) in pools.items():
        made[key] = after.shares - (0 if before is None else before.shares)
    for key, before, after in change.rows(SUPPLY):
        if _MARK in key:
            if after is None:
                return f"the supply of {key} is deleted"
            issued = 0 if before is None else before.issued - before.burned
            if key not in made or after.issued - after.burned - issued != made.pop(key):
                return f"shares of {key} are made or burned, and its pool does not say so"
    for key, amount in made.items():
        if amount:
            return f"pool {key} has shares that nobody made or burned"
    return None


INVARIANTS = (
    Invariant("dex_pool_moved", range(1, 2), _moved, (POOLS, SWAPS, LIQUIDITY)),
    Invariant("dex_pool_backed", range(1, 2), _backed, (POOLS, SHARES, SUPPLY)),
)

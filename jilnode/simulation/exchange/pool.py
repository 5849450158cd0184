"""One pool as its events tell it: judged after each event by formulas of its own, as fractions.

M1: the product of the reserves never falls by a swap. M4: what a share is worth never falls. M6: the reserves are what
lies on the pool's account, and its shares are what was issued of them.
"""

from fractions import Fraction
from math import ceil, floor, isqrt

from jilnode.simulation.exchange.money import Money, Moved
from jilnode.simulation.finding import Finding
from services.dex.pools.rows import Liquidity, Pool, Swapped

__all__ = ("Act", "ShadowPool")

Act = Swapped | Liquidity
LOCKED = 1000
"""Shares that nobody gets."""
BASIS_POINTS = 10_000
PRICE_BITS = 112


class ShadowPool:
    """It begins empty: what is in it, acts have put there."""

    def __init__(self, key: str, row: Pool, size: int) -> None:
        self.key = key
        self.row = row
        self.shapes: list[tuple[int, Pool]] = [(size, row)]
        """(size of the journal, the pool from then on), rising."""

    @property
    def asset(self) -> str:
        """Of its shares."""
        node, _, code = self.key.partition("/")
        return f"{code}@{node}"

    def apply(self, where: str, row: Pool, act: Act | None, size: int, expected: Moved) -> None:
        """Adds to ``expected`` what the event should move."""
        before, self.row = self.row, row
        if _terms(before) != _terms(row):
            raise Finding(f"pool: {where} changes the terms of {self.key}")
        if act is None:
            if _amounts(before) != _amounts(row):
                raise Finding(f"pool: {where} moves {self.key}, and nobody acted")
        else:
            if before.halted and not (isinstance(act, Liquidity) and act.kind == "remove"):
                raise Finding(f"pool: {where} acts on {self.key}, which is halted")
            if isinstance(act, Swapped):
                self._swapped(where, before, act, expected)
            else:
                self._liquid(where, before, act, expected)
            self._accumulated(where, before)
        self.shapes.append((size, row))

    def gives(self, asset_in: str, amount: int) -> int:
        """What a swap gives now; of no use where nothing is in the pool."""
        return _output(self.row, asset_in, amount)

    def check_backed(self, where: str, money: Money) -> None:
        """M6, to the unit."""
        row = self.row
        for asset, reserve in (
            (row.base, row.base_reserve),
            (row.quote, row.quote_reserve),
            (self.asset, LOCKED if row.shares else 0),
        ):
            share = money.share(f"{self.key}/{asset}")
            found = (0, 0, 0) if share is None else (share.available, share.held, share.bound)
            if found != (reserve, 0, 0):
                raise Finding(f"backed: {where} leaves {found} of {asset} with {self.key}, and not {reserve} (M6)")
        if money.supply(self.key) != row.shares:
            raise Finding(f"backed: {where} leaves {self.key} with {row.shares} shares that nobody issued (M6)")

    def _swapped(self, where: str, before: Pool, act: Swapped, expected: Moved) -> None:
        row = self.row
        (x, y), (x_now, y_now) = _sides(before, act.asset_in), _sides(row, act.asset_in)
        if (x_now - x, y_now - y) != (act.amount_in, -act.amount_out) or row.shares != before.shares:
            raise Finding(f"pool: {where} moves {self.key} by something else than was swapped")
        if x_now * y_now < x * y:
            raise Finding(f"pool: {where} takes the product of {self.key} from {x * y} to {x_now * y_now} (M1)")
        out = _output(before, act.asset_in, act.amount_in)
        if act.amount_out != out:
            raise Finding(f"pool: {where} gives {act.amount_out} of {act.asset_out}, and not {out} (M1)")
        _move(expected, act.account, self.key, act.asset_in, act.amount_in)
        _move(expected, self.key, act.account, act.asset_out, act.amount_out)

    def _liquid(self, where: str, before: Pool, act: Liquidity, expected: Moved) -> None:
        """What is put in and taken out is what the shares are worth, rounded for those who stay."""
        row = self.row
        sign = 1 if act.kind == "add" else -1
        locked = 0 if before.shares else LOCKED
        moved = tuple(now - then for now, then in zip(_amounts(row), _amounts(before), strict=True))
        if moved != (sign * act.base, sign * act.quote, sign * act.shares + locked):
            raise Finding(f"pool: {where} moves {self.key} by {moved}, and not by what {act.account} did")
        if not before.shares:
            if row.shares != isqrt(act.base * act.quote):
                raise Finding(f"pool: {where} begins {self.key} with {row.shares} shares")
        else:
            for reserve, amount, now in (
                (before.base_reserve, act.base, row.base_reserve),
                (before.quote_reserve, act.quote, row.quote_reserve),
            ):
                if now * before.shares < reserve * row.shares:
                    raise Finding(f"pool: {where} makes a share of {self.key} worth less (M4)")
                worth = Fraction(act.shares * reserve, before.shares)
                if amount != (ceil(worth) if sign > 0 else floor(worth)):
                    raise Finding(f"pool: {where} prices {act.shares} shares of {self.key} at {amount} (M4)")
        if row.shares < LOCKED:
            raise Finding(f"pool: {where} gives away shares of {self.key} that are nobody's")
        for asset, amount in ((row.base, act.base), (row.quote, act.quote)):
            _move(expected, act.account, self.key, asset, sign * amount)
        for account, shares in ((act.account, sign * act.shares), (self.key, locked)):
            balance = f"{account}/{self.asset}"
            expected[balance] = expected.get(balance, 0) + shares

    def _accumulated(self, where: str, before: Pool) -> None:
        row = self.row
        for found, was, reserve, other in (
            (row.base_cumulative, before.base_cumulative, before.base_reserve, before.quote_reserve),
            (row.quote_cumulative, before.quote_cumulative, before.quote_reserve, before.base_reserve),
        ):
            price = floor(Fraction(other * 2**PRICE_BITS, reserve)) if before.shares else 0
            if int(found) != int(was) + price * (row.at_us - before.at_us):
                raise Finding(f"pool: {where} adds something else to the mean price of {self.key}")


def _sides(pool: Pool, asset_in: str) -> tuple[int, int]:
    """(reserve of the asset that comes, of the one that goes)."""
    if asset_in == pool.quote:
        return pool.quote_reserve, pool.base_reserve
    return pool.base_reserve, pool.quote_reserve


def _output(pool: Pool, asset_in: str, amount: int) -> int:
    x, y = _sides(pool, asset_in)
    effective = Fraction(amount * (BASIS_POINTS - pool.fee_bps), BASIS_POINTS)
    return y - ceil(x * y / (x + effective))


def _move(expected: Moved, debit: str, credit: str, asset: str, amount: int) -> None:
    for account, change in ((debit, -amount), (credit, amount)):
        balance = f"{account}/{asset}"
        expected[balance] = expected.get(balance, 0) + change


def _amounts(pool: Pool) -> tuple[int, int, int]:
    return (pool.base_reserve, pool.quote_reserve, pool.shares)


def _terms(pool: Pool) -> tuple[str, str, int]:
    return (pool.base, pool.quote, pool.fee_bps)

"""A pool under any sequence of acts: what it pays is predicted by formulas of its own, and M1 to M6 hold after each."""

import asyncio
from fractions import Fraction
from math import isqrt
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jilnode.kernel.errors import Rejected
from services.dex.pools.intents import AddLiquidity, CreatePool, RemoveLiquidity, Swap
from services.dex.pools.rows import LIQUIDITY, POOLS, SWAPS
from tests.services.dex.kit import BASE, QUOTE, Exchange
from tests.services.dex.pool_kit import KEY, POOL, Pools, check_pools, text
from tests.services.wallet.kit import rows

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking, which takes minutes here: the failing steps are few enough to read."""
WHO = st.integers(0, 2)
AMOUNTS = st.integers(1, 100) | st.integers(1, 10_000_000)
LOCKED = 1000


class PoolMachine(RuleBasedStateMachine):
    """Three traders with 1,000 GOLD and 100,000 USDX each, and a pool that takes 30 basis points."""

    fee_bps = 30

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.made = Pools(Exchange(1))
        self.accounts: list[str] = []
        self.x = self.y = self.shares = 0

    def wait(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    @initialize()
    def begin(self) -> None:
        self.wait(self.made.home.start())
        self.wait(self.made.exchange.begin())
        self.wait(self.made.exchange.operate(CreatePool(BASE, QUOTE, self.fee_bps)))
        self.accounts = [self.wait(self.made.exchange.trader(f"s{number}")) for number in range(3)]

    def balances(self, who: int) -> tuple[int, int, int]:
        account = self.accounts[who]
        return self.made.has(account, BASE), self.made.has(account, QUOTE), self.made.has(account, POOL)

    def agree(self, who: int, command: Any, code: str, moves: tuple[int, int, int]) -> Any:
        """Refused with ``code``, or else it moves so much of the trader's GOLD, USDX and shares."""
        before = self.balances(who)
        try:
            reply = self.wait(self.made.run(f"s{who}", command))
        except Rejected as rejected:
            assert rejected.code == code, (command, code, rejected)
            assert self.balances(who) == before
            return None
        assert not code, (command, code, reply)
        after = self.balances(who)
        assert tuple(now - then for now, then in zip(after, before, strict=True)) == moves
        return reply

    def out(self, x: int, y: int, amount: int) -> int:
        """What is left of the product, rounded up for the pool."""
        effective = Fraction(amount * (10_000 - self.fee_bps), 10_000)
        left = Fraction(x * y) / (x + effective)
        return y - -(-left.numerator // left.denominator)

    @rule(who=WHO, buys=st.booleans(), amount=AMOUNTS, more=st.sampled_from([0, 0, 0, 1]), late=st.booleans())
    def swap(self, who: int, buys: bool, amount: int, more: int, late: bool) -> None:
        x, y = (self.y, self.x) if buys else (self.x, self.y)
        out = self.out(x, y, amount) if self.shares else 0
        has = self.balances(who)[1 if buys else 0]
        late = late and more == 1
        code = (
            "deadline_passed"
            if late
            else "pool_empty"
            if not self.shares
            else "amount_too_small"
            if not out
            else "insufficient_funds"
            if has < amount
            else "below_minimum"
            if more
            else ""
        )
        deadline_us = self.made.exchange.clock.now_us - (1 if late else 0)
        least = text(max(out, 1) + more)
        command = Swap(POOL, self.accounts[who], QUOTE if buys else BASE, text(amount), least, deadline_us)
        if self.agree(who, command, code, (out, -amount, 0) if buys else (-amount, out, 0)) is not None:
            assert (x + amount) * (y - out) >= x * y, "M1"
            self.x, self.y = (self.x - out, self.y + amount) if buys else (self.x + amount, self.y - out)

    @rule(who=WHO, base=AMOUNTS, quote=AMOUNTS)
    def add(self, who: int, base: int, quote: int) -> None:
        x, y, shares = self.x, self.y, self.shares
        if not shares:
            made = isqrt(base * quote)
            paid = (base, quote)
            code = "amount_too_small" if made <= LOCKED else ""
            got = made - LOCKED
        else:
            made = got = min(int(Fraction(base, x) * shares), int(Fraction(quote, y) * shares))
            paid = (-(-made * x // shares), -(-made * y // shares))
            code = "" if made else "amount_too_small"
        has = self.balances(who)
        if not code and (has[0] < paid[0] or has[1] < paid[1]):
            code = "insufficient_funds"
        command = AddLiquidity(POOL, self.accounts[who], text(base), text(quote), text(1), text(1), self.made.later_us)
        if self.agree(who, command, code, (-paid[0], -paid[1], got)) is not None:
            self.x, self.y, self.shares = x + paid[0], y + paid[1], shares + made
            assert (paid[0] <= base) and (paid[1] <= quote)
            self.no_share_loses(x, y, shares)

    @rule(who=WHO, part=st.integers(1, 120))
    def remove(self, who: int, part: int) -> None:
        self.remove_shares(who, max(1, self.balances(who)[2] * part // 100))

    def remove_shares(self, who: int, shares: int) -> None:
        has = self.balances(who)[2]
        base, quote = (shares * self.x // self.shares, shares * self.y // self.shares) if self.shares else (0, 0)
        code = (
            "insufficient_funds"
            if shares > self.shares - LOCKED
            else "amount_too_small"
            if not (base and quote)
            else "insufficient_funds"
            if shares > has
            else ""
        )
        command = RemoveLiquidity(POOL, self.accounts[who], text(shares), text(1), text(1), self.made.later_us)
        before = self.x, self.y, self.shares
        if self.agree(who, command, code, (base, quote, -shares)) is not None:
            self.x, self.y, self.shares = self.x - base, self.y - quote, self.shares - shares
            self.no_share_loses(*before)

    @rule(who=WHO, base=st.integers(1, 1_000_000))
    def put_in_and_take_out(self, who: int, base: int) -> None:
        """M5: never a unit more than what was put in."""
        if not self.shares:
            return
        before = self.balances(who)
        self.add(who, base, 10_000_000)
        got = self.balances(who)[2] - before[2]
        if got:
            self.remove_shares(who, got)
            after = self.balances(who)
            assert after[0] <= before[0]
            assert after[1] <= before[1]

    @rule(who=WHO, buys=st.booleans(), amount=st.integers(1, 1_000_000))
    def there_and_back(self, who: int, buys: bool, amount: int) -> None:
        """M2: never a unit more than before."""
        before = self.balances(who)
        paid, got = (1, 0) if buys else (0, 1)
        self.swap(who, buys, amount, 0, False)
        bought = self.balances(who)[got] - before[got]
        if bought:
            self.swap(who, not buys, bought, 0, False)
            assert self.balances(who)[paid] <= before[paid]

    @rule(who=WHO, buys=st.booleans(), first=st.integers(1, 500_000), second=st.integers(1, 500_000))
    def in_two_parts(self, who: int, buys: bool, first: int, second: int) -> None:
        """M3: never a unit more than at once."""
        if not self.shares:
            return
        at_once = self.out(*((self.y, self.x) if buys else (self.x, self.y)), first + second)
        before = self.balances(who)
        self.swap(who, buys, first, 0, False)
        self.swap(who, buys, second, 0, False)
        side = 0 if buys else 1
        assert self.balances(who)[side] - before[side] <= at_once

    @rule(seconds=st.integers(1, 100))
    def time_passes(self, seconds: int) -> None:
        self.made.exchange.clock.advance(seconds)

    def no_share_loses(self, x: int, y: int, shares: int) -> None:
        """M4."""
        if shares:
            assert Fraction(self.x, self.shares) >= Fraction(x, shares)
            assert Fraction(self.y, self.shares) >= Fraction(y, shares)

    @invariant()
    def same_pool(self) -> None:
        if not self.accounts:
            return
        pool = rows(self.made.home, POOLS)[KEY]
        assert (pool.base_reserve, pool.quote_reserve, pool.shares) == (self.x, self.y, self.shares)
        check_pools(self.made.home)
        assert not self.made.home.engine.alarms

    def teardown(self) -> None:
        if self.accounts:
            home = self.made.home
            moved = [0, 0]
            for row in rows(home, SWAPS).values():
                bought = 1 if row.asset_in == BASE else 0
                moved[1 - bought] += row.amount_in
                moved[bought] -= row.amount_out
            for row in rows(home, LIQUIDITY).values():
                sign = 1 if row.kind == "add" else -1
                moved[0] += sign * row.base
                moved[1] += sign * row.quote
            assert moved == [self.x, self.y], "the reserves are what the acts say"
        self.wait(self.made.home.close())
        self.runner.close()


class FreePoolMachine(PoolMachine):
    """Without a fee roundings alone have to protect the pool."""

    fee_bps = 0


def test_a_pool_does_what_the_formulas_say():
    run_state_machine_as_test(PoolMachine, settings=settings(max_examples=25, stateful_step_count=40, phases=PHASES))


def test_a_pool_without_a_fee_loses_nothing_to_roundings():
    run_state_machine_as_test(
        FreePoolMachine, settings=settings(max_examples=15, stateful_step_count=40, phases=PHASES)
    )

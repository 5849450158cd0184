"""Any book beside any pool: each route does what its dry run said, no lane would have given more, and book, pool and
money are as they must be after each step."""

import asyncio
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jilnode.kernel.errors import Rejected
from jilnode.module import QueryContext
from services.dex.intents import SetMarketStatus
from services.dex.pools.intents import CreatePool
from services.dex.router import queries
from services.wallet.intents import SetStatus
from tests.services.dex.kit import BASE, MARKET, QUOTE, Exchange, check_exchange
from tests.services.dex.pool_kit import Pools, check_pools, text

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking, which takes minutes here: the failing steps are few enough to read."""
WHO = st.integers(0, 2)
OTHER = {BASE: QUOTE, QUOTE: BASE}


class RouterMachine(RuleBasedStateMachine):
    cache_bytes = 64 * 1024 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.made = Pools(Exchange(1, cache_bytes=self.cache_bytes))
        self.accounts: list[str] = []

    def wait(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    def attempt(self, awaitable: Any) -> Any:
        """What is refused is refused for good reasons, which other tests look at."""
        try:
            return self.wait(awaitable)
        except Rejected:
            return None

    @initialize(taker_bps=st.sampled_from([0, 7, 100]), fee_bps=st.sampled_from([0, 30]))
    def begin(self, taker_bps: int, fee_bps: int) -> None:
        self.wait(self.made.home.start())
        self.wait(self.made.exchange.begin(maker_bps=3, taker_bps=taker_bps, min_notional="1"))
        self.wait(self.made.exchange.operate(CreatePool(BASE, QUOTE, fee_bps)))
        self.accounts = [self.wait(self.made.exchange.trader(f"s{number}")) for number in range(3)]

    @rule(who=WHO, sells=st.booleans(), lots=st.integers(1, 2000), off=st.integers(0, 300))
    def order(self, who: int, sells: bool, lots: int, off: int) -> None:
        price = text(10_000 + off if sells else 10_000 - off, 2)
        side = "sell" if sells else "buy"
        command = self.made.exchange.order(f"s{who}", self.accounts[who], side, text(lots * 100), price)
        self.attempt(command)

    @rule(who=WHO, base=st.integers(1, 3_000_000))
    def add(self, who: int, base: int) -> None:
        self.attempt(self.made.add(f"s{who}", self.accounts[who], base, base * 100))

    @rule(who=WHO, part=st.integers(1, 10))
    def remove(self, who: int, part: int) -> None:
        shares = self.made.has(self.accounts[who], "dex.LP1@sg-mas-01") * part // 10
        if shares:
            self.attempt(self.made.remove(f"s{who}", self.accounts[who], shares))

    @rule(who=WHO, asset=st.sampled_from([BASE, QUOTE]), amount=st.integers(1, 500_000))
    def swap(self, who: int, asset: str, amount: int) -> None:
        self.attempt(self.made.swap(f"s{who}", self.accounts[who], asset, amount))

    @rule(who=WHO, status=st.sampled_from(["active", "active", "frozen"]))
    def freeze(self, who: int, status: str) -> None:
        self.wait(self.made.exchange.operate(SetStatus(self.accounts[who], status)))

    @rule(reason=st.sampled_from(["", "", "", "news"]))
    def halt(self, reason: str) -> None:
        self.wait(self.made.exchange.operate(SetMarketStatus(MARKET, reason)))

    @rule(who=WHO, asset=st.sampled_from([BASE, QUOTE]), lots=st.integers(0, 3000), more=st.integers(0, 99))
    def route(self, who: int, asset: str, lots: int, more: int) -> None:
        amount = (lots * 100 + more) * (1 if asset == BASE else 100) or 1
        said = self.wait(self.dry_run(who, asset, amount))
        account = self.accounts[who]
        before = self.made.has(account, asset), self.made.has(account, OTHER[asset])
        try:
            done = self.wait(self.made.route(f"s{who}", account, asset, amount))
        except Rejected as rejected:
            expected = ("account_frozen", "insufficient_funds") if said.lane else ("account_frozen", "no_route")
            assert rejected.code in expected, (said, rejected)
            return
        assert (done.lane, done.rule, done.lanes) == (said.lane, said.rule, said.lanes)
        spent, got = before[0] - self.made.has(account, asset), self.made.has(account, OTHER[asset]) - before[1]
        assert (done.spent, done.output) == (text(spent), text(got))
        assert 0 < spent <= amount
        offers = [int(lane.output.replace(".", "")) for lane in done.lanes if not lane.code]
        assert max(offers) == got

    async def dry_run(self, who: int, asset: str, amount: int) -> Any:
        context = QueryContext(f"s{who}", frozenset(), self.made.home.source, self.made.exchange.clock.now_us)
        params = queries.DryRunParams(asset, OTHER[asset], text(amount), self.accounts[who])
        return await self.made.home.writer.query(lambda view: queries.dry_run(view, context, params))

    @invariant()
    def sound(self) -> None:
        if self.accounts:
            check_exchange(self.made.home)
            check_pools(self.made.home)
            assert not self.made.home.engine.alarms

    def teardown(self) -> None:
        self.wait(self.made.home.close())
        self.runner.close()


class ForgetfulRouterMachine(RouterMachine):
    """With a cache for nothing: accounts and shares come from the database each time."""

    cache_bytes = 1


def test_routes_do_what_their_dry_runs_say():
    run_state_machine_as_test(RouterMachine, settings=settings(max_examples=25, stateful_step_count=40, phases=PHASES))


def test_routes_do_so_when_nothing_is_in_memory():
    run_state_machine_as_test(
        ForgetfulRouterMachine, settings=settings(max_examples=10, stateful_step_count=30, phases=PHASES)
    )

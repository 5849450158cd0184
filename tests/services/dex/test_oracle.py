"""The book against a naive one: the same trades, depth, ends and balances after every command (B1 to B11)."""

import asyncio
import os

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.services.dex.flow import Flow, amount, ticks
from tests.services.dex.kit import exchange
from tests.services.dex.pair import Pair

LONG = int(os.environ.get("DEX_FLOW_TIMES", "1"))
"""How many times as long the flows are; ``DEX_FLOW_TIMES=20`` takes minutes."""


@pytest.mark.parametrize(("seed", "fees"), [(1, (0, 0)), (2, (10, 25)), (3, (7, 0))])
async def test_the_usual_flow_of_a_market(seed, fees):
    maker, taker = fees
    async with exchange(market={"maker_bps": maker, "taker_bps": taker}) as one:
        pair = Pair(one, 40, maker_bps=maker, taker_bps=taker)
        flow = Flow(pair, seed)
        await flow.traders(8)
        for _ in range(60):
            await flow.place(time_in_force="gtc")
        for _ in range(500 * LONG):
            await flow.usual()
        pair.compare(thorough=True)
        assert len(pair.naive.trades) > 40
        assert set(pair.refused) <= {"", "bad_quantity", "bad_amount", "insufficient_funds"}


@pytest.mark.parametrize("seed", range(6))
async def test_a_hostile_flow(seed):
    """Poor traders who share owners, odd fees, a narrow band, a least notional."""
    market = {"maker_bps": 13, "taker_bps": 333, "band_bps": 30, "min_notional": "2"}
    async with exchange(market=market) as one:
        pair = Pair(one, 10, maker_bps=13, taker_bps=333, band_bps=30, min_notional=20_000)
        flow = Flow(pair, seed, spread=36)
        await flow.traders(6, gold=3, usd=300, each=2)
        for _ in range(500 * LONG):
            await flow.hostile()
        pair.compare(thorough=True)
        assert pair.naive.trades
        assert pair.refused.keys() >= {"price_out_of_band", "unknown_order", "bad_quantity", "market_halted"}


@pytest.mark.parametrize("seed", range(2))
async def test_a_hostile_flow_with_every_row_in_the_database(seed):
    async with exchange(market={"maker_bps": 5, "taker_bps": 10}, cache_bytes=1) as one:
        pair = Pair(one, 10, maker_bps=5, taker_bps=10)
        flow = Flow(pair, seed, spread=10)
        await flow.traders(4, gold=5, usd=500)
        for _ in range(150 * LONG):
            await flow.hostile()
        pair.compare(thorough=True)


@pytest.mark.parametrize("seed", range(3))
async def test_more_makers_than_one_command_may_meet(seed):
    """Of few accounts, so that owners meet themselves; one of them frozen; then takers that want them all."""
    async with exchange(market={"maker_bps": 3, "taker_bps": 7}) as one:
        pair = Pair(one, 50, maker_bps=3, taker_bps=7)
        flow = Flow(pair, seed, spread=4)
        await flow.traders(6)
        for _ in range(230):
            await flow.place(kind="post_only", side="sell", price=flow.random.choice(("100.00", "100.01")))
        await pair.freeze(next(iter(flow.accounts)), True)
        for _ in range(6):
            account = flow.who()
            prevention = flow.random.choice(("none", "maker", "decrement"))
            whole = flow.order(account, side="buy", quantity="30", price="100.05", prevention=prevention)
            await pair.run(whole, flow.accounts[account])
            await flow.batch()
        pair.compare(thorough=True)
        assert "fill_limit" in {order.reason for order in pair.naive.closed}


class Book(RuleBasedStateMachine):
    """Prices of a few ticks, so that orders meet."""

    who = st.integers(0, 3)
    sides = st.sampled_from(["buy", "sell"])
    prices = st.integers(97, 103)
    lots = st.integers(1, 5)
    preventions = st.sampled_from(["none", "taker", "maker", "both", "decrement"])

    @initialize(maker=st.sampled_from([0, 1, 999]), taker=st.sampled_from([0, 30, 1000]))
    def begin(self, maker, taker):
        self.runner = asyncio.Runner()
        self.opened = exchange(market={"maker_bps": maker, "taker_bps": taker})
        self.pair = Pair(self.wait(self.opened.__aenter__()), 1, maker_bps=maker, taker_bps=taker)
        self.flow = Flow(self.pair, 0, middle=100, spread=4)
        self.wait(self.flow.traders(4, gold=1, usd=1))

    def wait(self, awaitable):
        return self.runner.run(awaitable)

    def account(self, who):
        return list(self.flow.accounts)[who]

    def place(self, who, side, lots, price, **more):
        account = self.account(who)
        order = self.flow.order(account, side=side, quantity=amount(lots * 100), price=price, **more)
        self.wait(self.pair.run(order, self.flow.accounts[account]))

    @rule(who=who, side=sides, lots=lots, price=prices, prevention=preventions)
    def limit(self, who, side, lots, price, prevention):
        self.place(who, side, lots, ticks(price), prevention=prevention)

    @rule(
        who=who,
        side=sides,
        lots=lots,
        price=prices,
        prevention=preventions,
        kind=st.sampled_from(
            [("limit", "ioc"), ("limit", "fok"), ("market", "ioc"), ("market", "fok"), ("post_only", "gtc")]
        ),
    )
    def at_once(self, who, side, lots, price, prevention, kind):
        self.place(who, side, lots, ticks(price), prevention=prevention, kind=kind[0], time_in_force=kind[1])

    @rule(
        who=who,
        side=sides,
        lots=lots,
        stop=prices,
        away=st.integers(-2, 2),
        kind=st.sampled_from(["stop", "stop_limit"]),
    )
    def stop(self, who, side, lots, stop, away, kind):
        self.place(who, side, lots, ticks(stop + away), kind=kind, stop=ticks(stop))

    @rule(
        seed=st.integers(0, 99),
        what=st.sampled_from(
            ["cancel", "amend", "replace", "quote", "cancel_everything", "freeze", "regroup", "halt", "wait", "stale"]
        ),
    )
    def other(self, seed, what):
        self.flow.random.seed(seed)
        self.wait(getattr(self.flow, what)())

    def teardown(self):
        if hasattr(self, "runner"):
            self.wait(self.opened.__aexit__(None, None, None))
            self.runner.close()


def test_whatever_comes():
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    run_state_machine_as_test(
        Book, settings=settings(max_examples=25 * LONG, stateful_step_count=40, phases=phases, deadline=None)
    )

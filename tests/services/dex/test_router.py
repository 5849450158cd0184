"""The router: what it says is what it does, its choice is the best there is and follows its rules, and it is exact."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jilnode.module import QueryContext
from services.dex.intents import CancelAll, SetGroup, SetMarketStatus
from services.dex.pools.curve import amount_out
from services.dex.pools.intents import CreatePool, SetPoolStatus
from services.dex.pools.quoting import sides_of
from services.dex.pools.rows import POOLS, SWAPS, Pool
from services.dex.prices import fee_on
from services.dex.router import queries
from services.dex.router.intents import TakeRoute
from services.dex.router.ladder import Ladder
from services.dex.router.lanes import LANES, _best_lots
from services.dex.router.rows import ROUTES, LaneQuote
from services.dex.router.rules import choose
from services.dex.rows import BUY, CLOSED, MARKETS, SELL, TRADES, Market, Order
from services.wallet.intents import CreateAccount, PostTransfer, SetLimit, SetRoaming, SetStatus
from services.wallet.kinds import Reserved
from services.wallet.rows import REQUESTS
from tests.services.dex.kit import BASE, MARKET, QUOTE, check_exchange, exchange
from tests.services.dex.pool_kit import POOL, Pools, check_pools, pools, refused, text
from tests.services.wallet.kit import rows, started, turn

OTHER = {BASE: QUOTE, QUOTE: BASE}


async def prepared(made: Pools) -> tuple[str, str, str]:
    """A market maker with four levels on either side of 100, a pool at 100, and a trader."""
    maker, owner, trader = [await made.exchange.trader(name) for name in ("m", "o", "t")]
    for side, prices in (("sell", ("100.10", "100.20", "100.50", "101")), ("buy", ("99.90", "99.80", "99.50", "99"))):
        for price in prices:
            await made.exchange.order("m", maker, side, "5", price)
    await made.add("o", owner, 1_000_000, 100_000_000)
    return maker, owner, trader


async def dry_run(made: Pools, asset: str, amount: int, account: str = "", subject: str = "t") -> Any:
    context = QueryContext(subject, frozenset(), made.home.source, made.exchange.clock.now_us)
    params = queries.DryRunParams(asset, OTHER[asset], text(amount), account)
    return await made.home.writer.query(lambda view: queries.dry_run(view, context, params))


def lanes_of(view: Any) -> dict[str, Any]:
    return {lane.lane: lane for lane in view.lanes}


async def same(made: Pools, trader: str, asset: str, amount: int) -> Any:
    """Takes the route, which does to the unit what a dry run said."""
    said = await dry_run(made, asset, amount, trader)
    other = OTHER[asset]
    before = made.has(trader, asset), made.has(trader, other)
    done = await made.route("t", trader, asset, amount)
    assert msgspec.structs.replace(done, id=None, at_us=None) == said
    spent, got = before[0] - made.has(trader, asset), made.has(trader, other) - before[1]
    assert (done.spent, done.output) == (text(spent), text(got))
    assert spent <= amount
    check_exchange(made.home)
    check_pools(made.home)
    assert not made.home.engine.alarms
    return done


@pytest.mark.parametrize("asset", [BASE, QUOTE])
@pytest.mark.parametrize("amount", [1, 99, 100, 10_000, 10_100, 54_321, 250_000, 1_000_000, 9_000_000])
async def test_what_a_dry_run_says_is_what_happens(asset, amount):
    async with pools(market={"maker_bps": 5, "taker_bps": 10}) as made:
        _, _, trader = await prepared(made)
        amount = amount if asset == BASE else amount * 100
        said = await dry_run(made, asset, amount, trader)
        if said.lane is None:
            refusal = await refused(made.route("t", trader, asset, amount), "no_route", "/asset_out")
            assert refusal.extra["lanes"] == {name: lane.code for name, lane in lanes_of(said).items()}
            return
        done = await same(made, trader, asset, amount)
        for lane in done.lanes:
            assert lane.code or lane.output is not None
            if not lane.code:
                assert float(lane.output) <= float(done.output)


async def test_a_small_amount_goes_to_the_book_and_a_large_one_is_parted():
    async with pools() as made:
        _, _, trader = await prepared(made)
        small = await same(made, trader, BASE, 100)
        # 0.01 GOLD at 99.90; the pool would take 0.3 % of 100.
        assert (small.lane, small.output, small.rule) == ("book", "0.9990", "2_highest_output")
        large = await same(made, trader, BASE, 200_000)
        lanes = lanes_of(large)
        assert (large.lane, large.rule, large.spent) == ("split", "2_highest_output", text(200_000))
        assert lanes["book"].code == "too_thin"
        assert lanes["split"].pool_in is not None
        assert float(lanes["split"].output) > float(lanes["pool"].output)
        (swap,) = rows(made.home, SWAPS).values()
        sold = sum(trade.quantity for trade in rows(made.home, TRADES).values())
        assert swap.amount_in + sold == 200_000 + 100
        assert text(swap.amount_in) == lanes["split"].pool_in


async def test_without_a_market_the_pool_is_the_only_lane_and_without_a_pool_the_book():
    async with exchange() as bare:
        made = Pools(bare)
        maker, trader = await bare.trader("m"), await bare.trader("t")
        refusal = await refused(made.route("t", trader, BASE, 10_000), "no_route")
        assert refusal.extra["lanes"] == {
            "book": "too_thin",
            "pool": "no_pool",
            "split": "no_pool",
            "rfq": "no_quote",
        }
        assert refusal.status == 409
        await bare.order("m", maker, "buy", "5", "99")
        done = await made.route("t", trader, BASE, 10_000)
        assert (done.lane, done.rule, done.output, done.pool) == ("book", "1_only_lane", "99.0000", None)
        await bare.operate(CreatePool(BASE, QUOTE))
        empty = await dry_run(made, BASE, 10_000, trader)
        assert lanes_of(empty)["pool"].code == "pool_empty"
        assert lanes_of(empty)["pool"].reason == "Nothing is in the pool yet"


async def test_a_pair_of_which_this_node_has_nothing():
    async with pools() as made:
        _, _, trader = await prepared(made)
        for asset_in, asset_out, code in (
            (BASE, POOL, "no_route"),
            (BASE, BASE, "bad_pair"),
            ("NONE@sg-mas-01", BASE, "unknown_asset"),
            (BASE, "NONE@sg-mas-01", "unknown_asset"),
        ):
            await refused(made.run("t", TakeRoute(trader, asset_in, asset_out, "1", "1", made.later_us)), code)


async def test_min_out_and_deadline_hold_to_the_unit():
    async with pools() as made:
        _, _, trader = await prepared(made)
        said = await dry_run(made, BASE, 200_000, trader)
        out = int(said.output.replace(".", ""))
        before = rows(made.home, POOLS), made.has(trader, BASE)
        await refused(made.route("t", trader, BASE, 200_000, out + 1), "below_minimum", "/min_out")
        now_us = made.exchange.clock.now_us
        await refused(made.route("t", trader, BASE, 200_000, deadline_us=now_us - 1), "deadline_passed")
        await refused(made.route("m", trader, BASE, 200_000), "not_your_account")
        assert (rows(made.home, POOLS), made.has(trader, BASE)) == before
        assert not rows(made.home, ROUTES)
        done = await made.route("t", trader, BASE, 200_000, out, deadline_us=now_us)
        assert done.output == said.output


async def test_who_has_too_little_takes_no_part_of_a_route():
    async with pools() as made:
        await prepared(made)
        poor = await made.exchange.trader("p", "10", "")
        await refused(made.route("p", poor, BASE, 200_000), "insufficient_funds", "/amount_in")
        assert made.has(poor, BASE) == 100_000
        check_exchange(made.home)
        check_pools(made.home)


async def test_a_halted_market_leaves_no_lane():
    async with pools() as made:
        _, _, trader = await prepared(made)
        await made.exchange.operate(SetMarketStatus(MARKET, "news"))
        refusal = await refused(made.route("t", trader, BASE, 10_000), "no_route")
        assert set(refusal.extra["lanes"].values()) == {"market_halted"}
        await made.exchange.operate(SetMarketStatus(MARKET))
        await made.exchange.operate(SetPoolStatus(POOL, "news"))
        said = await same(made, trader, BASE, 10_000)
        assert {lane.lane: lane.code for lane in said.lanes} == {
            "book": "",
            "pool": "pool_halted",
            "split": "pool_halted",
            "rfq": "no_quote",
        }


async def test_nobody_is_led_to_their_own_orders():
    async with pools() as made:
        maker, _, trader = await prepared(made)
        own = await dry_run(made, BASE, 100, maker, "m")
        assert (own.lane, lanes_of(own)["book"].code) == ("pool", "too_thin")
        done = await made.route("m", maker, BASE, 100)
        assert done.lane == "pool"
        await made.exchange.operate(SetGroup(trader, "house"))
        await made.exchange.operate(SetGroup(maker, "house"))
        # The group holds for orders that come from then on.
        assert (await dry_run(made, BASE, 100, trader)).lane == "book"
        await made.exchange.operate(CancelAll(maker))
        await made.exchange.order("m", maker, "buy", "5", "99.90")
        assert (await same(made, trader, BASE, 100)).lane == "pool"
        # An order of the very account ends the walk too, whatever its group was when it came.
        await made.exchange.operate(SetGroup(maker, "other"))
        assert (await dry_run(made, BASE, 100, maker, "m")).lane == "pool"
        check_exchange(made.home)


async def test_makers_who_may_not_pay_are_passed_over():
    async with pools() as made:
        maker, _, trader = await prepared(made)
        other = await made.exchange.trader("n")
        await made.exchange.order("n", other, "buy", "1", "99.40")
        await made.exchange.operate(SetStatus(maker, "frozen"))
        said = await same(made, trader, BASE, 20_000)
        assert said.lane == "split"
        ended = [row for row in rows(made.home, CLOSED).values() if row.reason == "account_frozen"]
        (trade,) = rows(made.home, TRADES).values()
        assert (trade.maker, trade.price) == (other.replace("~", "/"), 9940)
        assert len(ended) == 3


async def test_one_route_meets_at_most_a_hundred_makers():
    async with pools() as made:
        maker, trader = await made.exchange.trader("m"), await made.exchange.trader("t")
        for _ in range(102):
            await made.exchange.order("m", maker, "buy", "0.01", "99")
        assert lanes_of(await dry_run(made, BASE, 10_100, trader))["book"].code == "too_thin"
        done = await same(made, trader, BASE, 10_000)
        assert (done.lane, done.output) == ("book", "99.0000")
        assert len(rows(made.home, TRADES)) == 100


async def test_the_market_s_terms_hold_for_its_part():
    async with pools(market={"min_notional": "50", "band_bps": 50}) as made:
        _, _, trader = await prepared(made)
        lanes = lanes_of(await dry_run(made, BASE, 4_000, trader))
        assert (lanes["book"].code, lanes["pool"].code) == ("bad_notional", "")
        first = await made.exchange.order("t", trader, "sell", "1", "99.90")
        assert first.status == "filled"
        # From 99.90 the band ends at 99.4005, which leaves three levels out of four.
        assert lanes_of(await dry_run(made, BASE, 140_000, trader))["book"].code == ""
        assert lanes_of(await dry_run(made, BASE, 140_100, trader))["book"].code == "too_thin"
        await same(made, trader, BASE, 140_000)


async def test_a_part_that_the_market_does_not_take_is_no_part():
    async with pools(market={"min_notional": "50"}) as made:
        maker, trader = await made.exchange.trader("m"), await made.exchange.trader("t")
        await made.add("m", maker, 1_000_000, 100_000_000)
        await made.exchange.order("m", maker, "buy", "0.61", "99.90")
        assert lanes_of(await dry_run(made, BASE, 100_000, trader))["split"].code == ""
        await made.exchange.order("t", trader, "sell", "0.51", "99.90")
        assert lanes_of(await dry_run(made, BASE, 100_000, trader))["split"].code == "bad_notional"
        assert (await same(made, trader, BASE, 100_000)).lane == "pool"


async def test_money_that_lies_elsewhere_is_asked_for_once():
    async with exchange(2) as bare:
        made = Pools(bare)
        home, away = bare.nodes
        await bare.operate(CreatePool(BASE, QUOTE))
        await prepared(made)
        c = (await away.run(CreateAccount(), actor="c")).reply.id
        await bare.settle()
        m = await bare.trader("x")
        await made.run("x", PostTransfer(m, c, BASE, "20"))
        bare.clock.advance(61)
        await bare.settle()
        assert made.has(c, BASE) == 0
        await away.run(SetRoaming(c, BASE, "50", ("sg-mas-01",)), actor="c")
        await bare.settle()
        command = TakeRoute(c, BASE, QUOTE, "20", "1", made.later_us)
        future = await started(bare, home, command, "c")
        await bare.settle()
        await turn(home)
        done = (await future).reply
        assert (done.lane, done.spent) == ("split", "20.0000")
        assert len(rows(home, REQUESTS)) == 1
        check_exchange(home)
        check_pools(home)
        await bare.settle()
        for table in (ROUTES, SWAPS, TRADES, POOLS):
            assert rows(away, table) == rows(home, table)


async def test_limits_count_what_a_route_spends():
    async with pools() as made:
        _, _, trader = await prepared(made)
        await made.exchange.operate(SetLimit(trader, BASE, daily="20"))
        await refused(made.route("t", trader, BASE, 200_001), "limit_daily")
        await same(made, trader, BASE, 200_000)
        await refused(made.route("t", trader, BASE, 1_000), "limit_daily")


async def test_the_same_inputs_lead_the_same_way():
    found = []
    for _ in range(2):
        async with pools(market={"taker_bps": 7}) as made:
            _, _, trader = await prepared(made)
            answers = [await made.route("t", trader, asset, 123_456) for asset in (BASE, QUOTE, BASE)]
            found.append((answers, rows(made.home, ROUTES), made.home.engine.own.digest))
    assert found[0][:2] == found[1][:2]
    assert found[0][2] == found[1][2]


async def test_the_logged_lanes_lead_to_the_logged_choice():
    async with pools() as made:
        _, _, trader = await prepared(made)
        for amount in (100, 10_000, 300_000):
            await made.route("t", trader, BASE, amount)
        for row in rows(made.home, ROUTES).values():
            rule, chosen = choose(row.lanes)
            assert (rule, chosen.lane) == (row.rule, row.lane)
            assert [lane.lane for lane in row.lanes] == [lane.name for lane in LANES]


def quote(lane: str, output: int, spent: int = 10, code: str = "") -> LaneQuote:
    return LaneQuote(lane, code, spent, output)


@pytest.mark.parametrize(
    ("quotes", "rule", "lane"),
    [
        ([quote("book", 9, code="x"), quote("pool", 9, code="x")], "", None),
        ([quote("book", 9, code="x"), quote("pool", 1)], "1_only_lane", "pool"),
        ([quote("book", 8), quote("pool", 9), quote("split", 7)], "2_highest_output", "pool"),
        ([quote("book", 8), quote("pool", 9), quote("split", 99, code="x")], "2_highest_output", "pool"),
        ([quote("book", 9, 10), quote("pool", 9, 9), quote("split", 1, 1)], "3_least_spent", "pool"),
        ([quote("book", 1, 1), quote("pool", 9), quote("split", 9)], "4_lane_order", "pool"),
    ],
)
def test_each_rule(quotes, rule, lane):
    found = choose(quotes)
    assert (found[0], None if found[1] is None else found[1].lane) == (rule, lane)


MARKET_ROW = Market(BASE, QUOTE, 4, 4, 2, 1, 100, 0, 10_000)


def makers(side: str, levels: list[tuple[int, int]]) -> list[Order]:
    """(price, lots), best first for a taker of ``side``."""
    best_first = sorted(levels, reverse=side == SELL)
    return [
        Order("a", Reserved("", 0), "m", SELL if side == BUY else BUY, price, lots * 100, lots * 100, 1, 0, "g")
        for price, lots in best_first
    ]


BOOK_LEVELS = st.lists(st.tuples(st.integers(9_000, 11_000), st.integers(1, 60)), min_size=1, max_size=6)


@given(BOOK_LEVELS, st.sampled_from([BUY, SELL]), st.integers(0, 10**7), st.sampled_from([0, 5, 33, 1000]))
def test_a_ladder_takes_as_much_as_is_paid_for(levels, side, amount, bps):
    market = msgspec.structs.replace(MARKET_ROW, taker_bps=bps)
    ladder = Ladder("m", market, side, makers(side, levels))

    def walked(lots: int) -> tuple[int, int, int]:
        """(paid, output, worst price), maker by maker."""
        paid = output = worst = 0
        for maker in makers(side, levels):
            part = min(lots, maker.remaining // 100)
            if part:
                turnover, quantity, worst = part * 100 * maker.price // 100, part * 100, maker.price
                paid += turnover if side == BUY else quantity
                output += quantity if side == BUY else turnover
            lots -= part
        return paid, output, worst

    total = sum(lots for _, lots in levels)
    assert ladder.lots == total
    fits = [lots for lots in range(total + 1) if (paid := walked(lots)[0]) + fee_on(paid, bps) <= amount]
    assert ladder.affordable(amount) == max(fits)
    for lots in range(1, total + 1):
        paid, output, worst = walked(lots)
        assert ladder.cost(lots) == (paid, output)
        assert ladder.taking(lots) == (lots * 100, worst, paid, fee_on(paid, bps), output)


@settings(deadline=None)
@given(
    BOOK_LEVELS,
    st.sampled_from([BUY, SELL]),
    st.integers(1, 3_000_000),
    st.sampled_from([0, 10]),
    st.sampled_from([0, 30, 100]),
    st.integers(20_000, 2_000_000),
)
def test_the_split_is_the_best_of_all(levels, side, amount, taker_bps, fee_bps, depth):
    """Against every other number of lots: no other gives more than roundings, three units at most."""
    market = msgspec.structs.replace(MARKET_ROW, taker_bps=taker_bps)
    ladder = Ladder("m", market, side, makers(side, levels))
    pool = Pool(BASE, QUOTE, 4, 4, 4, fee_bps, depth, depth * 100, depth * 10)
    amount = amount * 100 if side == BUY else amount
    sides = sides_of(pool, QUOTE if side == BUY else BASE)

    def output(lots: int) -> int:
        paid, got = ladder.cost(lots)
        rest = amount - paid - fee_on(paid, taker_bps)
        assert rest >= 0
        return got + amount_out(rest, sides.reserve_in, sides.reserve_out, fee_bps)

    found = _best_lots(ladder, pool, sides, amount)
    every = [output(lots) for lots in range(ladder.affordable(amount) + 1)]
    # One unit of the fee's rounding is worth about 100 units where the output is so much finer.
    coarse = 3 if side == BUY else 110
    assert max(every) - output(found) <= coarse


def test_prices_get_worse_down_a_ladder():
    ladder = Ladder("m", MARKET_ROW, BUY, makers(BUY, [(10_100, 3), (10_000, 2), (10_300, 1)]))
    costs = [ladder.cost(lots)[0] for lots in range(7)]
    steps = [after - before for before, after in pairwise(costs)]
    assert steps == sorted(steps) == [10_000, 10_000, 10_100, 10_100, 10_100, 10_300]


async def test_markets_are_found_either_way_round():
    async with pools() as made:
        _, _, trader = await prepared(made)
        assert set(rows(made.home, MARKETS)) == {"sg-mas-01/GOLD-USDX"}
        for asset in (BASE, QUOTE):
            assert (await dry_run(made, asset, 1_000_000, trader)).market == MARKET


@pytest.mark.parametrize("unfit", ["frozen", "expired"])
async def test_makers_who_are_passed_over_count_as_met(unfit):
    """As at the desk: sixty who may not trade leave forty of the hundred that one command meets."""
    async with pools() as made:
        away = await made.exchange.trader("a")
        until_us = made.exchange.clock.now_us + 10_000_000
        more = {"time_in_force": "gtd", "expires_us": until_us} if unfit == "expired" else {}
        for _ in range(60):
            await made.exchange.order("a", away, "sell", "0.01", "100", **more)
        maker, owner, trader = [await made.exchange.trader(name) for name in ("m", "o", "t")]
        for _ in range(60):
            await made.exchange.order("m", maker, "sell", "1", "100")
        await made.add("o", owner, 10_000_000, 1_000_000_000)
        if unfit == "frozen":
            await made.exchange.operate(SetStatus(away, "frozen"))
        else:
            # Their time is over, and the kernel has not come to them yet.
            made.home.writer.chores.run_due = _nothing_is_due
            made.exchange.clock.advance(11)
        done = await same(made, trader, QUOTE, 50_000_000)
        assert lanes_of(done)["book"].code == "too_thin"


async def _nothing_is_due(now_us: int) -> None:
    pass

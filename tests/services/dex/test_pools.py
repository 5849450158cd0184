"""Pools as traders and operators meet them: what they pay and get, and what is refused."""

import pytest

from jilnode.limits import INT64_MAX
from jilnode.module import Action, QueryContext
from jilnode.zone import Verdict, ZoneBoard
from services.dex.intents import CreateMarket, SetMarketStatus
from services.dex.pools import queries
from services.dex.pools.intents import CreatePool, RemoveLiquidity, SetPoolStatus, Swap
from services.dex.pools.rows import LIQUIDITY, POOLS, SWAPS
from services.wallet.intents import (
    Burn,
    CreateAccount,
    CreateAsset,
    Issue,
    PostTransfer,
    ReserveTransfer,
    SetRoaming,
    SetStatus,
)
from services.wallet.rows import ACCOUNTS, SHARES
from tests.services.dex.kit import BASE, MARKET, QUOTE
from tests.services.dex.pool_kit import KEY, POOL, check_pools, pools, refused, text
from tests.services.wallet.kit import rows, started, turn

GOLD, USD = 1_000_000, 100_000_000
"""What every trader of these tests has, in minor units: 100 GOLD and 10,000 USDX are in the pool."""


async def filled(made):
    """The pool with its first liquidity, from ``a``; and ``b``."""
    a, b = await made.exchange.trader("a"), await made.exchange.trader("b")
    await made.add("a", a, 1_000_000, 100_000_000)
    return a, b


async def test_the_first_liquidity_makes_the_price_and_locks_some_shares():
    async with pools() as made:
        a = await made.exchange.trader("a")
        before = made.has(a, BASE), made.has(a, QUOTE)
        added = await made.add("a", a, 1_000_000, 100_000_000)
        # isqrt(10^6 x 10^8) = 10^7, of which 1,000 are nobody's.
        assert (added.side, added.base, added.quote, added.shares) == ("add", "100.0000", "10000.0000", "999.9000")
        assert (before[0] - made.has(a, BASE), before[1] - made.has(a, QUOTE)) == (1_000_000, 100_000_000)
        assert (made.has(a, POOL), made.has(KEY, POOL)) == (9_999_000, 1000)
        pool = made.row
        assert (pool.base_reserve, pool.quote_reserve, pool.shares) == (1_000_000, 100_000_000, 10_000_000)
        check_pools(made.home)


async def test_later_liquidity_takes_no_more_than_its_shares_cost():
    async with pools() as made:
        _, b = await filled(made)
        before = made.has(b, BASE), made.has(b, QUOTE)
        added = await made.add("b", b, 100_001, 20_000_000)
        # 100,001 base are worth 1,000,010 shares, which cost 10,000,100 quote.
        assert (added.base, added.quote, added.shares) == (text(100_001), text(10_000_100), text(1_000_010))
        assert (before[0] - made.has(b, BASE), before[1] - made.has(b, QUOTE)) == (100_001, 10_000_100)
        check_pools(made.home)
        back = await made.remove("b", b, 1_000_010)
        assert (back.side, back.base, back.quote) == ("remove", text(100_001), text(10_000_100))
        assert made.has(b, POOL) == 0
        check_pools(made.home)


async def test_a_swap_gives_what_the_formula_says_and_keeps_its_fee_in_the_pool():
    async with pools() as made:
        _, b = await filled(made)
        before = made.has(b, BASE), made.has(b, QUOTE)
        done = await made.swap("b", b, BASE, 10_000)
        # 10,000 less 0.3 % is 9,970 into (10^6, 10^8): floor(10^8 - 10^14 / 1,009,970).
        expected = 10_000 * 9970 * 100_000_000 // (1_000_000 * 10_000 + 10_000 * 9970)
        assert (expected, 100_000_000 - (10**14 // 1_009_970 + 1)) == (987_158, 987_158)
        assert (done.amount_in, done.amount_out, done.fee) == (text(10_000), text(987_158), text(30))
        assert (before[0] - made.has(b, BASE), made.has(b, QUOTE) - before[1]) == (10_000, 987_158)
        pool = made.row
        assert (pool.base_reserve, pool.quote_reserve, pool.shares) == (1_010_000, 99_012_842, 10_000_000)
        check_pools(made.home)
        done = await made.swap("b", b, QUOTE, 987_158)
        assert done.amount_out == text(9_940)
        check_pools(made.home)


async def test_min_out_is_kept_to_the_unit():
    async with pools() as made:
        _, b = await filled(made)
        await refused(made.swap("b", b, BASE, 10_000, 987_159), "below_minimum", "/min_out")
        assert (await made.swap("b", b, BASE, 10_000, 987_158)).amount_out == text(987_158)
        await refused(made.swap("b", b, BASE, 1, 0), "bad_amount", "/min_out")


async def test_a_deadline_is_the_last_moment():
    async with pools() as made:
        a, b = await filled(made)
        now_us = made.exchange.clock.now_us
        made.exchange.clock.advance(1)
        for act in (
            made.swap("b", b, BASE, 10, deadline_us=now_us),
            made.add("b", b, 10, 1000, deadline_us=now_us),
            made.remove("a", a, 1000, deadline_us=now_us),
        ):
            await refused(act, "deadline_passed", "/deadline_us")
        await made.swap("b", b, BASE, 10, deadline_us=made.exchange.clock.now_us)


async def test_the_least_of_liquidity_is_kept_to_the_unit():
    async with pools() as made:
        a, b = await filled(made)
        await refused(made.add("b", b, 100, 20_000, min_quote=text(10_001)), "below_minimum", "/min_quote")
        await refused(made.add("b", b, 200, 10_000, min_base=text(101)), "below_minimum", "/min_base")
        await refused(made.remove("a", a, 10_000, min_base=text(1001)), "below_minimum", "/min_base")
        await refused(made.remove("a", a, 10_000, min_quote=text(100_001)), "below_minimum", "/min_quote")
        await made.add("b", b, 100, 20_000, min_base=text(100), min_quote=text(10_000))
        check_pools(made.home)


async def test_hostile_amounts():
    async with pools() as made:
        a = await made.exchange.trader("a")
        await refused(made.swap("a", a, BASE, 1), "pool_empty")
        await refused(made.add("a", a, 1000, 1000), "amount_too_small", "/base")
        await refused(made.remove("a", a, 1), "insufficient_funds", "/shares")
        await made.add("a", a, 1001, 1001)
        assert made.has(a, POOL) == 1
        # One unit gives the floor of less than one, which is nothing.
        await refused(made.swap("a", a, BASE, 1), "amount_too_small", "/amount_in")
        await refused(made.swap("a", a, BASE, INT64_MAX - 1000), "pool_full", "/amount_in")
        await refused(made.swap("a", a, BASE, INT64_MAX - 1001), "insufficient_funds")
        await refused(made.add("a", a, INT64_MAX, INT64_MAX), "pool_full", "/base")
        await refused(made.remove("a", a, 2), "insufficient_funds")
        for shares in (made.row.shares, INT64_MAX):
            await refused(made.remove("a", a, shares), "insufficient_funds", "/shares")
        # Everything that anybody has: what is locked keeps the pool alive.
        await made.remove("a", a, 1)
        assert (made.row.shares, made.row.base_reserve, made.row.quote_reserve) == (1000, 1000, 1000)
        check_pools(made.home)
        await made.swap("a", a, BASE, 9_000_000)
        assert made.row.quote_reserve == 1
        await refused(made.swap("a", a, BASE, 1000), "amount_too_small")
        check_pools(made.home)


async def test_nobody_closes_a_pool_by_going_in_and_out():
    """Shares that were burned take up none of the 64 bits, so there is always room for what fits into the reserves."""
    async with pools(2) as made:
        most = 4 * 10**18
        a = await made.exchange.trader("a", text(most), text(most))
        for _ in range(5):
            await made.add("a", a, most - 10_000, most - 10_000)
            await made.remove("a", a, made.has(a, POOL))
            check_pools(made.home)
        assert made.has(a, BASE) > most - 10_000
        await made.exchange.settle()
        check_pools(made.exchange.nodes[1])


async def test_shares_worth_nothing_are_not_taken():
    async with pools() as made:
        _, b = await filled(made)
        await made.swap("b", b, QUOTE, 900_000_000)
        await made.add("b", b, 10, 100_000_000)
        await refused(made.remove("b", b, 1), "amount_too_small", "/shares")
        await refused(made.add("b", b, 1, 1), "amount_too_small", "/base")


async def test_nobody_pays_to_a_pool_or_out_of_it_but_by_its_own_commands():
    async with pools(2) as made:
        a, b = await filled(made)
        home, away = made.exchange.nodes
        await made.exchange.settle()
        operate = made.exchange.operate
        pool = KEY.replace("/", "~")
        before = made.row
        for command in (
            PostTransfer(b, pool, BASE, "1"),
            ReserveTransfer(b, pool, BASE, "1"),
            PostTransfer(pool, b, BASE, "1"),
            ReserveTransfer(pool, b, QUOTE, "1"),
            Issue(BASE, pool, "1"),
            Burn(BASE, pool, "1"),
            PostTransfer(pool, b, POOL, "0.1"),
            SetRoaming(pool, BASE, "1", ("ch-zug-01",)),
        ):
            await refused(operate(command), "module_account")
        for command in (Issue(POOL, b, "1"), Burn(POOL, a, "1")):
            await refused(operate(command), "module_asset", "/asset")
        await refused(made.swap("operator", pool, BASE, 10), "module_account")
        # Nor at another node, whose share of the account would never be in the reserves.
        await refused(operate(PostTransfer(b, pool, BASE, "1"), away), "module_account")
        assert made.row == before
        check_pools(home)
        assert not home.engine.alarms


async def test_an_asset_of_a_pool_s_name_can_t_be_made():
    async with pools() as made:
        for code in ("dex.LP2", "DEX.LP2"):
            await refused(made.exchange.operate(CreateAsset(code, 4)), "bad_asset_code", "/code")


async def test_shares_are_money_that_can_be_sent_on():
    async with pools() as made:
        a, b = await filled(made)
        await made.run("a", PostTransfer(a, b, POOL, "100"))
        back = await made.remove("b", b, 1_000_000)
        assert (back.base, back.quote) == ("10.0000", "1000.0000")
        await refused(made.remove("b", b, 1000), "insufficient_funds")
        check_pools(made.home)


async def test_shares_that_lie_elsewhere_come_when_they_are_needed():
    async with pools(2) as made:
        a, _ = await filled(made)
        await made.exchange.settle()
        away = made.exchange.nodes[1]
        c = (await away.run(CreateAccount(), actor="c")).reply.id
        await made.exchange.settle()
        await made.run("a", PostTransfer(a, c, POOL, "100"))
        made.exchange.clock.advance(61)
        await made.exchange.settle()
        # They drifted home, which is the other node.
        assert made.has(c, POOL) == 0
        await made.run("c", SetRoaming(c, POOL, "500", ("sg-mas-01",)), away)
        await made.exchange.settle()
        command = RemoveLiquidity(POOL, c, "100", "1", "1", made.later_us)
        future = await started(made.exchange, made.home, command, "c")
        await made.exchange.settle()
        await turn(made.home)
        assert (await future).reply.shares == "100.0000"
        check_pools(made.home)


async def test_who_may_do_what():
    async with pools() as made:
        a, _ = await filled(made)
        await refused(made.swap("b", a, BASE, 10), "not_your_account", "/account")
        await refused(made.remove("b", a, 10), "not_your_account", "/account")
        await refused(made.swap("a", a, POOL, 10), "not_in_pool", "/asset_in")
        await made.exchange.operate(SetStatus(a, "frozen"))
        for attempt in (made.swap("a", a, BASE, 10), made.add("a", a, 10, 10), made.remove("a", a, 10)):
            await refused(attempt, "account_frozen", "/account")


async def test_what_an_account_lacks_is_said_of_what_was_sent():
    """The wallet knows no amount_in, no shares and no two sides."""
    async with pools() as made:
        _, b = await filled(made)
        more = 10**12
        await refused(made.swap("b", b, BASE, more), "insufficient_funds", "/amount_in")
        await refused(made.add("b", b, more, more * 1000), "insufficient_funds", "/base")
        await made.exchange.operate(Issue(BASE, b, text(more)))
        await refused(made.add("b", b, more, more * 1000), "insufficient_funds", "/quote")
        await refused(made.remove("b", b, 10), "insufficient_funds", "/shares")
        check_pools(made.home)


async def test_pools_are_made_once_for_a_pair():
    async with pools() as made:
        operate = made.exchange.operate
        await refused(operate(CreatePool(QUOTE, BASE)), "pool_exists", "/base")
        await refused(operate(CreatePool(BASE, BASE)), "bad_pool", "/quote")
        await refused(operate(CreatePool(BASE, "NONE@sg-mas-01")), "unknown_asset", "/quote")
        for fee in (-1, 1001):
            await refused(operate(CreatePool(BASE, POOL, fee)), "bad_pool", "/fee_bps")
        second = await operate(CreatePool(BASE, POOL, 0))
        assert (second.pool, second.fee_bps) == ("dex.LP2@sg-mas-01", 0)
        await refused(made.run("a", Swap(POOL, "x", BASE, "1", "1", made.later_us)), "unknown_account")
        a = await made.exchange.trader("a")
        for name in ("", "x", "a b@c", "dex.LP9@sg-mas-01"):
            await refused(made.run("a", Swap(name, a, BASE, "1", "1", made.later_us)), "unknown_pool", "/pool")


async def test_another_node_s_pool_is_misdirected_and_its_quote_is_known():
    async with pools(2) as made:
        _, b = await filled(made)
        await made.exchange.settle()
        away = made.exchange.nodes[1]
        answer = await refused(made.run("b", Swap(POOL, b, BASE, "1", "1", made.later_us), away), "misdirected")
        assert (answer.status, answer.extra) == (421, {"owner": "sg-mas-01"})
        context = QueryContext("x", frozenset(), away.source, made.later_us)
        params = queries.SwapQuoteParams(POOL, BASE, amount_in="1")
        quote = await away.writer.query(lambda view: queries.quote(view, context, params))
        assert quote.amount_out == text(987_158)
        # A replica does not know whether the reserves still are what it heard.
        (view,) = (await away.writer.query(lambda view: queries.pools(view, context, queries.NoParams()))).items
        assert view.as_of_us == made.row.at_us < made.later_us


async def test_an_operator_s_halt_stops_all_but_taking_out():
    async with pools() as made:
        a, b = await filled(made)
        halted = await made.exchange.operate(SetPoolStatus(POOL, "news"))
        assert halted.halted == "news"
        await refused(made.swap("b", b, BASE, 10), "pool_halted", "/pool")
        await refused(made.add("b", b, 10, 1000), "pool_halted", "/pool")
        await made.remove("a", a, 1000)
        await refused(made.exchange.operate(SetPoolStatus(POOL, "x" * 141)), "bad_pool", "/reason")
        await made.exchange.operate(SetPoolStatus(POOL))
        await made.swap("b", b, BASE, 10)
        await made.exchange.operate(SetStatus(KEY, "frozen"))
        await refused(made.swap("b", b, BASE, 10), "pool_halted", "/pool")
        await refused(made.remove("a", a, 1000), "pool_halted", "/pool")
        check_pools(made.home)


@pytest.mark.parametrize("turned", [False, True])
async def test_a_halted_market_of_the_pair_halts_its_pool(turned):
    async with pools() as made:
        a, b = await filled(made)
        name = MARKET
        if turned:
            await made.exchange.operate(CreateMarket(QUOTE, BASE, "0.01", "0.01"))
            name = "USDX-GOLD@sg-mas-01"
        await made.exchange.operate(SetMarketStatus(name, "news"))
        await refused(made.swap("b", b, BASE, 10), "market_halted", "/pool")
        await refused(made.add("b", b, 10, 1000), "market_halted", "/pool")
        await made.remove("a", a, 1000)
        await made.exchange.operate(SetMarketStatus(name))
        await made.swap("b", b, BASE, 10)


async def test_prices_accumulate_over_time_and_not_over_swaps():
    async with pools() as made:
        _, b = await filled(made)
        clock = made.exchange.clock
        clock.advance(10)
        await made.swap("b", b, BASE, 10_000)
        first = made.row
        # 10 s at 100 quote for a base, both ways; and what the swap did counts from then on only.
        assert int(first.base_cumulative) == (100 << 112) * 10_000_000
        assert int(first.quote_cumulative) == ((1 << 112) // 100) * 10_000_000
        clock.advance(5)
        await made.swap("b", b, BASE, 1000)
        price = (99_012_842 << 112) // 1_010_000
        assert int(made.row.base_cumulative) == int(first.base_cumulative) + price * 5_000_000
        context = QueryContext("x", frozenset(), "sg-mas-01", clock.now_us + 7_000_000)
        view = await made.home.writer.query(lambda view: queries.pool(view, context, queries.PoolParams(POOL)))
        price = (made.row.quote_reserve << 112) // made.row.base_reserve
        assert view.as_of_us == clock.now_us + 7_000_000
        assert int(view.base_cumulative) == int(made.row.base_cumulative) + price * 7_000_000


async def test_quotes_are_what_a_swap_gives():
    async with pools() as made:
        _, b = await filled(made)
        context = QueryContext("x", frozenset(), "sg-mas-01", made.later_us)

        async def quote(**params):
            asked = queries.SwapQuoteParams(POOL, BASE, **params)
            return await made.home.writer.query(lambda view: queries.quote(view, context, asked))

        found = await quote(amount_in="1")
        assert (found.amount_in, found.amount_out, found.fee) == ("1.0000", text(987_158), "0.0030")
        assert found.price == "98.715800000000"
        wanted = await quote(amount_out=text(987_158))
        assert (wanted.amount_in, wanted.amount_out) == ("1.0000", text(987_158))
        assert (await made.swap("b", b, BASE, 10_000)).amount_out == found.amount_out
        for params in ({}, {"amount_in": "1", "amount_out": "1"}):
            await refused(quote(**params), "bad_request")
        await refused(quote(amount_out="10000"), "pool_full", "/amount_out")


class Strict:
    """Bans GOLD coming in for one account, and remembers what it was asked."""

    code = "XX_DEV"

    def __init__(self) -> None:
        self.asked: list[Action] = []
        self.banned = ""
        self.broken = False

    def review(self, action, time_us):
        self.asked.append(action)
        if self.broken:
            raise RuntimeError("a rule failed")
        if self.banned and self.banned in (action.facts.get("base"), action.facts.get("asset_in")):
            return Verdict(False, "asset_banned", "not here", b"{}")
        return Verdict(True)

    def facts(self):
        return {}


async def test_zones_judge_swaps_and_liquidity():
    zone = Strict()
    async with pools(zones=ZoneBoard("XX_DEV", [zone], development=True)) as made:
        a, b = await filled(made)
        assert zone.asked[-1] == Action(
            "dex.liquidity",
            ("XX_DEV",),
            {
                "account": a,
                "pool": POOL,
                "base": BASE,
                "quote": QUOTE,
                "side": "add",
                "base_amount": "100.0000",
                "quote_amount": "10000.0000",
                "leverage": 1,
            },
        )
        await made.swap("b", b, QUOTE, 10_000)
        assert (zone.asked[-1].kind, zone.asked[-1].zones) == ("dex.swap", ("XX_DEV",))
        assert zone.asked[-1].facts["asset_in"] == QUOTE
        before = made.row
        zone.banned = BASE
        await refused(made.swap("b", b, BASE, 10_000), "asset_banned")
        await refused(made.remove("a", a, 1000), "asset_banned")
        await refused(made.route("b", b, BASE, 10_000), "asset_banned")
        assert (zone.asked[-1].kind, zone.asked[-1].facts["base"]) == ("dex.swap", BASE)
        zone.banned, zone.broken = "", True
        await refused(made.swap("b", b, BASE, 10_000), "zone_error")
        await refused(made.add("b", b, 10, 1000), "zone_error")
        assert made.row == before


async def test_replicas_have_the_same_pools():
    async with pools(2) as made:
        a, b = await filled(made)
        await made.swap("b", b, BASE, 10_000)
        await made.remove("a", a, 5000)
        await made.exchange.settle()
        home, away = made.exchange.nodes
        for table in (POOLS, SWAPS, LIQUIDITY, ACCOUNTS, SHARES):
            assert rows(away, table) == rows(home, table)
        check_pools(away)

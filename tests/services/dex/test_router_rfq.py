"""The router's lane of firm quotes: a quote that stands for one of the account's requests is a way like any other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from jilnode.kernel.errors import Rejected
from jilnode.module import QueryContext
from jilnode.zone import ZoneBoard
from services.dex.intents import SetGroup, SetMarketStatus
from services.dex.pools.intents import CreatePool
from services.dex.rfq.rows import QUOTES, REQUESTS, SETTLEMENTS
from services.dex.router import queries
from services.dex.router.rows import ROUTES
from services.wallet.intents import SetLimit, SetStatus
from services.wallet.rows import TRANSFERS
from tests.services.dex.kit import BASE, MARKET, QUOTE
from tests.services.dex.pool_kit import Pools, check_pools, refused, text
from tests.services.dex.rfq_kit import Desk, check_desk, desk
from tests.services.dex.test_rfq_seen import Strict
from tests.services.wallet.kit import check_conservation, rows, turn

WITHOUT_POOL = {"book": "too_thin", "pool": "no_pool", "split": "no_pool"}


async def dry_run(one: Desk, asset: str, amount: str, account: str | None = None, subject: str = "t") -> Any:
    context = QueryContext(subject, frozenset(), one.home.source, one.home.writer.read_us)
    account = one.taker if account is None else account
    params = queries.DryRunParams(asset, QUOTE if asset == BASE else BASE, amount, account)
    return await one.home.writer.query(lambda view: queries.dry_run(view, context, params))


def codes(view: Any) -> dict[str, str]:
    return {lane.lane: lane.code for lane in view.lanes}


def rfq(view: Any) -> Any:
    return next(lane for lane in view.lanes if lane.lane == "rfq")


@asynccontextmanager
async def routed(**options: Any) -> AsyncIterator[tuple[Desk, Pools]]:
    async with desk(**options) as one:
        yield one, Pools(one.exchange)


async def same(one: Desk, made: Pools, asset: str, amount: int, least: int = 1) -> Any:
    """Takes the route, which does to the unit what a dry run said."""
    said = await dry_run(one, asset, text(amount))
    other = QUOTE if asset == BASE else BASE
    before = made.has(one.taker, asset), made.has(one.taker, other)
    done = await made.route("t", one.taker, asset, amount, least)
    assert msgspec.structs.replace(done, id=None, at_us=None) == said
    spent, got = before[0] - made.has(one.taker, asset), made.has(one.taker, other) - before[1]
    assert (done.spent, done.output) == (text(spent), text(got))
    assert not one.home.engine.alarms
    return done


@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_a_quote_is_taken_as_it_stands_with_its_fee(side):
    async with routed(fee_bps=5) as (one, made):
        request = await one.ask(side)
        quote = await one.offer(request, "100")
        worse = await one.offer(request, "101" if side == "buy" else "99", "n")
        asset, amount = (QUOTE, 10_005_000) if side == "buy" else (BASE, 100_050)
        thin = await dry_run(one, asset, text(amount - 1))
        assert (thin.lane, codes(thin)) == (None, {**WITHOUT_POOL, "rfq": "no_quote"})
        done = await same(one, made, asset, amount + 7, 100_000 if side == "buy" else 10_000_000)
        assert (done.lane, done.rule, rfq(done).quote_id) == ("rfq", "1_only_lane", quote.id)
        assert (rfq(done).fee, done.spent) == (text(amount - amount * 10_000 // 10_005), text(amount))
        (settlement,) = rows(one.home, SETTLEMENTS).values()
        assert settlement.quote == quote.id.replace("~", "/")
        assert not rows(one.home, QUOTES)
        assert not rows(one.home, REQUESTS)
        assert worse.id != quote.id
        check_desk(one.home)


async def test_the_lane_that_gives_most_is_taken_and_the_request_stands_where_another_is():
    async with routed() as (one, made):
        await one.exchange.operate(CreatePool(BASE, QUOTE, 0))
        await made.add("n", one.other, 1_000_000, 100_000_000)
        request = await one.ask("sell")
        # The pool gives 90.9090 for each of ten.
        await one.offer(request, "90")
        by_pool = await same(one, made, BASE, 100_000)
        assert (by_pool.lane, by_pool.rule, codes(by_pool)["rfq"]) == ("pool", "2_highest_output", "")
        assert len(rows(one.home, QUOTES)) == 1
        await one.offer(request, "91", "n")
        by_quote = await same(one, made, BASE, 100_000)
        assert (by_quote.lane, by_quote.output) == ("rfq", "910.0000")
        check_conservation(one.home)
        check_pools(one.home)


async def test_of_all_requests_the_best_quote_is_offered():
    async with routed() as (one, _):
        small, large = await one.ask("sell", "1"), await one.ask("sell", "9")
        cheap = await one.ask("sell", "9")
        await one.offer(small, "200")
        best = await one.offer(large, "101")
        await one.offer(cheap, "100", "n")
        bought = await one.ask("buy", "1")
        await one.offer(bought, "1")
        assert rfq(await dry_run(one, BASE, "10")).quote_id == best.id
        assert rfq(await dry_run(one, BASE, "2")).output == "200.0000"
        assert rfq(await dry_run(one, QUOTE, "1")).output == "1.0000"
        # Of two that give the same, what spends less.
        dear, fair = await one.ask("buy", "2"), await one.ask("buy", "2")
        await one.offer(dear, "50")
        less = await one.offer(fair, "49", "n")
        assert rfq(await dry_run(one, QUOTE, "1000")).quote_id == less.id


async def test_nobody_takes_another_s_quote_or_one_that_they_do_not_see():
    async with routed() as (one, made):
        sealed = await one.ask("sell", sealed=True)
        await one.offer(sealed, "100")
        for account, subject in ((one.taker, "t"), (one.other, "n"), ("", "t")):
            assert rfq(await dry_run(one, BASE, "10", account, subject)).code == "no_quote"
        await refused(made.route("t", one.taker, BASE, 100_000), "no_route")
        one.clock.advance(30)
        await turn(one.home)
        assert rfq(await dry_run(one, BASE, "10", one.other, "n")).code == "no_quote"
        assert (await same(one, made, BASE, 100_000)).lane == "rfq"


@pytest.mark.parametrize("why", ["quote", "request", "frozen", "owner", "halted"])
async def test_what_could_not_be_accepted_is_passed_over(why):
    async with routed() as (one, made):
        request = await one.ask("sell", quotes_until_us=one.in_s(10), accept_until_us=one.in_s(20))
        await one.offer(request, "101", valid_until_us=one.in_s(5 if why == "quote" else 20))
        next_best = await one.offer(request, "100", "n")
        if why == "quote":
            one.clock.advance(5)
        elif why == "request":
            one.clock.advance(20)
        elif why == "frozen":
            await one.exchange.operate(SetStatus(one.maker, "frozen"))
        elif why == "owner":
            for account in (one.taker, one.maker):
                await one.exchange.operate(SetGroup(account, "house"))
        else:
            await one.exchange.operate(SetMarketStatus(MARKET, "news"))
        said = await dry_run(one, BASE, "10")
        if why in ("request", "halted"):
            assert rfq(said).code == ("no_quote" if why == "request" else "market_halted")
            await refused(made.route("t", one.taker, BASE, 100_000), "no_route")
        else:
            assert rfq(said).quote_id == next_best.id
            assert (await same(one, made, BASE, 100_000)).output == "1000.0000"
        check_desk(one.home)


async def test_a_command_looks_at_so_many_quotes(monkeypatch):
    async with routed() as (one, _):
        await one.offer(await one.ask("sell"), "101")
        request = await one.ask("sell")
        await one.offer(request, "101")
        await one.offer(request, "100", "n")
        await one.exchange.operate(SetStatus(one.maker, "frozen"))
        for most, code in ((3, ""), (2, "no_quote")):
            monkeypatch.setattr("services.dex.rfq.standing.OFFERS_MAX", most)
            assert rfq(await dry_run(one, BASE, "10")).code == code


async def test_a_request_elsewhere_is_no_lane_here():
    async with routed(count=2) as (one, _):
        await one.offer(await one.ask("sell"), "100")
        await one.exchange.settle()
        away = one.exchange.nodes[1]
        context = QueryContext("t", frozenset(), away.source, away.writer.read_us)
        params = queries.DryRunParams(BASE, QUOTE, "10", one.taker)
        said = await away.writer.query(lambda view: queries.dry_run(view, context, params))
        assert rfq(said).code == "no_quote"


async def test_replicas_accept_a_route_by_a_quote_and_limits_count_it():
    async with routed(count=2, fee_bps=5) as (one, made):
        await one.exchange.operate(SetLimit(one.taker, BASE, daily="15"))
        for _ in range(2):
            await one.offer(await one.ask("sell"), "100")
        await made.route("t", one.taker, BASE, 200_000)
        await refused(made.route("t", one.taker, BASE, 200_000), "limit_daily")
        await one.exchange.settle()
        away = one.exchange.nodes[1]
        for table in (ROUTES, SETTLEMENTS, TRANSFERS):
            assert rows(away, table) == rows(one.home, table)
        for node in one.exchange.nodes:
            check_desk(node)
            assert not node.engine.alarms


async def test_the_zones_of_both_parties_judge_it_as_the_acceptance_that_it_is():
    zone = Strict()
    async with routed(zones=ZoneBoard("XX_DEV", [zone], development=True)) as (one, made):
        quote = await one.offer(await one.ask("sell"), "100")
        zone.banned = "dex.rfq.acceptance"
        with pytest.raises(Rejected, match="banned_here"):
            await made.route("t", one.taker, BASE, 100_000)
        zone.banned = ""
        zone.asked.clear()
        await made.route("t", one.taker, BASE, 100_000)
        assert {(action.kind, action.zones) for action in zone.asked} == {("dex.rfq.acceptance", ("XX_DEV", "XX_DEV"))}
        assert (zone.asked[0].facts["maker"], zone.asked[0].facts["request"]) == (one.maker, quote.request)
        await one.exchange.operate(CreatePool(BASE, QUOTE, 0))
        await made.add("n", one.other, 1_000_000, 100_000_000)
        await one.offer(await one.ask("sell"), "1")
        zone.asked.clear()
        await made.route("t", one.taker, BASE, 100_000)
        assert {action.kind for action in zone.asked} == {"dex.swap"}

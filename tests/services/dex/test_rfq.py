"""A request's life: asked, quoted, accepted and settled, or ended without."""

from services.dex.rfq.intents import CancelRequest, SetRfqFee, WithdrawQuote
from services.dex.rfq.rows import ENDED_QUOTES, ENDED_REQUESTS, QUOTES, REQUESTS
from services.dex.rfq.views import LegView
from services.wallet.intents import SetLimit
from tests.services.dex.kit import BASE, QUOTE
from tests.services.dex.rfq_kit import check_desk, desk
from tests.services.wallet.kit import rows, turn

GOLD, USD = 10_000_000, 1_000_000_000
"""What everybody begins with."""


async def test_a_taker_buys_at_the_best_quote():
    async with desk() as one:
        request = await one.ask()
        assert (request.state, request.quantity, request.invited) == ("open", "10.0000", [])
        first = await one.offer(request, "101.5")
        assert (first.price, first.status, first.shown) == ("101.5", "live", True)
        best = await one.offer(request, "101.25", "n")
        assert [item.id for item in await one.seen(request)] == [best.id, first.id]
        assert one.money(one.maker) == (GOLD - 100_000, 100_000, USD, 0)
        check_desk(one.home)
        settled = await one.accept(best)
        assert (settled.id, settled.quote_id, settled.price, settled.turnover) == (
            request.id,
            best.id,
            "101.25",
            "1012.5000",
        )
        assert one.money(one.taker) == (GOLD + 100_000, 0, USD - 10_125_000, 0)
        assert one.money(one.other) == (GOLD - 100_000, 0, USD + 10_125_000, 0)
        assert one.money(one.maker) == (GOLD, 0, USD, 0)
        assert {row.reason for row in rows(one.home, ENDED_QUOTES).values()} == {"accepted", "lost"}
        check_desk(one.home)


async def test_a_taker_sells_and_the_highest_price_is_best():
    async with desk() as one:
        request = await one.ask("sell", "2.5")
        low = await one.offer(request, "99")
        high = await one.offer(request, "99.5", "n")
        assert [item.id for item in await one.seen(request)] == [high.id, low.id]
        assert one.money(one.other) == (GOLD, 0, USD - 2_487_500, 2_487_500)
        await one.accept(high)
        assert one.money(one.taker) == (GOLD - 25_000, 0, USD + 2_487_500, 0)
        assert one.money(one.other) == (GOLD + 25_000, 0, USD - 2_487_500, 0)
        check_desk(one.home)


async def test_of_equal_prices_the_first_is_best():
    async with desk() as one:
        request = await one.ask()
        first = await one.offer(request, "100", "n")
        one.clock.advance(1)
        second = await one.offer(request, "100", "m")
        assert [item.id for item in await one.seen(request)] == [first.id, second.id]


async def test_each_side_pays_exactly_the_fee_that_the_quote_tells():
    async with desk(fee_bps=3) as one:
        request = await one.ask(quantity="3.33")
        assert request.fee_bps == 3
        quote = await one.offer(request, "101.37")
        assert quote.taker_gives == LegView(QUOTE, "337.5621", "0.1013", "337.6634")
        assert quote.maker_gives == LegView(BASE, "3.3300", "0.0010", "3.3310")
        assert one.money(one.maker) == (GOLD - 33_310, 33_310, USD, 0)
        # Fees that are set later hold for later requests.
        await one.exchange.operate(SetRfqFee(500))
        settled = await one.accept(quote)
        assert (settled.taker_gives, settled.maker_gives) == (quote.taker_gives, quote.maker_gives)
        assert one.money(one.taker) == (GOLD + 33_300, 0, USD - 3_376_634, 0)
        assert one.money(one.maker) == (GOLD - 33_310, 0, USD + 3_375_621, 0)
        assert one.money("sg-mas-01/fees") == (10, 0, 1013, 0)
        assert (await one.ask()).fee_bps == 500
        check_desk(one.home)


async def test_sealed_quotes_are_their_makers_until_the_time_for_quotes_is_over():
    async with desk() as one:
        request = await one.ask(sealed=True)
        mine = await one.offer(request, "101")
        other = await one.offer(request, "100.5", "n")
        assert (mine.shown, other.shown) == (False, False)
        assert rows(one.home, REQUESTS)[request.id.replace("~", "/")].state == "open"
        assert await one.seen(request) == []
        assert await one.seen(request, "auditor", "audit", "dex:operate", "wallet:operate") == []
        assert [item.id for item in await one.seen(request, "m")] == [mine.id]
        one.clock.advance(29)
        await turn(one.home)
        assert await one.seen(request) == []
        one.clock.advance(1)
        await turn(one.home)
        assert [item.id for item in await one.seen(request)] == [other.id, mine.id]
        assert [item.id for item in await one.seen(request, "auditor", "audit")] == [other.id, mine.id]
        assert [item.id for item in await one.seen(request, "m")] == [mine.id]
        assert rows(one.home, REQUESTS)[request.id.replace("~", "/")].state == "quoted"
        check_desk(one.home)
        await one.accept(mine)
        check_desk(one.home)


async def test_a_request_that_nobody_quotes_expires_when_the_time_for_quotes_is_over():
    for sealed in (False, True):
        async with desk() as one:
            await one.ask(sealed=sealed)
            one.clock.advance(30)
            await turn(one.home)
            (ended,) = rows(one.home, ENDED_REQUESTS).values()
            assert (ended.state, rows(one.home, REQUESTS)) == ("expired", {})
            check_desk(one.home)


async def test_a_request_that_nobody_accepts_expires_and_everything_goes_back():
    for sealed in (False, True):
        async with desk() as one:
            request = await one.ask(sealed=sealed)
            await one.offer(request, "101")
            await one.offer(request, "102", "n")
            one.clock.advance(30)
            await turn(one.home)
            assert len(rows(one.home, QUOTES)) == 2
            one.clock.advance(60)
            await turn(one.home)
            assert {row.reason for row in rows(one.home, ENDED_QUOTES).values()} == {"request_expired"}
            assert one.money(one.maker) == one.money(one.other) == (GOLD, 0, USD, 0)
            check_desk(one.home)


async def test_a_node_that_slept_through_both_times_ends_the_request_at_once():
    async with desk() as one:
        await one.offer(await one.ask(sealed=True), "101")
        one.clock.advance(3600)
        await turn(one.home)
        (ended,) = rows(one.home, ENDED_QUOTES).values()
        assert (ended.reason, ended.shown_in, rows(one.home, REQUESTS)) == ("request_expired", "", {})
        check_desk(one.home)


async def test_a_quote_expires_alone():
    async with desk() as one:
        request = await one.ask()
        await one.offer(request, "101", valid_until_us=one.in_s(5))
        kept = await one.offer(request, "102", "n")
        one.clock.advance(5)
        await turn(one.home)
        assert [item.id for item in await one.seen(request)] == [kept.id]
        (ended,) = rows(one.home, ENDED_QUOTES).values()
        assert (ended.reason, one.money(one.maker)) == ("expired", (GOLD, 0, USD, 0))
        check_desk(one.home)


async def test_a_maker_withdraws_and_a_taker_cancels():
    async with desk() as one:
        request = await one.ask()
        quote = await one.offer(request, "101")
        await one.offer(request, "102", "n")
        withdrawn = (await one.home.run(WithdrawQuote(quote.id), actor="m")).reply
        assert (withdrawn.status, withdrawn.ended_us) == ("withdrawn", one.clock.now_us)
        assert one.money(one.maker) == (GOLD, 0, USD, 0)
        cancelled = (await one.home.run(CancelRequest(request.id), actor="t")).reply
        assert (cancelled.state, cancelled.ended_us) == ("cancelled", one.clock.now_us)
        assert one.money(one.other) == (GOLD, 0, USD, 0)
        assert sorted(row.reason for row in rows(one.home, ENDED_QUOTES).values()) == ["request_cancelled", "withdrawn"]
        check_desk(one.home)


async def test_a_better_quote_takes_the_place_of_the_one_before():
    async with desk() as one:
        request = await one.ask("sell")
        await one.offer(request, "99")
        better = await one.offer(request, "99.5", valid_until_us=one.in_s(40))
        longer = await one.offer(request, "99.5", valid_until_us=one.in_s(41))
        assert [item.id for item in await one.seen(request)] == [longer.id]
        assert {row.reason for row in rows(one.home, ENDED_QUOTES).values()} == {"improved"}
        assert better.id != longer.id
        check_desk(one.home)


async def test_a_better_quote_uses_the_money_and_the_limits_of_the_one_before():
    async with desk() as one:
        await one.exchange.operate(SetLimit(one.maker, QUOTE, daily="99990"))
        request = await one.ask("sell", "1000")
        await one.offer(request, "99.98")
        await one.offer(request, "99.99")
        assert one.money(one.maker) == (GOLD, 0, USD - 999_900_000, 999_900_000)
        check_desk(one.home)


async def test_invited_makers_only():
    async with desk() as one:
        request = await one.ask(invited=(one.maker, one.maker))
        assert request.invited == [one.maker]
        quote = await one.offer(request, "101")
        assert [item.id for item in await one.seen(request)] == [quote.id]
        await one.accept(quote)
        check_desk(one.home)


async def test_a_request_in_billionths_settles_exactly():
    async with desk() as one:
        request = await one.ask(quantity="1000")
        quote = await one.offer(request, "0.0000001")
        assert (quote.price, quote.taker_gives.amount) == ("0.0000001", "0.0001")
        await one.accept(quote)
        assert one.money(one.taker) == (GOLD + 10_000_000, 0, USD - 1, 0)
        check_desk(one.home)

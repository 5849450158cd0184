"""Every refusal of the RFQ desk: its code, its field, and that it changes nothing."""

import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from jilnode.http.problems import CORE_PROBLEMS
from jilnode.kernel.errors import Rejected
from jilnode.module import QueryContext
from services.dex.intents import SetGroup, SetMarketStatus
from services.dex.module import MODULE
from services.dex.rfq import listings, queries
from services.dex.rfq.commands import quotes, requests
from services.dex.rfq.intents import AcceptQuote, CancelRequest, SetRfqFee, SubmitQuote, WithdrawQuote
from services.dex.rfq.problems import PROBLEMS
from services.dex.rfq.rows import ENDED_QUOTES
from services.wallet.intents import SetStatus
from services.wallet.module import MODULE as WALLET
from tests.services.dex.kit import BASE, MARKET, QUOTE
from tests.services.dex.rfq_kit import Desk, check_desk, desk
from tests.services.wallet.kit import rows, turn


async def refused(one: Desk, attempt: Awaitable[Any], code: str, status: int, field: str | None) -> Rejected:
    before = {table.name: rows(one.home, table) for table in (*MODULE.tables, *WALLET.tables)}
    with pytest.raises(Rejected) as refusal:
        await attempt
    assert {table.name: rows(one.home, table) for table in (*MODULE.tables, *WALLET.tables)} == before
    assert (refusal.value.code, refusal.value.status, refusal.value.field) == (code, status, field), refusal.value
    assert code in {**MODULE.problems, **WALLET.problems} or code in {kind.code for kind in CORE_PROBLEMS}
    return refusal.value


OPENINGS = {
    "another's account": ({"account": "m"}, "not_your_account", 403, "/account"),
    "no account": ({"account": "sg-mas-01~x"}, "unknown_account", 422, "/account"),
    "no asset": ({"base": "NONE@sg-mas-01"}, "unknown_asset", 422, "/base"),
    "no quote asset": ({"quote": "NONE@sg-mas-01"}, "unknown_asset", 422, "/quote"),
    "one asset": ({"base": QUOTE}, "bad_pair", 400, "/quote"),
    "no side": ({"side": "both"}, "bad_side", 400, "/side"),
    "nothing": ({"quantity": "0"}, "bad_amount", 400, "/quantity"),
    "too fine": ({"quantity": "0.00001"}, "too_many_decimals", 422, "/quantity"),
    "the past": ({"quotes_until_us": 0}, "bad_expiry", 400, "/quotes_until_us"),
    "eight days": ({"quotes_until_us": 8 * 86_400}, "bad_expiry", 400, "/quotes_until_us"),
    "accepted before quoted": ({"accept_until_us": 30}, "bad_expiry", 400, "/accept_until_us"),
    "accepted two days later": ({"accept_until_us": 2 * 86_400}, "bad_expiry", 400, "/accept_until_us"),
    "itself invited": ({"invited": ("m", "t")}, "bad_invited", 400, "/invited/1"),
    "nobody invited": ({"invited": ("sg-mas-01~x",)}, "unknown_account", 422, "/invited/0"),
    "too many invited": ({"invited": ("m",) * 21}, "bad_invited", 400, "/invited"),
}


@pytest.mark.parametrize("name", OPENINGS)
async def test_a_request_is_refused(name):
    changes, code, status, field = OPENINGS[name]
    async with desk() as one:
        accounts = {"m": one.maker, "t": one.taker}
        values = {"account": one.taker, "base": BASE, "quote": QUOTE, "side": "buy", "quantity": "1", **changes}
        values["account"] = accounts.get(values["account"], values["account"])
        values["invited"] = tuple(accounts.get(item, item) for item in values.get("invited", ()))
        values["quotes_until_us"] = one.in_s(values.get("quotes_until_us", 30))
        if "accept_until_us" in values:
            values["accept_until_us"] = one.in_s(values["accept_until_us"])
        command = requests.OpenRequest(**values)
        await refused(one, one.home.run(command, actor="t"), code, status, field)


async def test_a_frozen_taker_can_t_ask_and_a_frozen_maker_can_t_quote():
    async with desk() as one:
        request = await one.ask()
        for account in (one.taker, one.maker):
            await one.exchange.operate(SetStatus(account, "frozen"))
        await refused(one, one.ask(), "account_frozen", 403, "/account")
        await refused(one, one.offer(request, "1"), "account_frozen", 403, "/account")


async def test_a_halted_market_of_the_pair_stops_the_desk_too():
    async with desk() as one:
        request = await one.ask()
        quote = await one.offer(request, "1")
        await one.exchange.operate(SetMarketStatus(MARKET, "news pending"))
        for attempt, field in ((one.ask(), "/base"), (one.offer(request, "1.01"), "/id"), (one.accept(quote), "/id")):
            refusal = await refused(one, attempt, "market_halted", 409, field)
            assert not refusal.final
        await one.exchange.operate(SetMarketStatus(MARKET, ""))
        assert (await one.accept(quote)).id
        check_desk(one.home)


async def test_an_account_has_a_hundred_open_requests():
    async with desk() as one:
        for _ in range(requests.OPEN_REQUESTS_MAX):
            await one.ask()
        await refused(one, one.ask(), "too_many_open_requests", 409, "/account")


OFFERS = {
    "no request": ({"request": "sg-mas-01~x"}, "unknown_request", 404, "/id"),
    "no id": ({"request": "%"}, "unknown_request", 404, "/id"),
    "another's account": ({"account": "n"}, "not_your_account", 403, "/account"),
    "no price": ({"price": "0"}, "bad_amount", 400, "/price"),
    "ten decimals": ({"price": "1.0000000001"}, "too_many_decimals", 422, "/price"),
    "an inexact price": ({"price": "0.000001"}, "inexact_notional", 422, "/price"),
    "a price beyond 64 bits": ({"price": "9000000000"}, "bad_notional", 422, "/price"),
    "the past": ({"valid_until_us": 0.0}, "bad_expiry", 400, "/valid_until_us"),
    "longer than the request": ({"valid_until_us": 91}, "bad_expiry", 400, "/valid_until_us"),
    "more than there is": ({"price": "0.1"}, "insufficient_funds", 422, "/price"),
}


@pytest.mark.parametrize("name", OFFERS)
async def test_a_quote_is_refused(name):
    changes, code, status, field = OFFERS[name]
    async with desk() as one:
        quantity = {"inexact_notional": "1.01", "bad_notional": "2000000", "insufficient_funds": "1000.01"}
        request = await one.ask(quantity=quantity.get(code, "1"))
        values = {"request": request.id, "account": one.maker, "price": "100", **changes}
        if values["account"] == "n":
            values["account"] = one.other
        if "valid_until_us" in values:
            values["valid_until_us"] = one.in_s(values["valid_until_us"])
        await refused(one, one.home.run(SubmitQuote(**values), actor="m"), code, status, field)
        check_desk(one.home)


async def test_a_sealed_quote_that_nobody_could_accept():
    async with desk() as one:
        request = await one.ask(sealed=True)
        quote = one.offer(request, "1", valid_until_us=one.in_s(30))
        await refused(one, quote, "bad_expiry", 400, "/valid_until_us")


async def test_too_late_to_quote():
    async with desk() as one:
        request = await one.ask()
        await one.offer(request, "2", "n")
        one.clock.advance(30)
        # The timers run in the same batch, after it.
        with pytest.raises(Rejected, match="quotes_ended"):
            await one.offer(request, "1")


async def test_a_quote_that_is_not_better():
    async with desk() as one:
        request = await one.ask()
        await one.offer(request, "100", valid_until_us=one.in_s(50))
        for price, until_s in (("100.01", 60), ("100", 50), ("100", 40)):
            worse = one.offer(request, price, valid_until_us=one.in_s(until_s))
            await refused(one, worse, "quote_not_better", 409, "/price")


async def test_one_owner_on_both_sides():
    async with desk() as one:
        request = await one.ask()
        await refused(
            one, one.home.run(SubmitQuote(request.id, one.taker, "1"), actor="t"), "self_trade", 422, "/account"
        )
        quote = await one.offer(request, "100")
        for account in (one.taker, one.maker):
            await one.exchange.operate(SetGroup(account, "family"))
        await refused(one, one.accept(quote), "self_trade", 422, "/account")
        await refused(one, one.offer(request, "99"), "self_trade", 422, "/account")
        other = await one.offer(request, "101", "n")
        await one.accept(other)
        check_desk(one.home)


async def test_who_is_not_invited_finds_no_request():
    async with desk() as one:
        request = await one.ask(invited=(one.maker,))
        await refused(one, one.offer(request, "100", "n"), "unknown_request", 404, "/id")
        await refused(one, one.seen(request, "n"), "unknown_request", 404, "/id")
        assert await one.seen(request, "m") == await one.seen(request, "auditor", "audit") == []


async def test_a_hundred_quotes_and_a_better_one():
    async with desk() as one:
        request = await one.ask()
        for number in range(quotes.QUOTES_MAX):
            maker = await one.exchange.trader(f"maker-{number}", usd="")
            await one.home.run(SubmitQuote(request.id, maker, str(100 + number)), actor=f"maker-{number}")
        await refused(one, one.offer(request, "199"), "too_many_quotes", 409, "/price")
        better = await one.offer(request, "198")
        seen = await one.seen(request)
        assert (len(seen), seen[-1].id) == (quotes.QUOTES_MAX, better.id)
        check_desk(one.home)
        await one.accept(seen[50])
        assert [row.reason for row in rows(one.home, ENDED_QUOTES).values()].count("lost") == quotes.QUOTES_MAX - 1
        check_desk(one.home)


async def test_an_account_has_only_so_many_live_quotes(monkeypatch):
    monkeypatch.setattr(quotes, "ACCOUNT_QUOTES_MAX", 2)
    async with desk() as one:
        for _ in range(2):
            await one.offer(await one.ask(), "1")
        await refused(one, one.offer(await one.ask(), "1"), "too_many_quotes", 409, "/account")


async def test_quotes_that_are_not_there_for_who_asks():
    async with desk() as one:
        request = await one.ask(sealed=True)
        quote = await one.offer(request, "1")
        for reference in ("%", "sg-mas-01~x"):
            await refused(one, one.home.run(AcceptQuote(reference), actor="t"), "unknown_quote", 404, "/id")
            await refused(one, one.home.run(WithdrawQuote(reference), actor="m"), "unknown_quote", 404, "/id")
        # A sealed quote is not there for its taker, nor for anybody but its maker.
        await refused(one, one.accept(quote), "unknown_quote", 404, "/id")
        await refused(one, one.home.run(WithdrawQuote(quote.id), actor="t"), "unknown_quote", 404, "/id")
        await refused(one, one.accept(quote, "n"), "unknown_quote", 404, "/id")
        await refused(one, one.home.run(CancelRequest(request.id), actor="m"), "not_your_account", 403, "/id")
        await refused(one, one.home.run(CancelRequest("sg-mas-01~x"), actor="t"), "unknown_request", 404, "/id")


async def test_too_late_to_accept():
    async with desk() as one:
        request = await one.ask()
        short = await one.offer(request, "1", valid_until_us=one.in_s(31))
        long = await one.offer(request, "2", "n")
        one.clock.advance(31)
        with pytest.raises(Rejected, match="quote_expired"):
            await one.accept(short)
        one.clock.advance(59)
        with pytest.raises(Rejected, match="request_expired"):
            await one.accept(long)
        await turn(one.home)
        await refused(one, one.accept(long), "unknown_quote", 404, "/id")
        check_desk(one.home)


async def test_a_quote_is_accepted_once():
    async with desk() as one:
        request = await one.ask()
        first, second = await one.offer(request, "1"), await one.offer(request, "2", "n")
        await one.accept(first)
        for quote in (first, second):
            await refused(one, one.accept(quote), "unknown_quote", 404, "/id")
        check_desk(one.home)


async def test_the_quote_of_a_maker_who_was_frozen_is_void():
    async with desk() as one:
        request = await one.ask()
        quote = await one.offer(request, "100")
        await one.exchange.operate(SetStatus(one.maker, "frozen"))
        problem = await refused(one, one.accept(quote), "quote_void", 409, "/id")
        assert (problem.extra, problem.final) == ({"reason": "account_frozen"}, True)
        assert [(item.id, item.void) for item in await one.seen(request)] == [(quote.id, "account_frozen")]
        other = await one.offer(request, "101", "n")
        await one.accept(other)
        assert one.money(one.maker) == (10_000_000, 0, 1_000_000_000, 0)
        check_desk(one.home)


async def test_a_taker_who_can_t_pay_changes_nothing():
    async with desk() as one:
        quote = await one.offer(await one.ask(), "10000.0001")
        await refused(one, one.accept(quote), "insufficient_funds", 422, "/id")
        await one.exchange.operate(SetStatus(one.taker, "frozen"))
        await refused(one, one.accept(quote), "account_frozen", 403, "/id")
        check_desk(one.home)


async def test_bad_fees():
    async with desk() as one:
        for bps in (-1, 1001):
            await refused(one, one.exchange.operate(SetRfqFee(bps)), "bad_fee", 400, "/bps")


async def test_what_a_query_does_not_find():
    async with desk() as one:
        quote = await one.offer(await one.ask(sealed=True, invited=(one.maker,)), "1")
        context = QueryContext("n", frozenset(), one.home.source, one.clock.now_us)
        for listing, reference, code in (
            (listings.request, quote.request, "unknown_request"),
            (listings.request, "sg-mas-01~x", "unknown_request"),
            (listings.quote, quote.id, "unknown_quote"),
            (listings.quote, "sg-mas-01~x", "unknown_quote"),
            (listings.settlement, quote.request, "unknown_settlement"),
        ):
            with pytest.raises(Rejected, match=code):
                await listing(one.home.store, context, queries.IdParams(reference))


def test_every_code_is_listed_once_with_a_title():
    folder = Path(__file__).resolve().parents[3] / "services" / "dex" / "rfq"
    raised = set()
    for path in folder.rglob("*.py"):
        raised |= set(re.findall(r'Rejected\(\s*"([a-z_]+)"', path.read_text()))
    assert raised - {kind.code for kind in CORE_PROBLEMS} <= set(MODULE.problems)
    assert set(PROBLEMS) <= raised

"""Several nodes: a request at its own, replicas that read and converge, money that lies elsewhere, a restart."""

import pytest

from jilnode.kernel.errors import Rejected
from jilnode.module import QueryContext
from services.dex.module import MODULE as DEX
from services.dex.rfq import listings, queries
from services.dex.rfq.commands import quotes, requests
from services.dex.rfq.intents import AcceptQuote, CancelRequest, SubmitQuote, WithdrawQuote
from services.dex.rfq.rows import QUOTES, TABLES
from services.wallet.intents import CreateAccount, Issue, SetRoaming
from services.wallet.module import MODULE as WALLET
from services.wallet.rows import ACCOUNTS
from tests.kit.node import TestNode, running
from tests.services.dex.kit import BASE, QUOTE
from tests.services.dex.rfq_kit import check_desk, desk
from tests.services.wallet.kit import rows, started, turn


async def test_makers_elsewhere_are_told_where_the_request_lives():
    async with desk(2) as one:
        away = one.exchange.nodes[1]
        request = await one.ask()
        quote = await one.offer(request, "100")
        await one.exchange.settle()
        for command, subject in (
            (SubmitQuote(request.id, one.other, "99"), "n"),
            (WithdrawQuote(quote.id), "m"),
            (AcceptQuote(quote.id), "t"),
            (CancelRequest(request.id), "t"),
        ):
            with pytest.raises(Rejected) as refusal:
                await away.run(command, actor=subject)
            assert (refusal.value.code, refusal.value.status) == ("misdirected", 421)
            assert refusal.value.extra["owner"] == "sg-mas-01"


async def test_a_node_that_has_not_heard_of_an_account_still_knows_where_its_request_lives():
    """Whether it has a quote is not for a node to say that can't tell whose it is."""
    async with desk(3) as one:
        _, away, third = one.exchange.nodes
        account = (await away.run(CreateAccount(), actor="x")).reply.id
        one.clock.advance(31)
        await turn(away)
        await one.home.follow(away)
        await one.exchange.operate(Issue(QUOTE, account, "5000"))
        own = (await one.home.run(one.opening(account=account), actor="x")).reply
        quote = (await one.home.run(SubmitQuote((await one.ask("sell", "1")).id, account, "90"), actor="x")).reply
        to_own = await one.offer(own, "100")
        await third.follow(one.home)
        for command, code in (
            (CancelRequest(own.id), "misdirected"),
            (WithdrawQuote(quote.id), "unknown_quote"),
            (AcceptQuote(to_own.id), "unknown_quote"),
        ):
            with pytest.raises(Rejected) as refusal:
                await third.run(command, actor="x")
            assert refusal.value.code == code


async def test_a_quote_of_whose_maker_nothing_is_known_is_refused_and_stands():
    """A node that lost its database has its own journal back before it has heard of its clients from elsewhere."""
    async with desk() as one:
        request = await one.ask()
        quote = await one.offer(request, "100")
        for _ in range(2):
            one.home.engine.caches[ACCOUNTS].forget_old_generation()
        del one.home.disk.tables[ACCOUNTS.name].rows[one.maker.replace("~", "/")]
        with pytest.raises(Rejected) as refusal:
            await one.accept(quote)
        assert refusal.value.code == "unknown_account"
        assert quote.id.replace("~", "/") in rows(one.home, QUOTES)


async def test_a_replica_shows_what_the_home_does_and_no_clock_opens_a_sealed_quote():
    async with desk(2) as one:
        away = one.exchange.nodes[1]
        request = await one.ask(sealed=True)
        quote = await one.offer(request, "100")
        await one.exchange.settle()
        one.clock.advance(31)
        # The home has not said yet that the time for quotes is over.
        assert await one.seen(request, node=away) == []
        await one.exchange.settle()
        assert [item.id for item in await one.seen(request, node=away)] == [quote.id]
        await one.accept(quote)
        await one.exchange.settle()
        context = QueryContext("t", frozenset(), away.source, away.engine.now_us())
        params = queries.IdParams(request.id)
        assert (await listings.settlement(away.store, context, params)).quote_id == quote.id
        assert (await listings.request(away.store, context, params)).state == "settled"
        for table in TABLES:
            assert rows(away, table) == rows(one.home, table)
        for node in one.exchange.nodes:
            check_desk(node)


async def test_a_maker_from_another_node_quotes_with_money_here():
    async with desk(2) as one:
        away = one.exchange.nodes[1]
        account = (await away.run(CreateAccount(), actor="x")).reply.id
        await one.exchange.settle()
        await one.exchange.operate(Issue(QUOTE, account, "500"))
        request = await one.ask("sell", "1")
        await one.exchange.settle()
        quote = (await one.home.run(SubmitQuote(request.id, account, "90"), actor="x")).reply
        await one.accept(quote)
        await one.exchange.settle()
        for node in one.exchange.nodes:
            check_desk(node)


@pytest.mark.parametrize("allowed", [True, False])
async def test_what_a_taker_has_elsewhere_is_sent_for_and_the_quote_stands_meanwhile(allowed):
    async with desk(2) as one:
        away = one.exchange.nodes[1]
        account = (await away.run(CreateAccount(), actor="t")).reply.id
        await one.exchange.settle()
        await one.exchange.operate(Issue(QUOTE, account, "600"))
        one.clock.advance(61)
        # It lay here unused, and went home.
        await one.exchange.settle()
        assert one.money(account)[2] == 0
        if allowed:
            await one.exchange.operate(SetRoaming(account, QUOTE, "600", ("sg-mas-01",)), away)
            await one.exchange.settle()
        request = await one.ask(account=account, quantity="5")
        quote = await one.offer(request, "100")
        future = await started(one, one.home, AcceptQuote(quote.id), "t")  # type: ignore[arg-type]
        assert not future.done()
        assert list(rows(one.home, QUOTES)) == [quote.id.replace("~", "/")]
        check_desk(one.home)
        if allowed:
            await one.exchange.settle()
            assert (await future).reply.taker == account
        else:
            one.clock.advance(3)
            await turn(one.home)
            with pytest.raises(Rejected) as refusal:
                await future
            assert (refusal.value.code, refusal.value.status) == ("share_short", 409)
            assert list(rows(one.home, QUOTES)) == [quote.id.replace("~", "/")]
        check_desk(one.home)


async def test_a_maker_whose_home_is_not_heard_is_void_for_now():
    async with desk(2) as one:
        away = one.exchange.nodes[1]
        account = (await away.run(CreateAccount(), actor="x")).reply.id
        await one.exchange.settle()
        await one.exchange.operate(Issue(QUOTE, account, "500"))
        request = await one.ask("sell", "1", accept_until_us=one.in_s(900))
        quote = (await one.home.run(SubmitQuote(request.id, account, "90"), actor="x")).reply
        one.clock.advance(700)
        with pytest.raises(Rejected) as refusal:
            await one.accept(quote)
        assert (refusal.value.code, refusal.value.extra) == ("quote_void", {"reason": "home_not_heard"})
        assert not refusal.value.final


async def test_timers_outlive_a_restart():
    async with desk(fee_bps=7) as one:
        sealed = await one.ask(sealed=True)
        await one.offer(sealed, "100")
        request = await one.ask()
        await one.offer(request, "100", valid_until_us=one.in_s(40))
        kept = await one.offer(request, "101", "n")
        await one.home.close()
        again = TestNode(one.home.source, [WALLET, DEX], clock=one.clock, store=one.home.store)
        again.disk = one.home.disk
        async with running(again):
            check_desk(again)
            one.clock.advance(30)
            await turn(again)
            assert [item.price for item in await one.seen(sealed, node=again)] == ["100"]
            one.clock.advance(10)
            await turn(again)
            assert [item.id for item in await one.seen(request, node=again)] == [kept.id]
            settled = (await again.run(AcceptQuote(kept.id), actor="t")).reply
            assert settled.taker_gives.fee == "0.7070"
            check_desk(again)
            one.clock.advance(50)
            await turn(again)
            assert rows(again, QUOTES) == {}
            check_desk(again)


async def test_a_node_that_keeps_nothing_in_memory_settles_the_same():
    async with desk(cache_bytes=1) as one:
        request = await one.ask()
        await one.offer(request, "100")
        quote = await one.offer(request, "99", "n")
        await one.accept(quote)
        check_desk(one.home)


async def test_what_is_open_elsewhere_takes_no_room_here(monkeypatch):
    """Else another node could write so many in somebody's name that they can ask nothing anywhere."""
    monkeypatch.setattr(requests, "OPEN_REQUESTS_MAX", 2)
    monkeypatch.setattr(quotes, "ACCOUNT_QUOTES_MAX", 1)
    async with desk(2) as one:
        away = one.exchange.nodes[1]
        for asset in (BASE, QUOTE):
            await one.exchange.operate(SetRoaming(one.maker, asset, "1000", (away.source,)))
        await one.exchange.settle()
        asked = [(await away.run(one.opening(), actor="t")).reply for _ in range(2)]
        await one.exchange.settle()
        request = await one.ask()
        assert request.id.startswith(one.home.source)
        offer = await started(one, away, SubmitQuote(asked[0].id, one.maker, "100"), "m")  # type: ignore[arg-type]
        await one.exchange.settle()
        assert (await offer).reply.shown
        await one.exchange.settle()
        assert (await one.offer(request, "100")).shown
        await one.ask()
        with pytest.raises(Rejected) as refusal:
            await one.ask()
        assert refusal.value.code == "too_many_open_requests"

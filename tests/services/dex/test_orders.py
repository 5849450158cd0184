"""Orders one by one: every reason for which one ends, whom one meets, and the edges of numbers."""

from typing import Any

import pytest

from jilnode.kernel.errors import Rejected
from services.dex.commands import orders
from services.dex.intents import (
    AmendOrder,
    CancelOrder,
    CreateMarket,
    MassQuote,
    PlaceOrder,
    QuoteEntry,
    ReplaceOrder,
    SetGroup,
    SetMarket,
)
from services.dex.rows import CLOSED, TRADES
from services.wallet.intents import CreateAccount, CreateAsset, Issue, SetFee, SetStatus
from services.wallet.rows import SHARES
from tests.services.dex.kit import BASE, MARKET, QUOTE, book, check_exchange, exchange
from tests.services.wallet.kit import rows, turn


async def test_every_reason_for_which_an_order_ends():
    async with exchange() as one:
        a, b, c = await one.trader("a"), await one.trader("b"), await one.trader("c")
        reasons = {}

        async def sell(price: str = "100", **more: Any) -> str:
            return (await one.order("a", a, "sell", "1", price, **more)).id

        reasons["filled"] = await sell()
        await one.order("b", b, "buy", "1", "100")
        reasons["cancelled"] = await sell()
        await one.cancel("a", reasons["cancelled"])
        reasons["immediate_or_cancel"] = await sell(time_in_force="ioc")
        reasons["replaced"] = await sell()
        new = await one.home.run(
            ReplaceOrder(reasons["replaced"], PlaceOrder(MARKET, a, "sell", "1", "101")), actor="a"
        )
        await one.cancel("a", new.reply.order.id)
        reasons["expired"] = await sell(time_in_force="gtd", expires_us=one.clock.now_us + 1)
        one.clock.advance(1)
        await turn(one.home)
        reasons["self_trade"] = await sell()
        own = await one.order("a", a, "buy", "1", "100", prevention="both")
        assert own.reason == "self_trade"
        quotes = (QuoteEntry("sell", "102", "1"),)
        reasons["quoted_again"] = (await one.home.run(MassQuote(MARKET, a, quotes), actor="a")).reply.items[0].order.id
        await one.home.run(MassQuote(MARKET, a, ()), actor="a")
        reasons["account_frozen"] = (await one.order("c", c, "sell", "1", "100")).id
        await one.operate(SetStatus(c, "frozen"))
        await one.order("b", b, "buy", "1", "100", time_in_force="ioc")
        found = rows(one.home, CLOSED)
        for reason, order in reasons.items():
            assert found[order.replace("~", "/")].reason == reason
        check_exchange(one.home)


async def test_an_account_never_trades_with_itself_whoever_it_belonged_to():
    """Its owner is set anew between two of its orders."""
    async with exchange() as one:
        a = await one.trader("a")
        await one.order("a", a, "sell", "1", "100")
        await one.operate(SetGroup(a, "somebody"))
        for prevention in ("none", "taker"):
            answer = await one.order("a", a, "buy", "1", "100", prevention=prevention)
            assert (answer.reason, answer.fills) == ("self_trade", [])
        assert not rows(one.home, TRADES)
        check_exchange(one.home)


async def test_accounts_of_one_owner_trade_only_if_nothing_prevents_it():
    async with exchange() as one:
        a, b = await one.trader("a"), await one.trader("b")
        for account in (a, b):
            await one.operate(SetGroup(account, "house"))
        await one.order("a", a, "sell", "1", "100")
        assert (await one.order("b", b, "buy", "1", "100")).reason == "self_trade"
        assert (await one.order("b", b, "buy", "1", "100", prevention="none")).status == "filled"


async def test_fill_or_kill_is_filled_and_not_prevented():
    async with exchange() as one:
        a, b = await one.trader("a"), await one.trader("b")
        await one.order("a", a, "sell", "1", "100")
        await one.order("b", b, "sell", "1", "100")
        for prevention in ("decrement", "taker", "both"):
            with pytest.raises(Rejected, match="not_filled_whole"):
                await one.order("a", a, "buy", "2", "100", time_in_force="fok", prevention=prevention)
        # Its own order goes out of the way, and the other fills it.
        answer = await one.order("a", a, "buy", "1", "100", time_in_force="fok", prevention="maker")
        assert (answer.status, len(answer.fills)) == ("filled", 1)
        check_exchange(one.home)


async def test_what_prevention_took_the_last_of_is_not_called_filled():
    """Whether it took or made, and whatever it was filled with before."""
    async with exchange() as one:
        a, b = await one.trader("a"), await one.trader("b")
        await one.order("b", b, "sell", "1", "99")
        own = await one.order("a", a, "sell", "3", "100")
        taker = await one.order("a", a, "buy", "2", "100", prevention="decrement")
        assert (taker.status, taker.reason, taker.filled, taker.prevented) == (
            "cancelled",
            "self_trade",
            "1.0000",
            "1.0000",
        )
        await one.order("b", b, "buy", "1", "100")
        await one.order("a", a, "buy", "1", "100", prevention="decrement")
        maker = rows(one.home, CLOSED)[own.id.replace("~", "/")]
        assert (maker.reason, maker.filled, maker.prevented) == ("self_trade", 10_000, 20_000)
        # Prevented first and filled last, it is filled.
        await one.order("a", a, "sell", "1", "99")
        await one.order("b", b, "sell", "1", "100")
        last = await one.order("a", a, "buy", "2", "100", prevention="decrement")
        assert (last.status, last.filled, last.prevented) == ("filled", "1.0000", "1.0000")
        check_exchange(one.home)


async def test_who_may_not_pay_is_not_looked_for_beyond_what_is_needed():
    async with exchange() as one:
        a, b, c = await one.trader("a"), await one.trader("b"), await one.trader("c")
        await one.order("a", a, "sell", "1", "100")
        behind = await one.order("b", b, "sell", "1", "100")
        await one.operate(SetStatus(b, "frozen"))
        await one.order("c", c, "buy", "1", "100")
        assert [key for key, _, _ in book(one.home)[1]] == [behind.id.replace("~", "/")]


async def test_an_order_whose_time_is_over_trades_no_more():
    """The node was busy, or down: commands are decided before what is due."""
    async with exchange() as one:
        a, b = await one.trader("a"), await one.trader("b")
        late = await one.order("a", a, "sell", "1", "99", time_in_force="gtd", expires_us=one.clock.now_us + 5_000_000)
        await one.order("a", a, "sell", "1", "100")
        one.clock.advance(5)
        answer = await one.order("b", b, "buy", "1", "100")
        assert [fill.price for fill in answer.fills] == ["100.00"]
        assert rows(one.home, CLOSED)[late.id.replace("~", "/")].reason == "expired"
        check_exchange(one.home)


@pytest.mark.patches
async def test_names_and_numbers_of_open_orders_are_of_one_node(monkeypatch):
    """What another node says is open for an account takes neither its names nor its room here."""
    monkeypatch.setattr(orders, "OPEN_ORDERS_MAX", 1)
    async with exchange(2) as two:
        await two.settle()
        other = two.nodes[1]
        await two.operate(CreateAsset("CHFX", 4), other)
        await two.settle()
        await two.operate(CreateMarket(BASE, "CHFX@ch-zug-01", "0.01", "0.01"), other)
        a = (await other.run(CreateAccount(), actor="a")).reply.id
        await two.operate(Issue("CHFX@ch-zug-01", a, "1000"), other)
        await two.settle()
        await two.operate(Issue(BASE, a, "1000"))
        await other.run(PlaceOrder("GOLD-CHFX@ch-zug-01", a, "buy", "1", "100", client_id="mine"), actor="a")
        two.clock.advance(1)
        await two.settle()
        answer = await two.order("a", a, "sell", "1", "100", client_id="mine")
        for name, code in (("mine", "client_id_taken"), ("other", "too_many_orders")):
            with pytest.raises(Rejected, match=code):
                await two.order("a", a, "sell", "1", "100", client_id=name)
        await two.cancel("a", answer.id)
        assert (await two.order("a", a, "sell", "1", "100", client_id="mine")).client_id == "mine"


async def test_allow_failure_places_the_new_order_although_the_old_one_is_gone():
    async with exchange() as one:
        a = await one.trader("a")
        gone = await one.order("a", a, "sell", "1", "100")
        await one.cancel("a", gone.id)
        order = PlaceOrder(MARKET, a, "sell", "1", "101")
        with pytest.raises(Rejected, match="unknown_order"):
            await one.home.run(ReplaceOrder(gone.id, order), actor="a")
        answer = (await one.home.run(ReplaceOrder(gone.id, order, "allow_failure"), actor="a")).reply
        assert (answer.replaced, answer.order.status) == (None, "open")


async def test_the_money_of_the_old_order_funds_the_new_one():
    async with exchange() as one:
        a = await one.trader("a", gold="1")
        old = await one.order("a", a, "sell", "1", "100")
        answer = await one.home.run(ReplaceOrder(old.id, PlaceOrder(MARKET, a, "sell", "1", "101")), actor="a")
        assert answer.reply.order.status == "open"
        check_exchange(one.home)


async def test_quotes_of_one_price_queue_as_they_were_listed():
    """More than sixteen, so that their keys are of different lengths."""
    async with exchange() as one:
        a = await one.trader("a")
        quotes = tuple(QuoteEntry("sell", "100", f"{number}") for number in range(1, 41))
        await one.home.run(MassQuote(MARKET, a, quotes), actor="a")
        assert [remaining for _, _, remaining in book(one.home)[1]] == [number * 10_000 for number in range(1, 41)]
        check_exchange(one.home)


async def test_a_refused_quote_leaves_money_and_limits_as_if_it_had_not_been():
    async with exchange(market={"maker_bps": 7}) as one:
        a, b = await one.trader("a", gold="3"), await one.trader("b")
        await one.order("b", b, "buy", "1", "99")
        quotes = (
            QuoteEntry("sell", "100", "2"),
            QuoteEntry("sell", "101", "2"),
            QuoteEntry("sell", "99", "0.5"),
            QuoteEntry("up", "101", "2"),
            QuoteEntry("sell", "102", "0.9"),
        )
        for _ in range(2):
            reply = (await one.home.run(MassQuote(MARKET, a, quotes), actor="a")).reply
            assert [(item.index, item.code, item.field) for item in reply.items if item.code] == [
                (1, "insufficient_funds", "/quotes/1/quantity"),
                (2, "would_take", "/quotes/2/price"),
                (3, "bad_side", "/quotes/3/side"),
            ]
            check_exchange(one.home)
        with pytest.raises(Rejected) as refusal:
            await one.home.run(MassQuote(MARKET, a, quotes[:1] * 51), actor="a")
        assert (refusal.value.code, refusal.value.field) == ("bad_count", "/quotes")


async def test_fees_of_many_parts_are_what_the_whole_costs():
    async with exchange(market={"maker_bps": 1, "taker_bps": 1}) as one:
        a, b = await one.trader("a", usd=""), await one.trader("b", gold="")
        await one.order("a", a, "sell", "1", "0.01")
        for _ in range(100):
            await one.order("b", b, "buy", "0.01", "0.01")
            check_exchange(one.home)
        shares = rows(one.home, SHARES)
        # The maker's fee is that of 1 GOLD; each of the taker's hundred orders pays its own ceiling.
        assert shares[f"sg-mas-01/fees/{BASE}/sg-mas-01"].available == 1
        assert shares[f"sg-mas-01/fees/{QUOTE}/sg-mas-01"].available == 100
        await one.operate(SetFee(BASE, (("0", 0),)))


async def test_numbers_at_the_end_of_64_bits():
    async with exchange(market={"maker_bps": 1}) as one:
        a, b = await one.trader("a", gold="", usd=""), await one.trader("b", gold="", usd="")
        # All of a supply, and a price at the very end of what a price can be.
        await one.operate(Issue(BASE, a, "922337203685477.5807"))
        await one.operate(Issue(QUOTE, b, "922337203685477.5807"))
        with pytest.raises(Rejected, match="bad_notional"):
            await one.order("b", b, "buy", "0.02", "92233720368547758.07")
        # Its notional fits; with the fee it would not.
        with pytest.raises(Rejected, match="insufficient_funds"):
            await one.order("b", b, "buy", "0.01", "92233720368547758.07")
        with pytest.raises(Rejected, match="insufficient_funds"):
            await one.order("a", a, "sell", "922337203685477.57", "1")
        await one.order("a", a, "sell", "922200000000000", "1")
        answer = await one.order("b", b, "buy", "922200000000000", "1")
        assert answer.status == "filled"
        check_exchange(one.home)


async def test_a_price_that_protects_stays_within_64_bits():
    """Twice the last price is more than a row can hold."""
    async with exchange(market={"tick": "0.001000000", "lot": "0.1"}) as one:
        a, b = await one.trader("a"), await one.trader("b")
        await one.order("a", a, "sell", "0.1", "9000000000")
        await one.operate(Issue(QUOTE, b, "90000000000"))
        await one.order("b", b, "buy", "0.1", "9000000000")
        await one.order("a", a, "sell", "0.1", "9000000000")
        answer = await one.order("b", b, "buy", "0.1", kind="market")
        assert (answer.status, answer.price) == ("filled", "9223372036.854000000")
        stop = await one.order("b", b, "buy", "0.1", kind="stop", stop="9200000000")
        assert stop.price == "9223372036.854000000"
        check_exchange(one.home)


async def test_an_order_of_an_account_that_was_not_heard_of_is_somebody_elses():
    async with exchange(3) as three:
        market, home, third = three.nodes
        await home.follow(market)
        three.clock.advance(31)
        await turn(home)
        account = (await home.run(CreateAccount(), actor="a")).reply.id
        await market.follow(home)
        await three.operate(Issue(QUOTE, account, "1000"))
        order = await three.order("a", account, "buy", "1", "100")
        await third.follow(market)
        for command in (CancelOrder(order.id), AmendOrder(order.id, "0.5")):
            with pytest.raises(Rejected) as refusal:
                await third.run(command, actor="a")
            assert (refusal.value.code, refusal.value.extra) == ("misdirected", {"owner": market.source})
        assert not third.engine.alarms


async def test_a_fee_that_is_set_holds_for_orders_that_come_from_then_on():
    async with exchange(market={"maker_bps": 10, "taker_bps": 20}) as one:
        a, b = await one.trader("a"), await one.trader("b")
        resting = await one.order("a", a, "sell", "2", "100")
        await one.operate(
            SetMarket(MARKET, band_bps=10_000, maker_bps=500, taker_bps=600, states_bps=(1 << 40, 1 << 41, 1 << 42))
        )
        await one.home.run(AmendOrder(resting.id, "1"), actor="a")
        answer = await one.order("b", b, "buy", "1", "100")
        assert answer.fills[0].fee == "6.0000"
        (trade,) = rows(one.home, TRADES).values()
        assert (trade.maker_fee, trade.taker_fee) == (10, 60_000)
        check_exchange(one.home)

"""Commands that touch much: a hundred makers, with every row in the database; what one event holds; work that goes on
by itself, step by step."""

from typing import Any

import pytest

from jilnode.kernel.codec import rows_of
from jilnode.kernel.errors import Rejected
from jilnode.limits import EVENT_BYTES_MAX
from services.dex.intents import (
    CancelAll,
    CreateMarket,
    MassQuote,
    PlaceOrder,
    PlaceOrders,
    QuoteEntry,
    ReplaceOrder,
    SetMarketStatus,
)
from services.dex.module import MODULE as DEX
from services.dex.rows import BOOKS, CLOSED, ORDERS, SWEEPS, TRADES
from services.wallet.intents import CreateAccount, CreateAsset, Issue, SetLimit, SetRoaming, SetStatus
from services.wallet.module import MODULE as WALLET
from services.wallet.rows import REQUESTS, USAGE
from tests.kit.node import TestNode, running
from tests.services.dex.kit import BASE, MARKET, QUOTE, Exchange, book, check_exchange, exchange
from tests.services.dex.test_recovery import restarted
from tests.services.wallet.kit import rows, submission, turn

MAKERS = 110
LONG_NAME = "c" * 36


async def crowd(one: Exchange, count: int = MAKERS, *, limited: bool = False) -> list[str]:
    """So many accounts, each with one order of 1 at 100."""
    found = []
    for number in range(count):
        account = (await one.home.run(CreateAccount(), actor=f"m{number}")).reply.id
        await one.operate(Issue(BASE, account, "2"))
        if limited:
            await one.operate(SetLimit(account, BASE, daily="2"))
        await one.order(f"m{number}", account, "sell", "1", "100", client_id=LONG_NAME)
        found.append(account)
    return found


def counted_loads(node: TestNode) -> list[int]:
    """Grows by one each time that a command has to be run again because rows were not in memory."""
    loads: list[int] = []
    provide = node.engine.provide

    def counting(loaded: Any) -> None:
        loads.append(1)
        provide(loaded)

    node.engine.provide = counting  # type: ignore[method-assign]
    return loads


async def last_event_bytes(node: TestNode) -> int:
    entries, _ = await node.journal()
    return max(sum(len(data) for data in entry.sections.values()) for entry in entries[-2:])


@pytest.mark.patches
@pytest.mark.parametrize(("cache_bytes", "limited"), [(1 << 26, False), (1, False), (1, True)])
async def test_a_hundred_makers_are_filled_in_one_command(cache_bytes, limited):
    """With nothing in memory too, and each maker's limits to be given back."""
    async with exchange(cache_bytes=cache_bytes, market={"maker_bps": 10, "taker_bps": 20}) as one:
        await crowd(one, limited=limited)
        taker = await one.trader("t", usd="1000000")
        loads = counted_loads(one.home)
        answer = await one.order("t", taker, "buy", "105", "100", client_id=LONG_NAME)
        assert (answer.reason, answer.filled, answer.cancelled) == ("fill_limit", "100.0000", "5.0000")
        assert len(answer.fills) == 100
        # As many as there are kinds of rows, and not as many as there are makers.
        assert len(loads) <= 12
        assert await last_event_bytes(one.home) < EVENT_BYTES_MAX // 2
        check_exchange(one.home)
        if limited:
            assert {row.daily for key, row in rows(one.home, USAGE).items()} == {10_000}
        with pytest.raises(Rejected, match="not_filled_whole"):
            await one.order("t", taker, "buy", "11", "100", time_in_force="fok")
        assert (await one.order("t", taker, "buy", "10", "100", time_in_force="fok")).status == "filled"
        assert book(one.home) == ([], [])
        check_exchange(one.home)


@pytest.mark.patches
@pytest.mark.parametrize("cache_bytes", [1 << 26, 1])
async def test_whoever_may_not_pay_counts_as_met(cache_bytes):
    """The first ninety are frozen: with ten that trade the command has met its hundred."""
    async with exchange(cache_bytes=cache_bytes) as one:
        accounts = await crowd(one)
        for account in accounts[:90]:
            await one.operate(SetStatus(account, "frozen"))
        taker = await one.trader("t")
        loads = counted_loads(one.home)
        answer = await one.order("t", taker, "buy", "15", "100")
        assert (answer.reason, len(answer.fills)) == ("fill_limit", 10)
        assert len(loads) <= 12
        reasons = [row.reason for row in rows(one.home, CLOSED).values()]
        assert (reasons.count("account_frozen"), reasons.count("filled")) == (90, 10)
        check_exchange(one.home)


async def test_quotes_that_meet_whom_it_may_not_end_no_more_than_a_hundred():
    """Each of the quotes would clear a hundred frozen orders away; together they may clear one hundred."""
    async with exchange() as one:
        accounts = await crowd(one)
        for account in accounts:
            await one.operate(SetStatus(account, "frozen"))
        maker = await one.trader("q")
        quotes = tuple(QuoteEntry("buy", "100", "1") for _ in range(3))
        answer = (await one.home.run(MassQuote(MARKET, maker, quotes), actor="q")).reply
        assert not answer.refused
        reasons = [row.reason for row in rows(one.home, CLOSED).values()]
        assert (reasons.count("account_frozen"), reasons.count("fill_limit")) == (100, 3)
        check_exchange(one.home)
        answer = (await one.home.run(MassQuote(MARKET, maker, quotes), actor="q")).reply
        assert [item.order.status for item in answer.items] == ["open"] * 3
        check_exchange(one.home)


@pytest.mark.parametrize("cache_bytes", [1 << 26, 1])
async def test_cancelling_all_goes_on_by_itself_and_leaves_what_came_later(cache_bytes):
    async with exchange(cache_bytes=cache_bytes) as one:
        a, b = await one.trader("a"), await one.trader("b")
        for number in range(250):
            await one.order("a", a, "sell" if number % 2 else "buy", "0.01", "110" if number % 2 else "90")
        other = await one.order("b", b, "sell", "1", "111")
        submit = one.home.writer.submit_nowait
        # In one batch, so that the later order comes before the second step.
        swept = submit(submission(CancelAll(a, MARKET), "a"))
        later = submit(submission(PlaceOrder(MARKET, a, "sell", "2", "112"), "a"))
        answer = (await swept).reply
        assert (len(answer.cancelled), answer.goes_on) == (100, True)
        keep = (await later).reply.id
        for _ in range(4):
            one.clock.advance(0.001)
            await turn(one.home)
        assert {key.replace("/", "~") for key in rows(one.home, ORDERS)} == {other.id, keep}
        assert not rows(one.home, SWEEPS)
        assert len(rows(one.home, CLOSED)) == 250
        # Three steps of the book, each one event.
        assert rows(one.home, BOOKS)["sg-mas-01/GOLD-USDX"].sequence == 251 + 1 + 3
        check_exchange(one.home)


async def test_a_sweep_of_exactly_one_step_does_not_go_on():
    async with exchange() as one:
        a = await one.trader("a")
        for _ in range(100):
            await one.order("a", a, "sell", "0.01", "110")
        answer = (await one.home.run(CancelAll(a), actor="a")).reply
        assert (len(answer.cancelled), answer.goes_on) == (100, False)
        answer = (await one.home.run(CancelAll(a), actor="a")).reply
        assert (answer.cancelled, answer.goes_on) == ([], False)
        check_exchange(one.home)


async def test_a_sweep_goes_on_after_a_restart():
    async with exchange() as one:
        a = await one.trader("a")
        for _ in range(150):
            await one.order("a", a, "sell", "0.01", "110")
        assert (await one.home.run(CancelAll(a), actor="a")).reply.goes_on
        async with restarted(one.home) as again:
            for _ in range(3):
                one.clock.advance(0.001)
                await turn(again)
            assert not rows(again, ORDERS)
            check_exchange(again)


@pytest.mark.patches
async def test_a_step_of_a_sweep_and_a_mass_quote_load_what_they_need_at_once():
    async with exchange(cache_bytes=1) as one:
        a = await one.trader("a")
        quotes = tuple(QuoteEntry("sell", "110", "0.01") for _ in range(50))
        await one.home.run(MassQuote(MARKET, a, quotes), actor="a")
        loads = counted_loads(one.home)
        await one.home.run(MassQuote(MARKET, a, quotes), actor="a")
        assert len(loads) <= 8
        loads.clear()
        await one.home.run(CancelAll(a), actor="a")
        assert len(loads) <= 8
        check_exchange(one.home)


async def test_the_largest_batch_fits_into_an_event():
    """A hundred takers meet a hundred makers, and every name is as long as it can be."""
    source = "n" * 54
    node = TestNode(source, [WALLET, DEX])

    async def operate(command: Any) -> Any:
        return (
            await node.run(command, actor="operator", scopes=("wallet:operate", "wallet:issue", "dex:operate"))
        ).reply

    async with running(node):
        base, quote, market = f"GOLD@{source}", f"USDX@{source}", f"GOLD-USDX@{source}"
        for code in ("GOLD", "USDX"):
            await operate(CreateAsset(code, 9))
        await operate(CreateMarket(base, quote, "0.000000001", "1", maker_bps=10, taker_bps=20, band_bps=10_000))
        orders = []
        for number in range(200):
            account = (await operate(CreateAccount(f"{number:0128d}"))).id
            side, asset = ("sell", base) if number < 100 else ("buy", quote)
            await operate(Issue(asset, account, "1000000"))
            order = PlaceOrder(market, account, side, "123.000000000", "100.000000001", client_id=LONG_NAME)
            if number < 100:
                await operate(order)
            else:
                orders.append(order)
        reply = await operate(PlaceOrders(tuple(orders)))
        assert {item.order.status for item in reply.items} == {"filled"}
        assert await last_event_bytes(node) < EVENT_BYTES_MAX * 9 // 10
        check_exchange(node)


async def test_hundreds_of_orders_expire_each_in_its_own_event():
    async with exchange(cache_bytes=1) as one:
        a = await one.trader("a")
        until = one.clock.now_us + 1_000_000
        for _ in range(300):
            await one.order("a", a, "sell", "0.01", "110", time_in_force="gtd", expires_us=until)
        stays = await one.order("a", a, "sell", "1", "110", time_in_force="gtd", expires_us=until + 1)
        one.clock.advance(1)
        for _ in range(3):
            await turn(one.home)
        assert {key.replace("/", "~") for key in rows(one.home, ORDERS)} == {stays.id}
        assert {row.reason for row in rows(one.home, CLOSED).values()} == {"expired"}
        check_exchange(one.home)


async def test_a_taker_pays_many_makers_with_one_row_of_each_balance():
    """A balance that a command touches a hundred times is one row of its event."""
    async with exchange() as one:
        a, b = await one.trader("a"), await one.trader("b")
        for _ in range(50):
            await one.order("a", a, "sell", "0.01", "100")
        await one.order("b", b, "buy", "0.5", "100")
        entries, _ = await one.home.journal()
        names = [name for name, _, _ in rows_of(entries[-1])]
        assert names.count("wallet.share") == 4
        assert names.count("dex.trade") == 50
        assert len(rows(one.home, TRADES)) == 50


async def test_orders_of_a_batch_meet_each_other():
    """One rests, and others of the same event take a part of it each, at the fee for which it came."""
    async with exchange(market={"maker_bps": 10, "taker_bps": 20}) as one:
        a, b = await one.trader("a"), await one.trader("a")
        orders = (
            PlaceOrder(MARKET, a, "sell", "2", "100.01"),
            PlaceOrder(MARKET, b, "buy", "1.01", "100.01", prevention="none"),
            PlaceOrder(MARKET, b, "buy", "0.33", "100.01", prevention="none"),
        )
        reply = (await one.home.run(PlaceOrders(orders), actor="a")).reply
        assert [item.order.status for item in reply.items] == ["open", "filled", "filled"]
        (rests,) = rows(one.home, ORDERS).values()
        assert (rests.filled, rests.given, rests.turnover) == (13_400, 13_400, 1_340_134)
        check_exchange(one.home)


async def test_what_takes_the_place_of_an_order_counts_against_limits_in_its_stead():
    """An account at its daily limit moves its quotes and replaces its order; what is more than before is refused, and
    what the old ones counted is not lost with it."""
    async with exchange() as one:
        account = await one.trader("m")
        await one.operate(SetLimit(account, BASE, daily="10"))
        for price in ("100", "101", "102"):
            quotes = (QuoteEntry("sell", price, "6"), QuoteEntry("sell", price, "4"))
            assert (await one.home.run(MassQuote(MARKET, account, quotes), actor="m")).reply.refused == 0
        quotes = (QuoteEntry("sell", "103", "6"), QuoteEntry("sell", "103", "5"), QuoteEntry("sell", "103", "4"))
        moved = (await one.home.run(MassQuote(MARKET, account, quotes), actor="m")).reply
        assert [item.code for item in moved.items] == ["", "limit_daily", ""]
        await one.home.run(MassQuote(MARKET, account, ()), actor="m")
        order = (await one.order("m", account, "sell", "10", "100")).id
        replacement = PlaceOrder(MARKET, account, "sell", "10", "99")
        await one.home.run(ReplaceOrder(order, replacement), actor="m")
        await one.home.run(CancelAll(account), actor="m")
        (usage,) = [row for row in rows(one.home, USAGE).values() if row.daily or row.count] or [None]
        assert usage is None
        check_exchange(one.home)


@pytest.mark.parametrize("kind", ["batch", "quotes"])
async def test_what_a_batch_lacks_here_is_asked_for(kind):
    """An order that lacks money which lies elsewhere is refused; tried again, it finds what was sent for it."""
    async with exchange(2) as one:
        _, away = one.nodes
        await one.settle()
        account = (await away.run(CreateAccount(), actor="a")).reply.id
        await one.settle()
        await one.operate(Issue(QUOTE, account, "300"))
        one.clock.advance(61)
        await one.settle()
        await away.run(SetRoaming(account, QUOTE, "300", nodes=(one.home.source,)), actor="a")
        one.clock.advance(31)
        await one.settle()
        prices = ("100", "101", "99999")
        if kind == "batch":
            command: Any = PlaceOrders(tuple([PlaceOrder(MARKET, account, "buy", "1", price) for price in prices]))
        else:
            command = MassQuote(MARKET, account, tuple([QuoteEntry("buy", price, "1") for price in prices]))
        first = (await one.home.run(command, actor="a")).reply
        assert [item.code for item in first.items] == ["share_short", "share_short", "insufficient_funds"]
        ((_, request),) = rows(one.home, REQUESTS).items()
        assert (request.balance, request.amount) == (f"{account.replace('~', '/')}/{QUOTE}", 1_000_000)
        await one.settle()
        one.clock.advance(3)
        again = (await one.home.run(command, actor="a")).reply
        assert [item.code for item in again.items] == ["", "share_short", "insufficient_funds"]
        await one.settle()
        check_exchange(one.home)
        assert not one.home.engine.alarms


async def test_what_was_refused_is_not_repeated_in_the_journal():
    async with exchange() as one:
        account = await one.trader("m")
        orders = (
            PlaceOrder("Jane Roe, 5 High Street", account, "sell", "1", "100"),
            PlaceOrder(MARKET, "Jane Roe, 5 High Street", "sell", "1", "100"),
        )
        reply = (await one.home.run(PlaceOrders(orders), actor="m")).reply
        assert [(item.code, item.field) for item in reply.items] == [
            ("unknown_market", "/orders/0/market"),
            ("unknown_account", "/orders/1/account"),
        ]
        entries, _ = await one.home.journal()
        assert not any(b"Jane" in data for entry in entries for data in entry.sections.values())


async def test_why_a_quote_is_refused_points_at_what_was_sent():
    """The account and the market are sent once for all quotes, the rest with each."""
    async with exchange() as one:
        account = await one.trader("m")
        command = MassQuote(MARKET, account, (QuoteEntry("buy", "100", "1"), QuoteEntry("buy", "100.001", "1")))

        async def refusals() -> list[tuple[str, str]]:
            reply = (await one.home.run(command, actor="m")).reply
            return [(item.code, item.field) for item in reply.items]

        assert await refusals() == [("", ""), ("too_many_decimals", "/quotes/1/price")]
        await one.operate(SetMarketStatus(MARKET, "news pending"))
        assert await refusals() == [("market_halted", "/market")] * 2
        await one.operate(SetStatus(account, "frozen"))
        assert await refusals() == [("account_frozen", "/account")] * 2
        check_exchange(one.home)

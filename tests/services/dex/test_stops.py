"""Stop orders: in which order they wake, that one may wake another, and what a wild or halted market does to them."""

from typing import Any

import pytest

from services.dex.intents import AmendOrder, PlaceOrder, PlaceOrders, SetMarket, SetMarketStatus
from services.dex.rows import BOOKS, CLOSED, ORDERS, PLACES_PER_EVENT, TRADES
from services.wallet.intents import SetStatus
from tests.services.dex.kit import MARKET, Exchange, book, check_exchange, exchange
from tests.services.wallet.kit import rows, submission, turn

KEY = "sg-mas-01/GOLD-USDX"
CALM = {"band_bps": 10_000, "states_bps": (1 << 40, 1 << 41, 1 << 42)}


async def settle(one: Exchange, turns: int = 12) -> None:
    for _ in range(turns):
        one.clock.advance(0.001)
        await turn(one.home)
    check_exchange(one.home)


def takers(one: Exchange) -> list[str]:
    """Of every trade, whose order took."""
    return [row.taker for row in sorted(rows(one.home, TRADES).values(), key=lambda row: row.number)]


def inside(text: str) -> str:
    return text.replace("~", "/")


async def last_price(one: Exchange, a: str, b: str, price: str) -> None:
    await one.order("a", a, "sell", "0.01", price)
    await one.order("b", b, "buy", "0.01", price)


async def test_a_stop_waits_funded_outside_the_book_and_wakes_when_the_last_price_reaches_it():
    async with exchange(market={"taker_bps": 30}) as one:
        a, b = await one.trader("a"), await one.trader("b")
        stop = await one.order("b", b, "buy", "1", "111", kind="stop", stop="110")
        assert (stop.status, book(one.home)) == ("waiting", ([], []))
        await last_price(one, a, b, "109.99")
        await settle(one)
        assert stop.status == "waiting"
        await one.order("a", a, "sell", "5", "110")
        await one.order("b", b, "buy", "0.01", "110")
        await settle(one)
        closed = rows(one.home, CLOSED)[inside(stop.id)]
        assert (closed.reason, closed.filled, closed.price) == ("filled", 10_000, 11_100)


async def test_stops_wake_nearest_first_and_then_in_the_order_in_which_they_came():
    async with exchange() as one:
        names = "cdefgh"
        a, b = await one.trader("a"), await one.trader("b")
        ids = {name: await one.trader(name) for name in names}
        stops = {"c": "103", "d": "101", "e": "102", "f": "101"}
        for name, stop in stops.items():
            await one.order(name, ids[name], "buy", "1", "150", kind="stop", stop=stop)
        await one.order("a", a, "sell", "9", "110")
        await one.order("b", b, "buy", "0.01", "110")
        await settle(one)
        assert takers(one)[1:] == [inside(ids[name]) for name in "dfec"]


async def test_selling_stops_wake_when_the_price_falls():
    async with exchange() as one:
        a, b, c, d = [await one.trader(name) for name in "abcd"]
        for name, account, stop in (("c", c, "95"), ("d", d, "97")):
            await one.order(name, account, "sell", "1", "50", kind="stop", stop=stop)
        await one.order("b", b, "buy", "9", "90")
        await one.order("a", a, "sell", "0.01", "90")
        await settle(one)
        assert takers(one)[1:] == [inside(d), inside(c)]


async def test_one_that_wakes_and_trades_wakes_others():
    """Each trades at the price that wakes the next."""
    async with exchange() as one:
        a, b = await one.trader("a"), await one.trader("b")
        chain = {name: await one.trader(name) for name in "cdef"}
        for step, (name, account) in enumerate(chain.items()):
            await one.order(name, account, "buy", "1", "150", kind="stop", stop=f"{100 + step}")
            await one.order("a", a, "sell", "1", f"{101 + step}")
        await last_price(one, a, b, "100")
        await settle(one)
        assert takers(one)[1:] == [inside(account) for account in chain.values()]
        assert rows(one.home, BOOKS)[KEY].last == 10_400
        assert not rows(one.home, ORDERS)


@pytest.mark.parametrize(
    ("side", "touched", "stop", "beyond", "price"),
    [("buy", "105", "104", "105.01", "110"), ("sell", "95", "96", "94.99", "90")],
)
async def test_a_price_that_was_only_touched_wakes_whom_it_reached(side, touched, stop, beyond, price):
    """In one event the price goes there and comes back: it is in everybody's list of trades."""
    async with exchange() as one:
        a, b, c, d = [await one.trader(name) for name in "abcd"]
        other = "sell" if side == "buy" else "buy"
        await last_price(one, a, b, "100")
        reached, missed = [await one.order("c", c, side, "1", price, kind="stop", stop=at) for at in (stop, beyond)]
        await one.order("a", a, other, "1", touched)
        await one.order("d", d, side, "1", "100")
        orders = (
            PlaceOrder(MARKET, b, side, "1", touched),
            PlaceOrder(MARKET, b, other, "1", "100"),
            PlaceOrder(MARKET, b, side, "1", price, kind="stop", stop=stop),
        )
        batch = (await one.home.run(PlaceOrders(orders), actor="b")).reply
        assert [item.order.status for item in batch.items] == ["filled", "filled", "waiting"]
        await settle(one)
        assert rows(one.home, CLOSED)[inside(reached.id)].reason == "immediate_or_cancel"
        # The price did not come so far; and who came after it was not reached by it.
        assert set(rows(one.home, ORDERS)) == {inside(missed.id), inside(batch.items[2].order.id)}
        assert (market_state(one).last, market_state(one).reach) == (10_000, ())
        assert not one.home.engine.alarms


async def test_one_order_that_sweeps_the_book_wakes_whom_its_first_price_reached():
    """The last price is where it was before: it fell to 95 meanwhile."""
    async with exchange() as one:
        a, b, c = [await one.trader(name) for name in "abc"]
        await last_price(one, a, b, "100")
        stop = await one.order("c", c, "sell", "1", "90", kind="stop", stop="96")
        for price in ("95", "100"):
            await one.order("a", a, "sell", "1", price)
        await one.order("b", b, "buy", "2", "100")
        await settle(one)
        assert rows(one.home, CLOSED)[inside(stop.id)].reason == "immediate_or_cancel"


async def test_whom_a_price_reached_has_its_turn_when_a_wild_market_is_calm_wherever_the_price_is_by_then():
    async with exchange(market={"states_bps": (300, 1000, 5000)}) as one:
        a, b, c = [await one.trader(name) for name in "abc"]
        await last_price(one, a, b, "100")
        stop = await one.order("c", c, "buy", "1", "150", kind="stop", stop="105")
        await one.order("b", b, "buy", "0.01", "100")
        await one.order("a", a, "sell", "0.01", "112")
        orders = (PlaceOrder(MARKET, b, "buy", "0.01", "112"), PlaceOrder(MARKET, a, "sell", "0.01", "100"))
        await one.home.run(PlaceOrders((orders[0],)), actor="b")
        await one.home.run(PlaceOrders((orders[1],)), actor="a")
        await settle(one)
        assert (market_state(one).state, market_state(one).last) == ("restricted", 10_000)
        assert inside(stop.id) in rows(one.home, ORDERS)
        for _ in range(8):
            one.clock.advance(60)
            await settle(one, 3)
        assert rows(one.home, CLOSED)[inside(stop.id)].reason == "immediate_or_cancel"
        assert not market_state(one).reach


async def test_a_stop_limit_rests_with_what_it_does_not_take_behind_who_was_there():
    async with exchange(market={"maker_bps": 9, "taker_bps": 33}) as one:
        a, b, c = await one.trader("a"), await one.trader("b"), await one.trader("c")
        stop = await one.order("c", c, "buy", "3", "101", kind="stop_limit", stop="100")
        first = await one.order("b", b, "buy", "1", "99")
        await one.order("a", a, "sell", "1", "100")
        await one.order("b", b, "buy", "0.5", "100")
        await settle(one)
        assert book(one.home)[0] == [(inside(stop.id), 10_100, 25_000), (inside(first.id), 9_900, 10_000)]
        order = rows(one.home, ORDERS)[inside(stop.id)]
        assert (order.stop, order.filled) == (0, 5_000)
        assert order.priority // PLACES_PER_EVENT == rows(one.home, BOOKS)[KEY].sequence


async def test_a_stop_that_the_price_has_passed_wakes_at_once():
    async with exchange() as one:
        a, b = await one.trader("a"), await one.trader("b")
        await last_price(one, a, b, "100")
        stop = await one.order("b", b, "buy", "1", "100", kind="stop", stop="99")
        await settle(one)
        assert rows(one.home, CLOSED)[inside(stop.id)].reason == "immediate_or_cancel"


async def test_a_stop_wakes_at_the_fees_with_which_it_came():
    """They were raised since, and it holds money for the old ones only."""
    async with exchange(market={"maker_bps": 1, "taker_bps": 2}) as one:
        a, b = await one.trader("a"), await one.trader("b", usd="112.1")
        await one.order("b", b, "buy", "1", "112", kind="stop_limit", stop="110")
        lowered = await one.order("a", a, "sell", "2", "80", kind="stop", stop="85")
        await one.operate(SetMarket(MARKET, maker_bps=900, taker_bps=1000, **CALM))
        await one.home.run(AmendOrder(lowered.id, "1"), actor="a")
        c = await one.trader("c")
        await one.order("a", a, "sell", "0.5", "112")
        await one.order("a", a, "sell", "0.01", "110")
        await one.order("c", c, "buy", "0.01", "110")
        await settle(one)
        trade = max(rows(one.home, TRADES).values(), key=lambda row: row.number)
        assert (trade.price, trade.taker, trade.taker_fee) == (11_200, inside(b), 112)
        assert not one.home.engine.alarms


async def test_a_frozen_or_expired_stop_ends_when_it_should_wake_and_those_behind_it_wake():
    async with exchange() as one:
        a, b, c, d = [await one.trader(name) for name in "abcd"]
        frozen = await one.order("c", c, "buy", "1", "150", kind="stop", stop="101")
        good = await one.order("d", d, "buy", "1", "150", kind="stop", stop="102")
        await one.operate(SetStatus(c, "frozen"))
        await one.order("a", a, "sell", "5", "110")
        await one.order("b", b, "buy", "0.01", "110")
        await settle(one)
        closed = rows(one.home, CLOSED)
        assert closed[inside(frozen.id)].reason == "account_frozen"
        assert closed[inside(good.id)].reason == "filled"


async def test_what_ended_waiting_still_says_for_which_price_it_waited():
    async with exchange() as one:
        a, b = await one.trader("a"), await one.trader("b")
        waited = await one.order("b", b, "buy", "1", "111", kind="stop_limit", stop="110")
        ended = await one.cancel("b", waited.id)
        assert (ended.status, ended.stop, ended.price) == ("cancelled", "110.00", "111.00")
        # One that woke does not wait any more, whatever became of it.
        await one.order("b", b, "buy", "1", "150", kind="stop", stop="101")
        await last_price(one, a, b, "102")
        await settle(one)
        assert [row.stop for row in rows(one.home, CLOSED).values() if row.kind == "stop"] == [0]


async def test_a_stop_expires_while_it_waits():
    async with exchange() as one:
        a = await one.trader("a")
        until = one.clock.now_us + 1_000_000
        stop = await one.order("a", a, "sell", "1", "90", kind="stop", stop="95", time_in_force="gtd", expires_us=until)
        one.clock.advance(2)
        await settle(one)
        assert rows(one.home, CLOSED)[inside(stop.id)].reason == "expired"


async def test_stops_wait_while_the_market_is_halted_and_wake_when_it_goes_on():
    """The operator's word comes right behind the trade that reaches the stop, and before the stop's turn."""
    async with exchange() as one:
        a, b = await one.trader("a"), await one.trader("b")
        stop = await one.order("b", b, "buy", "1", "150", kind="stop", stop="105")
        await one.order("a", a, "sell", "5", "110")
        submit = one.home.writer.submit_nowait
        reached = submit(submission(PlaceOrder(MARKET, b, "buy", "0.01", "110"), "b"))
        halted = submit(submission(SetMarketStatus(MARKET, "wait"), "operator"))
        await reached
        await halted
        await settle(one)
        assert rows(one.home, ORDERS)[inside(stop.id)].stop
        assert len(rows(one.home, TRADES)) == 1
        await one.operate(SetMarketStatus(MARKET, ""))
        await settle(one)
        assert rows(one.home, CLOSED)[inside(stop.id)].reason == "filled"


def market_state(one: Exchange) -> Any:
    return rows(one.home, BOOKS)[KEY]


async def test_stops_wait_while_prices_are_too_wild_and_wake_when_they_are_calm():
    """The trade that reaches the stop also makes the market restricted."""
    async with exchange(market={"states_bps": (300, 1000, 5000)}) as one:
        a, b = await one.trader("a"), await one.trader("b")
        stop = await one.order("b", b, "buy", "1", "150", kind="stop", stop="105")
        await last_price(one, a, b, "100")
        await one.order("a", a, "sell", "5", "112")
        await one.order("b", b, "buy", "0.01", "112")
        await settle(one)
        assert market_state(one).state == "restricted"
        assert inside(stop.id) in rows(one.home, ORDERS)
        # Five minutes later volatility is gone; one state down a minute.
        for _ in range(8):
            one.clock.advance(60)
            await settle(one, 3)
        assert market_state(one).state == "normal"
        assert rows(one.home, CLOSED)[inside(stop.id)].reason == "filled"

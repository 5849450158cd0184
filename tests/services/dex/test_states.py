"""The state of a market, and its candles."""

import msgspec
import pytest

from jilnode.kernel.errors import Rejected
from services.dex.intents import PlaceOrder, PlaceOrders, SetMarket, SetMarketStatus
from services.dex.rows import BOOKS, CANDLES, MARKETS, Book, Market
from services.dex.states import MINUTE_US, STATES, band_of, next_state, state_of, volatility
from tests.services.dex.kit import MARKET, Exchange, check_exchange, exchange
from tests.services.wallet.kit import rows, turn

KEY = "sg-mas-01/GOLD-USDX"
LEVELS = (300, 1000, 2000)
MARKET_ROW = Market("A@n", "B@n", 4, 4, 2, 1, 100, 0, 1000)


@pytest.mark.parametrize(
    ("state", "waited_us", "volatility_bps", "expected"),
    [
        ("normal", 0, 299, "normal"),
        ("normal", 0, 300, "elevated"),
        ("normal", 0, 1000, "restricted"),
        ("normal", 0, 999_999, "halted"),
        ("elevated", 0, 2000, "halted"),
        # Down: only after a minute, only from below four fifths, only one at a time.
        ("elevated", MINUTE_US, 240, "elevated"),
        ("elevated", MINUTE_US, 239, "normal"),
        ("elevated", MINUTE_US - 1, 0, "elevated"),
        ("restricted", MINUTE_US, 799, "elevated"),
        ("restricted", MINUTE_US, 800, "restricted"),
        ("halted", MINUTE_US, 0, "restricted"),
        ("halted", MINUTE_US, 1599, "restricted"),
        ("halted", MINUTE_US, 1600, "halted"),
        ("halted", 10 * MINUTE_US, 2500, "halted"),
        # What is not known is the most restrictive, and comes down from there.
        ("lunch", 0, 0, "halted"),
        ("lunch", MINUTE_US, 0, "restricted"),
    ],
)
def test_the_next_state(state, waited_us, volatility_bps, expected):
    assert next_state(state, 5, 5 + waited_us, volatility_bps, LEVELS) == expected


def test_an_unknown_state_is_the_most_restrictive():
    book = Book((2, 4, 4), state="lunch")
    assert state_of(MARKET_ROW, book) == "halted"
    assert state_of(msgspec.structs.replace(MARKET_ROW, halted="why"), Book((2, 4, 4))) == "halted"
    assert [band_of(MARKET_ROW, state) for state in STATES] == [1000, 500, 250, 125]


def test_volatility_is_of_the_last_five_minutes():
    ranges = ((5, 100, 200), (6, 150, 160), (10, 155, 156))
    assert volatility(ranges, 10) == (160 - 150) * 10_000 // 150
    assert volatility(ranges, 9) == 10_000
    assert volatility(ranges, 15) == 0
    assert volatility((), 1) == 0


async def trade(one: Exchange, price: str, quantity: str = "0.01") -> None:
    await one.order("a", one.a, "sell", quantity, price)
    await one.order("b", one.b, "buy", quantity, price)
    await turn(one.home)


async def minutes(one: Exchange, count: int) -> list[str]:
    """The state after each."""
    states = []
    for _ in range(count):
        one.clock.advance(60)
        await turn(one.home)
        states.append(rows(one.home, BOOKS)[KEY].state)
    check_exchange(one.home)
    return states


@pytest.fixture
async def wild():
    async with exchange(market={"states_bps": LEVELS, "band_bps": 5000}) as one:
        one.a, one.b = await one.trader("a"), await one.trader("b")
        yield one


async def test_a_market_goes_up_at_once_and_comes_down_by_itself(wild):
    await trade(wild, "100")
    assert rows(wild.home, BOOKS)[KEY].state == "normal"
    await trade(wild, "103")
    assert rows(wild.home, BOOKS)[KEY].state == "elevated"
    await trade(wild, "125")
    assert rows(wild.home, BOOKS)[KEY].state == "halted"
    with pytest.raises(Rejected, match="market_halted"):
        await wild.order("a", wild.a, "sell", "1", "100")
    states = await minutes(wild, 9)
    assert states[-1] == "normal"
    assert states == sorted(states, key=STATES.index, reverse=True), "never up without a trade"
    assert {"halted", "restricted", "elevated"} <= set(states)
    assert rows(wild.home, BOOKS)[KEY].due_us == 0, "nothing more to look after"


async def test_a_restricted_market_takes_limits_only_within_a_quarter_of_the_band(wild):
    await trade(wild, "100")
    await trade(wild, "112")
    for more in ({"kind": "market"}, {"kind": "stop", "stop": "100"}, {"kind": "stop_limit", "stop": "100"}):
        with pytest.raises(Rejected) as refusal:
            await wild.order("a", wild.a, "sell", "1", "100", **more)
        assert (refusal.value.code, refusal.value.field) == ("market_restricted", "/kind")
    # The band is 50 %: a quarter of it of 112 is 14.
    assert (await wild.order("a", wild.a, "sell", "1", "126")).status == "open"
    assert (await wild.order("a", wild.a, "sell", "1", "126", kind="post_only")).status == "open"
    with pytest.raises(Rejected, match="price_out_of_band"):
        await wild.order("a", wild.a, "sell", "1", "126.01")


async def test_an_unknown_state_halts_until_it_has_come_down(wild):
    """As a newer version of the software may have left it."""
    engine = wild.home.engine

    def plant(engine):
        cache = engine.caches[BOOKS]
        image = cache.images[KEY]
        image.row = msgspec.structs.replace(image.row, state="siesta")

    plant(engine)
    with pytest.raises(Rejected, match="market_halted"):
        await wild.order("a", wild.a, "sell", "1", "100")
    await wild.operate(SetMarketStatus(MARKET, ""))
    assert rows(wild.home, BOOKS)[KEY].state == "halted"
    assert (await minutes(wild, 4)) == ["restricted", "elevated", "normal", "normal"]


async def test_an_operator_s_halt_stands_until_the_operator_ends_it(wild):
    await trade(wild, "100")
    await wild.operate(SetMarketStatus(MARKET, "a fire"))
    await minutes(wild, 3)
    with pytest.raises(Rejected, match="market_halted"):
        await wild.order("a", wild.a, "sell", "1", "100")
    with pytest.raises(Rejected) as refusal:
        await wild.operate(SetMarketStatus(MARKET, "x" * 141))
    assert (refusal.value.code, refusal.value.field) == ("bad_market", "/reason")
    await wild.operate(SetMarketStatus(MARKET, ""))
    assert rows(wild.home, MARKETS)[KEY].halted == ""
    assert (await wild.order("a", wild.a, "sell", "1", "100")).status == "open"


async def test_a_candle_is_written_when_its_minute_is_over_though_nobody_trades():
    async with exchange() as one:
        one.a, one.b = await one.trader("a"), await one.trader("b")
        start = one.clock.now_us // MINUTE_US
        for price, quantity in (("100", "1"), ("103", "2"), ("99", "0.5"), ("101", "0.01")):
            await trade(one, price, quantity)
        assert not rows(one.home, CANDLES)
        one.clock.advance(60)
        await turn(one.home)
        ((key, candle),) = rows(one.home, CANDLES).items()
        assert key == f"{KEY}/{start:010d}"
        assert (candle.open, candle.high, candle.low, candle.close) == (10_000, 10_300, 9_900, 10_100)
        assert (candle.volume, candle.count) == (35_100, 4)
        assert candle.turnover == 100 * 10_000 + 103 * 20_000 + 99 * 5_000 + 101 * 100
        one.clock.advance(600)
        await turn(one.home)
        assert len(rows(one.home, CANDLES)) == 1, "minutes without trades have none"


async def test_the_first_trade_of_a_minute_ends_the_candle_before_it():
    async with exchange() as one:
        one.a, one.b = await one.trader("a"), await one.trader("b")
        await trade(one, "100")
        one.clock.advance(300)
        await trade(one, "105")
        book = rows(one.home, BOOKS)[KEY]
        assert (book.open, book.high, book.low, book.count) == (10_500, 10_500, 10_500, 1)
        one.clock.advance(60)
        await turn(one.home)
        candles = sorted(rows(one.home, CANDLES).items())
        assert [candle.close for _, candle in candles] == [10_000, 10_500]
        check_exchange(one.home)


async def test_an_order_of_a_batch_is_judged_by_what_the_ones_before_it_traded(wild):
    """The third would be far off the last price from before the batch; the fourth comes to a market that is halted."""
    await trade(wild, "100")

    def order(account: str, side: str, price: str, **more: object) -> PlaceOrder:
        return PlaceOrder(MARKET, account, side, "1", price, **more)

    batch = PlaceOrders(
        (
            order(wild.a, "sell", "109"),
            order(wild.b, "buy", "109"),
            order(wild.a, "sell", "160", kind="post_only"),
            order(wild.b, "buy", "109", kind="market"),
            order(wild.a, "sell", "125"),
            order(wild.b, "buy", "125"),
            order(wild.a, "sell", "125"),
        )
    )
    answer = (await wild.home.run(batch, actor="operator", scopes=("wallet:operate",))).reply
    assert [item.code for item in answer.items] == ["", "", "price_out_of_band", "", "", "", "market_halted"]
    assert rows(wild.home, BOOKS)[KEY].state == "halted"
    check_exchange(wild.home)


async def test_a_batch_in_a_new_market_has_its_own_last_price():
    async with exchange() as one:
        a, b = await one.trader("a"), await one.trader("b")
        orders = (
            PlaceOrder(MARKET, a, "sell", "1", "100"),
            PlaceOrder(MARKET, b, "buy", "0.5", "100"),
            PlaceOrder(MARKET, b, "buy", "0.5", kind="market"),
        )
        answer = (await one.home.run(PlaceOrders(orders), actor="operator", scopes=("wallet:operate",))).reply
        assert [item.order.status for item in answer.items] == ["filled", "filled", "filled"]
        check_exchange(one.home)


async def test_a_market_that_is_set_answers_as_it_is():
    async with exchange() as one:
        one.a, one.b = await one.trader("a"), await one.trader("b")
        await trade(one, "100")
        view = await one.operate(SetMarket(MARKET, taker_bps=7))
        assert (view.last, view.trades, view.sequence, view.taker_bps) == ("100.00", 1, 3, 7)

"""As ``test_forged.py``, of what the rows of an event say of each other: when and how orders come, wake and end, whom
they meet, and what a book says of its minute."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from services.dex.commands.desk import Floor
from services.dex.commands.stops import wake
from services.dex.intents import AmendOrder, CancelOrder, PlaceOrder, PlaceOrders
from services.dex.prices import rest_cost, wait_cost
from services.dex.rows import BOOKS, CANDLES, CLOSED, MARKETS, ORDERS, TRADES, Book, Candle, Market
from tests.kit.node import running
from tests.services.dex.kit import BASE, MARKET, QUOTE, check_exchange
from tests.services.dex.test_forged import (
    BUY,
    CANCEL,
    KEY,
    LESS,
    ROGUE,
    SELL,
    Rows,
    Scene,
    Twist,
    Twister,
    book,
    everything,
    order,
    refused,
    scenery,
    set_aside,
    trade,
)
from tests.services.wallet.kit import rows, turn

Handler = Callable[[Any, Any], None]


def taker(**values: Any) -> Twister:
    """Of the order that took, which has ended."""
    return lambda scene, rows: rows.change(CLOSED, of_side(rows, "buy"), **values)


def of_side(rows: Rows, side: str) -> str:
    (found,) = [key for key in rows.changed(CLOSED) if rows.row(CLOSED, key).side == side]
    return found


def waits_again(scene: Scene, rows: Rows) -> None:
    """Out of the book, with what a waiting order holds."""
    row = rows.row(ORDERS)
    rows.change(ORDERS, stop=1)
    set_aside(rows, wait_cost(row, row.remaining))


def dear(scene: Scene, rows: Rows) -> None:
    """It is set aside, so the next taker has its maker pay five times what it sells."""
    rows.change(ORDERS, maker_bps=50_000)
    row = rows.row(ORDERS)
    set_aside(rows, rest_cost(row, row.remaining))


def of_one_owner(scene: Scene, rows: Rows) -> None:
    maker = next(before for cache, key, before in rows.state.log if cache.spec is ORDERS and before is not None)
    rows.change(ORDERS, group=maker.row.group)


def takes_too_little(scene: Scene, rows: Rows) -> None:
    """What is left of its maker it would have had."""
    rows.change(
        CLOSED,
        of_side(rows, "buy"),
        quantity=50_000,
        cancelled=10_000,
        time_in_force="ioc",
        reason="immediate_or_cancel",
    )


def worse_maker_first(scene: Scene, rows: Rows) -> None:
    """The numbers of two trades are exchanged."""
    first, second = sorted(rows.changed(TRADES), key=lambda key: rows.row(TRADES, key).number)
    last = rows.row(TRADES, first).price
    rows.change(TRADES, first, number=2)
    rows.change(TRADES, second, number=1)
    rows.change(BOOKS, last=last)


def other_way_round(scene: Scene, rows: Rows) -> None:
    """The one that was in the book is said to be the taker."""
    row = rows.row(TRADES)
    rows.change(ORDERS, given=0)
    rows.change(
        TRADES,
        debit=row.credit,
        credit=row.debit,
        asset=row.back_asset,
        amount=row.back_amount,
        fee=row.back_fee,
        scale=row.back_scale,
        back_asset=row.asset,
        back_amount=row.amount,
        back_fee=row.fee,
        back_scale=row.scale,
        side="sell",
        maker_order=row.taker_order,
        taker_order=row.maker_order,
    )


def takes_a_fee(rows: Rows, row: Any, fee: int) -> None:
    """Of the taker, who pays it."""
    rows.change(TRADES, fee=fee)
    rows.add(row.debit, row.asset, row.fee - fee)
    rows.add(f"{ROGUE}/fees", row.asset, fee - row.fee)


def dear_to_take(scene: Scene, rows: Rows) -> None:
    row = rows.row(TRADES)
    takes_a_fee(rows, row, row.amount)


def prevented_by_nobody(scene: Scene, rows: Rows) -> None:
    row = rows.row(ORDERS)
    rows.change(ORDERS, cancelled=0, prevented=row.cancelled)


def no_such_market(**values: Any) -> Twister:
    def twist(scene: Scene, rows: Rows) -> None:
        key = f"{ROGUE}/OLD-USDX"
        market = msgspec.structs.replace(Market(BASE, QUOTE, 4, 4, 2, 1, 100, 0, 1000), **values)
        rows.write(MARKETS, key, market)
        scales = (market.price_scale, market.base_scale, market.quote_scale)
        rows.write(BOOKS, key, Book(scales, assets=(BASE, QUOTE)))

    return twist


def a_book_with_a_candle(scene: Scene, rows: Rows) -> None:
    no_such_market()(scene, rows)
    rows.change(BOOKS, f"{ROGUE}/OLD-USDX", count=1, high=5)


def candle_too_early(scene: Scene, rows: Rows) -> None:
    row = rows.row(BOOKS)
    candle = Candle(KEY, row.open, row.high, row.low, row.last, row.volume, row.turnover, row.count)
    rows.write(CANDLES, f"{KEY}/{row.minute:010d}", candle)


def nothing(scene: Scene, rows: Rows) -> None:
    """As it would have been."""


IN_PART: Callable[[Scene], Any] = lambda scene: scene.buy("15", "100")  # noqa: E731
DEEP: Callable[[Scene], Any] = lambda scene: scene.buy("15", "101")  # noqa: E731
IMMEDIATE: Callable[[Scene], Any] = lambda scene: scene.buy("15", "100", time_in_force="ioc")  # noqa: E731
WAITS: Callable[[Scene], Any] = lambda scene: scene.buy("1", "105", kind="stop_limit", stop="102")  # noqa: E731

FORGERIES: dict[str, tuple[Callable[[Scene], Any], Twister, str]] = {
    "comes at another time": (SELL, order(placed_us=1), "dex_counted"),
    "takes at another time": (BUY, taker(placed_us=1), "dex_counted"),
    "ends at another time": (CANCEL, lambda scene, rows: rows.change(CLOSED, closed_us=1), "dex_counted"),
    "is of no kind": (SELL, order(kind="x"), "dex_counted"),
    "is good for no time": (SELL, order(time_in_force="x"), "dex_counted"),
    "is for a time without end": (SELL, order(time_in_force="gtd"), "dex_counted"),
    "ends at a time though it has none": (SELL, order(expires_us=1 << 60), "dex_counted"),
    "prevents in no way": (SELL, order(prevention="x"), "dex_counted"),
    "has its maker pay more than all": (SELL, dear, "dex_counted"),
    "has its taker pay more than all": (WAITS, order(taker_bps=50_000), "dex_counted"),
    "waits though it is no stop order": (SELL, waits_again, "dex_counted"),
    "goes back to waiting": (LESS, waits_again, "dex_counted"),
    "is filled in part though it is all or nothing": (IMMEDIATE, taker(time_in_force="fok"), "dex_counted"),
    "ends for a reason that it has not": (
        CANCEL,
        lambda scene, rows: rows.change(CLOSED, reason="filled"),
        "dex_counted",
    ),
    "is filled and has another reason": (BUY, taker(reason="expired"), "dex_counted"),
    "expires before its time": (CANCEL, lambda scene, rows: rows.change(CLOSED, reason="expired"), "dex_counted"),
    "is immediate though it may rest": (IMMEDIATE, taker(time_in_force="gtc"), "dex_counted"),
    "is cancelled as it comes": (IMMEDIATE, taker(reason="cancelled"), "dex_counted"),
    "ends at another place": (CANCEL, lambda scene, rows: rows.change(CLOSED, priority=1), "dex_counted"),
    "ends as a stop order that it was not": (CANCEL, lambda scene, rows: rows.change(CLOSED, stop=7), "dex_counted"),
    "is prevented by nobody": (LESS, prevented_by_nobody, "dex_counted"),
    "takes though it is post-only": (BUY, taker(kind="post_only"), "dex_traded"),
    "trades at another time": (BUY, trade(at_us=1), "dex_traded"),
    "moved more than was traded": (BUY, order(turnover=7), "dex_traded"),
    "moved more than was traded, and ended": (BUY, taker(turnover=7), "dex_traded"),
    "rests and met its own owner": (IN_PART, of_one_owner, "dex_traded"),
    "leaves a maker that it could have met": (BUY, takes_too_little, "dex_traded"),
    "meets the worse maker first": (DEEP, worse_maker_first, "dex_traded"),
    "takes though it was in the book": (BUY, other_way_round, "dex_traded"),
    "takes all of it for a fee": (BUY, dear_to_take, "dex_traded"),
    "takes from another's place": (BUY, taker(priority=1 << 40), "dex_numbered"),
    "has the highest price that nobody paid": (BUY, book(high=10**15), "dex_numbered"),
    "has a volume that nobody traded": (BUY, book(volume=10**17), "dex_numbered"),
    "has ranges that were not": (BUY, book(ranges=()), "dex_numbered"),
    "is reached by a price that nobody paid": (BUY, book(reach=(10**6, 1 << 40, 1, 1 << 40)), "dex_numbered"),
    "is reached by no trade": (SELL, book(reach=(1,)), "dex_numbered"),
    "has a candle of no trade": (SELL, book(count=1, open=1, high=2, low=1), "dex_numbered"),
    "begins a book with a candle": (CANCEL, a_book_with_a_candle, "dex_numbered"),
    "makes a market that rounds": (CANCEL, no_such_market(lot=1), "dex_listed"),
    "makes a market of absurd assets": (CANCEL, no_such_market(quote_scale=10**15), "dex_listed"),
    "makes a market that takes all": (CANCEL, no_such_market(taker_bps=10_000), "dex_listed"),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_an_event_that_contradicts_itself_is_refused(name):
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        command, twist, code = FORGERIES[name]
        await refused(scene, command(scene), twist, code)


@pytest.mark.parametrize("command", [IN_PART, DEEP, IMMEDIATE, WAITS])
async def test_without_the_twist_it_is_taken(command):
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        await written(scene, command(scene), nothing)
        await scene.honest.follow(scene.rogue)
        assert everything(scene.honest) == everything(scene.rogue)
        check_exchange(scene.rogue)


async def written(scene: Scene, command: Any, twist: Twister) -> None:
    await scene.rogue.run(
        Twist(command, lambda state, context: twist(scene, Rows(state))),
        actor="operator",
        scopes=("wallet:operate", "dex:operate"),
    )


def wakes(key: str) -> Handler:
    """A stop order does, whatever the last price is."""

    def handler(state: Any, context: Any) -> None:
        floor = Floor(state, context)
        wake(floor.desk(KEY, state[MARKETS].get(KEY)), key, state[ORDERS].get(key))
        floor.finish()

    return handler


def halted(scene: Scene, rows: Rows) -> None:
    """So that no stop order wakes by itself."""
    rows.change(MARKETS, KEY, halted="for now")


def last_fee(fee: int) -> Twister:
    """Of the order that has woken, which pays it."""
    return lambda scene, rows: takes_a_fee(rows, rows.row(TRADES), fee)


@pytest.mark.parametrize(
    ("price", "command", "twist", "code"),
    [
        ("101", lambda key: AmendOrder(key, "0.5"), order(stop=9_000), "dex_counted"),
        ("100.01", wakes, nothing, "dex_counted"),
        ("100", wakes, last_fee(0), "dex_traded"),
        ("100", CancelOrder, lambda scene, rows: rows.change(CLOSED, stop=0), "dex_numbered"),
    ],
)
async def test_a_stop_order_waits_for_the_stop_and_the_fee_for_which_it_came(price, command, twist, code):
    """The last price is 100."""
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        stop = await exchange.order("t", scene.taker, "buy", "1", "110", kind="stop_limit", stop=price)
        await written(scene, scene.buy(), halted)
        await scene.honest.follow(scene.rogue)
        await refused(scene, command(stop.id.replace("~", "/")), twist, code)


async def test_a_stop_order_that_wakes_is_taken():
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        stop = await exchange.order("t", scene.taker, "buy", "1", "110", kind="stop_limit", stop="100")
        await written(scene, scene.buy(), halted)
        await written(scene, wakes(stop.id.replace("~", "/")), nothing)
        await scene.honest.follow(scene.rogue)
        assert everything(scene.honest) == everything(scene.rogue)


async def test_a_stop_order_that_wakes_by_a_price_that_was_only_touched_is_taken():
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        stop = await exchange.order("t", scene.taker, "buy", "1", "110", kind="stop", stop="101")
        await exchange.order("m", scene.maker, "buy", "1", "99")
        there, back = scene.buy("11", "101"), PlaceOrder(MARKET, scene.taker, "sell", "1", "99")
        await exchange.home.run(PlaceOrders((there, back)), actor="t")
        await turn(scene.rogue)
        await scene.honest.follow(scene.rogue)
        assert everything(scene.honest) == everything(scene.rogue)
        closed = rows(scene.honest, CLOSED)[stop.id.replace("~", "/")]
        assert (closed.reason, closed.turnover) == ("filled", 1_010_000)


@pytest.mark.parametrize(
    ("seconds", "command", "twist", "code"),
    [
        (61, BUY, lambda scene, rows: rows.drop(CANDLES, rows.only(CANDLES)), "dex_numbered"),
        (0, SELL, candle_too_early, "dex_charted"),
    ],
)
async def test_a_candle_is_written_when_its_minute_is_over(seconds, command, twist, code):
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        await exchange.order("t", scene.taker, "buy", "1", "100")
        await scene.honest.follow(scene.rogue)
        exchange.clock.advance(seconds)
        await refused(scene, command(scene), twist, code)

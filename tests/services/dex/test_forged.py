"""A market's node that is not bound by the exchange's rules does what was asked and writes something else: every other
node refuses the event, by the rule that it breaks, and is not changed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from jilnode.kernel.errors import Breach, CommitFailed
from jilnode.module import Command, QueryContext
from services.dex import queries
from services.dex.intents import AmendOrder, CancelOrder, PlaceOrder
from services.dex.module import MODULE as DEX
from services.dex.rows import BOOKS, CANDLES, CLOSED, MARKETS, ORDERS, TRADES, Book, Market
from services.wallet.intents import CreateAsset, Issue
from services.wallet.kinds import Reserved
from services.wallet.module import MODULE as WALLET
from services.wallet.rows import SHARES, TRANSFERS, Transfer
from tests.kit.node import START_US, TestNode, running
from tests.services.dex.kit import BASE, MARKET, QUOTE, SOURCES, Exchange, check_exchange
from tests.services.wallet.kit import rows, turn

KEY = "sg-mas-01/GOLD-USDX"
ROGUE = SOURCES[0]
JUNK = "JUNK@sg-mas-01"


class Twist(msgspec.Struct, frozen=True):
    """Runs ``command``, or calls it with (state, context), where there is one; then ``twist(state, context)`` over what
    it changed."""

    command: Any
    twist: Callable[[Any, Any], None]


def _twisted(state: Any, context: Any, command: Twist) -> None:
    handlers = {item.type: item.handler for item in DEX.commands}
    if callable(command.command):
        command.command(state, context)
    elif command.command is not None:
        handlers[type(command.command)](state, context, command.command)
    command.twist(state, context)


def _passes(change: Any) -> None:
    """What it names in its entries is right: what it writes is not."""


ROGUE_WALLET = replace(WALLET, invariants=tuple([replace(rule, check=_passes) for rule in WALLET.invariants]))
ROGUE_DEX = replace(
    DEX, commands=(*DEX.commands, Command(Twist, "dex.order.twisted", _twisted, lambda rows: None)), invariants=()
)


class Rows:
    """What the twists are made of: rows written past every check."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def changed(self, table: Any) -> list[str]:
        """The keys of a table's rows that this event changes."""
        return sorted({key for cache, key, _ in self.state.log if cache.spec is table})

    def write(self, table: Any, key: str, row: Any) -> None:
        self.state[table]._write(key, self.state.image(table, key), row)

    def drop(self, table: Any, key: str) -> None:
        cache, before = self.state.tables[table], self.state.image(table, key)
        self.state.log.append((cache, key, before))
        cache.set(key, before, None)

    def change(self, table: Any, key: str = "", **values: Any) -> None:
        """The one that the event changes, unless one is named."""
        key = key or self.only(table)
        self.write(table, key, msgspec.structs.replace(self.state.image(table, key).row, **values))

    def only(self, table: Any) -> str:
        (found,) = [key for key in self.changed(table) if self.state.image(table, key) is not None]
        return found

    def row(self, table: Any, key: str = "") -> Any:
        return self.state.image(table, key or self.only(table)).row

    def add(self, account: str, asset: str, available: int = 0, held: int = 0) -> None:
        key = f"{account}/{asset}/{ROGUE}"
        row = self.row(SHARES, key)
        self.change(SHARES, key, available=row.available + available, held=row.held + held)


class Scene:
    """The rogue has the market; ``maker`` sells 10 at 100.00 and ``other`` 10 at 101.00; ``taker`` has money."""

    async def begin(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.rogue, self.honest = exchange.nodes
        await exchange.begin(maker_bps=10, taker_bps=20)
        await exchange.operate(CreateAsset("JUNK", 4))
        self.maker = (await exchange.trader("m")).replace("~", "/")
        self.other = (await exchange.trader("o")).replace("~", "/")
        self.taker = (await exchange.trader("t")).replace("~", "/")
        await exchange.operate(Issue(JUNK, self.maker, "1000"))
        self.made = (await exchange.order("m", self.maker, "sell", "10", "100")).id
        self.further = (await exchange.order("o", self.other, "sell", "10", "101")).id
        self.ended = (await exchange.order("m", self.maker, "sell", "1", "150")).id.replace("~", "/")
        await exchange.cancel("m", self.ended)
        await self.honest.follow(self.rogue)

    def sell(self, quantity: str = "5", price: str = "102") -> PlaceOrder:
        return PlaceOrder(MARKET, self.maker, "sell", quantity, price)

    def buy(self, quantity: str = "4", price: str = "100", **more: Any) -> PlaceOrder:
        return PlaceOrder(MARKET, self.taker, "buy", quantity, price, **more)


Twister = Callable[[Scene, Rows], None]


def trade(**values: Any) -> Twister:
    return lambda scene, rows: rows.change(TRADES, **values)


def other_price(scene: Scene, rows: Rows) -> None:
    price = 9_900
    quantity = rows.row(TRADES).quantity
    rows.change(TRADES, price=price, amount=price * quantity // 100)
    rows.change(BOOKS, last=price)


def cheaper(scene: Scene, rows: Rows) -> None:
    """Less is paid, and the trade says so."""
    rows.change(TRADES, amount=rows.row(TRADES).amount - 100)
    rows.add(scene.maker, QUOTE, -100)
    rows.add(scene.taker, QUOTE, 100)


def paid_to(payee: Callable[[Scene], str]) -> Twister:
    """What the maker should get goes to somebody else, and the trade does not say so."""

    def twist(scene: Scene, rows: Rows) -> None:
        amount = rows.row(TRADES).amount
        rows.add(scene.maker, QUOTE, -amount)
        rows.add(payee(scene), QUOTE, amount)

    return twist


def filled_by_nobody(scene: Scene, rows: Rows) -> None:
    key = scene.made.replace("~", "/")
    row = rows.row(ORDERS, key)
    rows.change(ORDERS, key, filled=row.filled + 100, remaining=row.remaining - 100)


def grows(scene: Scene, rows: Rows) -> None:
    row = rows.row(ORDERS)
    rows.change(ORDERS, quantity=row.quantity + 10_000, remaining=row.remaining + 10_000)


def grows_back(scene: Scene, rows: Rows) -> None:
    """The cancelled part comes back."""
    row = rows.row(ORDERS)
    rows.change(ORDERS, cancelled=-100, remaining=row.remaining + row.cancelled + 100)


def keeps_the_money(scene: Scene, rows: Rows) -> None:
    (key,) = rows.changed(ORDERS)
    before = next(before for cache, found, before in rows.state.log if cache.spec is ORDERS and found == key)
    rows.add(scene.maker, BASE, -before.row.reserved.amount, before.row.reserved.amount)


def unfunded(scene: Scene, rows: Rows) -> None:
    set_aside(rows, 0)


def underfunded(scene: Scene, rows: Rows) -> None:
    row = rows.row(ORDERS)
    set_aside(rows, row.reserved.amount - row.remaining // 2)


def funded_by_junk(scene: Scene, rows: Rows) -> None:
    row = rows.row(ORDERS)
    asset, amount = row.reserved.asset, row.reserved.amount
    rows.change(ORDERS, reserved=Reserved(JUNK, amount))
    rows.add(row.account, asset, amount, -amount)
    rows.write(SHARES, f"{row.account}/{JUNK}/{ROGUE}", rows.row(SHARES, f"{row.account}/{JUNK}/{ROGUE}"))
    rows.add(row.account, JUNK, -amount, amount)


def overfunded(scene: Scene, rows: Rows) -> None:
    """Money of the account is kept from it."""
    set_aside(rows, rows.row(ORDERS).reserved.amount + 1)


def set_aside(rows: Rows, amount: int) -> None:
    row = rows.row(ORDERS)
    was = row.reserved
    rows.change(ORDERS, reserved=Reserved(was.asset, amount))
    rows.add(row.account, was.asset, was.amount - amount, amount - was.amount)


def with_itself(scene: Scene, rows: Rows) -> None:
    """The taker's order is said to be the maker's; it even pays."""
    rows.change(TRADES, debit=scene.maker)
    rows.change(CLOSED, account=scene.maker)


def on_no_side(scene: Scene, rows: Rows) -> None:
    """What is not a buy would be read as a sell, and the maker who sells would buy."""
    rows.change(CLOSED, side="x")
    rows.change(TRADES, side="x")


def skips_a_trade(scene: Scene, rows: Rows) -> None:
    rows.change(TRADES, number=2)
    rows.change(BOOKS, trades=2)


def pays_for_nothing(scene: Scene, rows: Rows) -> None:
    row = Transfer(scene.maker, scene.other, BASE, 5, 4, START_US, 0, "trade")
    rows.write(TRANSFERS, f"{ROGUE}/paid", row)
    rows.add(scene.maker, BASE, -5)
    rows.add(scene.other, BASE, 5)


def ends_again(scene: Scene, rows: Rows) -> None:
    """As one that comes now and finds too many makers."""
    row = rows.row(ORDERS)
    now, place = row.placed_us, row.priority + 1
    rows.change(CLOSED, scene.ended, placed_us=now, closed_us=now, priority=place, reason="fill_limit")


def order(**values: Any) -> Twister:
    return lambda scene, rows: rows.change(ORDERS, **values)


def book(**values: Any) -> Twister:
    return lambda scene, rows: rows.change(BOOKS, **values)


def elsewhere(scene: Scene, rows: Rows) -> None:
    """In the book of somebody else, where it would be in everybody's way."""
    rows.change(ORDERS, market="ch-zug-01/GOLD-USDX")


def unnumbered(scene: Scene, rows: Rows) -> None:
    key = rows.only(BOOKS)
    before = next(before for cache, _, before in rows.state.log if cache.spec is BOOKS)
    rows.state.tables[BOOKS].set(key, rows.state.image(BOOKS, key), before)


def another_candle(scene: Scene, rows: Rows) -> None:
    rows.change(CANDLES, high=99_999)


def a_book_with_a_past(scene: Scene, rows: Rows) -> None:
    another_market(rows, 2, sequence=7)


def another_market(rows: Rows, price_scale: int, tick: int = 1, base_scale: int = 4, sequence: int = 0) -> None:
    key = f"{ROGUE}/OLD-USDX"
    rows.write(MARKETS, key, Market(BASE, QUOTE, base_scale, 4, price_scale, tick, 100, 0, 1000))
    rows.write(BOOKS, key, Book((price_scale, base_scale, 4), sequence=sequence, assets=(BASE, QUOTE)))


BUY: Callable[[Scene], Any] = lambda scene: scene.buy()  # noqa: E731
SELL: Callable[[Scene], Any] = lambda scene: scene.sell()  # noqa: E731
LESS: Callable[[Scene], Any] = lambda scene: AmendOrder(scene.made, "6")  # noqa: E731
CANCEL: Callable[[Scene], Any] = lambda scene: CancelOrder(scene.made)  # noqa: E731
CANCEL_OTHER: Callable[[Scene], Any] = lambda scene: CancelOrder(scene.further)  # noqa: E731

FORGERIES: dict[str, tuple[Callable[[Scene], Any], Twister, str]] = {
    "trades off the maker's price": (BUY, other_price, "dex_traded"),
    "trades beyond the taker's limit": (BUY, lambda scene, rows: rows.change(CLOSED, price=9_999), "dex_traded"),
    "trades for less than price times quantity": (BUY, trade(amount=1), "dex_traded"),
    "is paid less than price times quantity": (BUY, cheaper, "dex_traded"),
    "trades for nothing": (BUY, trade(back_amount=0), "dex_traded"),
    "trades on the other side": (BUY, trade(side="sell"), "dex_traded"),
    "trades of a maker who was not there": (BUY, trade(maker_order="sg-mas-01/none"), "dex_traded"),
    "trades of another maker": (BUY, trade(credit="sg-mas-01/fees"), "dex_traded"),
    "pays nobody": (BUY, paid_to(lambda scene: scene.taker), "wallet_explained"),
    "pays somebody else": (BUY, paid_to(lambda scene: scene.other), "wallet_explained"),
    "pays with other money": (BUY, trade(asset=JUNK), "dex_traded"),
    "is paid with other money": (BUY, trade(back_asset=JUNK), "dex_traded"),
    "pays in other decimals": (BUY, trade(back_scale=2), "dex_traded"),
    "says it paid another fee": (BUY, trade(fee=0), "wallet_explained"),
    "takes more of the maker than it came for": (BUY, trade(back_fee=41), "dex_traded"),
    "trades with itself": (BUY, with_itself, "dex_traded"),
    "fills without a trade": (CANCEL_OTHER, filled_by_nobody, "dex_traded"),
    "trades and fills nobody": (BUY, trade(back_amount=39_900, amount=3_990_000), "dex_traded"),
    "grows": (LESS, grows, "dex_counted"),
    "takes back what was cancelled": (LESS, grows_back, "dex_counted"),
    "does not add up": (LESS, order(remaining=1), "dex_counted"),
    "changes its place": (LESS, order(priority=0), "dex_counted"),
    "changes its price": (LESS, order(price=1), "dex_counted"),
    "changes its owner": (LESS, order(group="me"), "dex_counted"),
    "changes its fee": (LESS, order(maker_bps=0), "dex_counted"),
    "changes its expiry": (LESS, order(expires_us=7), "dex_counted"),
    "rests though it is immediate or cancel": (SELL, order(time_in_force="ioc"), "dex_counted"),
    "rests though it is fill or kill": (SELL, order(time_in_force="fok"), "dex_counted"),
    "rests though it is a market order": (SELL, order(kind="market"), "dex_counted"),
    "rests with a price of nothing": (SELL, order(price=0), "dex_counted"),
    "ends without a word": (CANCEL, lambda scene, rows: rows.drop(CLOSED, rows.only(CLOSED)), "dex_counted"),
    "ends as another": (CANCEL, lambda scene, rows: rows.change(CLOSED, price=1), "dex_counted"),
    "deletes what has ended": (SELL, lambda scene, rows: rows.drop(CLOSED, scene.ended), "bad_row"),
    "rewrites what has ended": (
        SELL,
        ends_again,
        "rewritten",
    ),
    "ends and keeps the money": (CANCEL, keeps_the_money, "wallet_reserved"),
    "comes without money": (SELL, unfunded, "dex_funded"),
    "comes with too little money": (SELL, underfunded, "dex_funded"),
    "buys with too little money": (lambda scene: scene.buy("5", "99"), underfunded, "dex_funded"),
    "comes with too much money": (SELL, overfunded, "dex_funded"),
    "comes with other money": (SELL, funded_by_junk, "dex_funded"),
    "skips a number of the book": (SELL, book(sequence=77), "dex_numbered"),
    "skips a number of a trade": (BUY, skips_a_trade, "dex_numbered"),
    "counts trades that were not": (CANCEL, book(trades=1 << 61), "dex_numbered"),
    "has a last price that nobody paid": (SELL, book(last=12_345), "dex_numbered"),
    "changes its market's assets": (SELL, book(assets=(JUNK, QUOTE)), "dex_listed"),
    "changes its market's decimals": (CANCEL, book(scales=(0, 0, 0)), "dex_listed"),
    "deletes the market": (CANCEL, lambda scene, rows: rows.drop(MARKETS, KEY), "dex_listed"),
    "changes its market's tick": (CANCEL, lambda scene, rows: rows.change(MARKETS, KEY, tick=7), "dex_listed"),
    "makes a market of absurd decimals": (CANCEL, lambda scene, rows: another_market(rows, 10**9), "dex_listed"),
    "makes a market without a tick": (CANCEL, lambda scene, rows: another_market(rows, 2, tick=0), "dex_listed"),
    "makes a book of absurd decimals": (
        CANCEL,
        lambda scene, rows: another_market(rows, 2, base_scale=10**9),
        "dex_listed",
    ),
    "makes a book without a market": (
        CANCEL,
        lambda scene, rows: rows.write(BOOKS, f"{ROGUE}/OLD-USDX", Book((2, 4, 4))),
        "dex_listed",
    ),
    "does not tell the book": (CANCEL, unnumbered, "dex_numbered"),
    "comes on no side": (SELL, order(side="x"), "dex_counted"),
    "takes on no side": (BUY, on_no_side, "dex_counted"),
    "comes first though it came last": (SELL, order(priority=1), "dex_numbered"),
    "deletes the book": (CANCEL, lambda scene, rows: rows.drop(BOOKS, KEY), "dex_listed"),
    "begins a book with a past": (CANCEL, a_book_with_a_past, "dex_numbered"),
    "places an order in another's market": (SELL, elsewhere, "dex_funded"),
    "holds without a reservation": (
        CANCEL,
        lambda scene, rows: rows.add(scene.maker, BASE, -1, 1),
        "wallet_reserved",
    ),
    "reserves without holding": (
        CANCEL,
        lambda scene, rows: rows.change(ORDERS, scene.further.replace("~", "/"), reserved=Reserved(BASE, 7)),
        "dex_funded",
    ),
    "moves a reservation to another account": (
        BUY,
        lambda scene, rows: rows.change(ORDERS, rows.only(ORDERS), account=scene.other),
        "dex_counted",
    ),
    "pays for no trade": (CANCEL, pays_for_nothing, "wallet_explained"),
    "takes back what it paid": (
        BUY,
        lambda scene, rows: rows.change(ORDERS, reserved=msgspec.structs.replace(rows.row(ORDERS).reserved, paid=-1)),
        "wallet_reserved",
    ),
}


def everything(node: TestNode) -> dict[str, Any]:
    return {table.name: rows(node, table) for table in (*WALLET.tables, *DEX.tables)}


def scenery() -> tuple[Exchange, Scene]:
    exchange = Exchange(2)
    rogue = TestNode(ROGUE, [ROGUE_WALLET, ROGUE_DEX], clock=exchange.clock)
    exchange.nodes[0] = exchange.home = rogue
    return exchange, Scene()


async def followed(scene: Scene) -> None:
    try:
        await scene.honest.follow(scene.rogue)
    except CommitFailed:
        # A row that is written once was written again: the database said so, and now the node looks.
        await scene.honest.follow(scene.rogue)


async def refused(scene: Scene, command: Any, twist: Twister, code: str) -> None:
    before = everything(scene.honest)
    await scene.rogue.run(
        Twist(command, lambda state, context: twist(scene, Rows(state))),
        actor="operator",
        scopes=("wallet:operate", "dex:operate"),
    )
    with pytest.raises(Breach) as breach:
        await followed(scene)
    assert breach.value.code.removeprefix("invariant.") == code, breach.value
    await turn(scene.honest)
    assert everything(scene.honest) == before


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_event_is_refused_and_changes_nothing(name):
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        command, twist, code = FORGERIES[name]
        await refused(scene, command(scene), twist, code)


async def test_an_order_s_money_does_not_go_back_without_the_order():
    """An event of the wallet's tables alone is not judged by the exchange."""

    def give_back(scene: Scene, rows: Rows) -> None:
        key = scene.made.replace("~", "/")
        amount = rows.row(ORDERS, key).reserved.amount
        rows.add(scene.maker, BASE, amount, -amount)

    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        await refused(scene, None, give_back, "wallet_explained")


async def test_a_candle_that_was_not_is_refused():
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        await exchange.order("t", scene.taker, "buy", "1", "100")
        await scene.honest.follow(scene.rogue)
        exchange.clock.advance(61)
        await refused(scene, scene.buy(), another_candle, "dex_charted")


@pytest.mark.parametrize("name", FORGERIES)
async def test_without_the_twist_it_is_taken(name):
    """So that each forgery is refused for what is forged in it."""
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        command = Twist(FORGERIES[name][0](scene), lambda state, context: None)
        await scene.rogue.run(command, actor="operator", scopes=("wallet:operate",))
        await scene.honest.follow(scene.rogue)
        assert everything(scene.honest) == everything(scene.rogue)
        check_exchange(scene.rogue)


async def test_a_market_without_a_book_is_refused():
    """Whoever asks for all books of a pair would be answered an error."""
    market = Market(BASE, QUOTE, 4, 4, 2, 1, 100, 0, 1000)
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        await refused(scene, None, lambda scene, rows: rows.write(MARKETS, f"{ROGUE}/A-B", market), "dex_listed")


async def test_the_books_of_a_pair_are_shown_in_the_assets_decimals():
    """A market that counts in others is nobody's offer, and spoils nobody's sum."""

    def strange(scene: Scene, rows: Rows) -> None:
        market = Market(BASE, QUOTE, 0, 4, 2, 1, 1, 0, 1000)
        rows.write(MARKETS, f"{ROGUE}/AA-B", market)
        rows.write(BOOKS, f"{ROGUE}/AA-B", Book((2, 0, 4), assets=(BASE, QUOTE)))

    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        await scene.rogue.run(Twist(None, lambda state, context: strange(scene, Rows(state))), actor="operator")
        await scene.honest.follow(scene.rogue)
        context = QueryContext("x", frozenset(), scene.honest.source, scene.honest.engine.now_us())
        params = queries.ConsolidatedParams(BASE, QUOTE)
        found = await scene.honest.writer.query(lambda view: queries.consolidated(view, context, params))
        assert [market.market for market in found.markets] == [MARKET]
        assert [(level.price, level.quantity) for level in found.asks] == [("100.00", "10.0000"), ("101.00", "10.0000")]

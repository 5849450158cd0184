"""The node's book and the naive one side by side: each command goes to both, and both must say and be the same."""

from typing import Any

from jilnode.kernel.codec import decode_row, rows_of
from jilnode.kernel.errors import Rejected
from services.dex.intents import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    MassQuote,
    PlaceOrder,
    PlaceOrders,
    ReplaceOrder,
    SetGroup,
    SetMarketStatus,
)
from services.dex.rows import BOOKS, CLOSED, ORDERS, TRADES
from services.wallet.amounts import format_amount
from services.wallet.intents import SetStatus
from services.wallet.rows import SHARES
from tests.services.dex.kit import BASE, MARKET, QUOTE, Exchange, book, check_exchange
from tests.services.dex.naive import Naive
from tests.services.dex.naive_rules import Refused, Trader
from tests.services.wallet.kit import rows, turn

KEY = "sg-mas-01/GOLD-USDX"


class Pair:
    """``thorough``: after how many commands all that must hold is looked at, and not only book, trades and what
    ended."""

    def __init__(self, exchange: Exchange, thorough: int = 1, **market: Any) -> None:
        self.exchange = exchange
        self.naive = Naive(**market)
        self.thorough = thorough
        self.commands = 0
        self.refused: dict[str, int] = {}
        self.trades: list[Any] = []
        self.closed: dict[str, Any] = {}
        exchange.home.writer.listeners.append(self._heard)

    async def trader(self, subject: str, gold: int = 1000, usd: int = 100_000) -> str:
        account = await self.exchange.trader(subject, str(gold), str(usd))
        self.naive.traders[account] = Trader(subject, gold * 10_000, usd * 10_000)
        return account

    async def freeze(self, account: str, frozen: bool) -> None:
        await self.exchange.operate(SetStatus(account, "frozen" if frozen else "active"))
        self.naive.traders[account].frozen = frozen

    async def group(self, account: str, group: str) -> None:
        await self.exchange.operate(SetGroup(account, group))
        self.naive.traders[account].group = group

    async def halt(self, why: str) -> None:
        await self.exchange.operate(SetMarketStatus(MARKET, why))
        self.naive.halted = bool(why)
        await self.settle()

    async def pass_time(self, seconds: float) -> None:
        self.exchange.clock.advance(seconds)
        await self.settle()

    async def run(self, command: Any, actor: str) -> Any:
        """The node's answer, or the code of its refusal."""
        self.naive.time_is(self.exchange.clock.now_us)
        try:
            answer: Any = (await self.exchange.home.run(command, actor=actor)).reply
            code = ""
        except Rejected as rejected:
            answer = code = rejected.code
        self.refused[code] = self.refused.get(code, 0) + 1
        try:
            self._tell(command, answer, actor)
        except Refused as refused:
            assert code in refused.codes, (command, code or "done", refused.codes)
        else:
            assert not code, (command, code)
        await self.settle()
        self.compare()
        return answer

    async def settle(self) -> None:
        """What is due runs until nothing is."""
        home = self.exchange.home
        self.naive.time_is(self.exchange.clock.now_us)
        await turn(home)
        self.naive.wake()
        for _ in range(1000):
            now = self.exchange.clock.now_us
            due = [row.due_us for _, row in self._resident(BOOKS) if row.due_us]
            if not due or min(due) > now + 1:
                return
            self.exchange.clock.advance(0.000_001)
            await turn(home)
        raise AssertionError("the market is due again and again")

    def compare(self, thorough: bool = False) -> None:
        home, naive = self.exchange.home, self.naive
        assert book(home) == naive.book()
        waiting = {key: row.stop for key, row in self._resident(ORDERS) if row.stop}
        assert waiting == {order.id: order.stop for order in naive.open if order.stop}
        assert [
            (row.price, row.quantity, row.side, row.maker_order, row.taker_order, row.maker_fee, row.taker_fee)
            for row in self.trades
        ] == naive.trades[-len(self.trades) :] * bool(self.trades)
        ended = {order.id: order for order in naive.closed}
        for key, row in self.closed.items():
            order = ended[key]
            assert (row.reason, row.filled, row.cancelled, row.prevented) == (
                order.reason,
                order.filled,
                order.cancelled,
                order.prevented,
            ), key
        self.trades.clear()
        self.closed.clear()
        assert not home.engine.alarms
        self.commands += 1
        if thorough or self.commands % self.thorough == 0:
            self._compare_all()

    def _compare_all(self) -> None:
        home, naive = self.exchange.home, self.naive
        check_exchange(home)
        assert len(rows(home, TRADES)) == len(naive.trades)
        assert rows(home, CLOSED).keys() == {order.id for order in naive.closed}
        shares = rows(home, SHARES)
        for account, trader in naive.traders.items():
            for asset, available, held in (
                (BASE, trader.gold, trader.held_gold),
                (QUOTE, trader.usd, trader.held_usd),
            ):
                share = shares[f"{account.replace('~', '/')}/{asset}/{home.source}"]
                assert (share.available, share.held) == (available, held), (account, asset)
        for asset, fees in ((BASE, naive.fees_gold), (QUOTE, naive.fees_usd)):
            share = shares.get(f"{home.source}/fees/{asset}/{home.source}")
            assert (0 if share is None else share.available) == fees
        # Nothing is held of whom has no open order.
        assert all(
            not (trader.held_gold or trader.held_usd) or any(order.account == account for order in naive.open)
            for account, trader in naive.traders.items()
        )

    def _tell(self, command: Any, answer: Any, actor: str) -> None:
        naive = self.naive
        refused = isinstance(answer, str)
        match command:
            case PlaceOrder():
                naive.place(command, "" if refused else inside(answer.id), actor)
            case CancelOrder():
                naive.cancel(CancelOrder(inside(command.id)), actor)
            case AmendOrder():
                naive.amend(AmendOrder(inside(command.id), command.quantity), actor)
            case ReplaceOrder():
                told = ReplaceOrder(inside(command.id), command.order, command.mode)
                naive.replace(told, "" if refused else inside(answer.order.id), actor)
            case CancelAll():
                naive.cancel_all(command, actor)
            case MassQuote():
                self._items(answer, naive.mass_quote(command, self._ids(answer, len(command.quotes)), actor))
            case PlaceOrders():
                self._items(answer, naive.batch(command, self._ids(answer, len(command.orders)), actor))
            case _:
                raise AssertionError(command)

    def _ids(self, answer: Any, count: int) -> list[str]:
        return (
            [""] * count if isinstance(answer, str) else [f"{inside(answer.id)}-{item + 1:x}" for item in range(count)]
        )

    def _items(self, answer: Any, codes: list[set[str]]) -> None:
        for item, expected in zip(answer.items, codes, strict=True):
            assert item.code in expected if expected else not item.code, (item, expected)
            if not expected:
                order = self.naive.find(inside(item.order.id)) or next(
                    order for order in reversed(self.naive.closed) if order.id == inside(item.order.id)
                )
                assert item.order.filled == format_amount(order.filled, 4)
                assert item.order.reason == order.reason

    def _heard(self, entries: list[Any], seals: list[Any]) -> None:
        for entry in entries:
            found = []
            for name, key, doc in rows_of(entry):
                if name == TRADES.name and doc is not None:
                    found.append(decode_row(doc, TRADES.row))
                elif name == CLOSED.name and doc is not None:
                    self.closed[key] = decode_row(doc, CLOSED.row)
            self.trades += sorted(found, key=lambda row: row.number)

    def _resident(self, table: Any) -> list[tuple[str, Any]]:
        images = self.exchange.home.engine.caches[table].images
        return [(key, image.row) for key, image in images.items() if image is not None]


def inside(id: str) -> str:
    return id.replace("~", "/")

"""A module whose commands change as many rows as an order book's do, in resident tables with every kind of index.

It decides nothing: what is measured is what the kernel does for each row.
"""

import msgspec

from jilnode.kernel.command import Command
from jilnode.kernel.entry import EntryRows
from jilnode.kernel.state import Context, State
from jilnode.module import (
    CreatedBy,
    DeadlineIndex,
    EqualityIndex,
    Module,
    OrderedIndex,
    Owned,
    SumIndex,
    Table,
)

__all__ = ("FILLS", "MODULE", "Cross", "Rest")

FILLS = 4
"""Resting orders that one crossing order fills: three rows each, and two of its own."""


class Order(Owned, frozen=True):
    account: str
    market: str
    side: str
    price: int
    priority: int
    left: int
    client_id: str
    until_us: int = 0
    status: str = "open"


class Balance(Owned, frozen=True):
    account: str
    held: int
    free: int


class Trade(Owned, frozen=True):
    market: str
    order: str
    price: int
    amount: int
    at_us: int


class Rest(msgspec.Struct, frozen=True):
    number: int


class Cross(msgspec.Struct, frozen=True):
    number: int


ORDERS = Table(
    "book.order",
    Order,
    CreatedBy(),
    resident=True,
    searchable=("account", "until_us"),
    indexes=(
        OrderedIndex(
            "queue",
            lambda key, row: f"{row.market}/{row.side}" if row.status == "open" else None,
            lambda key, row: (row.price, row.priority),
        ),
        EqualityIndex("by_account", "account"),
        EqualityIndex("by_client_id", "client_id"),
        SumIndex("open", "account", "left"),
        DeadlineIndex("expiry", "until_us", lambda key, row: Rest(0)),
    ),
)
BALANCES = Table(
    "book.balance",
    Balance,
    CreatedBy(),
    resident=True,
    searchable=("account",),
    indexes=(EqualityIndex("by_account", "account"), SumIndex("held", "account", "held")),
)
TRADES = Table("book.trade", Trade, CreatedBy(), write_once=True, searchable=("market",))

_MARKET = "BTC-CHFX"
_LOTS = 1_000


def _account(context: Context, number: int) -> str:
    return f"{context.source}/account-{number % 1_000}"


def _hold(state: State, account: str, amount: int) -> None:
    balance = state[BALANCES].get(account) or Balance(account, 0, 1 << 40)
    state[BALANCES].put(account, Balance(account, balance.held + amount, balance.free - amount))


def _rest(state: State, context: Context, command: Rest) -> None:
    account = _account(context, command.number)
    _hold(state, account, _LOTS)
    _hold(state, f"{context.source}/market-{command.number % 10}", 1)
    price = 1_000 + command.number % 50
    order = Order(account, _MARKET, "sell", price, command.number, _LOTS, f"c{command.number}")
    state[ORDERS].insert(context.new_key(), order)


def _cross(state: State, context: Context, command: Cross) -> None:
    _hold(state, _account(context, command.number), -1)
    taker = Order(_account(context, command.number), _MARKET, "buy", 9_999, command.number, 0, "", 0, "filled")
    state[ORDERS].insert(context.new_key(), taker)
    best = []
    for key in state[ORDERS].ordered("queue", f"{_MARKET}/sell"):
        best.append(key)
        if len(best) == FILLS:
            break
    for key in best:
        maker = state[ORDERS].get(key)
        assert maker is not None
        amount = min(maker.left, 1 + command.number % 400)
        left = maker.left - amount
        status = "open" if left else "filled"
        state[ORDERS].put(
            key,
            Order(maker.account, _MARKET, "sell", maker.price, maker.priority, left, maker.client_id, 0, status),
        )
        _hold(state, maker.account, -amount)
        trade = Trade(_MARKET, key, maker.price, amount, context.time_us)
        state[TRADES].insert(context.new_key(), trade)


def _reply(rows: EntryRows) -> tuple[str, int]:
    return rows.rows(ORDERS)[0][0], len(rows.rows(TRADES))


MODULE = Module(
    "book",
    1,
    tables=(ORDERS, BALANCES, TRADES),
    commands=(
        Command(Rest, "book.order.rested", _rest, _reply),
        Command(Cross, "book.order.crossed", _cross, _reply),
    ),
)

"""What must be true of every event of a book: checked here before commit, and by every replica again.

Together with the wallet's: an order is funded while it is open; what was filled was paid, by both sides, at the maker's
price and within both limits; nothing of an order is lost or filled twice; nobody trades with themselves.
"""

from typing import Any

from jilnode.module import Change, Invariant
from services.dex.matching import MAKERS_MAX
from services.dex.rows import BOOKS, BUY, CLOSED, ORDERS, TRADES, Closed, Order, Trade
from services.wallet.rows import RESERVATIONS, TRANSFERS

__all__ = ("INVARIANTS",)


def _counted(change: Change) -> str | None:
    """B3: what an order was is filled, remaining, cancelled or prevented, in whatever form it stands. It never
    grows, and what it is never changes."""
    closed = {key: after for key, _, after in change.rows(CLOSED)}
    for key, before, after in change.rows(ORDERS):
        ended = closed.pop(key, None)
        if (after is None) != (ended is not None):
            return f"order {key} ends without saying how, or says so and goes on"
        problem = _order(before, after, ended)
        if problem is not None:
            return f"order {key} {problem}"
    for key, ended in closed.items():
        if ended is None:
            return f"the closed order {key} is deleted"
        problem = _order(None, None, ended)
        if problem is not None:
            return f"order {key} {problem}"
    return None


def _order(before: Order | None, after: Order | None, ended: Closed | None) -> str | None:
    now: Any = ended if after is None else after
    remaining = 0 if after is None else after.remaining
    parts = (now.filled, now.cancelled, now.prevented)
    if min(parts) < 0 or sum(parts) + remaining != now.quantity or now.quantity <= 0 or now.price <= 0:
        return "does not add up"
    if after is not None and (after.remaining <= 0 or after.time_in_force in ("ioc", "fok")):
        return "may not rest"
    if after is not None and (after.kind == "market" or (after.kind == "stop" and not after.stop)):
        return "may not rest"
    if before is None:
        return None
    if (before.market, before.account, before.side, before.price, before.quantity) != (
        now.market,
        now.account,
        now.side,
        now.price,
        now.quantity,
    ):
        return "is changed"
    if before.filled > now.filled or before.cancelled > now.cancelled or before.prevented > now.prevented:
        return "takes back what became of it"
    # A stop order gets its place when it wakes.
    if after is not None and before.priority != after.priority and not (before.stop and not after.stop):
        return "changes its place"
    return None


def _traded(change: Change) -> str | None:
    """B4, B5 and the money: each trade is at its maker's price and within its taker's limit, between two owners, and is
    paid by two transfers; what orders have filled is what was traded."""
    trades = change.rows(TRADES)
    if len(trades) > MAKERS_MAX:
        return "more trades than one command may make"
    legs: dict[str, list[tuple[str, str, int, int]]] = {}
    for _, _, transfer in change.rows(TRANSFERS):
        if transfer.kind == "trade":
            legs.setdefault(transfer.of, []).append((transfer.debit, transfer.credit, transfer.amount, transfer.fee))
    filled: dict[str, int] = {}
    seen = _orders(change)
    for key, before, trade in trades:
        if before is not None or trade is None:
            return f"trade {key} is written once"
        problem = _trade(trade, seen.get(trade.maker_order), seen.get(trade.taker_order))
        if problem is not None:
            return f"trade {key} {problem}"
        if sorted(legs.get(key, ())) != _legs(trade):
            return f"trade {key} is not paid as it says"
        filled[trade.maker_order] = filled.get(trade.maker_order, 0) + trade.quantity
        filled[trade.taker_order] = filled.get(trade.taker_order, 0) + trade.quantity
    for key, (before, now) in seen.items():
        if now.filled - (0 if before is None else before.filled) != filled.pop(key, 0):
            return f"order {key} is filled with what nobody traded"
    if filled:
        return f"order {next(iter(filled))} is traded and not in the event"
    return None


def _orders(change: Change) -> dict[str, tuple[Order | None, Any]]:
    """order -> (before, as it is now or as it ended)."""
    found: dict[str, tuple[Order | None, Any]] = {key: (None, after) for key, _, after in change.rows(CLOSED)}
    for key, before, after in change.rows(ORDERS):
        found[key] = (before, after if after is not None else found[key][1])
    return found


def _trade(trade: Trade, maker: tuple[Order | None, Any] | None, taker: tuple[Order | None, Any] | None) -> str | None:
    if maker is None or taker is None:
        return "is of no order of this event"
    made, took = maker[1], taker[1]
    if trade.quantity <= 0 or trade.turnover <= 0 or trade.maker_fee < 0 or trade.taker_fee < 0:
        return "moves nothing"
    if (made.market, made.account, took.market, took.account) != (
        trade.market,
        trade.maker,
        trade.market,
        trade.taker,
    ):
        return "is of other orders"
    if took.side != trade.side or made.side == trade.side:
        return "has one side"
    if trade.price != made.price or (trade.price > took.price if trade.side == BUY else trade.price < took.price):
        return "is at a price that one of them did not offer"
    if trade.maker == trade.taker:
        return "is of one account with itself"
    return None


def _legs(trade: Trade) -> list[tuple[str, str, int, int]]:
    taker, maker = (trade.turnover, trade.quantity), (trade.quantity, trade.turnover)
    gives, gets = taker if trade.side == BUY else maker
    return sorted(
        [(trade.taker, trade.maker, gives, trade.taker_fee), (trade.maker, trade.taker, gets, trade.maker_fee)]
    )


def _funded(change: Change) -> str | None:
    """B9: an order holds money while it is open, at least what it may still give, and no longer."""
    held = {key: (before, after) for key, before, after in change.rows(RESERVATIONS)}
    for key, before, after in change.rows(ORDERS):
        reservation = held.get(key)
        if before is None:
            if reservation is None or reservation[1] is None or reservation[1].account != after.account:
                return f"order {key} is not funded"
        elif after is None:
            if reservation is None or reservation[1] is not None:
                return f"order {key} has ended and holds money"
        elif before.remaining != after.remaining and reservation is None:
            return f"order {key} holds what it held when it was larger"
        if after is not None and after.side != BUY and reservation is not None:
            row = reservation[1]
            if row is None or row.amount < after.remaining:
                return f"order {key} holds less than it may still give"
    return None


def _numbered(change: Change) -> str | None:
    """B11: the sequence of a book and the numbers of its trades have no gaps."""
    numbers: dict[str, list[int]] = {}
    for _, _, trade in change.rows(TRADES):
        numbers.setdefault(trade.market, []).append(trade.number)
    for key, before, after in change.rows(BOOKS):
        if after is None:
            return f"book {key} is deleted"
        if before is None:
            continue
        first = before.trades + 1
        if after.sequence != before.sequence + 1 or sorted(numbers.pop(key, ())) != list(
            range(first, after.trades + 1)
        ):
            return f"book {key} skips a number"
    if numbers:
        return f"{next(iter(numbers))} has trades and its book does not know"
    return None


INVARIANTS = (
    Invariant("dex_counted", range(1, 2), _counted, (ORDERS, CLOSED)),
    Invariant("dex_traded", range(1, 2), _traded, (ORDERS, CLOSED, TRADES)),
    Invariant("dex_funded", range(1, 2), _funded, (ORDERS,)),
    Invariant("dex_numbered", range(1, 2), _numbered, (BOOKS, TRADES)),
)

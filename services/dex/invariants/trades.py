"""A trade: between an order that comes and one that was there before it, at the price, for the amounts and at the fee
for which that one came, best first, until one of the two has nothing left."""

from typing import Any

from jilnode.module import Change, RowChange
from services.dex.commands.markets import BPS_MAX
from services.dex.matching import MAKERS_MAX
from services.dex.prices import fee_on, saturated, worth
from services.dex.rows import BOOKS, BUY, CLOSED, ORDERS, TRADES, Order, Trade

__all__ = ("traded",)

_Seen = tuple[Order | None, Any]
"""An order before the event, and as it is now or as it ended."""


def traded(change: Change) -> str | None:
    """B2, B4, B5, B6 and the money: each trade is at its maker's price and within its taker's limit, between two
    accounts, and paid in the market's assets (that it is paid, the wallet judges); what orders have filled, moved and
    given is what was traded."""
    trades = change.rows(TRADES)
    if len(trades) > MAKERS_MAX:
        return "more trades than one command may make"
    if len(trades) > 1:
        trades = sorted(trades, key=_number)
    books = {key: after for key, _, after in change.rows(BOOKS)}
    filled: dict[str, int] = {}
    moved: dict[str, int] = {}
    gave: dict[str, int] = {}
    took: dict[str, int] = {}
    met: dict[str, tuple[int, int]] = {}
    seen = _orders(change)
    for key, before, trade in trades:
        if before is not None or trade is None:
            return f"trade {key} is written once"
        made_by, taken_by = trade.maker_order, trade.taker_order
        maker, taker = seen.get(made_by), seen.get(taken_by)
        if maker is None or taker is None:
            return f"trade {key} is of no order of this event"
        problem = _trade(trade, maker[1], taker[1]) or _meets(maker, taker)
        if problem is not None:
            return f"trade {key} {problem}"
        if trade.at_us != change.time_us:
            return f"trade {key} is of another time than its event"
        book = books.get(trade.market)
        quantity, turnover = trade.quantity, trade.turnover
        if book is None or turnover != worth(book.scales, trade.price, quantity):
            return f"trade {key} moves something else than price times quantity"
        if _gives(trade) != (book.assets, book.scales[1:]):
            return f"trade {key} is paid in something else than its market's assets"
        if not _maker_fee(trade, maker, gave) or not _taker_fee(trade, taker[0], took):
            return f"trade {key} takes another fee than its orders came for"
        place = (trade.price if trade.side == BUY else -trade.price, maker[1].priority)
        if taken_by in met and place <= met[taken_by]:
            return f"trade {key} is with a maker who was before the last"
        met[taken_by] = place
        for order in (made_by, taken_by):
            filled[order] = filled.get(order, 0) + quantity
            moved[order] = moved.get(order, 0) + turnover
    for key, (was, now) in seen.items():
        if now.filled - (0 if was is None else was.filled) != filled.pop(key, 0):
            return f"order {key} is filled with what nobody traded"
        if now.turnover != saturated((0 if was is None else was.turnover) + moved.get(key, 0)):
            return f"order {key} moved something else than it traded"
        if isinstance(now, Order) and now.given != gave.get(key, 0 if was is None else was.given):
            return f"order {key} gave something else than it traded"
    if filled:
        return f"order {next(iter(filled))} is traded and not in the event"
    return None


def _orders(change: Change) -> dict[str, _Seen]:
    found: dict[str, _Seen] = {key: (None, after) for key, _, after in change.rows(CLOSED)}
    for key, before, after in change.rows(ORDERS):
        found[key] = (before, after if after is not None else found[key][1])
    return found


def _trade(trade: Trade, made: Any, took: Any) -> str | None:
    debit, credit = trade.debit, trade.credit
    if (made.market, made.account, took.market, took.account) != (trade.market, credit, trade.market, debit):
        return "is of other orders"
    if took.side != trade.side or made.side == trade.side:
        return "has one side"
    if trade.price != made.price or (trade.price > took.price if trade.side == BUY else trade.price < took.price):
        return "is at a price that one of them did not offer"
    if debit == credit:
        return "is of one account with itself"
    return None


def _meets(maker: _Seen, taker: _Seen) -> str | None:
    """Who takes comes, or wakes, and met who was there before it, until one of the two had nothing left."""
    had, made = maker
    was, took = taker
    if was is not None and (took.stop or not was.stop):
        return "is taken by an order that was in the book"
    if (had is not None and had.stop) or made.time_in_force in ("ioc", "fok") or made.priority >= took.priority:
        return "is with an order that was not in the book before the other"
    if took.kind == "post_only":
        return "is taken by an order that takes nothing"
    if isinstance(made, Order) and (isinstance(took, Order) or took.reason != "filled"):
        return "leaves something of both orders"
    # What came and ended in this event left its owner, and what it came for, nowhere.
    first, second = made if had is None else had, took if was is None else was
    if not (isinstance(first, Order) and isinstance(second, Order)):
        return None
    return "is of one owner with itself" if first.group == second.group and second.prevention != "none" else None


def _number(change: RowChange) -> int:
    trade = change[2]
    return 0 if trade is None else int(trade.number)


def _maker_fee(trade: Trade, maker: _Seen, gave: dict[str, int]) -> bool:
    """Whether it is what the maker came for; ``gave``: what each maker gave in all, up to this trade. Of one that came
    and ended in this event only the bound is known."""
    was, now = maker
    order = now if was is None else was
    if not isinstance(order, Order):
        return trade.back_fee <= fee_on(trade.back_amount, BPS_MAX)
    before = gave.get(trade.maker_order, 0 if was is None else was.given)
    after = gave[trade.maker_order] = before + trade.back_amount
    return trade.back_fee == fee_on(after, order.maker_bps) - fee_on(before, order.maker_bps)


def _taker_fee(trade: Trade, waited: Order | None, took: dict[str, int]) -> bool:
    """The same of the taker: a stop order came for a fee, of any other the bound is known."""
    if waited is None:
        return trade.fee <= fee_on(trade.amount, BPS_MAX)
    before = took.get(trade.taker_order, 0)
    after = took[trade.taker_order] = before + trade.amount
    return trade.fee == fee_on(after, waited.taker_bps) - fee_on(before, waited.taker_bps)


def _gives(trade: Trade) -> tuple[tuple[str, str], tuple[int, int]]:
    """The assets that were paid, base and quote, and their decimals."""
    if trade.side == BUY:
        return (trade.back_asset, trade.asset), (trade.back_scale, trade.scale)
    return (trade.asset, trade.back_asset), (trade.scale, trade.back_scale)

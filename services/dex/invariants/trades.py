"""A trade: between two orders of its event, at the price, for the amounts and at the fee that they came for."""

from typing import Any

from jilnode.module import Change, RowChange
from services.dex.matching import MAKERS_MAX
from services.dex.prices import fee_on, worth
from services.dex.rows import BOOKS, BUY, CLOSED, ORDERS, TRADES, Order, Trade

__all__ = ("traded",)


def traded(change: Change) -> str | None:
    """B4, B5 and the money: each trade is at its maker's price and within its taker's limit, between two accounts, and
    paid in the market's assets (that it is paid, the wallet judges); what orders have filled is what was traded."""
    trades = sorted(change.rows(TRADES), key=_number)
    if len(trades) > MAKERS_MAX:
        return "more trades than one command may make"
    books = {key: after for key, _, after in change.rows(BOOKS)}
    filled: dict[str, int] = {}
    gave: dict[str, int] = {}
    seen = _orders(change)
    for key, before, trade in trades:
        if before is not None or trade is None:
            return f"trade {key} is written once"
        problem = _trade(trade, seen.get(trade.maker_order), seen.get(trade.taker_order))
        if problem is not None:
            return f"trade {key} {problem}"
        book = books.get(trade.market)
        quantity = trade.quantity
        if book is None or trade.turnover != worth(book.scales, trade.price, quantity):
            return f"trade {key} moves something else than price times quantity"
        if _gives(trade) != (book.assets, book.scales[1:]):
            return f"trade {key} is paid in something else than its market's assets"
        before, now = seen[trade.maker_order]
        terms = before if before is not None else now
        # One that came and ended in this event left its terms nowhere.
        if isinstance(terms, Order) and trade.back_fee != _maker_fee(trade, terms.maker_bps, before, gave):
            return f"trade {key} takes another fee than its maker came for"
        filled[trade.maker_order] = filled.get(trade.maker_order, 0) + quantity
        filled[trade.taker_order] = filled.get(trade.taker_order, 0) + quantity
    for key, (before, now) in seen.items():
        if now.filled - (0 if before is None else before.filled) != filled.pop(key, 0):
            return f"order {key} is filled with what nobody traded"
        if isinstance(now, Order) and now.given != gave.get(key, 0 if before is None else before.given):
            return f"order {key} gave something else than it traded"
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


def _number(change: RowChange) -> int:
    trade = change[2]
    return 0 if trade is None else int(trade.number)


def _maker_fee(trade: Trade, bps: int, maker: Order | None, gave: dict[str, int]) -> int:
    """``maker``: as it was before the event; one that came in it had given nothing. ``gave``: what each maker gave in
    all, up to this trade."""
    before = gave.get(trade.maker_order, 0 if maker is None else maker.given)
    after = gave[trade.maker_order] = before + trade.back_amount
    return fee_on(after, bps) - fee_on(before, bps)


def _gives(trade: Trade) -> tuple[tuple[str, str], tuple[int, int]]:
    """The assets that were paid, base and quote, and their decimals."""
    if trade.side == BUY:
        return (trade.back_asset, trade.asset), (trade.back_scale, trade.scale)
    return (trade.asset, trade.back_asset), (trade.scale, trade.back_scale)

"""An order: what it is never changes, what became of it adds up, and it is funded while it is open."""

from typing import Any

from jilnode.module import Change
from services.dex.prices import rest_cost, wait_cost, worth
from services.dex.rows import BOOKS, BUY, CLOSED, ORDERS, SELL, Closed, Order

__all__ = ("counted", "funded")


def counted(change: Change) -> str | None:
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


def funded(change: Change) -> str | None:
    """B9: an order holds money while it is open, of the asset that its side gives: what it may still give, with the fee
    on it, to the unit. That it is set aside, and no longer than the order is there, the wallet judges."""
    books = {key: after for key, _, after in change.rows(BOOKS)}
    for key, _, after in change.rows(ORDERS):
        if after is None:
            continue
        book = books.get(after.market)
        if book is None:
            return f"the book of order {key} does not know"
        buys = after.side == BUY
        rest = worth(book.scales, after.price, after.remaining) if buys else after.remaining
        hold = wait_cost(after, rest) if after.stop else rest_cost(after, rest)
        if (after.reserved.asset, after.reserved.amount) != (book.assets[buys], hold):
            return f"order {key} holds something else than it may still give"
    return None


def _order(before: Order | None, after: Order | None, ended: Closed | None) -> str | None:
    now: Any = ended if after is None else after
    remaining = 0 if after is None else after.remaining
    parts = (now.filled, now.cancelled, now.prevented)
    if min(parts) < 0 or sum(parts) + remaining != now.quantity or now.quantity <= 0 or now.price <= 0:
        return "does not add up"
    if now.side not in (BUY, SELL):
        return "is on no side"
    if after is not None and (after.remaining <= 0 or after.time_in_force in ("ioc", "fok")):
        return "may not rest"
    if after is not None and (after.kind == "market" or (after.kind == "stop" and not after.stop)):
        return "may not rest"
    if before is None:
        return None
    if _identity(before) != _identity(now) or (after is not None and _terms(before) != _terms(after)):
        return "is changed"
    if before.filled > now.filled or before.cancelled > now.cancelled or before.prevented > now.prevented:
        return "takes back what became of it"
    # A stop order gets its place when it wakes.
    if after is not None and before.priority != after.priority and not (before.stop and not after.stop):
        return "changes its place"
    return None


def _identity(order: Any) -> tuple[object, ...]:
    return (
        order.market,
        order.account,
        order.side,
        order.price,
        order.quantity,
        order.kind,
        order.time_in_force,
        order.client_id,
        order.placed_us,
    )


def _terms(order: Order) -> tuple[object, ...]:
    return (
        order.group,
        order.prevention,
        order.expires_us,
        order.maker_bps,
        order.taker_bps,
        order.quoting,
    )

"""An order's life: it comes in its event and as it may, what it is never changes, what became of it adds up, it ends as
it stood and for a reason that it has, and it is funded while it is open."""

from typing import Any, Final

from jilnode.module import Change
from services.dex.commands.markets import BPS_MAX
from services.dex.commands.orders import TIMES_OF_KIND
from services.dex.commands.watch import reaches
from services.dex.matching import PREVENTIONS
from services.dex.prices import rest_cost, wait_cost, worth
from services.dex.rows import BOOKS, BUY, CLOSED, ORDERS, SELL, Closed, Order

__all__ = ("counted", "funded")

_AT_ONCE: Final = ("filled", "immediate_or_cancel", "fill_limit", "self_trade")
"""Why an order may end in the event in which it comes."""


def counted(change: Change) -> str | None:
    """B3: what an order was is filled, remaining, cancelled or prevented, in whatever form it stands. It never
    grows, and what it is never changes. What is prevented of one side is prevented of the other."""
    closed = {key: after for key, _, after in change.rows(CLOSED)}
    prevented: dict[str, int] = {}
    for key, before, after in change.rows(ORDERS):
        ended = closed.pop(key, None)
        if (after is None) != (ended is not None):
            return f"order {key} ends without saying how, or says so and goes on"
        problem = _order(change, before, after, ended)
        if problem is not None:
            return f"order {key} {problem}"
        _add_prevented(prevented, before, ended if after is None else after)
    for key, ended in closed.items():
        if ended is None:
            return f"the closed order {key} is deleted"
        problem = _order(change, None, None, ended)
        if problem is not None:
            return f"order {key} {problem}"
        _add_prevented(prevented, None, ended)
    for market, quantity in prevented.items():
        if quantity:
            return f"{quantity} more is prevented of one side of {market} than of the other"
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


def _order(change: Change, before: Order | None, after: Order | None, ended: Closed | None) -> str | None:
    now: Any = ended if after is None else after
    remaining = 0 if after is None else after.remaining
    parts = (now.filled, now.cancelled, now.prevented)
    if min(parts) < 0 or sum(parts) + remaining != now.quantity or now.quantity <= 0 or now.price <= 0:
        return "does not add up"
    if now.side not in (BUY, SELL):
        return "is on no side"
    if now.stop and (now.filled or now.prevented):
        return "is met while it waits"
    if after is not None and (after.remaining <= 0 or after.time_in_force in ("ioc", "fok")):
        return "may not rest"
    if after is not None and (after.kind == "market" or (after.kind == "stop" and not after.stop)):
        return "may not rest"
    problem = _comes(change, now, after) if before is None else _goes_on(change, before, now, after)
    if problem is None and ended is not None:
        problem = _ends(change, before, ended)
    return problem


def _comes(change: Change, now: Any, stays: Order | None) -> str | None:
    if now.placed_us != change.time_us:
        return "comes at another time than its event"
    if now.time_in_force not in TIMES_OF_KIND.get(now.kind, ()):
        return "is of no kind, or in force for no time"
    if stays is None:
        return None
    if stays.stop < 0 or (stays.stop > 0) != stays.kind.startswith("stop"):
        return "waits for no stop, or does not wait for it"
    if stays.expires_us <= change.time_us if stays.time_in_force == "gtd" else stays.expires_us:
        return "is not good till its time"
    if not (0 <= stays.maker_bps <= BPS_MAX and 0 <= stays.taker_bps <= BPS_MAX):
        return "comes for a fee that nobody takes"
    return None if stays.prevention in PREVENTIONS else "prevents in no way"


def _goes_on(change: Change, before: Order, now: Any, after: Order | None) -> str | None:
    if _identity(before) != _identity(now) or (after is not None and _terms(before) != _terms(after)):
        return "is changed"
    if before.filled > now.filled or before.cancelled > now.cancelled or before.prevented > now.prevented:
        return "takes back what became of it"
    wakes = now.stop != before.stop
    if wakes and (now.stop or not _reached(change, before)):
        return "has another stop, or wakes before its price is reached"
    # A stop order gets its place when it wakes.
    return "changes its place" if before.priority != now.priority and not wakes else None


def _reached(change: Change, order: Order) -> bool:
    """Whether what was traded before the event wakes it."""
    for key, before, _ in change.rows(BOOKS):
        if key == order.market and before is not None:
            return reaches(before, order)
    return False


def _ends(change: Change, before: Order | None, ended: Closed) -> str | None:
    reason, filled, cancelled = ended.reason, ended.filled, ended.cancelled
    if ended.closed_us != change.time_us:
        return "ends at another time than its event"
    if before is None and (ended.stop or reason not in _AT_ONCE):
        return "ends as it comes, for a reason that it has not yet"
    if ended.time_in_force == "fok" and filled != ended.quantity:
        return "is filled in part and was all or nothing"
    if before is not None:
        filled, cancelled = filled - before.filled, cancelled - before.cancelled
    # What is filled to the end leaves nothing to cancel; any other end does, unless the last of it was prevented.
    whole = filled and not cancelled if reason == "filled" else cancelled or reason == "self_trade"
    if not whole:
        return "ends for another reason than what became of it"
    if reason == "immediate_or_cancel" and ended.time_in_force != "ioc" and (ended.stop or ended.kind != "stop"):
        return "is taken out and might have rested"
    if reason == "expired" and (before is None or not 0 < before.expires_us <= change.time_us):
        return "expires before its time"
    return None


def _add_prevented(prevented: dict[str, int], before: Order | None, now: Any) -> None:
    """Of each market, what is prevented more of buys than of sells."""
    quantity = now.prevented - (0 if before is None else before.prevented)
    if quantity:
        prevented[now.market] = prevented.get(now.market, 0) + (quantity if now.side == BUY else -quantity)


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

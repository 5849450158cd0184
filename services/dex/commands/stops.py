"""Stop orders: they wait outside the book, funded, until the last price reaches them."""

import msgspec

from services.dex.commands.desk import Desk
from services.dex.rows import Order

__all__ = ("wake",)


def wake(desk: Desk, key: str, order: Order) -> None:
    """It becomes what it was meant to be: ``stop`` takes what is there within its price, ``stop_limit`` may rest. One
    that may not trade any more ends."""
    code = desk.unfit(order)
    if code:
        desk.end(key, order, code)
        return
    awake = msgspec.structs.replace(order, stop=0, priority=desk.place())
    desk.enter(key, awake, rests=order.kind == "stop_limit", waited=True)

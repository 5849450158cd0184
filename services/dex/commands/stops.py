"""Stop orders: they wait outside the book, funded, until the last price reaches them."""

import msgspec

from services.dex.commands.desk import Desk
from services.dex.rows import Order
from services.wallet.ledger import may_pay
from services.wallet.rows import ACCOUNTS

__all__ = ("wake",)


def wake(desk: Desk, key: str, order: Order) -> None:
    """It becomes what it was meant to be: ``stop`` takes what is there within its price, ``stop_limit`` may rest. One
    whose account may not pay any more ends."""
    code = may_pay(desk.context, order.account, desk.state[ACCOUNTS].get(order.account))
    if code:
        desk.end(key, order, code)
        return
    awake = msgspec.structs.replace(order, stop=0, priority=desk.place())
    desk.enter(key, awake, rests=order.kind == "stop_limit", waited=True)

"""Cancelling many orders: a step in each event, and a cursor row while there is more."""

from jilnode.kernel.state import Context, State
from services.dex.commands.desk import Floor
from services.dex.commands.markets import market_of
from services.dex.intents import CancelAll, SweepOrders
from services.dex.queues import account_at
from services.dex.rows import MARKETS, ORDERS, SWEEPS, Order, Sweep
from services.wallet.commands.accounts import account_of, check_owner
from services.wallet.rows import SHARES, share_key

__all__ = ("SWEEP_STEP", "cancel_all", "sweep_orders")

SWEEP_STEP = 100


def cancel_all(state: State, context: Context, command: CancelAll) -> None:
    account, row = account_of(state, command.account, "/account")
    check_owner(context, row, "/account")
    market = market_of(state, context, command.market)[0] if command.market else ""
    key = context.new_key()
    sweep = Sweep(account, market, context.time_us, context.time_us)
    if _step(state, context, key, sweep):
        state[SWEEPS].insert(key, sweep)


def sweep_orders(state: State, context: Context, command: SweepOrders) -> None:
    """The kernel's own, until there are no more."""
    sweep = state[SWEEPS].get(command.key)
    assert sweep is not None
    if _step(state, context, command.key, sweep):
        state[SWEEPS].put(command.key, Sweep(sweep.account, sweep.market, sweep.at_us, context.time_us + 1))
    else:
        state[SWEEPS].delete(command.key)


def _step(state: State, context: Context, key: str, sweep: Sweep) -> bool:
    """Cancels some. Whether there are more."""
    found: list[tuple[str, Order]] = []
    for order_key in state[ORDERS].keys("at_node", account_at(context.source, sweep.account)):
        order = state[ORDERS].get(order_key)
        assert order is not None
        # What was placed after it stays.
        if sweep.market in ("", order.market) and (order.placed_us, order_key) < (sweep.at_us, key):
            if len(found) == SWEEP_STEP:
                break
            found.append((order_key, order))
    else:
        order_key = ""
    _end(state, context, found)
    return bool(order_key)


def _end(state: State, context: Context, orders: list[tuple[str, Order]]) -> None:
    balances = {f"{order.account}/{order.reserved.asset}" for _, order in orders}
    state.need([(SHARES, share_key(balance, context.source)) for balance in sorted(balances)])
    floor = Floor(state, context)
    for key, order in orders:
        market = state[MARKETS].get(order.market)
        assert market is not None
        floor.desk(order.market, market).end(key, order, "cancelled")
    floor.finish()

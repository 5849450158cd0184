"""Money that arrived for one waiting command: nobody else spends it, and it goes back when it was not used in time.

All of it is rows (``wallet.hold``, and ``bound`` in the share), so it outlives a restart and replicas see it.
"""

from jilnode.kernel.state import Context, State
from services.wallet.commands.shares import Purpose, changed, moved, purpose_name
from services.wallet.intents import ReturnHold
from services.wallet.rows import (
    HOLDS,
    RETURNS,
    SHARES,
    VISITS,
    Hold,
    Return,
    Share,
    Transit,
    Visit,
    hold_key,
    home_of,
    share_key,
)

__all__ = ("bind", "return_hold", "spendable")


def spendable(state: State, context: Context, balance: str, purpose: Purpose) -> Share | None:
    """This node's share of the balance, and in it as available what arrived for this purpose."""
    shares = state[SHARES]
    key = f"{balance}/{context.source}"
    share = shares.get(key)
    if share is None or not share.bound:
        return share
    held_under = hold_key(balance, purpose_name(context, purpose), context.source)
    hold = state[HOLDS].get(held_under)
    if hold is None:
        return share
    state[HOLDS].delete(held_under)
    share = moved(context, changed(share, bound=-hold.amount), hold.amount, 0)
    shares.put(key, share)
    visit = state[VISITS].get(key) or Visit()
    if hold.until_us > context.time_us:
        same = visit.until_us == hold.until_us
        allowance, count = (visit.allowance, visit.count) if same else (0, 0)
        state[VISITS].put(
            key,
            Visit(
                visit.request,
                visit.refused,
                visit.refused_us,
                visit.arrived_us,
                allowance + hold.allowance,
                count + hold.count,
                hold.until_us,
            ),
        )
    return share


def bind(state: State, context: Context, transit: Transit, deadline_us: int) -> None:
    """What was sent for a purpose arrives as its hold, and its part of the limits with it. Parts of other windows are
    worth nothing any more."""
    shares = state[SHARES]
    account, _, asset = transit.balance.rpartition("/")
    key = share_key(transit.balance, context.source)
    shares.put(key, changed(shares.get(key) or Share(account, asset), bound=transit.amount))
    held_under = hold_key(transit.balance, transit.purpose, context.source)
    before = state[HOLDS].get(held_under) or Hold(0, 0)
    same = before.until_us == transit.until_us
    allowance, count = (before.allowance, before.count) if same else (0, 0)
    state[HOLDS].put(
        held_under,
        Hold(
            before.amount + transit.amount,
            deadline_us,
            allowance + (transit.amount if transit.until_us else 0),
            count + transit.count,
            transit.until_us,
        ),
    )


def return_hold(state: State, context: Context, command: ReturnHold) -> None:
    """The kernel's own, at the deadline: home, or, where it is at home, to whoever comes next."""
    hold = state[HOLDS].get(command.key)
    assert hold is not None
    state[HOLDS].delete(command.key)
    balance = command.key.rsplit("/", 2)[0]
    key = share_key(balance, context.source)
    share = state[SHARES].get(key)
    assert share is not None
    home = home_of(balance)
    if home == context.source:
        state[SHARES].put(key, changed(share, available=hold.amount, bound=-hold.amount))
        return
    state[SHARES].put(key, changed(share, bound=-hold.amount))
    limits = (hold.allowance, hold.count, hold.until_us) if hold.until_us > context.time_us else (0, 0, 0)
    state[RETURNS].insert(context.new_key(), Return(balance, hold.amount, home, *limits))

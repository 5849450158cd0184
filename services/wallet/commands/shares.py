"""Shares: credit anybody at this node; debit only what this node's share holds."""

from hashlib import sha256
from typing import Final

from msgspec.structs import replace

from jilnode.kernel.state import Context, State, View
from jilnode.kernel.system import SOURCES
from jilnode.module import Rejected
from services.wallet.intents import RequestShare
from services.wallet.rows import (
    CLAIMS,
    PURPOSE_CHARS_MAX,
    RECEIPTS,
    RETURNS,
    SHARES,
    TRANSITS,
    VISITS,
    Account,
    Share,
    home_of,
    share_key,
)

__all__ = (
    "DRIFT_AFTER_US",
    "Purpose",
    "ask",
    "changed",
    "check_debit",
    "credit",
    "debit",
    "moved",
    "purpose_name",
    "release",
    "set_aside",
    "shares_elsewhere",
    "short",
    "under_way",
)

HOME_HEARD_MAX_S: Final = 600
SHARE_WAIT_S: Final = 2.0
DRIFT_AFTER_US: Final = 60_000_000
REFUSAL_STANDS_US: Final = 5_000_000

Purpose = tuple[str, str, int]
"""What a debit is for: (kind, the account that is paid, amount). With who asks, it names the command that waits: who
tries the same again finds what came for it, after a restart too."""


def purpose_name(context: Context, purpose: Purpose) -> str:
    """The purpose as a part of keys: as short as they need, and it tells nobody who pays whom."""
    kind, credit, amount = purpose
    text = f"{context.actor}\x00{kind}\x00{credit}\x00{amount}"
    return sha256(text.encode()).hexdigest()[:PURPOSE_CHARS_MAX]


def check_debit(context: Context, account: str, row: Account) -> None:
    """An account that is not active pays nothing; away from home it pays only while the home was heard lately."""
    if row.status != "active":
        raise Rejected(f"account_{row.status}", f"the account is {row.status}", status=403, field="/debit")
    if account.startswith(context.source + "/"):
        return
    home = home_of(account)
    heard_us = context.tick_us(home)
    bound_s = context.zone_facts.get("home_heard_max_s", HOME_HEARD_MAX_S)
    assert isinstance(bound_s, int)
    if heard_us is None or context.time_us - heard_us > bound_s * 1_000_000:
        raise Rejected(
            "home_not_heard",
            f"{home} was not heard for {bound_s} s: a freeze there could be unknown here",
            status=503,
            retry_after_s=5,
        )


def debit(state: State, context: Context, balance: str, share: Share | None, amount: int, purpose: Purpose) -> None:
    """Takes ``amount`` off ``share``, this node's of the balance. Raises ``Rejected``: ``insufficient_funds``, or
    ``share_short`` when the rest lies at other nodes, whom the node then asks."""
    if share is None or share.available < amount:
        raise short(state, context, balance, share, amount, purpose)
    state[SHARES].put(
        f"{balance}/{context.source}",
        replace(share, available=share.available - amount),
    )


def set_aside(state: State, context: Context, balance: str, share: Share | None, amount: int, purpose: Purpose) -> None:
    """Moves ``amount`` from available to held. Raises as ``debit``."""
    if share is None or share.available < amount:
        raise short(state, context, balance, share, amount, purpose)
    state[SHARES].put(f"{balance}/{context.source}", changed(share, available=-amount, held=amount))


def release(state: State, context: Context, account: str, asset: str, held: int, back: int) -> None:
    """Takes ``held`` off what is held, and gives ``back`` of it back to available."""
    shares = state[SHARES]
    key = f"{account}/{asset}/{context.source}"
    share = shares.get(key)
    assert share is not None
    shares.put(key, moved(context, share, back, -held))


def credit(state: State, context: Context, account: str, asset: str, amount: int) -> None:
    """Adds to this node's share. All that was ever issued fits into 64 bits, so a share does."""
    shares = state[SHARES]
    key = f"{account}/{asset}/{context.source}"
    share = shares.get(key) or Share(account, asset)
    shares.put(key, moved(context, share, amount, 0))


def changed(share: Share, available: int = 0, held: int = 0, bound: int = 0) -> Share:
    """The share with so much more of each."""
    return replace(share, available=share.available + available, held=share.held + held, bound=share.bound + bound)


def moved(context: Context, share: Share, available: int, held: int) -> Share:
    """The share after a change; what becomes available away from home gets a moment at which it goes home."""
    drift_us = share.drift_us
    if available > 0 and not drift_us and not share.account.startswith(context.source + "/"):
        drift_us = context.time_us + DRIFT_AFTER_US
    return replace(share, available=share.available + available, held=share.held + held, drift_us=drift_us)


def under_way(state: State | View, balance: str) -> int:
    """What was sent and has not arrived, as far as this node has heard."""
    sent = state[TRANSITS].total("moving", balance) + state[RETURNS].total("moving", balance)
    return sent - state[CLAIMS].total("moving", balance) - state[RECEIPTS].total("moving", balance)


def shares_elsewhere(state: State, context: Context, balance: str) -> list[tuple[str, Share]]:
    """(node, share) of a balance at each other node that is known here. The account's index would tell too, and all
    that anybody ever credited to it in assets of his own."""
    places = [(node, share_key(balance, node)) for node, _ in state[SOURCES].all() if node != context.source]
    state.need([(SHARES, key) for _, key in places])
    found = [(node, state[SHARES].get(key)) for node, key in places]
    return [(node, share) for node, share in found if share is not None]


def short(state: State, context: Context, balance: str, share: Share | None, amount: int, purpose: Purpose) -> Rejected:
    """Why a debit can't be made here. What is held elsewhere does not count; what is under way does, and so does what
    waits for other commands: it may come back."""
    lacking = amount - (0 if share is None else share.available)
    bound_here = 0 if share is None else share.bound
    others = shares_elsewhere(state, context, balance)
    elsewhere = sum([other.available + other.bound for _, other in others])
    # Who asks for money has a share from then on, so without others nothing is under way.
    if elsewhere < lacking and (not others or elsewhere + under_way(state, balance) < lacking):
        if elsewhere + bound_here < lacking:
            return Rejected("insufficient_funds", "the account does not have that much", field="/amount")
        return Rejected(
            "share_short",
            "the rest came for another transfer, and is free if that one is not made",
            status=409,
            retry_after_s=5,
            extra={"reason": "held_for_another"},
        )
    return ask(state, context, balance, lacking, purpose)


def ask(state: State, context: Context, balance: str, lacking: int, purpose: Purpose) -> Rejected:
    """``share_short``: another node is asked, unless it has just refused; then the caller is told why."""
    visit = state[VISITS].get(share_key(balance, context.source))
    if visit is not None and visit.refused and context.time_us < visit.refused_us + REFUSAL_STANDS_US:
        return Rejected(
            "share_short",
            f"the rest lies at another node, which does not send it now: {visit.refused}",
            status=409,
            retry_after_s=5,
            extra={"reason": visit.refused},
        )
    return Rejected(
        "share_short",
        "the rest lies at another node, which was asked for it",
        status=409,
        retry_after_s=1,
        follow_up=RequestShare(balance, lacking, purpose_name(context, purpose)),
        wait_s=SHARE_WAIT_S,
    )

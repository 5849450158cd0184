"""Money between nodes: asked for, granted or refused, claimed; and the drift home. No row is spent at two nodes."""

from jilnode.kernel.state import Context, State
from services.wallet.commands.shares import DRIFT_AFTER_US, moved, put_share
from services.wallet.intents import ClaimReturn, ClaimShare, DriftHome, GrantShare, RequestShare
from services.wallet.rows import (
    CLAIMS,
    GRANTED,
    RECEIPTS,
    REQUESTS,
    RETURNS,
    ROAMING,
    SHARES,
    TRANSITS,
    Claim,
    Granted,
    Request,
    Return,
    Share,
    Transit,
    home_of,
    share_key,
)

__all__ = ("claim_return", "claim_share", "drift_home", "grant_share", "request_share")

REQUEST_TIMEOUT_US = 30_000_000
MINIMUM_STAY_US = 2_000_000
HOUR_US = 3_600_000_000


def request_share(state: State, context: Context, command: RequestShare) -> None:
    """One open request for each (account, asset, node); the home is asked, or by the home whoever holds most."""
    key = share_key(command.account, command.asset, context.source)
    share = state[SHARES].get(key) or Share(command.account, command.asset)
    waiting = state[REQUESTS].get(share.request) if share.request else None
    if waiting is not None and waiting.deadline_us > context.time_us:
        return
    holder = _holder(state, context, command)
    if holder is None:
        return
    request = context.new_key()
    deadline_us = context.time_us + REQUEST_TIMEOUT_US
    state[REQUESTS].insert(request, Request(command.account, command.asset, command.amount, holder, deadline_us))
    state[SHARES].put(key, put_share(share, request=request))


def _holder(state: State, context: Context, command: RequestShare) -> str | None:
    home = home_of(command.account)
    if home != context.source:
        return home
    best: tuple[int, str] | None = None
    for key in state[SHARES].keys("by_account", command.account):
        share, owner = state[SHARES].get(key), state[SHARES].owner(key)
        if share is not None and owner is not None and owner != context.source and share.asset == command.asset:
            best = max(best or (0, ""), (share.available, owner))
    return best[1] if best is not None and best[0] else None


def grant_share(state: State, context: Context, command: GrantShare) -> None:
    """The holder's answer. Towards home always; away from home only what the roaming row allows, in the hour's cap."""
    request = state[REQUESTS].rest_on(command.key)
    assert request is not None
    asker = state[REQUESTS].owner(command.key)
    assert asker is not None
    key = share_key(request.account, request.asset, context.source)
    share = state[SHARES].get(key)
    amount, code = 0, ""
    if context.time_us > request.deadline_us:
        code = "too_late"
    elif share is None or share.available == 0:
        code = "nothing_here"
    elif context.time_us - share.arrived_us < MINIMUM_STAY_US:
        code = "minimum_stay"
    else:
        amount = min(request.amount, share.available)
        if asker != home_of(request.account):
            amount, code = _allowed(state, context, request, asker, amount)
    if amount:
        assert share is not None
        state[SHARES].put(key, moved(share, -amount, 0))
    state[TRANSITS].put(command.key, Transit(request.account, request.asset, amount, asker, code))


def _allowed(state: State, context: Context, request: Request, asker: str, amount: int) -> tuple[int, str]:
    roaming = state[ROAMING].get(f"{request.account}/{request.asset}")
    if roaming is None or roaming.expires_us < context.time_us or asker not in roaming.nodes:
        return 0, "roaming_not_allowed"
    hour = context.time_us // HOUR_US
    key = f"{request.account}/{request.asset}/{asker}/{hour}/{context.source}"
    granted = state[GRANTED].get(key) or Granted(0)
    amount = min(amount, roaming.amount - granted.amount)
    if amount <= 0:
        return 0, "roaming_cap"
    state[GRANTED].put(key, Granted(granted.amount + amount))
    return amount, ""


def claim_share(state: State, context: Context, command: ClaimShare) -> None:
    """What was sent arrives, once; a refusal (amount 0) closes the request."""
    transit = state[TRANSITS].rest_on(command.key)
    assert transit is not None
    key = share_key(transit.account, transit.asset, context.source)
    share = state[SHARES].get(key) or Share(transit.account, transit.asset)
    request = "" if share.request == command.key else share.request
    drift_us = share.drift_us
    if home_of(transit.account) != context.source:
        drift_us = context.time_us + DRIFT_AFTER_US
    arrived_us = context.time_us if transit.amount else share.arrived_us
    new = moved(share, transit.amount, 0)
    state[SHARES].put(key, put_share(new, request=request, arrived_us=arrived_us, drift_us=drift_us))
    state[CLAIMS].put(command.key, Claim(transit.account, transit.asset, transit.amount))


def drift_home(state: State, context: Context, command: DriftHome) -> None:
    """What lies unused away from home goes home."""
    share = state[SHARES].get(command.key)
    assert share is not None
    state[SHARES].put(command.key, put_share(moved(share, -share.available, 0), drift_us=0))
    if share.available:
        home = home_of(share.account)
        state[RETURNS].insert(context.new_key(), Return(share.account, share.asset, share.available, home))


def claim_return(state: State, context: Context, command: ClaimReturn) -> None:
    sent = state[RETURNS].rest_on(command.key)
    assert sent is not None
    key = share_key(sent.account, sent.asset, context.source)
    share = state[SHARES].get(key) or Share(sent.account, sent.asset)
    state[SHARES].put(key, put_share(moved(share, sent.amount, 0), arrived_us=context.time_us))
    state[RECEIPTS].put(command.key, Claim(sent.account, sent.asset, sent.amount))

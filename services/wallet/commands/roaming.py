"""Money between nodes: asked for, granted or refused, claimed; and the drift home. No row is spent at two nodes."""

from jilnode.kernel.state import Context, State
from jilnode.module import Rejected
from services.wallet.amounts import parse_amount
from services.wallet.commands.accounts import account_of, asset_of, check_owner
from services.wallet.commands.holds import bind
from services.wallet.commands.limits import give_back, take_allowance
from services.wallet.commands.shares import DRIFT_AFTER_US, changed, moved, shares_elsewhere
from services.wallet.intents import ClaimReturn, ClaimShare, DriftHome, GrantShare, RequestShare, SetRoaming
from services.wallet.rows import (
    ACCOUNTS,
    CLAIMS,
    GRANTED,
    RECEIPTS,
    REQUESTS,
    RETURNS,
    ROAMING,
    SHARES,
    TRANSITS,
    VISITS,
    Claim,
    Granted,
    Request,
    Return,
    Roaming,
    Share,
    Transit,
    Visit,
    home_of,
    share_key,
)

__all__ = ("claim_return", "claim_share", "drift_home", "grant_share", "request_share", "set_roaming")

REQUEST_TIMEOUT_US = 30_000_000
MINIMUM_STAY_US = 2_000_000
HOUR_US = 3_600_000_000
NODES_MAX = 64
TTL_S_MAX = 366 * 86_400


def set_roaming(state: State, context: Context, command: SetRoaming) -> None:
    key, row = account_of(state, command.account, "/account")
    check_owner(context, row, "/account")
    scale = asset_of(state, command.asset).scale
    if not 1 <= command.ttl_s <= TTL_S_MAX or len(command.nodes) > NODES_MAX:
        raise Rejected("bad_roaming", f"1 s to 366 days, at most {NODES_MAX} nodes", field="/nodes", status=400)
    amount = parse_amount(command.amount, scale, zero=True)
    hourly = parse_amount(command.hourly, scale, "/hourly", zero=True) if command.hourly else amount
    expires_us = context.time_us + command.ttl_s * 1_000_000
    state[ROAMING].put(f"{key}/{command.asset}", Roaming(scale, amount, hourly, tuple(command.nodes), expires_us))


def request_share(state: State, context: Context, command: RequestShare) -> None:
    """One open request for each balance and node. Away, the home is asked; the home asks whoever holds most."""
    key = share_key(command.balance, context.source)
    visit = state[VISITS].get(key) or Visit()
    waiting = state[REQUESTS].get(visit.request) if visit.request else None
    if waiting is not None and waiting.deadline_us > context.time_us:
        return
    holder = _holder(state, context, command.balance)
    if holder is None:
        return
    request = context.new_key()
    deadline_us = context.time_us + REQUEST_TIMEOUT_US
    state[REQUESTS].insert(request, Request(command.balance, command.amount, holder, deadline_us, command.purpose))
    if state[SHARES].get(key) is None:
        account, _, asset = command.balance.rpartition("/")
        state[SHARES].put(key, Share(account, asset))
    state[VISITS].put(key, Visit(request, "", 0, visit.arrived_us, visit.allowance, visit.count, visit.until_us))


def _holder(state: State, context: Context, balance: str) -> str | None:
    """None when nothing is available elsewhere: what lacks is under way."""
    home = home_of(balance)
    if home != context.source:
        return home
    best, holder = 0, None
    for node, share in shares_elsewhere(state, context, balance):
        if share.available > best:
            best, holder = share.available, node
    return holder


def grant_share(state: State, context: Context, command: GrantShare) -> None:
    """The holder's answer. Towards home always; away from home only by the home, and only what its roaming row and the
    account's limits allow."""
    request = state[REQUESTS].rest_on(command.key)
    asker = state[REQUESTS].owner(command.key)
    assert request is not None
    assert asker is not None
    key = share_key(request.balance, context.source)
    share = state[SHARES].get(key)
    visit = state[VISITS].get(key)
    amount, count, until_us, code = 0, 0, 0, ""
    if context.time_us > request.deadline_us:
        code = "too_late"
    elif share is None or share.available == 0:
        code = "held_for_another" if share is not None and share.bound else "nothing_here"
    elif visit is not None and context.time_us - visit.arrived_us < MINIMUM_STAY_US:
        code = "minimum_stay"
    elif asker == home_of(request.balance):
        amount = min(request.amount, share.available)
    else:
        amount, count, until_us, code = _allow(state, context, request, asker, min(request.amount, share.available))
    if amount:
        assert share is not None
        state[SHARES].put(key, changed(share, available=-amount))
    state[TRANSITS].put(command.key, Transit(request.balance, amount, asker, code, count, until_us, request.purpose))


def _allow(state: State, context: Context, request: Request, asker: str, amount: int) -> tuple[int, int, int, str]:
    """(amount, count, until_us, code) of what may go to ``asker``."""
    balance = request.balance
    account = state[ACCOUNTS].get(balance.rpartition("/")[0])
    if home_of(balance) != context.source or account is None:
        return 0, 0, 0, "not_home"
    if account.status != "active":
        return 0, 0, 0, f"account_{account.status}"
    roaming = state[ROAMING].get(balance)
    if roaming is None or roaming.expires_us < context.time_us or asker not in roaming.nodes:
        return 0, 0, 0, "roaming_not_allowed"
    hour = context.time_us // HOUR_US
    key = f"{balance}/{asker}"
    granted = state[GRANTED].get(key)
    before = granted.amount if granted is not None and granted.hour == hour else 0
    amount = min(amount, roaming.amount - roaming.used, roaming.hourly - before)
    if amount <= 0:
        return 0, 0, 0, "roaming_used_up"
    amount, count, until_us, code = take_allowance(state, context, balance, amount)
    if amount:
        state[GRANTED].put(key, Granted(hour, before + amount))
        state[ROAMING].put(balance, _used(roaming, amount))
    return amount, count, until_us, code


def _used(roaming: Roaming, amount: int) -> Roaming:
    used = max(0, roaming.used + amount)
    return Roaming(roaming.scale, roaming.amount, roaming.hourly, roaming.nodes, roaming.expires_us, used)


def claim_share(state: State, context: Context, command: ClaimShare) -> None:
    """What was sent arrives, once, for who waits for it; a refusal (amount 0) closes the request."""
    transit = state[TRANSITS].rest_on(command.key)
    assert transit is not None
    key = share_key(transit.balance, context.source)
    visit = state[VISITS].get(key) or Visit()
    request = "" if visit.request == command.key else visit.request
    if not transit.amount:
        seen = (transit.code, context.time_us, visit.arrived_us, visit.allowance, visit.count, visit.until_us)
    elif transit.purpose:
        asked = state[REQUESTS].get(command.key)
        assert asked is not None
        bind(state, context, transit, asked.deadline_us)
        seen = ("", 0, context.time_us, visit.allowance, visit.count, visit.until_us)
    else:
        _arrive(state, context, transit.balance, transit.amount)
        # Parts of the same windows add up; those of windows that are over are worth nothing.
        same = visit.until_us == transit.until_us
        allowance, count = (visit.allowance, visit.count) if same else (0, 0)
        added = transit.amount if transit.until_us else 0
        seen = ("", 0, context.time_us, allowance + added, count + transit.count, transit.until_us)
    state[VISITS].put(key, Visit(request, *seen))
    state[CLAIMS].put(command.key, Claim(transit.balance, transit.amount))


def _arrive(state: State, context: Context, balance: str, amount: int) -> None:
    key = share_key(balance, context.source)
    account, _, asset = balance.rpartition("/")
    share = moved(context, state[SHARES].get(key) or Share(account, asset), amount, 0)
    if share.drift_us:
        drift_us = context.time_us + DRIFT_AFTER_US
        share = Share(account, asset, share.available, share.held, drift_us, share.bound)
    state[SHARES].put(key, share)


def drift_home(state: State, context: Context, command: DriftHome) -> None:
    """What lies unused away from home goes home, and with it what it did not use of the limits."""
    share = state[SHARES].get(command.key)
    assert share is not None
    state[SHARES].put(command.key, Share(share.account, share.asset, 0, share.held, 0, share.bound))
    if not share.available:
        return
    balance = f"{share.account}/{share.asset}"
    visit = state[VISITS].get(command.key)
    allowance, count, until_us = 0, 0, 0
    if visit is not None and visit.until_us > context.time_us:
        allowance, count, until_us = min(visit.allowance, share.available), visit.count, visit.until_us
        rest = Visit(visit.request, visit.refused, visit.refused_us, visit.arrived_us)
        state[VISITS].put(command.key, rest)
    row = Return(balance, share.available, home_of(share.account), allowance, count, until_us)
    state[RETURNS].insert(context.new_key(), row)


def claim_return(state: State, context: Context, command: ClaimReturn) -> None:
    sent = state[RETURNS].rest_on(command.key)
    assert sent is not None
    _arrive(state, context, sent.balance, sent.amount)
    roaming = state[ROAMING].get(sent.balance)
    if roaming is not None and roaming.used:
        state[ROAMING].put(sent.balance, _used(roaming, -sent.amount))
    if sent.until_us:
        give_back(state, context, sent.balance, sent.allowance, sent.count, sent.until_us)
    state[RECEIPTS].put(command.key, Claim(sent.balance, sent.amount))

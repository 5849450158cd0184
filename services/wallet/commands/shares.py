"""Shares: credit anybody at this node; debit only what this node's share holds."""

from jilnode.kernel.state import Context, State
from jilnode.limits import INT64_MAX
from jilnode.module import Rejected
from services.wallet.intents import RequestShare
from services.wallet.rows import LIMITS, SHARES, USAGE, Account, Limit, Share, Usage, home_of, share_key

__all__ = ("HOME_HEARD_MAX_S", "check_debit", "check_limits", "credit", "debit", "hold", "put_share", "release")

HOME_HEARD_MAX_S = 600
SHARE_WAIT_S = 2.0
DRIFT_AFTER_US = 60_000_000
DAY_S = 86_400


def check_debit(state: State, context: Context, account: str, row: Account) -> None:
    """An account that is not active pays nothing; away from home it pays only while the home was heard lately."""
    if row.status != "active":
        raise Rejected(f"account_{row.status}", f"the account is {row.status}", status=403, field="/debit")
    home = home_of(account)
    if home != context.source:
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


def check_limits(state: State, context: Context, account: str, asset: str, amount: int, count: int = 1) -> None:
    """Counts the debit against the account's limits at this node. Away from home a node has no limit row of its own to
    spend against beyond what came with the money, so the same row, replicated from home, bounds it there too."""
    limit = state[LIMITS].get(f"{account}/{asset}")
    if limit is None:
        return
    if limit.single and amount > limit.single:
        raise Rejected("limit_single", "more than this account may move at once", field="/amount")
    seconds = context.time_us // 1_000_000
    for name, bound, window, by_count in _windows(limit, seconds):
        if not bound:
            continue
        key = f"{account}/{asset}/{window}/{context.source}"
        used = state[USAGE].get(key) or Usage(0, 0)
        total = used.count + count if by_count else used.amount + amount
        if total > bound:
            raise Rejected(f"limit_{name}", f"more than this account may move in this window ({name})", field="/amount")
        state[USAGE].put(key, Usage(used.amount + amount, used.count + count))


def _windows(limit: Limit, seconds: int) -> tuple[tuple[str, int, str, bool], ...]:
    """(name, bound, window's name in keys, whether it counts). A month is 30 days from the epoch on."""
    return (
        ("daily", limit.daily, f"d{seconds // DAY_S}", False),
        ("monthly", limit.monthly, f"m{seconds // (30 * DAY_S)}", False),
        ("count", limit.count, f"c{limit.count_window_s}.{seconds // limit.count_window_s}", True),
    )


def debit(state: State, context: Context, account: str, asset: str, amount: int) -> None:
    """Takes ``amount`` off this node's share. Raises ``Rejected``: ``insufficient_funds``, or ``share_short`` when the
    rest lies at other nodes, whom the node then asks."""
    shares = state[SHARES]
    key = share_key(account, asset, context.source)
    share = shares.get(key)
    available = 0 if share is None else share.available
    if available < amount:
        raise short(state, context, account, asset, amount - available)
    assert share is not None
    shares.put(key, moved(share, -amount, 0))


def hold(state: State, context: Context, account: str, asset: str, amount: int) -> None:
    """Moves ``amount`` from available to held."""
    shares = state[SHARES]
    key = share_key(account, asset, context.source)
    share = shares.get(key)
    available = 0 if share is None else share.available
    if available < amount:
        raise short(state, context, account, asset, amount - available)
    assert share is not None
    shares.put(key, moved(share, -amount, amount))


def release(state: State, context: Context, account: str, asset: str, held: int, back: int) -> None:
    """Takes ``held`` off what is held, and gives ``back`` of it back to available."""
    shares = state[SHARES]
    key = share_key(account, asset, context.source)
    share = shares.get(key)
    assert share is not None
    shares.put(key, moved(share, back, -held))


def credit(state: State, context: Context, account: str, asset: str, amount: int) -> None:
    """Adds to this node's share. What is credited away from home goes home after a while."""
    shares = state[SHARES]
    source = context.source
    key = share_key(account, asset, source)
    share = shares.get(key)
    if share is None:
        drift_us = 0 if account.startswith(source + "/") else context.time_us + DRIFT_AFTER_US
        shares.put(key, Share(account, asset, amount, 0, "", 0, drift_us))
        return
    if share.available + share.held + amount > INT64_MAX:
        raise Rejected("balance_too_large", "the balance would pass 64 bits", field="/amount")
    new = moved(share, amount, 0)
    if not new.drift_us and not account.startswith(source + "/"):
        new = put_share(new, drift_us=context.time_us + DRIFT_AFTER_US)
    shares.put(key, new)


def moved(share: Share, available: int, held: int) -> Share:
    return Share(
        share.account,
        share.asset,
        share.available + available,
        share.held + held,
        share.request,
        share.arrived_us,
        share.drift_us,
    )


def put_share(
    share: Share, *, request: str | None = None, arrived_us: int | None = None, drift_us: int | None = None
) -> Share:
    """The share with some of its marks changed."""
    return Share(
        share.account,
        share.asset,
        share.available,
        share.held,
        share.request if request is None else request,
        share.arrived_us if arrived_us is None else arrived_us,
        share.drift_us if drift_us is None else drift_us,
    )


def short(state: State, context: Context, account: str, asset: str, lacking: int) -> Rejected:
    elsewhere = 0
    for key in state[SHARES].keys("by_account", account):
        share = state[SHARES].get(key)
        if share is not None and share.asset == asset and not key.endswith("/" + context.source):
            elsewhere += share.available
    if elsewhere < lacking:
        return Rejected("insufficient_funds", "the account does not have that much", field="/amount")
    return Rejected(
        "share_short",
        "the account has that much, but part of it lies at another node, which was asked for it",
        status=409,
        retry_after_s=1,
        follow_up=RequestShare(account, asset, lacking),
        wait_s=SHARE_WAIT_S,
    )

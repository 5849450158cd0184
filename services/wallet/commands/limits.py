"""Limits: counted at the account's home; what is granted away counts there too, and bounds the node it went to."""

from typing import Any, Final

from jilnode.kernel.state import Context, State
from jilnode.limits import INT64_MAX
from jilnode.module import Rejected, Table
from services.wallet.amounts import parse_amount
from services.wallet.commands.accounts import account_of, asset_of
from services.wallet.commands.shares import Purpose, ask
from services.wallet.intents import SetLimit
from services.wallet.kinds import Counted
from services.wallet.rows import LIMITS, USAGE, VISITS, Limit, Usage, Visit, home_of, share_key

__all__ = ("COUNT_MAX", "DAY_US", "check_limits", "counter_of", "give_back", "set_limit", "take_allowance", "uncount")

COUNT_MAX: Final = 1_000_000_000
"""Debits of one window, so that what is sent of them can be added up in 64 bits."""
DAY_US: Final = 86_400_000_000
WINDOW_S_MAX: Final = 31 * 86_400


def set_limit(state: State, context: Context, command: SetLimit) -> None:
    key, _ = account_of(state, command.account, "/account")
    scale = asset_of(state, command.asset).scale
    if not 0 <= command.count <= COUNT_MAX or not 1 <= command.count_window_s <= WINDOW_S_MAX:
        raise Rejected(
            "bad_limit", f"a count is 0 to {COUNT_MAX}, in a window of 1 s to 31 days", field="/count", status=400
        )
    state[LIMITS].put(
        f"{key}/{command.asset}",
        Limit(
            scale,
            parse_amount(command.single, scale, "/single", zero=True),
            parse_amount(command.daily, scale, "/daily", zero=True),
            parse_amount(command.monthly, scale, "/monthly", zero=True),
            command.count,
            command.count_window_s,
        ),
    )


def check_limits(state: State, context: Context, balance: str, amount: int, purpose: Purpose) -> Counted | None:
    """Counts a debit of ``amount``, or a reservation when it is made. Returns what was counted; None without limits."""
    limit = state[LIMITS].get(balance)
    if limit is None:
        return None
    if limit.single and amount > limit.single:
        raise Rejected("limit_single", "more than this account may move at once", field="/amount")
    if not (limit.daily or limit.monthly or limit.count):
        return None
    if home_of(balance) != context.source:
        return _use_allowance(state, context, balance, limit, amount, purpose)
    usage = _usage(state, context, balance, limit)
    if limit.daily and usage.daily + amount > limit.daily:
        raise Rejected("limit_daily", "more than this account may move in a day", field="/amount")
    if limit.monthly and usage.monthly + amount > limit.monthly:
        raise Rejected("limit_monthly", "more than this account may move in a month", field="/amount")
    if limit.count and usage.count + 1 > limit.count:
        raise Rejected("limit_count", "more transfers than this account may make in this window", field="/amount")
    _count(state, balance, usage, amount, 1)
    return Counted(amount, 1, usage.day, usage.month, usage.window)


def counter_of(context: Context, balance: str) -> tuple[Table[Any], str]:
    """The row in which this node counts what limits bound."""
    if home_of(balance) == context.source:
        return USAGE, balance
    return VISITS, share_key(balance, context.source)


def uncount(state: State, context: Context, balance: str, counted: Counted, amount: int) -> None:
    """A reservation took ``counted`` and only ``amount`` of it was debited: the rest counts no more, in the windows
    that still run. One that debits anything stays one debit."""
    back, count = max(0, counted.amount - amount), 0 if amount else counted.count
    if home_of(balance) != context.source:
        _give_allowance_back(state, context, balance, back, count, counted.until_us)
        return
    usage = state[USAGE].get(balance)
    assert usage is not None
    state[USAGE].put(
        balance,
        Usage(
            usage.scale,
            usage.day,
            usage.daily - (min(back, usage.daily) if usage.day == counted.day else 0),
            usage.month,
            usage.monthly - (min(back, usage.monthly) if usage.month == counted.month else 0),
            usage.window,
            usage.count - (min(count, usage.count) if usage.window == counted.window else 0),
        ),
    )


def take_allowance(state: State, context: Context, balance: str, amount: int) -> tuple[int, int, int, str]:
    """What the home may grant of ``amount``: (amount, count, until_us, code). ``until_us`` is 0 without limits. Half of
    the debits that are left go along, so that the home keeps some."""
    limit = state[LIMITS].get(balance)
    if limit is None or not (limit.daily or limit.monthly or limit.count):
        return amount, 0, 0, ""
    usage = _usage(state, context, balance, limit)
    if limit.daily:
        amount = min(amount, limit.daily - usage.daily)
    if limit.monthly:
        amount = min(amount, limit.monthly - usage.monthly)
    if amount <= 0:
        return 0, 0, 0, "limit_reached"
    count = 0
    if limit.count:
        left = limit.count - usage.count
        if left <= 0:
            return 0, 0, 0, "limit_reached"
        # A limit of before there was a bound may count more.
        count = min((left + 1) // 2, COUNT_MAX)
    _count(state, balance, usage, amount, count)
    window_us = limit.count_window_s * 1_000_000
    until_us = min((context.time_us // step + 1) * step for step in (DAY_US, window_us))
    return amount, count, until_us, ""


def give_back(state: State, context: Context, balance: str, allowance: int, count: int, until_us: int) -> None:
    """A part that came home unused counts no more, while its windows last."""
    limit = state[LIMITS].get(balance)
    if limit is None or until_us <= context.time_us:
        return
    usage = _usage(state, context, balance, limit)
    allowance, count = min(allowance, usage.daily, usage.monthly), min(count, usage.count)
    _count(state, balance, usage, -allowance, -count)


def _give_allowance_back(
    state: State, context: Context, balance: str, allowance: int, count: int, until_us: int
) -> None:
    """To what this node may use of the limits; it goes home with the money. What came with other windows stands."""
    key = share_key(balance, context.source)
    visit = state[VISITS].get(key) or Visit()
    if until_us <= context.time_us or visit.until_us not in (0, until_us):
        return
    state[VISITS].put(
        key,
        Visit(
            visit.request,
            visit.refused,
            visit.refused_us,
            visit.arrived_us,
            visit.allowance + allowance,
            visit.count + count,
            until_us,
        ),
    )


def _use_allowance(
    state: State, context: Context, balance: str, limit: Limit, amount: int, purpose: Purpose
) -> Counted:
    """Away from home: only what came with the money, and was not used."""
    key = share_key(balance, context.source)
    visit = state[VISITS].get(key)
    fresh = visit is not None and visit.until_us > context.time_us
    allowance, count = (visit.allowance, visit.count) if visit is not None and fresh else (0, 0)
    if (limit.daily or limit.monthly) and amount > allowance:
        raise ask(state, context, balance, amount - allowance, purpose)
    if limit.count and count < 1:
        raise ask(state, context, balance, amount, purpose)
    assert visit is not None
    state[VISITS].put(
        key,
        Visit(
            visit.request,
            visit.refused,
            visit.refused_us,
            visit.arrived_us,
            max(0, allowance - amount),
            max(0, count - 1),
            visit.until_us,
        ),
    )
    return Counted(min(allowance, amount), min(count, 1), until_us=visit.until_us)


def _usage(state: State, context: Context, balance: str, limit: Limit) -> Usage:
    """The usage in the windows of now."""
    used = state[USAGE].get(balance) or Usage(limit.scale)
    day = context.time_us // DAY_US
    month = day // 30
    window = context.time_us // (limit.count_window_s * 1_000_000)
    return Usage(
        limit.scale,
        day,
        used.daily if used.day == day else 0,
        month,
        used.monthly if used.month == month else 0,
        window,
        used.count if used.window == window else 0,
    )


def _count(state: State, balance: str, usage: Usage, amount: int, count: int) -> None:
    """What no limit bounds may be more than 64 bits in a month: it is counted up to there."""
    state[USAGE].put(
        balance,
        Usage(
            usage.scale,
            usage.day,
            min(usage.daily + amount, INT64_MAX),
            usage.month,
            min(usage.monthly + amount, INT64_MAX),
            usage.window,
            usage.count + count,
        ),
    )

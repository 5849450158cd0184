"""Two-phase transfers: reserved, then posted whole or in part, voided, or expired. They resolve once."""

from typing import Final

from jilnode.kernel.names import valid_key
from jilnode.kernel.state import Context, State
from jilnode.module import Rejected
from services.wallet.amounts import parse_amount
from services.wallet.commands.accounts import account_of, asset_of, check_owner, known_account
from services.wallet.commands.fees import charge, fee_for
from services.wallet.commands.holds import spendable
from services.wallet.commands.limits import check_limits, uncount
from services.wallet.commands.shares import check_debit, credit, release, set_aside
from services.wallet.commands.transfers import add_memo, check_parties
from services.wallet.intents import ExpirePending, PostPending, ReserveTransfer, VoidPending
from services.wallet.rows import ACCOUNTS, MEMOS, PENDING, TRANSFERS, Pending, Transfer

__all__ = ("expire_pending", "post_pending", "reserve", "void_pending")

TIMEOUT_S_MAX: Final = 30 * 86_400


def reserve(state: State, context: Context, command: ReserveTransfer) -> None:
    asset = asset_of(state, command.asset)
    debit_key, debit_row = account_of(state, command.debit, "/debit")
    credit_key, credit_row = account_of(state, command.credit, "/credit")
    check_owner(context, debit_row, "/debit")
    check_parties(debit_key, credit_key, credit_row, command.reference)
    check_debit(context, debit_key, debit_row)
    if not 1 <= command.timeout_s <= TIMEOUT_S_MAX:
        raise Rejected("bad_timeout", f"1 to {TIMEOUT_S_MAX} s", field="/timeout_s", status=400)
    amount = parse_amount(command.amount, asset.scale)
    fee = fee_for(state, context.source, command.asset, "pending", amount)
    balance = f"{debit_key}/{command.asset}"
    purpose = ("pending", credit_key, amount)
    share = spendable(state, context, balance, purpose)
    counted = check_limits(state, context, balance, amount, purpose)
    set_aside(state, context, balance, share, amount + fee, purpose)
    key = context.new_key()
    state[PENDING].insert(
        key,
        Pending(
            debit_key,
            credit_key,
            command.asset,
            amount,
            asset.scale,
            fee,
            context.time_us + command.timeout_s * 1_000_000,
            "open",
            0,
            counted,
        ),
    )
    add_memo(state, key, command.reference)


def post_pending(state: State, context: Context, command: PostPending) -> None:
    """The fee is that of what is posted; it can't be more than what was reserved for it."""
    key, pending = _open(state, context, command.id)
    amount = parse_amount(command.amount, pending.scale) if command.amount else pending.amount
    if amount > pending.amount:
        raise Rejected("more_than_reserved", "less or all of what is reserved can be posted", field="/amount")
    payee = state[ACCOUNTS].get(pending.credit)
    if payee is not None and payee.status == "closed":
        raise Rejected("account_closed", "the account that would be paid is closed", status=403, field="/id")
    fee = min(pending.fee, fee_for(state, context.source, pending.asset, "pending", amount))
    held = pending.amount + pending.fee
    release(state, context, pending.debit, pending.asset, held, held - amount - fee)
    if pending.counted is not None and amount < pending.amount:
        uncount(state, context, f"{pending.debit}/{pending.asset}", pending.counted, amount)
    credit(state, context, pending.credit, pending.asset, amount)
    if fee:
        charge(state, context, pending.asset, fee)
    state[PENDING].put(key, _resolved(pending, "posted", amount))
    posted = context.new_key()
    state[TRANSFERS].insert(
        posted,
        Transfer(
            pending.debit,
            pending.credit,
            pending.asset,
            amount,
            pending.scale,
            context.time_us,
            fee,
            "post",
            key,
        ),
    )
    memo = state[MEMOS].get(key)
    add_memo(state, posted, "" if memo is None else memo.reference)


def void_pending(state: State, context: Context, command: VoidPending) -> None:
    key, pending = _open(state, context, command.id)
    _give_back(state, context, key, pending, "voided")


def expire_pending(state: State, context: Context, command: ExpirePending) -> None:
    """The kernel's own, when the deadline has passed."""
    pending = state[PENDING].get(command.key)
    assert pending is not None
    if pending.status == "open":
        _give_back(state, context, command.key, pending, "expired")


def _give_back(state: State, context: Context, key: str, pending: Pending, status: str) -> None:
    held = pending.amount + pending.fee
    release(state, context, pending.debit, pending.asset, held, held)
    if pending.counted is not None:
        uncount(state, context, f"{pending.debit}/{pending.asset}", pending.counted, 0)
    state[PENDING].put(key, _resolved(pending, status, 0))


def _open(state: State, context: Context, reference: str) -> tuple[str, Pending]:
    """The open pending transfer, for its debit's subject or an operator, at the node that reserved it."""
    key = reference.replace("~", "/")
    pending = state[PENDING].get(key) if valid_key(key) else None
    if pending is None:
        raise Rejected("unknown_pending", "no such pending transfer is known here", status=404, field="/id")
    owner = state[PENDING].owner(key)
    if owner != context.source:
        raise Rejected("misdirected", f"node {owner} owns this row", status=421, extra={"owner": owner})
    check_owner(context, known_account(state, pending.debit, "/id"), "/id")
    if pending.status != "open":
        raise Rejected("pending_resolved", f"it is {pending.status} already", status=409, field="/id")
    if pending.until_us <= context.time_us:
        raise Rejected("pending_resolved", "it has expired", status=409, field="/id")
    return key, pending


def _resolved(pending: Pending, status: str, posted: int) -> Pending:
    return Pending(
        pending.debit,
        pending.credit,
        pending.asset,
        pending.amount,
        pending.scale,
        pending.fee,
        0,
        status,
        posted,
    )

"""Fees: a table of basis points for each asset and kind of transfer, charged by the node that decides."""

from typing import Final

from jilnode.kernel.state import Context, State
from jilnode.module import Rejected
from services.wallet.amounts import BASIS_POINTS, fee_of, parse_amount
from services.wallet.commands.accounts import FEES_NAME, asset_of, open_system_account
from services.wallet.commands.shares import credit
from services.wallet.intents import SetFee
from services.wallet.rows import FEES, Fee

__all__ = ("charge", "fee_for", "set_fee")

TIERS_MAX: Final = 32
KINDS: Final = ("transfer", "pending")


def fee_for(state: State, source: str, asset: str, kind: str, amount: int) -> int:
    """What this node charges for moving ``amount``: the quote asks the same table with the same arithmetic."""
    fee = state[FEES].get(f"{source}/{asset}/{kind}")
    return 0 if fee is None else fee_of(amount, fee.tiers)


def charge(state: State, context: Context, asset: str, fee: int) -> None:
    """Credits the node's fee account."""
    credit(state, context, f"{context.source}/{FEES_NAME}", asset, fee)


def set_fee(state: State, context: Context, command: SetFee) -> None:
    """The first fee of a node also opens its fee account, which an operator may debit."""
    asset = asset_of(state, command.asset)
    if command.kind not in KINDS:
        raise Rejected("bad_kind", "fees are on kind transfer or pending", field="/kind", status=400)
    if len(command.tiers) > TIERS_MAX:
        raise Rejected("bad_tiers", f"at most {TIERS_MAX} tiers", field="/tiers", status=400)
    tiers: list[tuple[int, int]] = []
    for index, (start, bps) in enumerate(command.tiers):
        amount = parse_amount(start, asset.scale, f"/tiers/{index}/0", zero=True)
        if not 0 <= bps <= BASIS_POINTS or (tiers and amount <= tiers[-1][0]) or (not tiers and amount != 0):
            raise Rejected("bad_tiers", "tiers rise from 0, at 0 to 10,000 bps", field=f"/tiers/{index}", status=400)
        tiers.append((amount, bps))
    state[FEES].put(f"{context.source}/{command.asset}/{command.kind}", Fee(tuple(tiers)))
    open_system_account(state, context, FEES_NAME)

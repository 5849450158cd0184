"""Transfers: direct, in linked sets, in batches; issues and burns. Double entry, immutable once posted."""

from functools import lru_cache
from typing import Final

from jilnode.kernel.state import Context, State
from jilnode.limits import BATCH_CHUNK_ITEMS, LINKED_MAX
from jilnode.module import Action, Rejected
from services.wallet.amounts import parse_amount
from services.wallet.commands.accounts import MODULE_KIND, account_of, asset_of, check_owner
from services.wallet.commands.fees import charge, fee_for
from services.wallet.commands.holds import spendable
from services.wallet.commands.limits import check_limits
from services.wallet.commands.roaming import request_share
from services.wallet.commands.shares import check_debit, credit, debit
from services.wallet.commands.supply import change_supply, check_issuer
from services.wallet.intents import Burn, Issue, PostBatch, PostLinked, PostTransfer, RequestShare
from services.wallet.rows import BATCHES, MEMOS, TRANSFERS, Account, Batch, Memo, Transfer

__all__ = (
    "add_memo",
    "burn",
    "check_parties",
    "issue",
    "post_batch",
    "post_linked",
    "post_transfer",
    "review_many",
    "review_transfer",
)

REFERENCE_CHARS_MAX: Final = 140
"""ISO 20022 unstructured remittance information."""


def post_transfer(state: State, context: Context, command: PostTransfer) -> None:
    asset = asset_of(state, command.asset)
    debit_key, debit_row = account_of(state, command.debit, "/debit")
    credit_key, credit_row = account_of(state, command.credit, "/credit")
    check_owner(context, debit_row, "/debit")
    check_parties(debit_key, credit_key, credit_row, command.reference)
    check_debit(context, debit_key, debit_row)
    amount = parse_amount(command.amount, asset.scale)
    fee = fee_for(state, context.source, command.asset, "transfer", amount)
    balance = f"{debit_key}/{command.asset}"
    purpose = ("transfer", credit_key, amount)
    share = spendable(state, context, balance, purpose)
    check_limits(state, context, balance, amount, purpose)
    debit(state, context, balance, share, amount + fee, purpose)
    credit(state, context, credit_key, command.asset, amount)
    if fee:
        charge(state, context, command.asset, fee)
    key = context.new_key()
    state[TRANSFERS].insert(
        key,
        Transfer(
            debit_key,
            credit_key,
            command.asset,
            amount,
            asset.scale,
            context.time_us,
            fee,
            "transfer",
        ),
    )
    add_memo(state, key, command.reference)


def add_memo(state: State, key: str, reference: str) -> None:
    if reference:
        state[MEMOS].insert(key, Memo(reference))


def check_parties(debit_key: str, credit_key: str, credit_row: Account, reference: str) -> None:
    if debit_key == credit_key:
        raise Rejected("same_account", "a transfer needs two accounts", field="/credit")
    if credit_row.status == "closed":
        raise Rejected("account_closed", "the account is closed", status=403, field="/credit")
    if credit_row.kind == MODULE_KIND:
        raise Rejected("module_account", "only its module pays to this account", status=403, field="/credit")
    if len(reference) > REFERENCE_CHARS_MAX:
        raise Rejected("bad_reference", f"at most {REFERENCE_CHARS_MAX} characters", field="/reference", status=400)


def review_transfer(state: State, context: Context, command: PostTransfer) -> Action:
    _, debit_row = account_of(state, command.debit, "/debit")
    _, credit_row = account_of(state, command.credit, "/credit")
    return Action(
        "wallet.transfer",
        _zones(debit_row.zone, credit_row.zone),
        {"debit": command.debit, "credit": command.credit, "asset": command.asset, "amount": command.amount},
    )


@lru_cache(maxsize=1024)
def _zones(*zones: str) -> tuple[str, ...]:
    """Those that are named."""
    return tuple(zone for zone in zones if zone)


def review_many(state: State, context: Context, command: PostLinked | PostBatch) -> Action:
    """One action for the whole set: the zones of all parties, and every item's facts."""
    items: list[dict[str, object]] = []
    zones: dict[str, None] = {}
    for item in command.transfers:
        try:
            action = review_transfer(state, context, item)
        except Rejected:
            # The handler refuses this item by itself, with the item's own field.
            continue
        zones.update(dict.fromkeys(action.zones))
        items.append(dict(action.facts))
    return Action("wallet.transfers", tuple(zones), {"items": items})


def post_linked(state: State, context: Context, command: PostLinked) -> None:
    if not 1 <= len(command.transfers) <= LINKED_MAX:
        raise Rejected("bad_count", f"1 to {LINKED_MAX} transfers in a linked set", field="/transfers", status=400)
    state[BATCHES].insert(context.new_key(), Batch(len(command.transfers)))
    for index, item in enumerate(command.transfers):
        try:
            post_transfer(state, context, item)
        except Rejected as rejected:
            rejected.field = f"/transfers/{index}{rejected.field or ''}"
            raise


def post_batch(state: State, context: Context, command: PostBatch) -> None:
    """One event; each item for itself. What was refused stands in the batch's row, so that the same answer can be
    rebuilt. An item that lacks money which lies elsewhere is refused too, and the money is asked for."""
    if not 1 <= len(command.transfers) <= BATCH_CHUNK_ITEMS:
        raise Rejected("bad_count", f"1 to {BATCH_CHUNK_ITEMS} transfers", field="/transfers", status=400)
    key = context.new_key()
    refused: list[tuple[int, str, str, str]] = []
    for index, item in enumerate(command.transfers):
        try:
            with state.savepoint():
                post_transfer(state, context, item)
        except Rejected as rejected:
            refused.append((index, rejected.code, rejected.detail, rejected.field or ""))
            if isinstance(rejected.follow_up, RequestShare):
                request_share(state, context, rejected.follow_up)
    state[BATCHES].insert(key, Batch(len(command.transfers), tuple(refused)))


def issue(state: State, context: Context, command: Issue) -> None:
    """New money, by the issuer's node only. Refused when the total would pass 64 bits."""
    asset = asset_of(state, command.asset)
    check_issuer(context, command.asset)
    credit_key, credit_row = account_of(state, command.credit, "/credit")
    check_parties("", credit_key, credit_row, command.reference)
    amount = parse_amount(command.amount, asset.scale)
    change_supply(state, command.asset, issued=amount)
    credit(state, context, credit_key, command.asset, amount)
    key = context.new_key()
    state[TRANSFERS].insert(
        key, Transfer("", credit_key, command.asset, amount, asset.scale, context.time_us, 0, "issue")
    )
    add_memo(state, key, command.reference)


def burn(state: State, context: Context, command: Burn) -> None:
    asset = asset_of(state, command.asset)
    check_issuer(context, command.asset)
    debit_key, debit_row = account_of(state, command.debit, "/debit")
    check_owner(context, debit_row, "/debit")
    check_parties(debit_key, "", debit_row, command.reference)
    check_debit(context, debit_key, debit_row)
    amount = parse_amount(command.amount, asset.scale)
    change_supply(state, command.asset, burned=amount)
    balance = f"{debit_key}/{command.asset}"
    purpose = ("burn", "", amount)
    debit(state, context, balance, spendable(state, context, balance, purpose), amount, purpose)
    key = context.new_key()
    state[TRANSFERS].insert(
        key, Transfer(debit_key, "", command.asset, amount, asset.scale, context.time_us, 0, "burn")
    )
    add_memo(state, key, command.reference)

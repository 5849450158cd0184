"""The wallet as a service module: what it declares to the kernel and to HTTP."""

from collections.abc import Iterator
from typing import Any

from jilnode.kernel.names import valid_key
from jilnode.module import Command, Module, Reaction, Touch
from services.wallet.commands import accounts, fees, holds, limits, pending, roaming, transfers
from services.wallet.intents import (
    Burn,
    ClaimReturn,
    ClaimShare,
    CreateAccount,
    CreateAsset,
    DriftHome,
    ExpirePending,
    GrantShare,
    Issue,
    PostBatch,
    PostLinked,
    PostPending,
    PostTransfer,
    RequestShare,
    ReserveTransfer,
    ReturnHold,
    SetFee,
    SetLimit,
    SetRoaming,
    SetStatus,
    VoidPending,
)
from services.wallet.invariants import INVARIANTS
from services.wallet.problems import PROBLEMS
from services.wallet.replies import (
    account_reply,
    asset_reply,
    batch_reply,
    key_reply,
    no_reply,
    pending_reply,
    transfer_reply,
)
from services.wallet.routes import QUERIES, WRITES
from services.wallet.rows import (
    ACCOUNTS,
    CLAIMS,
    HANDLES,
    LIMITS,
    MEMOS,
    PENDING,
    RECEIPTS,
    REQUESTS,
    RETURNS,
    SHARES,
    TABLES,
    TRANSFERS,
    TRANSITS,
    home_of,
)

__all__ = ("MODULE",)


def _parties(command: Any) -> Iterator[Touch]:
    """The rows of a transfer: of accounts that are named by id and at home here, all of them; loaded with one query a
    table for a whole batch."""
    for reference, limited in ((command.debit, True), (command.credit, False)):
        key, handle_key = accounts.named(reference)
        if handle_key:
            yield HANDLES, handle_key
        if not key:
            continue
        balance = f"{key}/{command.asset}"
        share = f"{balance}/{home_of(key)}"
        if valid_key(share):
            yield ACCOUNTS, key
            yield SHARES, share
            if limited:
                yield LIMITS, balance


def _many(command: PostBatch | PostLinked) -> Iterator[Touch]:
    for item in command.transfers:
        yield from _parties(item)


MODULE = Module(
    "wallet",
    1,
    tables=TABLES,
    commands=(
        Command(CreateAsset, "wallet.asset.created", accounts.create_asset, asset_reply),
        Command(CreateAccount, "wallet.account.opened", accounts.create_account, account_reply),
        Command(SetStatus, "wallet.account.status_set", accounts.set_status, account_reply, status=200),
        Command(SetFee, "wallet.fee.set", fees.set_fee, key_reply, status=200),
        Command(SetLimit, "wallet.limit.set", limits.set_limit, key_reply, status=200),
        Command(SetRoaming, "wallet.roaming.set", roaming.set_roaming, key_reply, status=200),
        Command(Issue, "wallet.money.issued", transfers.issue, transfer_reply),
        Command(Burn, "wallet.money.burned", transfers.burn, transfer_reply),
        Command(
            PostTransfer,
            "wallet.transfer.posted",
            transfers.post_transfer,
            transfer_reply,
            touches=_parties,
            review=transfers.review_transfer,
        ),
        Command(
            PostLinked,
            "wallet.transfers.linked",
            transfers.post_linked,
            batch_reply,
            touches=_many,
            review=transfers.review_many,
        ),
        Command(
            PostBatch,
            "wallet.transfers.batched",
            transfers.post_batch,
            batch_reply,
            touches=_many,
            review=transfers.review_many,
        ),
        Command(
            ReserveTransfer,
            "wallet.transfer.reserved",
            pending.reserve,
            pending_reply,
            touches=_parties,
            review=transfers.review_transfer,
        ),
        Command(PostPending, "wallet.pending.posted", pending.post_pending, transfer_reply),
        Command(VoidPending, "wallet.pending.voided", pending.void_pending, pending_reply, status=200),
        Command(ExpirePending, "wallet.pending.expired", pending.expire_pending, no_reply),
        Command(RequestShare, "wallet.share.requested", roaming.request_share, no_reply),
        Command(GrantShare, "wallet.share.sent", roaming.grant_share, no_reply),
        Command(ClaimShare, "wallet.share.received", roaming.claim_share, no_reply),
        Command(ReturnHold, "wallet.hold.returned", holds.return_hold, no_reply),
        Command(DriftHome, "wallet.share.returned", roaming.drift_home, no_reply),
        Command(ClaimReturn, "wallet.return.received", roaming.claim_return, no_reply),
    ),
    invariants=INVARIANTS,
    reactions=(
        Reaction(REQUESTS, "to", TRANSITS, lambda key, row: GrantShare(key)),
        Reaction(TRANSITS, "to", CLAIMS, lambda key, row: ClaimShare(key)),
        Reaction(RETURNS, "to", RECEIPTS, lambda key, row: ClaimReturn(key)),
    ),
    writes=WRITES,
    queries=QUERIES,
    subject_of={
        ACCOUNTS.name: lambda key, row: (row.subject,),
        SHARES.name: lambda key, row: ((ACCOUNTS, row.account),),
        TRANSFERS.name: lambda key, row: tuple((ACCOUNTS, account) for account in (row.debit, row.credit) if account),
        PENDING.name: lambda key, row: ((ACCOUNTS, row.debit), (ACCOUNTS, row.credit)),
        MEMOS.name: lambda key, row: ((TRANSFERS, key), (PENDING, key)),
    },
    problems=PROBLEMS,
)

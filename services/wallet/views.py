"""What the wallet answers: amounts as decimal strings, accounts as ids that fit into a URL (``~`` for ``/``)."""

from typing import Any

import msgspec

from jilnode.kernel.entry import EntryRows
from services.wallet.amounts import format_amount
from services.wallet.rows import (
    ACCOUNTS,
    ASSETS,
    BATCHES,
    FEES,
    LIMITS,
    MEMOS,
    PENDING,
    ROAMING,
    SHARES,
    TRANSFERS,
    Account,
    Memo,
    Pending,
    Transfer,
)

__all__ = (
    "AccountView",
    "AssetView",
    "BalanceView",
    "BatchItem",
    "BatchView",
    "PendingView",
    "Posted",
    "SettingView",
    "TransferView",
    "account_reply",
    "asset_reply",
    "batch_reply",
    "key_reply",
    "no_reply",
    "outside",
    "pending_reply",
    "pending_view",
    "transfer_reply",
    "transfer_view",
)


class AssetView(msgspec.Struct, frozen=True):
    asset: str
    scale: int
    kind: str
    issued: str = "0"
    burned: str = "0"


class AccountView(msgspec.Struct, frozen=True):
    id: str
    subject: str
    zone: str
    handle: str
    status: str
    kind: str
    home: str


class Posted(msgspec.Struct, frozen=True):
    """What is left at this node of the debited account after the transfer."""

    available_here: str
    held_here: str


class TransferView(msgspec.Struct, frozen=True):
    id: str
    debit: str
    credit: str
    asset: str
    amount: str
    fee: str
    kind: str
    at_us: int
    reference: str = ""
    debit_balance: Posted | None = None


class PendingView(msgspec.Struct, frozen=True):
    id: str
    debit: str
    credit: str
    asset: str
    amount: str
    fee: str
    status: str
    posted: str
    expires_us: int
    reference: str | None = None
    """None where the answer is only about how it was resolved."""


class BatchItem(msgspec.Struct, frozen=True, omit_defaults=True):
    index: int
    transfer: str = ""
    code: str = ""
    detail: str = ""
    field: str = ""


class BatchView(msgspec.Struct, frozen=True):
    id: str
    posted: int
    refused: int
    items: list[BatchItem]


class SettingView(msgspec.Struct, frozen=True):
    id: str


class BalanceView(msgspec.Struct, frozen=True):
    """``total`` = available + pending + in transit, over all nodes as far as this one has heard; ``here`` is what can
    be spent at this node at once; ``pending`` is what is reserved, or came for a transfer that waits for it."""

    asset: str
    available: str
    pending: str
    in_transit: str
    total: str
    here: str
    nodes: list["NodePart"]


class NodePart(msgspec.Struct, frozen=True):
    """``age_ms``: how old this node's knowledge of that part is; 0 for its own; null when it was never heard."""

    node: str
    available: str
    held: str
    age_ms: int | None


def outside(key: str) -> str:
    return key.replace("/", "~")


def no_reply(rows: EntryRows) -> None:
    return None


def asset_reply(rows: EntryRows) -> AssetView:
    key, row = rows.one(ASSETS)
    issuer, _, code = key.partition("/")
    return AssetView(f"{code}@{issuer}", row.scale, row.kind)


def account_view(key: str, row: Account) -> AccountView:
    return AccountView(outside(key), row.subject, row.zone, row.handle, row.status, row.kind, key.partition("/")[0])


def account_reply(rows: EntryRows) -> AccountView:
    return account_view(*rows.one(ACCOUNTS))


def transfer_view(key: str, row: Transfer, memo: Memo | None, balance: Posted | None = None) -> TransferView:
    return TransferView(
        outside(key),
        outside(row.debit),
        outside(row.credit),
        row.asset,
        format_amount(row.amount, row.scale),
        format_amount(row.fee, row.scale),
        row.kind,
        row.at_us,
        "" if memo is None else memo.reference,
        balance,
    )


def transfer_reply(rows: EntryRows) -> TransferView:
    key, row = rows.one(TRANSFERS)
    share = rows.get(SHARES, f"{row.debit}/{row.asset}/{rows.source}") if row.debit else None
    balance = None
    if share is not None:
        balance = Posted(format_amount(share.available, row.scale), format_amount(share.held + share.bound, row.scale))
    return transfer_view(key, row, rows.get(MEMOS, key), balance)


def pending_view(key: str, row: Pending, reference: str | None) -> PendingView:
    return PendingView(
        outside(key),
        outside(row.debit),
        outside(row.credit),
        row.asset,
        format_amount(row.amount, row.scale),
        format_amount(row.fee, row.scale),
        row.status,
        format_amount(row.posted, row.scale),
        row.until_us,
        reference,
    )


def pending_reply(rows: EntryRows) -> PendingView:
    key, row = rows.one(PENDING)
    memo = rows.get(MEMOS, key)
    unsaid = "" if row.status == "open" else None
    return pending_view(key, row, unsaid if memo is None else memo.reference)


def batch_reply(rows: EntryRows) -> BatchView:
    """The posted items are those that were not refused, and their transfers' keys were made in their order."""
    key, batch = rows.one(BATCHES)
    posted = iter(sorted((transfer for transfer, _ in rows.rows(TRANSFERS)), key=lambda made: (len(made), made)))
    refused = {index: BatchItem(index, "", code, detail, field) for index, code, detail, field in batch.refused}
    items = [refused.get(index) or BatchItem(index, outside(next(posted))) for index in range(batch.items)]
    return BatchView(outside(key), batch.items - len(refused), len(refused), items)


def key_reply(rows: EntryRows) -> SettingView:
    """For settings: the key of the one row that was set."""
    for table in (FEES, LIMITS, ROAMING):
        found: list[tuple[str, Any]] = rows.rows(table)
        if found:
            return SettingView(outside(found[0][0]))
    raise LookupError("no setting in this entry")

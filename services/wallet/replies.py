"""How the wallet's answers are made of its rows."""

from typing import Any

from jilnode.kernel.entry_rows import EntryRows
from services.wallet.amounts import format_amount
from services.wallet.kinds import TRADE, Exchange
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
from services.wallet.views import (
    AccountView,
    AssetView,
    Back,
    BatchItem,
    BatchView,
    PendingView,
    Posted,
    SettingView,
    TransferView,
)

__all__ = (
    "account_reply",
    "asset_reply",
    "batch_reply",
    "exchange_view",
    "key_reply",
    "no_reply",
    "outside",
    "pending_reply",
    "pending_view",
    "transfer_reply",
    "transfer_view",
)


def outside(key: str) -> str:
    """The id of a row. It leads back to the key, because none that a node makes for such a row has a ``~`` of its own:
    users choose handles only, and those are shown as they are. Who makes one all the same has a row that is listed and
    that its id does not find. Where a list goes on is no id, but a cursor (``pages``)."""
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


def exchange_view(key: str, row: Exchange) -> TransferView:
    return TransferView(
        outside(key),
        outside(row.debit),
        outside(row.credit),
        row.asset,
        format_amount(row.amount, row.scale),
        format_amount(row.fee, row.scale),
        TRADE,
        row.at_us,
        back=Back(
            row.back_asset, format_amount(row.back_amount, row.back_scale), format_amount(row.back_fee, row.back_scale)
        ),
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

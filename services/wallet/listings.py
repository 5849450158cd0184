"""Long reads of the wallet, beside the writer: in pages, with cursors."""

from typing import Any

import msgspec

from jilnode.kernel.names import valid_key
from jilnode.limits import PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from jilnode.module import QueryContext, Rejected, Table
from services.wallet.amounts import format_amount
from services.wallet.queries import IdParams, check_reader, outside_key
from services.wallet.replies import account_view, outside, pending_view, transfer_view
from services.wallet.rows import ACCOUNTS, HANDLES, MEMOS, PENDING, TRANSFERS, Memo, Transfer
from services.wallet.views import AccountView, PendingView, TransferView

__all__ = (
    "Accounts",
    "History",
    "HistoryParams",
    "PageParams",
    "Pendings",
    "Statement",
    "accounts",
    "cursor_of",
    "history",
    "own_account",
    "pendings",
    "statement",
    "transfer",
)


class PageParams(msgspec.Struct, frozen=True):
    """``after``: the cursor of the page before."""

    after: str = ""
    limit: int = PAGE_ITEMS_DEFAULT


class HistoryParams(msgspec.Struct, frozen=True):
    """``after``: the cursor of the page before. Newest first, of one node after the other."""

    account: str
    after: str = ""
    limit: int = PAGE_ITEMS_DEFAULT


class Accounts(msgspec.Struct, frozen=True):
    items: list[AccountView]
    next: str | None


class History(msgspec.Struct, frozen=True):
    items: list[TransferView]
    next: str | None


class StatementLine(msgspec.Struct, frozen=True):
    """``change`` is signed: what the transfer did to this account."""

    id: str
    kind: str
    asset: str
    change: str
    fee: str
    counterparty: str
    at_us: int
    reference: str


class Pendings(msgspec.Struct, frozen=True):
    items: list[PendingView]
    next: str | None


class Statement(msgspec.Struct, frozen=True):
    account: str
    items: list[StatementLine]
    next: str | None


async def transfer(reader: Any, context: QueryContext, params: IdParams) -> TransferView:
    key = outside_key(params.id, "/id")
    image = (await reader.get(TRANSFERS, [key])).get(key)
    row = None if image is None else image.row
    if isinstance(row, Transfer):
        parties = await reader.get(ACCOUNTS, [party for party in (row.debit, row.credit) if party])
        mine = any(party.row.subject == context.actor for party in parties.values())
        if mine or context.scopes & {"audit", "wallet:operate"}:
            return transfer_view(key, row, (await _memos(reader, [key])).get(key))
    raise Rejected("unknown_transfer", "no such transfer of yours is known here", status=404, field="/id")


async def own_account(reader: Any, context: QueryContext, reference: str) -> str:
    """The key of an account that the caller may read. Raises ``Rejected``: ``unknown_account``."""
    name, at, node = reference.partition("@")
    key = outside_key(f"{node}/{name}" if at else reference, "/account")
    if at:
        handle = (await reader.get(HANDLES, [key])).get(key)
        key = "" if handle is None else handle.row.account
    image = (await reader.get(ACCOUNTS, [key])).get(key) if key else None
    check_reader(context, None if image is None else image.row)
    return key


async def accounts(reader: Any, context: QueryContext, params: PageParams) -> Accounts:
    """The caller's own."""
    after = cursor_of(params.after, params.limit)
    page = await reader.page(ACCOUNTS, [("subject", context.actor)], after=after, limit=params.limit)
    items = [account_view(key, image.row) for key, image in page.items]
    return Accounts(items, outside(page.items[-1][0]) if page.more else None)


def cursor_of(cursor: str, limit: int) -> str | None:
    """The key after which a page begins; None for the first. Raises ``Rejected`` for a page that can't be."""
    if not 1 <= limit <= PAGE_ITEMS_MAX:
        raise Rejected("bad_request", f"a page has 1 to {PAGE_ITEMS_MAX} items", status=400, field="/limit")
    after = cursor.replace("~", "/")
    if after and not valid_key(after):
        raise Rejected("bad_request", "after is the cursor of the page before", status=400, field="/after")
    return after or None


async def _page(
    reader: Any, context: QueryContext, params: HistoryParams, table: Table[Any]
) -> tuple[str, Any, str | None]:
    after = cursor_of(params.after, params.limit)
    key = await own_account(reader, context, params.account)
    page = await reader.page(
        table,
        [("debit", key), ("credit", key)],
        after=after,
        limit=params.limit,
        descending=True,
    )
    return key, page, outside(page.items[-1][0]) if page.more else None


async def _memos(reader: Any, keys: list[str]) -> dict[str, Memo]:
    found = await reader.get(MEMOS, keys)
    return {key: image.row for key, image in found.items() if image is not None}


async def pendings(reader: Any, context: QueryContext, params: HistoryParams) -> Pendings:
    _, page, cursor = await _page(reader, context, params, PENDING)
    memos = await _memos(reader, [key for key, _ in page.items])
    items = [pending_view(key, image.row, memos[key].reference if key in memos else "") for key, image in page.items]
    return Pendings(items, cursor)


async def history(reader: Any, context: QueryContext, params: HistoryParams) -> History:
    _, page, cursor = await _page(reader, context, params, TRANSFERS)
    memos = await _memos(reader, [key for key, _ in page.items])
    return History([transfer_view(key, image.row, memos.get(key)) for key, image in page.items], cursor)


async def statement(reader: Any, context: QueryContext, params: HistoryParams) -> Statement:
    account_key, page, cursor = await _page(reader, context, params, TRANSFERS)
    memos = await _memos(reader, [key for key, _ in page.items])
    lines = []
    for key, image in page.items:
        row = image.row
        memo = memos.get(key)
        paid = row.debit == account_key
        lines.append(
            StatementLine(
                outside(key),
                row.kind,
                row.asset,
                format_amount(-(row.amount + row.fee) if paid else row.amount, row.scale),
                format_amount(row.fee if paid else 0, row.scale),
                outside(row.credit if paid else row.debit),
                row.at_us,
                "" if memo is None else memo.reference,
            )
        )
    return Statement(outside(account_key), lines, cursor)

"""Long reads of the wallet, beside the writer: in pages, with cursors."""

from typing import Any

import msgspec

from jilnode.limits import PAGE_ITEMS_DEFAULT
from jilnode.module import QueryContext, Rejected, Table
from services.wallet.amounts import format_amount
from services.wallet.commands.accounts import named
from services.wallet.kinds import TRADE, Exchange, Side, sides
from services.wallet.pages import next_of, start_of
from services.wallet.queries import IdParams, check_reader, outside_key
from services.wallet.replies import account_view, exchange_view, outside, pending_view, transfer_view
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
    """``after``: the cursor of the page before. Newest first, of one node after the other. ``limit`` counts what moved
    money; where two accounts exchanged, a statement has two lines of it."""

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
    """``change`` is signed: what the transfer, or one side of an exchange, did to this account."""

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
    for table in reversed(_payments(context)):
        # A key is one table's own: what two accounts exchanged is not hidden by a transfer under its key.
        image = (await reader.get(table, [key])).get(key)
        if image is None:
            continue
        row = image.row
        parties = await reader.get(ACCOUNTS, [party for party in (row.debit, row.credit) if party])
        mine = any(party.row.subject == context.actor for party in parties.values())
        if mine or context.scopes & {"audit", "wallet:operate"}:
            return _view(key, row, await _memos(reader, [key]))
    raise Rejected("unknown_transfer", "no such transfer of yours is known here", status=404, field="/id")


async def own_account(reader: Any, context: QueryContext, reference: str) -> str:
    """The key of an account that the caller may read. Raises ``Rejected``: ``unknown_account``."""
    key, handle_key = named(reference)
    if handle_key:
        handle = (await reader.get(HANDLES, [handle_key])).get(handle_key)
        key = "" if handle is None else handle.row.account
    image = (await reader.get(ACCOUNTS, [key])).get(key) if key else None
    check_reader(context, None if image is None else image.row)
    return key


async def accounts(reader: Any, context: QueryContext, params: PageParams) -> Accounts:
    """The caller's own."""
    after = start_of(params.after, params.limit)
    page = await reader.page([ACCOUNTS], [("subject", context.actor)], after=after, limit=params.limit)
    items = [account_view(key, image.row) for key, image in page.items]
    return Accounts(items, next_of(page))


def _payments(context: QueryContext) -> tuple[Table[Any], ...]:
    """Where an account's history is: the transfers, and what other modules' rows say was paid."""
    return (TRANSFERS, *context.kinds.get(Exchange, ()))


async def _page(
    reader: Any, context: QueryContext, params: HistoryParams, tables: tuple[Table[Any], ...]
) -> tuple[str, list[tuple[str, Any]], str | None]:
    """(the account's key, (key, row) of what it pays or gets, the next page's cursor); of all tables together."""
    after = start_of(params.after, params.limit)
    account = await own_account(reader, context, params.account)
    wanted = [("debit", account), ("credit", account)]
    page = await reader.page(tables, wanted, after=after, limit=params.limit, descending=True)
    items = [(key, image.row) for key, image in page.items]
    return account, items, next_of(page)


async def _memos(reader: Any, keys: list[str]) -> dict[str, Memo]:
    found = await reader.get(MEMOS, keys)
    return {key: image.row for key, image in found.items() if image is not None}


def _view(key: str, row: Transfer | Exchange, memos: dict[str, Memo]) -> TransferView:
    return exchange_view(key, row) if isinstance(row, Exchange) else transfer_view(key, row, memos.get(key))


async def pendings(reader: Any, context: QueryContext, params: HistoryParams) -> Pendings:
    _, found, cursor = await _page(reader, context, params, (PENDING,))
    memos = await _memos(reader, [key for key, _ in found])
    items = [pending_view(key, row, memos[key].reference if key in memos else "") for key, row in found]
    return Pendings(items, cursor)


async def history(reader: Any, context: QueryContext, params: HistoryParams) -> History:
    _, found, cursor = await _page(reader, context, params, _payments(context))
    memos = await _memos(reader, [key for key, _ in found])
    return History([_view(key, row, memos) for key, row in found], cursor)


async def statement(reader: Any, context: QueryContext, params: HistoryParams) -> Statement:
    account, found, cursor = await _page(reader, context, params, _payments(context))
    memos = await _memos(reader, [key for key, _ in found])
    lines = [line for key, row in found for line in _lines(account, key, row, memos)]
    return Statement(outside(account), lines, cursor)


def _lines(account: str, key: str, row: Transfer | Exchange, memos: dict[str, Memo]) -> list[StatementLine]:
    """One for each asset that moved."""
    memo = None if isinstance(row, Exchange) else memos.get(key)
    lines = []
    for kind, scale, (payer, payee, asset, amount, fee) in _paid(row):
        paid = payer == account
        lines.append(
            StatementLine(
                outside(key),
                kind,
                asset,
                format_amount(-(amount + fee) if paid else amount, scale),
                format_amount(fee if paid else 0, scale),
                outside(payee if paid else payer),
                row.at_us,
                "" if memo is None else memo.reference,
            )
        )
    return lines


def _paid(row: Transfer | Exchange) -> list[tuple[str, int, Side]]:
    """(kind, decimals of the asset, who paid what)"""
    if isinstance(row, Exchange):
        there, back = sides(row)
        return [(TRADE, row.scale, there), (TRADE, row.back_scale, back)]
    return [(row.kind, row.scale, (row.debit, row.credit, row.asset, row.amount, row.fee))]

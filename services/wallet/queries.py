"""What can be asked of the wallet. A subject reads its own accounts; scope ``audit`` reads all."""

from typing import Any

import msgspec

from jilnode.kernel.names import valid_key
from jilnode.kernel.system import ADDRESSES, TICKS
from jilnode.limits import PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from jilnode.module import QueryContext, Rejected, Table
from services.wallet.amounts import fee_of, format_amount, parse_amount
from services.wallet.commands.shares import under_way
from services.wallet.rows import (
    ACCOUNTS,
    ASSETS,
    FEES,
    HANDLES,
    PENDING,
    SHARES,
    SUPPLY,
    TRANSFERS,
    Account,
    Share,
    Transfer,
    home_of,
)
from services.wallet.views import (
    AccountView,
    AssetView,
    BalanceView,
    NodePart,
    PendingView,
    TransferView,
    account_view,
    outside,
    pending_view,
    transfer_view,
)

__all__ = (
    "AccountParams",
    "AssetParams",
    "Assets",
    "Balances",
    "FreezeState",
    "History",
    "HistoryParams",
    "IdParams",
    "NoParams",
    "Pendings",
    "Quote",
    "QuoteParams",
    "Statement",
    "account",
    "assets",
    "balances",
    "freeze_state",
    "history",
    "pending",
    "pendings",
    "quote",
    "statement",
    "transfer",
)


class NoParams(msgspec.Struct, frozen=True):
    pass


class AccountParams(msgspec.Struct, frozen=True):
    account: str


class AssetParams(msgspec.Struct, frozen=True):
    asset: str


class IdParams(msgspec.Struct, frozen=True):
    id: str


class QuoteParams(msgspec.Struct, frozen=True):
    """``kind``: ``transfer`` or ``pending``."""

    asset: str
    amount: str
    kind: str = "transfer"


class HistoryParams(msgspec.Struct, frozen=True):
    """``after``: the cursor of the page before. Newest first, one node's transfers after the other's."""

    account: str
    after: str = ""
    limit: int = PAGE_ITEMS_DEFAULT


class Assets(msgspec.Struct, frozen=True):
    items: list[AssetView]


class Balances(msgspec.Struct, frozen=True):
    account: str
    items: list[BalanceView]


class Quote(msgspec.Struct, frozen=True):
    """What a transfer of ``amount`` costs at this node now: exactly what it would be charged."""

    asset: str
    amount: str
    fee: str
    total: str


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


class NodeFreeze(msgspec.Struct, frozen=True):
    node: str
    in_force: bool


class FreezeState(msgspec.Struct, frozen=True):
    """At which nodes the account's present status is known to be in force: those whose last tick says that they have
    applied it."""

    account: str
    status: str
    nodes: list[NodeFreeze]


def check_reader(context: QueryContext, row: Account | None) -> Account:
    """Somebody else's account is not told apart from one that is not there."""
    if row is None or (row.subject != context.actor and not context.scopes & {"audit", "wallet:operate"}):
        raise Rejected("unknown_account", "no such account of yours is known here", status=404, field="/account")
    return row


def outside_key(reference: str, field: str) -> str:
    """The key that an id from outside stands for; what can't be a key is nothing we know."""
    key = reference.replace("~", "/")
    if not valid_key(key):
        raise Rejected("bad_id", "not an id of this node's", status=404, field=field)
    return key


def resolve(view: Any, reference: str) -> str:
    """The account's key, or nothing when the handle is unknown."""
    name, at, node = reference.partition("@")
    if not at:
        return outside_key(reference, "/account")
    handle = view[HANDLES].get(outside_key(f"{node}/{name}", "/account"))
    return "" if handle is None else str(handle.account)


def account(view: Any, context: QueryContext, params: AccountParams) -> AccountView:
    key = resolve(view, params.account)
    return account_view(key, check_reader(context, view[ACCOUNTS].get(key) if key else None))


def assets(view: Any, context: QueryContext, params: NoParams) -> Assets:
    items = []
    for key, row in view[ASSETS].all():
        issuer, _, code = key.partition("/")
        supply = view[SUPPLY].get(key)
        issued, burned = (0, 0) if supply is None else (supply.issued, supply.burned)
        items.append(
            AssetView(
                f"{code}@{issuer}",
                row.scale,
                row.kind,
                format_amount(issued, row.scale),
                format_amount(burned, row.scale),
            )
        )
    return Assets(items)


def quote(view: Any, context: QueryContext, params: QuoteParams) -> Quote:
    code, _, issuer = params.asset.partition("@")
    asset = view[ASSETS].get(f"{issuer}/{code}")
    if asset is None:
        raise Rejected("unknown_asset", f"no asset {params.asset!r} is known here", field="/asset")
    amount = parse_amount(params.amount, asset.scale)
    fee = view[FEES].get(f"{context.source}/{params.asset}/{params.kind}")
    charged = 0 if fee is None else fee_of(amount, fee.tiers)
    return Quote(
        params.asset,
        format_amount(amount, asset.scale),
        format_amount(charged, asset.scale),
        format_amount(amount + charged, asset.scale),
    )


def pending(view: Any, context: QueryContext, params: IdParams) -> PendingView:
    key = outside_key(params.id, "/id")
    row = view[PENDING].get(key)
    if row is None:
        raise Rejected("unknown_pending", "no such pending transfer of yours is known here", status=404, field="/id")
    check_reader(context, view[ACCOUNTS].get(row.debit))
    return pending_view(key, row)


async def transfer(reader: Any, context: QueryContext, params: IdParams) -> TransferView:
    key = outside_key(params.id, "/id")
    image = (await reader.get(TRANSFERS, [key])).get(key)
    row = None if image is None else image.row
    if isinstance(row, Transfer):
        parties = await reader.get(ACCOUNTS, [party for party in (row.debit, row.credit) if party])
        mine = any(party.row.subject == context.actor for party in parties.values())
        if mine or context.scopes & {"audit", "wallet:operate"}:
            return transfer_view(key, row)
    raise Rejected("unknown_transfer", "no such transfer of yours is known here", status=404, field="/id")


async def _own_account(reader: Any, context: QueryContext, reference: str) -> str:
    name, at, node = reference.partition("@")
    key = outside_key(f"{node}/{name}" if at else reference, "/account")
    if at:
        handle = (await reader.get(HANDLES, [key])).get(key)
        key = "" if handle is None else handle.row.account
    image = (await reader.get(ACCOUNTS, [key])).get(key) if key else None
    check_reader(context, None if image is None else image.row)
    return key


def balances(view: Any, context: QueryContext, params: AccountParams) -> Balances:
    """All of it in one look, so that the parts belong together."""
    account_key = resolve(view, params.account)
    check_reader(context, view[ACCOUNTS].get(account_key) if account_key else None)
    parts: dict[str, list[tuple[str, Share]]] = {}
    for key in view[SHARES].keys("by_account", account_key):
        share = view[SHARES].get(key)
        parts.setdefault(share.asset, []).append((key, share))
    return Balances(
        outside(account_key),
        [_balance(view, context, account_key, asset, rows) for asset, rows in sorted(parts.items())],
    )


def _balance(
    view: Any, context: QueryContext, account_key: str, asset: str, rows: list[tuple[str, Share]]
) -> BalanceView:
    code, _, issuer = asset.partition("@")
    row = view[ASSETS].get(f"{issuer}/{code}")
    scale = 0 if row is None else row.scale
    balance = f"{account_key}/{asset}"
    moving = under_way(view, balance)
    nodes = []
    here = 0
    for key, share in rows:
        node = key.rpartition("/")[2]
        heard_us = context.time_us if node == context.source else context.heads.get(node)
        if node == context.source:
            here = share.available
        age_ms = None if not heard_us else max(0, context.time_us - heard_us) // 1000
        nodes.append(NodePart(node, format_amount(share.available, scale), format_amount(share.held, scale), age_ms))
    available = sum(share.available for _, share in rows)
    held = sum(share.held for _, share in rows)
    return BalanceView(
        asset,
        format_amount(available, scale),
        format_amount(held, scale),
        format_amount(moving, scale),
        format_amount(available + held + moving, scale),
        format_amount(here, scale),
        nodes,
    )


async def _page(
    reader: Any, context: QueryContext, params: HistoryParams, table: Table[Any]
) -> tuple[str, Any, str | None]:
    if not 1 <= params.limit <= PAGE_ITEMS_MAX:
        raise Rejected("bad_request", f"a page has 1 to {PAGE_ITEMS_MAX} items", status=400, field="/limit")
    after = params.after.replace("~", "/")
    if after and not valid_key(after):
        raise Rejected("bad_request", "after is the cursor of the page before", status=400, field="/after")
    key = await _own_account(reader, context, params.account)
    page = await reader.page(
        table,
        [("debit", key), ("credit", key)],
        after=after or None,
        limit=params.limit,
        descending=True,
    )
    return key, page, outside(page.items[-1][0]) if page.more else None


async def pendings(reader: Any, context: QueryContext, params: HistoryParams) -> Pendings:
    _, page, cursor = await _page(reader, context, params, PENDING)
    return Pendings([pending_view(key, image.row) for key, image in page.items], cursor)


async def history(reader: Any, context: QueryContext, params: HistoryParams) -> History:
    _, page, cursor = await _page(reader, context, params, TRANSFERS)
    return History([transfer_view(key, image.row) for key, image in page.items], cursor)


async def statement(reader: Any, context: QueryContext, params: HistoryParams) -> Statement:
    account_key, page, cursor = await _page(reader, context, params, TRANSFERS)
    lines = []
    for key, image in page.items:
        row = image.row
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
                row.reference,
            )
        )
    return Statement(outside(account_key), lines, cursor)


def freeze_state(view: Any, context: QueryContext, params: AccountParams) -> FreezeState:
    key = resolve(view, params.account)
    row = check_reader(context, view[ACCOUNTS].get(key) if key else None)
    image = view[ACCOUNTS].image(key)
    home = home_of(key)
    nodes = [NodeFreeze(home, True)]
    known = {node for node, _ in view[TICKS].all()} | {node for node, _ in view[ADDRESSES].all()}
    for node in sorted(known - {home}):
        tick = view[TICKS].get(node)
        applied = (0, 0) if tick is None else tick.heads.get(home, (0, 0))
        nodes.append(NodeFreeze(node, tuple(applied) > (image.epoch, image.sequence)))
    return FreezeState(outside(key), row.status, nodes)

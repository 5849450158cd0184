"""What can be asked of the wallet. A subject reads its own accounts; scope ``audit`` reads all."""

from typing import Any

import msgspec

from jilnode.kernel.names import valid_key
from jilnode.kernel.system import ADDRESSES, TICKS
from jilnode.module import QueryContext, Rejected
from services.wallet.amounts import fee_of, format_amount, parse_amount
from services.wallet.commands.accounts import OPERATOR, named
from services.wallet.commands.limits import DAY_US
from services.wallet.commands.shares import under_way
from services.wallet.replies import account_view, outside, pending_view
from services.wallet.rows import (
    ACCOUNTS,
    ASSETS,
    FEES,
    HANDLES,
    LIMITS,
    MEMOS,
    PENDING,
    ROAMING,
    SHARES,
    SUPPLY,
    USAGE,
    Account,
    Share,
    home_of,
)
from services.wallet.views import AccountView, AssetView, BalanceView, NodePart, PendingView

__all__ = (
    "AccountParams",
    "Assets",
    "Balances",
    "FreezeState",
    "IdParams",
    "NoParams",
    "Quote",
    "QuoteParams",
    "Terms",
    "TermsParams",
    "account",
    "assets",
    "balances",
    "check_actor",
    "check_reader",
    "freeze_state",
    "outside_key",
    "pending",
    "quote",
    "terms",
)


class NoParams(msgspec.Struct, frozen=True):
    pass


class AccountParams(msgspec.Struct, frozen=True):
    account: str


class TermsParams(msgspec.Struct, frozen=True):
    account: str
    asset: str


class IdParams(msgspec.Struct, frozen=True):
    id: str


class QuoteParams(msgspec.Struct, frozen=True):
    """``kind``: ``transfer`` or ``pending``."""

    asset: str
    amount: str
    kind: str = "transfer"


class LimitView(msgspec.Struct, frozen=True):
    """``used_today`` is what was debited at the home, or granted away, today. An amount of 0 is no limit."""

    single: str
    daily: str
    monthly: str
    count: int
    count_window_s: int
    used_today: str


class RoamingView(msgspec.Struct, frozen=True):
    amount: str
    hourly: str
    used: str
    nodes: tuple[str, ...]
    expires_us: int


class Terms(msgspec.Struct, frozen=True):
    """What holds for an account and asset, as far as this node has heard; null where nothing was set."""

    account: str
    asset: str
    limit: LimitView | None
    roaming: RoamingView | None


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


def check_actor(context: QueryContext, row: Account) -> None:
    """Who may read an account may not yet act for it."""
    if row.subject != context.actor and OPERATOR not in context.scopes:
        raise Rejected("not_your_account", "only its subject or an operator may do this", status=403, field="/account")


def outside_key(reference: str, field: str) -> str:
    """The key that an id from outside stands for; what can't be a key is nothing we know."""
    key = reference.replace("~", "/")
    if not valid_key(key):
        raise Rejected("bad_id", "not an id of this node's", status=404, field=field)
    return key


def resolve(view: Any, reference: str) -> str:
    """The account's key, or nothing when the handle is unknown or it can be no account."""
    key, handle_key = named(reference)
    if not handle_key:
        return key
    handle = view[HANDLES].get(handle_key)
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
        raise Rejected("unknown_asset", "no such asset is known here", field="/asset")
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
    memo = view[MEMOS].get(key)
    return pending_view(key, row, "" if memo is None else memo.reference)


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
    for part, share in rows:
        node = part.rpartition("/")[2]
        heard_us = context.time_us if node == context.source else context.heads.get(node)
        if node == context.source:
            here = share.available
        age_ms = None if not heard_us else max(0, context.time_us - heard_us) // 1000
        nodes.append(
            NodePart(
                node, format_amount(share.available, scale), format_amount(share.held + share.bound, scale), age_ms
            )
        )
    available = sum(share.available for _, share in rows)
    held = sum(share.held + share.bound for _, share in rows)
    return BalanceView(
        asset,
        format_amount(available, scale),
        format_amount(held, scale),
        format_amount(moving, scale),
        format_amount(available + held + moving, scale),
        format_amount(here, scale),
        nodes,
    )


def terms(view: Any, context: QueryContext, params: TermsParams) -> Terms:
    key = resolve(view, params.account)
    check_reader(context, view[ACCOUNTS].get(key) if key else None)
    balance = outside_key(f"{key}/{params.asset}", "/asset")
    limit, roaming = view[LIMITS].get(balance), view[ROAMING].get(balance)
    limit_view = roaming_view = None
    if limit is not None:
        usage = view[USAGE].get(balance)
        today = usage is not None and usage.day == context.time_us // DAY_US
        limit_view = LimitView(
            format_amount(limit.single, limit.scale),
            format_amount(limit.daily, limit.scale),
            format_amount(limit.monthly, limit.scale),
            limit.count,
            limit.count_window_s,
            format_amount(usage.daily if today else 0, limit.scale),
        )
    if roaming is not None:
        roaming_view = RoamingView(
            format_amount(roaming.amount, roaming.scale),
            format_amount(roaming.hourly, roaming.scale),
            format_amount(roaming.used, roaming.scale),
            roaming.nodes,
            roaming.expires_us,
        )
    return Terms(outside(key), params.asset, limit_view, roaming_view)


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
        # What this node shows it has applied, whenever its own next tick will say so.
        here = node == context.source
        nodes.append(NodeFreeze(node, here or tuple(applied) > (image.epoch, image.sequence)))
    return FreezeState(outside(key), row.status, nodes)

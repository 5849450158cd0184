"""Assets and accounts: who they belong to, and whether they may be used."""

from functools import lru_cache
from typing import Final

from jilnode.kernel.names import KEY_BYTES_MAX, valid_key
from jilnode.kernel.state import Context, State, View
from jilnode.kernel.system import SOURCES
from jilnode.module import Rejected
from services.wallet.commands.shares import under_way
from services.wallet.commands.supply import add_asset
from services.wallet.intents import CreateAccount, CreateAsset, SetStatus
from services.wallet.rows import (
    ACCOUNTS,
    ASSETS,
    HANDLES,
    SHARES,
    Account,
    Asset,
    Handle,
)

__all__ = (
    "FEES_NAME",
    "KINDS",
    "MODULE_KIND",
    "OPERATOR",
    "STATUSES",
    "SUBJECT_CHARS_MAX",
    "account_of",
    "asset_of",
    "check_owner",
    "create_account",
    "create_asset",
    "known_account",
    "named",
    "open_module_account",
    "open_system_account",
    "set_status",
    "zone_here",
)

OPERATOR: Final = "wallet:operate"
FEES_NAME: Final = "fees"
MODULE_KIND: Final = "module"
"""The kind of an account that another module keeps money on: only that module's commands debit and credit it. Its name
is ``<module>.<name>``, and so is the code of an asset that a module issues."""
KINDS: Final = ("user", "system", MODULE_KIND)
STATUSES: Final = ("active", "frozen", "closed")
SUBJECT_CHARS_MAX: Final = 128


def asset_of(state: State | View, asset: str, field: str = "/asset") -> Asset:
    code, at, issuer = asset.partition("@")
    row = state[ASSETS].get(f"{issuer}/{code}") if at else None
    if row is None:
        raise Rejected("unknown_asset", "no such asset is known here; assets are named CODE@issuer", field=field)
    return row


def account_of(state: State, reference: str, field: str) -> tuple[str, Account]:
    """(key, row) of an account id (``ch-zug-01~0-…`` or with a slash) or a handle (``kestrel@ch-zug-01``)."""
    key, handle_key = named(reference)
    if handle_key:
        handle = state[HANDLES].get(handle_key)
        key = "" if handle is None else handle.account
    return key, known_account(state, key, field)


def known_account(state: State | View, key: str, field: str) -> Account:
    """The row of an account that some other row names, of which this node may not have heard yet. Raises ``Rejected``:
    ``unknown_account``."""
    row = state[ACCOUNTS].get(key) if key else None
    if row is None:
        raise Rejected("unknown_account", "no such account is known here", field=field)
    return row


def named(reference: str) -> tuple[str, str]:
    """The account's key, or its handle's; neither of what can be no account. A handle's own ``~`` stays one. What is
    too long is not remembered: callers choose it."""
    return _named(reference) if len(reference) <= KEY_BYTES_MAX else ("", "")


@lru_cache(maxsize=16_384)
def _named(reference: str) -> tuple[str, str]:
    name, at, node = reference.partition("@")
    key = f"{node}/{name}" if at else reference.replace("~", "/")
    if not valid_key(key):
        return "", ""
    return ("", key) if at else (key, "")


def check_owner(context: Context, account: Account, field: str) -> None:
    if account.kind == MODULE_KIND:
        raise Rejected("module_account", "only its module moves what is on this account", status=403, field=field)
    if account.subject != context.actor and OPERATOR not in context.scopes:
        raise Rejected("not_your_account", "only its subject or an operator may do this", status=403, field=field)


def create_asset(state: State, context: Context, command: CreateAsset) -> None:
    code = command.code
    if not (2 <= len(code) <= 12 and code.isascii() and code.isalnum() and code.upper() == code):
        raise Rejected("bad_asset_code", "a code is 2 to 12 of A-Z and 0-9", field="/code", status=400)
    if not 0 <= command.scale <= 9:
        raise Rejected("bad_scale", "a scale is 0 to 9 decimals", field="/scale", status=400)
    if len(command.kind) > 32:
        raise Rejected("bad_kind", "a kind is at most 32 characters", field="/kind", status=400)
    add_asset(state, context, code, command.scale, command.kind)


def create_account(state: State, context: Context, command: CreateAccount) -> None:
    subject = command.subject or context.actor
    if subject != context.actor and OPERATOR not in context.scopes:
        raise Rejected("not_your_account", "only an operator opens accounts for others", status=403, field="/subject")
    if command.kind not in ("user", "system"):
        raise Rejected("bad_kind", "an account is of kind user or system", field="/kind", status=400)
    if command.kind == "system" and OPERATOR not in context.scopes:
        raise Rejected("not_your_account", "only an operator opens system accounts", status=403, field="/kind")
    if len(subject) > SUBJECT_CHARS_MAX:
        raise Rejected(
            "bad_subject", f"a subject is at most {SUBJECT_CHARS_MAX} characters", field="/subject", status=400
        )
    key = context.new_key()
    handle = ""
    if command.handle:
        handle_key = f"{context.source}/{command.handle}"
        if not valid_key(handle_key) or "/" in command.handle or "@" in command.handle or len(command.handle) < 2:
            raise Rejected("bad_handle", "a handle is 2 to 64 of A-Z a-z 0-9 . _ ~ : -", field="/handle", status=400)
        if command.handle == FEES_NAME or state[HANDLES].get(handle_key) is not None:
            raise Rejected("handle_taken", f"{command.handle} is taken at this node", status=409, field="/handle")
        state[HANDLES].put(handle_key, Handle(key))
        handle = f"{command.handle}@{context.source}"
    state[ACCOUNTS].insert(key, Account(subject, zone_here(state, context), handle, "active", command.kind))


def open_system_account(state: State, context: Context, name: str) -> str:
    """The key of this node's own account of that name, which is opened unless it is there."""
    key = f"{context.source}/{name}"
    if state[ACCOUNTS].get(key) is None:
        handle = f"{name}@{context.source}"
        state[ACCOUNTS].put(key, Account(context.source, zone_here(state, context), handle, "active", "system"))
        state[HANDLES].put(key, Handle(key))
    return key


def open_module_account(state: State, context: Context, name: str) -> str:
    """The key of a new account on which a module keeps money at this node. ``name``: ``<module>.<name>``. It has no
    handle: nobody pays to it by name."""
    key = f"{context.source}/{name}"
    state[ACCOUNTS].put(key, Account(context.source, zone_here(state, context), "", "active", MODULE_KIND))
    return key


def zone_here(state: State, context: Context) -> str:
    """The zone of this node: that of every account that is opened at it."""
    source = state[SOURCES].get(context.source)
    assert source is not None
    return source.zone


def set_status(state: State, context: Context, command: SetStatus) -> None:
    """An operator's word, at the account's home. Other nodes follow when they have applied it."""
    key, row = account_of(state, command.account, "/account")
    if command.status not in STATUSES:
        raise Rejected("bad_status", "a status is active, frozen or closed", field="/status", status=400)
    if row.status == "closed":
        raise Rejected("account_closed", "a closed account stays closed", status=409, field="/account")
    if command.status == "closed" and _has_money(state, key):
        raise Rejected("account_not_empty", "money is left on the account or on its way", status=409, field="/account")
    state[ACCOUNTS].put(key, Account(row.subject, row.zone, row.handle, command.status, row.kind))


def _has_money(state: State, account: str) -> bool:
    """As far as this node has heard."""
    balances: dict[str, None] = {}
    for key in state[SHARES].keys("by_account", account):
        share = state[SHARES].get(key)
        if share is not None:
            if share.available or share.held or share.bound:
                return True
            balances[f"{account}/{share.asset}"] = None
    return any(under_way(state, balance) for balance in balances)

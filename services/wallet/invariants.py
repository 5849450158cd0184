"""What must be true of every event that touches money: checked here before commit, and by every replica again.

Each is a pure function over one event. Together: money moves only by a transfer, a reservation, a transit or a supply
change that says so; nothing is below zero; what arrives was sent. A node can't mint, move silently, or claim what was
not sent to it.
"""

from typing import Any

from jilnode.module import Change, Invariant, Table
from services.wallet.rows import (
    CLAIMS,
    PENDING,
    RECEIPTS,
    RETURNS,
    SHARES,
    SUPPLY,
    TRANSFERS,
    TRANSITS,
    Pending,
    share_key,
)

__all__ = ("INVARIANTS",)

Account = tuple[str, str]
"""(account, asset)."""


def _explained(change: Change) -> str | None:
    """Every share moves by exactly what the event's transfers, supplies, transits and claims say. So, per asset, shares
    and unclaimed transits change by what is issued less what is burned."""
    shares = change.rows(SHARES)
    transfers = change.rows(TRANSFERS)
    moved: dict[Account, int] = {}
    for _, before, after in shares:
        share = after or before
        old = 0 if before is None else before.available + before.held
        new = 0 if after is None else after.available + after.held
        account = (share.account, share.asset)
        moved[account] = moved.get(account, 0) + new - old
    supply: dict[str, int] = {}
    for _, _, transfer in transfers:
        asset, amount = transfer.asset, transfer.amount
        if transfer.debit:
            debit = (transfer.debit, asset)
            moved[debit] = moved.get(debit, 0) + amount + transfer.fee
        else:
            supply[asset] = supply.get(asset, 0) + amount
        if transfer.credit:
            credit = (transfer.credit, asset)
            moved[credit] = moved.get(credit, 0) - amount
        else:
            supply[asset] = supply.get(asset, 0) - amount
        if transfer.fee:
            fees = (f"{change.source}/fees", asset)
            moved[fees] = moved.get(fees, 0) - transfer.fee
    for table, sign in ((TRANSITS, 1), (RETURNS, 1), (CLAIMS, -1), (RECEIPTS, -1)):
        for key, before, row in change.rows(table):
            if before is not None or row is None:
                return f"{key} is written once"
            account = (row.account, row.asset)
            moved[account] = moved.get(account, 0) + sign * row.amount
    for key, before, after in change.rows(SUPPLY):
        if after is None:
            return f"the supply of {key} is deleted"
        issuer, _, code = key.partition("/")
        asset = f"{code}@{issuer}"
        old_issued, old_burned = (0, 0) if before is None else (before.issued, before.burned)
        if after.issued < old_issued or after.burned < old_burned:
            return f"the supply of {asset} runs backwards"
        supply[asset] = supply.get(asset, 0) - (after.issued - old_issued) + (after.burned - old_burned)
    for account, amount in moved.items():
        if amount:
            return f"{account[0]} {account[1]} moved by {amount} more than the event explains"
    for asset, amount in supply.items():
        if amount:
            return f"the supply of {asset} is off by {amount}"
    return None


def _sound(change: Change) -> str | None:
    """Shares are at their own place and never below zero; transfers say something that can be."""
    for key, _, share in change.rows(SHARES):
        if share is None:
            return f"share {key} is deleted"
        if share.available < 0 or share.held < 0:
            return f"share {key} is below zero"
        if share_key(share.account, share.asset, change.source) != key:
            return f"share {key} is of another account, asset or node"
    for key, before, transfer in change.rows(TRANSFERS):
        if before is not None or transfer is None:
            return f"transfer {key} is immutable"
        if transfer.amount <= 0 or transfer.fee < 0 or transfer.debit == transfer.credit:
            return f"transfer {key} moves nothing, or to itself"
        if (transfer.kind == "issue") != (not transfer.debit) or (transfer.kind == "burn") != (not transfer.credit):
            return f"transfer {key} is of kind {transfer.kind}"
    return None


def _reserved(change: Change) -> str | None:
    """What is held changes by what is reserved and resolved; a pending transfer resolves once, to no more than it
    reserved."""
    held: dict[Account, int] = {}
    for _, before, after in change.rows(SHARES):
        difference = (after.held if after else 0) - (before.held if before else 0)
        if difference:
            share = after or before
            account = (share.account, share.asset)
            held[account] = held.get(account, 0) + difference
    posts = {transfer.of: transfer for _, _, transfer in change.rows(TRANSFERS) if transfer.kind == "post"}
    for key, before, after in change.rows(PENDING):
        problem = _resolution(key, before, after, posts.pop(key, None))
        if problem is not None:
            return problem
        account = (after.debit, after.asset)
        reserved = after.amount + after.fee
        held[account] = held.get(account, 0) + (reserved if before is not None else -reserved)
    if posts:
        return f"{next(iter(posts))} is posted but not resolved"
    for account, amount in held.items():
        if amount:
            return f"{account[0]} {account[1]} holds {amount} more than is reserved"
    return None


def _resolution(key: str, before: Pending | None, after: Pending | None, post: object) -> str | None:
    if after is None:
        return f"pending {key} is deleted"
    if after.amount <= 0 or after.fee < 0:
        return f"pending {key} reserves nothing"
    if before is None:
        return None if after.status == "open" and post is None else f"pending {key} begins as {after.status}"
    same = (before.debit, before.credit, before.asset, before.amount, before.fee, before.scale)
    if same != (after.debit, after.credit, after.asset, after.amount, after.fee, after.scale):
        return f"pending {key} is changed"
    if before.status != "open" or after.status not in ("posted", "voided", "expired"):
        return f"pending {key} goes from {before.status} to {after.status}"
    if (after.status == "posted") != (post is not None) or after.posted > after.amount:
        return f"pending {key} is {after.status} with {after.posted} posted"
    return None


def _sent(change: Change) -> str | None:
    """What arrives was sent: to this source, by an entry that the event names as its cause, and no more of it."""
    pairs: tuple[tuple[Table[Any], Table[Any]], ...] = ((CLAIMS, TRANSITS), (RECEIPTS, RETURNS))
    for claims, sources in pairs:
        for key, _, claim in change.rows(claims):
            cause = change.cause(sources, key)
            if cause is None:
                return f"{key} is claimed without the entry that sent it"
            sent = cause[1]
            if (sent.to, sent.account, sent.asset, sent.amount) != (
                change.source,
                claim.account,
                claim.asset,
                claim.amount,
            ):
                return f"{key} is claimed as something else than was sent"
    for table in (TRANSITS, RETURNS):
        for key, _, row in change.rows(table):
            if row is None or row.amount < 0 or (row.amount and row.to == change.source):
                return f"{key} sends nothing, or to itself"
    return None


INVARIANTS = (
    Invariant("wallet_explained", range(1, 2), _explained),
    Invariant("wallet_sound", range(1, 2), _sound),
    Invariant("wallet_reserved", range(1, 2), _reserved),
    Invariant("wallet_sent", range(1, 2), _sent),
)

"""What must be true of money between nodes: it was asked for or goes home, it is sent whole and arrives once.

The invariants of an event that asks, sends or claims; ``invariants.py`` has them judged in order.
"""

from typing import Any, Final

from jilnode.kernel.names import valid_new_key
from jilnode.module import Change
from services.wallet.commands.limits import COUNT_MAX
from services.wallet.rows import (
    ACCOUNT_CHARS_MAX,
    CLAIMS,
    HOLDS,
    PURPOSE_CHARS_MAX,
    RECEIPTS,
    REQUESTS,
    RETURNS,
    SHARES,
    TRANSITS,
    Request,
    hold_key,
    home_of,
    share_key,
)

__all__ = ("asked_for", "bound_to_purpose", "sent_or_claimed")

CODE_CHARS_MAX: Final = 64
"""Of why nothing was sent."""


def asked_for(change: Change) -> str | None:
    """What is asked for is more than nothing, of what may be a balance, for one purpose: whoever is asked answers."""
    for key, _, request in change.rows(REQUESTS):
        problem = _request(request)
        if problem is not None:
            return f"request {key} {problem}"
    return None


def _request(request: Request) -> str | None:
    if request.amount <= 0:
        return "is for nothing"
    if len(request.balance.rpartition("/")[0]) > ACCOUNT_CHARS_MAX or not valid_new_key(request.balance):
        return "is of what can be no balance"
    purpose = request.purpose
    if purpose and (len(purpose) > PURPOSE_CHARS_MAX or "/" in purpose or not valid_new_key(purpose)):
        return "is for what can be no purpose"
    return None


def sent_or_claimed(change: Change) -> str | None:
    """What is sent was asked for, or goes home; what arrives was sent: to this source, by an entry that the event names
    as its cause, and no more of it. Only an account's home sends its money away."""
    source = change.source
    for key, _, row in change.rows(TRANSITS):
        cause = change.cause(REQUESTS, key)
        if cause is None:
            return f"{key} is sent without the entry that asked for it"
        asker, request = cause
        if (row.to, row.balance, row.purpose) != (asker, request.balance, request.purpose):
            return f"{key} is sent as something else than was asked for"
        if not 0 <= row.amount <= request.amount:
            return f"{key} is sent as something else than was asked for"
        if row.amount and home_of(row.balance) not in (source, asker):
            return f"{key} is sent away by a node that is not the account's home"
        if not 0 <= row.count <= COUNT_MAX or len(row.code) > CODE_CHARS_MAX:
            return f"{key} is sent with more or fewer debits than there can be, or with no code"
    for claims, sources in ((CLAIMS, TRANSITS), (RECEIPTS, RETURNS)):
        for key, _, row in change.rows(claims):
            sent: tuple[str, Any] | None = change.cause(sources, key)
            if sent is None:
                return f"{key} is claimed without the entry that sent it"
            if (sent[1].to, sent[1].balance, sent[1].amount) != (source, row.balance, row.amount):
                return f"{key} is claimed as something else than was sent"
    for key, _, row in change.rows(RETURNS):
        if row.amount <= 0 or row.to == source or row.to != home_of(row.balance):
            return f"{key} goes somewhere else than home"
        if not 0 <= row.allowance <= row.amount or row.count < 0:
            return f"{key} gives back of the limits what did not come with it"
    return None


def bound_to_purpose(change: Change) -> str | None:
    """What a share has bound changes by what its holds do. A hold grows by what was sent for its purpose and by nothing
    else, and what was sent for a purpose is nowhere but in its hold."""
    arrived: dict[str, int] = {}
    for key, _, claim in change.rows(CLAIMS):
        sent = change.cause(TRANSITS, key)
        if sent is not None and sent[1].purpose and claim.amount:
            hold = hold_key(claim.balance, sent[1].purpose, change.source)
            arrived[hold] = arrived.get(hold, 0) + claim.amount
    bound: dict[str, int] = {}
    for key, before, after in change.rows(HOLDS):
        came = arrived.pop(key, 0)
        was = 0 if before is None else before.amount
        difference = -was if after is None else after.amount - was
        # One that ends is used or given back, whole; one that stands has grown by what came.
        if came if after is None else difference != came or not came:
            return f"hold {key} is of something else than was sent for it"
        balance, _, _ = key.rsplit("/", 2)
        share = share_key(balance, change.source)
        bound[share] = bound.get(share, 0) - difference
    if arrived:
        return f"{next(iter(arrived))} was sent for a purpose and is not bound to it"
    for key, before, after in change.rows(SHARES):
        bound[key] = bound.get(key, 0) + after.bound - (0 if before is None else before.bound)
    for key, amount in bound.items():
        if amount:
            return f"share {key} has bound {amount} more than its holds"
    return None

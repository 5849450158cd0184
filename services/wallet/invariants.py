"""What must be true of every event that touches money: checked here before commit, and by every replica again.

Each is a pure function over one event; they run in the order of ``INVARIANTS``, up to the first that is broken, so a
later one takes for granted what an earlier one checks. Together: money moves only by a transfer, an exchange, a
reservation, a transit or a supply change that says so; nothing is below zero; what arrives was sent. A node can't mint,
move silently, or claim what was not sent to it.
"""

from typing import Final

from jilnode.module import Change, Invariant
from services.wallet.commands.accounts import KINDS, STATUSES, SUBJECT_CHARS_MAX
from services.wallet.kinds import Exchange, Holding, Side, sides
from services.wallet.rows import (
    ACCOUNT_CHARS_MAX,
    ACCOUNTS,
    ASSETS,
    CLAIMS,
    HOLDS,
    LIMITS,
    PENDING,
    RECEIPTS,
    REQUESTS,
    RETURNS,
    ROAMING,
    SHARES,
    SUPPLY,
    TRANSFERS,
    TRANSITS,
    USAGE,
    Account,
    Pending,
    Transfer,
)
from services.wallet.travel_invariants import asked_for, bound_to_purpose, sent_or_claimed

__all__ = ("INVARIANTS", "SCALE_MAX")

SCALE_MAX: Final = 9
TEXT_CHARS_MAX: Final = 128
"""Of an account's zone, and of its handle: a name of 64 at a node of 63."""
_RESOLVES: Final = frozenset([PENDING.name])
_BINDS: Final = frozenset([HOLDS.name, CLAIMS.name])
_WAYS: Final = ((TRANSITS, 1), (RETURNS, 1), (CLAIMS, -1), (RECEIPTS, -1))
"""What is under way gains from shares, and gives back to them."""
_MOVING: Final = tuple(table for table, _ in _WAYS)
_TRAVELS: Final = frozenset([table.name for table in _MOVING])


def _explained(change: Change) -> str | None:
    """Every share moves by exactly what the event's transfers, exchanges, supplies, transits and claims say. So, per
    asset, shares and unclaimed transits change by what is issued less what is burned."""
    moved: dict[str, int] = {}
    supply: dict[str, int] = {}
    source = change.source
    # Events without such rows, which most are, are not asked the questions of _reserved and _bound.
    holds = change.touches(_RESOLVES) or change.touches_kind(Holding)
    binds = change.touches(_BINDS)
    for key, before, after in change.rows(SHARES):
        if after is None:
            return f"share {key} is deleted"
        available, held, bound = after.available, after.held, after.bound
        had, had_held, had_bound = (0, 0, 0) if before is None else (before.available, before.held, before.bound)
        if not holds and held != had_held:
            return f"share {key} holds what nothing reserves or resolves"
        if not binds and bound != had_bound:
            return f"share {key} has bound what did not arrive for a purpose"
        if available < 0 or held < 0 or bound < 0:
            return f"share {key} is below zero"
        account, asset = after.account, after.asset
        balance = f"{account}/{asset}"
        # No asset has a slash, so that a balance is of one account and one asset, however it is written.
        if key != f"{balance}/{source}" or "/" in asset:
            return f"share {key} is of another account, asset or node"
        if len(account) > ACCOUNT_CHARS_MAX:
            return f"share {key} is of an account with too long a key"
        if "." in account and not _judged(change, account.rpartition("/")[2]):
            return f"share {key} moves and its module does not know"
        moved[balance] = available + held + bound - had - had_held - had_bound
    for key, before, transfer in change.rows(TRANSFERS):
        if before is not None or transfer is None:
            return f"transfer {key} is immutable"
        problem = _transfer(transfer)
        if problem is not None:
            return f"transfer {key} {problem}"
        if transfer.at_us != change.time_us:
            return f"transfer {key} is of another time than its event"
        if transfer.kind == "post" and not change.touches(_RESOLVES):
            return f"{key} is posted but not resolved"
        debit, credit, asset, amount = transfer.debit, transfer.credit, transfer.asset, transfer.amount
        if debit and credit:
            _pay(moved, source, (debit, credit, asset, amount, transfer.fee))
        elif credit:
            _add(moved, f"{credit}/{asset}", -amount)
            _add(supply, asset, amount)
        else:
            _add(moved, f"{debit}/{asset}", amount)
            _add(supply, asset, -amount)
    for key, before, exchange in change.rows_of(Exchange):
        if before is not None or exchange is None:
            return f"exchange {key} is immutable"
        paid, paid_back = sides(exchange)
        problem = _exchange(paid, paid_back, exchange.scale, exchange.back_scale)
        if problem is not None:
            return f"exchange {key} {problem}"
        _pay(moved, source, paid)
        _pay(moved, source, paid_back)
    for table, sign in _WAYS if change.touches(_TRAVELS) else ():
        for key, before, row in change.rows(table):
            if before is not None or row is None:
                return f"{table.name} {key} is written once"
            _add(moved, row.balance, sign * row.amount)
    problem = _supplied(change, supply)
    if problem is not None:
        return problem
    for balance, amount in moved.items():
        if amount:
            return f"{balance} moved by {amount} more than the event explains"
    return None


def _pay(moved: dict[str, int], source: str, side: Side) -> None:
    payer, payee, asset, amount, fee = side
    _add(moved, f"{payer}/{asset}", amount + fee)
    _add(moved, f"{payee}/{asset}", -amount)
    if fee:
        _add(moved, f"{source}/fees/{asset}", -fee)


def _add(totals: dict[str, int], name: str, amount: int) -> None:
    totals[name] = totals.get(name, 0) + amount


def _judged(change: Change, name: str) -> bool:
    """Whether an account or an asset of this name may move: ``<module>.<name>`` only in an event of that module, which
    judges it by its own invariants."""
    module, dot, _ = name.partition(".")
    return not dot or change.touches_module(module)


def _transfer(transfer: Transfer) -> str | None:
    if transfer.amount <= 0 or transfer.fee < 0 or transfer.debit == transfer.credit:
        return "moves nothing, or to itself"
    if "/" in transfer.asset:
        return "is of no asset"
    kind = transfer.kind
    if (kind == "issue") != (not transfer.debit) or (kind == "burn") != (not transfer.credit):
        return f"is not of kind {kind}"
    if kind not in ("transfer", "post", "trade", "issue", "burn") or (kind in ("post", "trade")) != bool(transfer.of):
        return f"is of no kind: {kind}"
    if transfer.fee and not (transfer.debit and transfer.credit):
        return "takes a fee of the supply"
    if not 0 <= transfer.scale <= SCALE_MAX:
        return f"has a scale of {transfer.scale}"
    return None


def _exchange(paid: Side, paid_back: Side, scale: int, back_scale: int) -> str | None:
    debit, credit, asset, amount, fee = paid
    _, _, back_asset, back_amount, back_fee = paid_back
    if not (debit and credit) or debit == credit:
        return "is between fewer than two accounts"
    if "/" in asset or "/" in back_asset:
        return "is of no asset"
    if amount <= 0 or back_amount <= 0 or fee < 0 or back_fee < 0:
        return "moves nothing, or takes a fee below nothing"
    if not (0 <= scale <= SCALE_MAX and 0 <= back_scale <= SCALE_MAX):
        return "is in no scale"
    return None


def _supplied(change: Change, supply: dict[str, int]) -> str | None:
    """What transfers issued and burned is what the supplies say; whose supply it is, the kernel's key rules say."""
    for key, before, after in change.rows(SUPPLY):
        if after is None:
            return f"the supply of {key} is deleted"
        issuer, _, code = key.partition("/")
        asset = f"{code}@{issuer}"
        if not _judged(change, code):
            return f"the supply of {asset} moves and its module does not know"
        issued = after.issued - (0 if before is None else before.issued)
        burned = after.burned - (0 if before is None else before.burned)
        if burned < 0 and not after.burned:
            # What was burned is taken off both.
            issued, burned = issued - burned, 0
        if issued < 0 or burned < 0:
            return f"the supply of {asset} runs backwards"
        supply[asset] = supply.get(asset, 0) - issued + burned
    for asset, amount in supply.items():
        if amount:
            return f"the supply of {asset} is off by {amount}"
    return None


def _reserved(change: Change) -> str | None:
    """What is held changes by what is reserved and resolved; a pending transfer resolves once, to no more than it
    reserved. What another module reserves takes back nothing that it paid, and stays of one balance."""
    held: dict[str, int] = {}
    for key, before, after in change.rows(SHARES):
        difference = after.held - (0 if before is None else before.held)
        if difference:
            held[key] = difference
    posts: dict[str, Transfer] = {}
    for key, _, transfer in change.rows(TRANSFERS):
        if transfer.kind == "post":
            if transfer.of in posts:
                return f"pending {transfer.of} is posted twice, by {key} too"
            posts[transfer.of] = transfer
    for key, before, after in change.rows(PENDING):
        problem = _resolution(before, after, posts.pop(key, None))
        if problem is not None:
            return f"pending {key} {problem}"
        share = f"{after.debit}/{after.asset}/{change.source}"
        reserved = after.amount + after.fee
        held[share] = held.get(share, 0) + (reserved if before is not None else -reserved)
    if posts:
        return f"{next(iter(posts))} is posted but not resolved"
    for key, before, after in change.rows_of(Holding):
        problem = None if after is None else _held(before, after)
        if problem is not None:
            return f"{key} {problem}"
        for row, sign in ((before, 1), (after, -1)):
            if row is not None and (amount := row.reserved.amount):
                _add(held, f"{row.account}/{row.reserved.asset}/{change.source}", sign * amount)
    for key, amount in held.items():
        if amount:
            return f"share {key} holds {amount} more than is reserved"
    return None


def _held(before: Holding | None, after: Holding) -> str | None:
    now = after.reserved
    if "/" in now.asset:
        return "holds of no asset"
    if now.amount < 0 or now.paid < (0 if before is None else before.reserved.paid):
        return "holds less than nothing, or takes back what it paid"
    if before is not None and (before.account, before.reserved.asset) != (after.account, now.asset):
        return "holds of another balance than it did"
    return None


def _resolution(before: Pending | None, after: Pending | None, post: Transfer | None) -> str | None:
    if after is None:
        return "is deleted"
    if after.amount <= 0 or after.fee < 0 or not 0 <= after.scale <= SCALE_MAX or "/" in after.asset:
        return "reserves nothing, or in no scale or asset"
    if before is None:
        return None if after.status == "open" and post is None and not after.posted else f"begins as {after.status}"
    same = (before.debit, before.credit, before.asset, before.amount, before.fee, before.scale)
    if same != (after.debit, after.credit, after.asset, after.amount, after.fee, after.scale):
        return "is changed"
    if before.status != "open" or after.status not in ("posted", "voided", "expired"):
        return f"goes from {before.status} to {after.status}"
    if (after.status == "posted") != (post is not None):
        return f"is {after.status}, and its transfer says otherwise"
    if post is None:
        return None if after.posted == 0 else f"is {after.status} with something posted"
    if (post.debit, post.credit, post.asset, post.amount) != (after.debit, after.credit, after.asset, after.posted):
        return "is posted as something else"
    if post.amount > after.amount or post.fee > after.fee:
        return "is posted with more than it reserved"
    return None


def _scaled(change: Change) -> str | None:
    """Scales are in bounds, and an asset's stays what it was."""
    for key, before, after in change.rows(ASSETS):
        if after is None or not 0 <= after.scale <= SCALE_MAX or (before is not None and before.scale != after.scale):
            return f"asset {key} is deleted, or its scale is out of bounds or changed"
    for table in (LIMITS, USAGE, ROAMING):
        for key, _, row in change.rows(table):
            if row is not None and not 0 <= row.scale <= SCALE_MAX:
                return f"{table.name} {key} has a scale of {row.scale}"
    return None


def _opened(change: Change) -> str | None:
    """An account stays, and says nothing of itself that others could not go on with: it may have orders and quotes
    anywhere, and whatever is made of its key is a key."""
    for key, _, account in change.rows(ACCOUNTS):
        problem = "is deleted" if account is None else _account(key, account)
        if problem is not None:
            return f"account {key} {problem}"
    return None


def _account(key: str, account: Account) -> str | None:
    if key.count("/") != 1 or len(key) > ACCOUNT_CHARS_MAX:
        return "has no key of an account, or too long a one"
    if account.status not in STATUSES or account.kind not in KINDS:
        return "is in no status, or of no kind"
    if len(account.subject) > SUBJECT_CHARS_MAX or max(len(account.zone), len(account.handle)) > TEXT_CHARS_MAX:
        return "has too long a subject, zone or handle"
    return None


INVARIANTS: Final = (
    Invariant("wallet_explained", range(1, 2), _explained, (SHARES, TRANSFERS, SUPPLY, *_MOVING), Exchange),
    Invariant("wallet_reserved", range(1, 2), _reserved, (PENDING,), Holding),
    Invariant("wallet_asked", range(1, 2), asked_for, (REQUESTS,)),
    Invariant("wallet_sent", range(1, 2), sent_or_claimed, (TRANSITS, CLAIMS, RETURNS, RECEIPTS)),
    Invariant("wallet_bound", range(1, 2), bound_to_purpose, (HOLDS, CLAIMS)),
    Invariant("wallet_opened", range(1, 2), _opened, (ACCOUNTS,)),
    Invariant("wallet_scaled", range(1, 2), _scaled, (ASSETS, LIMITS, USAGE, ROAMING)),
)

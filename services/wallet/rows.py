"""The wallet's rows. Amounts are integers in the asset's minor units; moments are microseconds.

An asset is named ``CODE@issuer`` outside and in keys, an account by its key ``<home>/<id>``. A balance is the sum of
*shares*, one row for each (account, asset, node), each spendable only at its node (escrow for bounded counters: O'Neil,
TODS 1986; Balegas et al., SRDS 2015).
"""

from jilnode.kernel.names import SourceId
from jilnode.module import (
    CreatedBy,
    DeadlineIndex,
    DerivedFrom,
    EndsWithOwner,
    EqualityIndex,
    Owned,
    Table,
)
from services.wallet.intents import DriftHome, ExpirePending

__all__ = (
    "ACCOUNTS",
    "ASSETS",
    "BATCHES",
    "CLAIMS",
    "FEES",
    "GRANTED",
    "HANDLES",
    "LIMITS",
    "PENDING",
    "RECEIPTS",
    "REQUESTS",
    "RETURNS",
    "ROAMING",
    "SHARES",
    "SUPPLY",
    "TABLES",
    "TRANSFERS",
    "TRANSITS",
    "USAGE",
    "home_of",
    "share_key",
)


class Asset(Owned, frozen=True):
    scale: int
    kind: str


class Supply(Owned, frozen=True):
    issued: int = 0
    burned: int = 0


class Account(Owned, frozen=True):
    """``subject`` is the pseudonym that may debit it. Its home is the node that owns the row."""

    subject: str
    zone: str
    handle: str = ""
    status: str = "active"
    kind: str = "user"


class Handle(Owned, frozen=True):
    account: str


class Share(Owned, frozen=True):
    """What one node holds of an account: ``available`` to spend here, ``held`` for open pending transfers. ``request``
    is the key of the open request for more; ``arrived_us`` when money last came from another node; ``drift_us`` when it
    goes home."""

    account: str
    asset: str
    available: int = 0
    held: int = 0
    request: str = ""
    arrived_us: int = 0
    drift_us: int = 0


class Transfer(Owned, frozen=True):
    """Posted, and never changed. ``debit`` pays ``amount + fee``, ``credit`` gets ``amount``, ``payee`` of the fee is
    the node's fee account. ``kind``: ``transfer``, ``post`` (of the pending transfer ``of``), ``issue`` (no debit),
    ``burn`` (no credit)."""

    debit: str
    credit: str
    asset: str
    amount: int
    scale: int
    fee: int = 0
    kind: str = "transfer"
    reference: str = ""
    of: str = ""


class Pending(Owned, frozen=True):
    """A reserved transfer. ``status``: open, posted, voided, expired. It resolves once."""

    debit: str
    credit: str
    asset: str
    amount: int
    scale: int
    fee: int = 0
    until_us: int = 0
    status: str = "open"
    posted: int = 0
    reference: str = ""


class Batch(Owned, frozen=True):
    """What a batch or a linked set did: the keys of its transfers, and of refused items (index, code, detail,
    field)."""

    items: int
    posted: tuple[tuple[int, str], ...] = ()
    refused: tuple[tuple[int, str, str, str], ...] = ()


class Fee(Owned, frozen=True):
    """Basis points by amount: ``(from amount, bps)``, rising; the last tier that the amount reaches holds for all of
    it."""

    tiers: tuple[tuple[int, int], ...]


class Limit(Owned, frozen=True):
    """Of one account and asset, at all nodes together: each node away from home gets a slice with the money. 0 =
    none."""

    single: int = 0
    daily: int = 0
    monthly: int = 0
    count: int = 0
    count_window_s: int = 86_400


class Usage(Owned, frozen=True):
    """What was debited at this node in one window."""

    amount: int
    count: int


class Roaming(Owned, frozen=True):
    """What the home allows away: ``amount`` for each node in one hour, only to ``nodes``, until ``expires_us``."""

    amount: int
    nodes: tuple[str, ...]
    expires_us: int


class Granted(Owned, frozen=True):
    """What a holder granted to one asker in one hour."""

    amount: int


class Request(Owned, frozen=True):
    """A node asks ``to`` for part of an account's money. Open until ``to`` writes the transit under the same key."""

    account: str
    asset: str
    amount: int
    to: str
    deadline_us: int


class Transit(Owned, frozen=True):
    """Money on its way to node ``to``. An amount of 0 refuses the request, ``code`` says why."""

    account: str
    asset: str
    amount: int
    to: str
    code: str = ""


class Claim(Owned, frozen=True):
    """The arrival of a transit (or of a return), at the node it was sent to."""

    account: str
    asset: str
    amount: int


class Return(Owned, frozen=True):
    """Money that drifts home unasked."""

    account: str
    asset: str
    amount: int
    to: str


def _nobody(row: object) -> str:
    return ""


ASSETS = Table("wallet.asset", Asset, CreatedBy(), resident=True)
SUPPLY = Table("wallet.supply", Supply, DerivedFrom(ASSETS, _nobody), resident=True)
ACCOUNTS = Table("wallet.account", Account, CreatedBy(), searchable=("subject",))
HANDLES = Table("wallet.handle", Handle, CreatedBy())
SHARES = Table(
    "wallet.share",
    Share,
    EndsWithOwner(),
    searchable=("account", "drift_us"),
    indexes=(
        EqualityIndex("by_account", "account"),
        DeadlineIndex("drift", "drift_us", lambda key, row: DriftHome(key)),
    ),
)
TRANSFERS = Table("wallet.transfer", Transfer, CreatedBy(), write_once=True, searchable=("debit", "credit"))
PENDING = Table(
    "wallet.pending",
    Pending,
    CreatedBy(),
    searchable=("debit", "credit", "until_us"),
    indexes=(DeadlineIndex("expiry", "until_us", lambda key, row: ExpirePending(key)),),
)
BATCHES = Table("wallet.batch", Batch, CreatedBy(), write_once=True)
FEES = Table("wallet.fee", Fee, CreatedBy(), resident=True)
LIMITS = Table("wallet.limit", Limit, DerivedFrom(ACCOUNTS, _nobody))
USAGE = Table("wallet.usage", Usage, EndsWithOwner())
ROAMING = Table("wallet.roaming", Roaming, DerivedFrom(ACCOUNTS, _nobody))
GRANTED = Table("wallet.granted", Granted, EndsWithOwner())
REQUESTS = Table("wallet.request", Request, CreatedBy(), searchable=("to",))
TRANSITS = Table("wallet.transit", Transit, DerivedFrom(REQUESTS, lambda row: row.to), searchable=("to", "account"))
CLAIMS = Table("wallet.claim", Claim, DerivedFrom(TRANSITS, lambda row: row.to))
RETURNS = Table("wallet.return", Return, CreatedBy(), searchable=("to", "account"))
RECEIPTS = Table("wallet.receipt", Claim, DerivedFrom(RETURNS, lambda row: row.to))

TABLES = (
    ASSETS,
    SUPPLY,
    ACCOUNTS,
    HANDLES,
    SHARES,
    TRANSFERS,
    PENDING,
    BATCHES,
    FEES,
    LIMITS,
    USAGE,
    ROAMING,
    GRANTED,
    REQUESTS,
    TRANSITS,
    CLAIMS,
    RETURNS,
    RECEIPTS,
)


def share_key(account: str, asset: str, node: str) -> str:
    return f"{account}/{asset}/{node}"


def home_of(account: str) -> SourceId:
    """The node that owns the account's row, and its limits."""
    return SourceId(account.partition("/")[0])

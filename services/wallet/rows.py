"""The wallet's rows. Amounts are integers in the asset's minor units; moments are microseconds.

An asset is named ``CODE@issuer`` outside and in keys, an account by its key ``<home>/<id>``, a balance
``<account>/<asset>``. A balance is the sum of its *shares*, one row for each node, ``<balance>/<node>``, each spendable
only at its node (escrow for bounded counters: O'Neil, TODS 1986; Balegas et al., SRDS 2015).
"""

from typing import Final

from jilnode.kernel.names import KEY_BYTES_MAX, PART_CHARS_MAX, SourceId
from jilnode.module import (
    CreatedBy,
    DeadlineIndex,
    DerivedFrom,
    EndsWithOwner,
    EqualityIndex,
    Owned,
    SumIndex,
    Table,
)
from services.wallet.intents import DriftHome, ExpirePending, ReturnHold
from services.wallet.kinds import Counted

__all__ = (
    "ACCOUNTS",
    "ACCOUNT_CHARS_MAX",
    "ASSETS",
    "BATCHES",
    "CLAIMS",
    "FEES",
    "GRANTED",
    "HANDLES",
    "HOLDS",
    "LIMITS",
    "MEMOS",
    "PENDING",
    "PURPOSE_CHARS_MAX",
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
    "VISITS",
    "hold_key",
    "home_of",
    "share_key",
)


PURPOSE_CHARS_MAX: Final = 24
ACCOUNT_CHARS_MAX: Final = KEY_BYTES_MAX - (1 + PART_CHARS_MAX) - (1 + PURPOSE_CHARS_MAX) - (1 + PART_CHARS_MAX)
"""So that all that is made of an account's key is one: a hold's is longest, ``<account>/<asset>/<purpose>/<node>``."""


class Asset(Owned, frozen=True):
    scale: int
    kind: str


class Supply(Owned, frozen=True):
    """All that is there is ``issued - burned``. Each only grows, until ``issued`` would pass 64 bits: then what was
    burned is taken off both."""

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
    """What one node holds of a balance: ``available`` to spend here, ``held`` for open pending transfers and for what
    other modules have (``Holding``), ``bound`` for waiting commands (its holds). Away from home what is available goes
    home at ``drift_us``."""

    account: str
    asset: str
    available: int = 0
    held: int = 0
    drift_us: int = 0
    bound: int = 0


class Hold(Owned, frozen=True):
    """Money that was asked for and came for one purpose, in its share's ``bound``; it goes back at ``deadline_us``.
    ``allowance`` and ``count`` are the part of the account's limits that came with it, until ``until_us``."""

    amount: int
    deadline_us: int
    allowance: int = 0
    count: int = 0
    until_us: int = 0


class Visit(Owned, frozen=True):
    """What one node knows about money that came from elsewhere: ``request`` is the open request for more, ``refused``
    what the last one was answered and when, ``arrived_us`` when money came. ``allowance`` and ``count`` are what is
    left, until ``until_us``, of the part of the account's limits that came with the money."""

    request: str = ""
    refused: str = ""
    refused_us: int = 0
    arrived_us: int = 0
    allowance: int = 0
    count: int = 0
    until_us: int = 0


class Transfer(Owned, frozen=True):
    """Posted, and never changed. ``debit`` pays ``amount + fee``, ``credit`` gets ``amount``, the node's fee account
    gets the fee. ``kind``: ``transfer``, ``post`` (of the pending transfer ``of``), ``trade`` (for what another module
    calls ``of``), ``issue`` (no debit), ``burn`` (no credit)."""

    debit: str
    credit: str
    asset: str
    amount: int
    scale: int
    at_us: int
    fee: int = 0
    kind: str = "transfer"
    of: str = ""


class Memo(Owned, frozen=True):
    """What the payer wrote, under the key of the transfer or the pending transfer. In a section of its own, which can
    be erased: nothing rests on it."""

    reference: str


class Pending(Owned, frozen=True):
    """A reserved transfer. ``status``: open, posted, voided, expired. It resolves once. ``counted`` is None where no
    limit counts, and once it is resolved."""

    debit: str
    credit: str
    asset: str
    amount: int
    scale: int
    fee: int = 0
    until_us: int = 0
    status: str = "open"
    posted: int = 0
    counted: Counted | None = None


class Batch(Owned, frozen=True):
    """A batch or a linked set. Its transfers are in the same event, in order; ``refused`` lists the items that were
    not posted: (index, code, detail, field)."""

    items: int
    refused: tuple[tuple[int, str, str, str], ...] = ()


class Fee(Owned, frozen=True):
    """Basis points by amount: ``(from amount, bps)``, rising; the last tier that the amount reaches holds for all of
    it."""

    tiers: tuple[tuple[int, int], ...]


class Limit(Owned, frozen=True):
    """Of one account and asset, at all nodes together: what is granted to another node counts at home, and that node
    may debit only as much. 0 = no limit. Days are UTC days, months are 30 days."""

    scale: int
    single: int = 0
    daily: int = 0
    monthly: int = 0
    count: int = 0
    count_window_s: int = 86_400


class Usage(Owned, frozen=True):
    """What was debited, or granted away, of a balance at its home: in day number ``day``, month ``month``, count window
    ``window``."""

    scale: int
    day: int = 0
    daily: int = 0
    month: int = 0
    monthly: int = 0
    window: int = 0
    count: int = 0


class Roaming(Owned, frozen=True):
    """What the home allows away: ``amount`` in all until ``expires_us``, of which ``used`` is granted and not come
    back; to each of ``nodes`` at most ``hourly`` in one hour."""

    scale: int
    amount: int
    hourly: int
    nodes: tuple[str, ...]
    expires_us: int
    used: int = 0


class Granted(Owned, frozen=True):
    """What the home granted of ``<balance>/<asker>`` in hour number ``hour``."""

    hour: int
    amount: int


class Request(Owned, frozen=True):
    """A node asks ``to`` for part of a balance. Open until ``to`` writes the transit under the same key. ``purpose``
    names the command that waits for it, until ``deadline_us``."""

    balance: str
    amount: int
    to: str
    deadline_us: int
    purpose: str = ""


class Transit(Owned, frozen=True):
    """Money on its way to node ``to``, for the request's ``purpose``. An amount of 0 refuses the request, ``code`` says
    why. ``until_us``, where limits hold: the amount and ``count`` debits are what ``to`` may use of them until then."""

    balance: str
    amount: int
    to: str
    code: str = ""
    count: int = 0
    until_us: int = 0
    purpose: str = ""


class Claim(Owned, frozen=True):
    """The arrival of a transit (or of a return), at the node it was sent to."""

    balance: str
    amount: int


class Return(Owned, frozen=True):
    """Money that drifts home unasked, with what it did not use of the limits."""

    balance: str
    amount: int
    to: str
    allowance: int = 0
    count: int = 0
    until_us: int = 0


ASSETS = Table("wallet.asset", Asset, CreatedBy(), resident=True)
SUPPLY = Table("wallet.supply", Supply, DerivedFrom(ASSETS), resident=True)
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
HOLDS = Table(
    "wallet.hold",
    Hold,
    EndsWithOwner(),
    searchable=("deadline_us",),
    indexes=(DeadlineIndex("deadline", "deadline_us", lambda key, row: ReturnHold(key)),),
)
TRANSFERS = Table("wallet.transfer", Transfer, CreatedBy(), write_once=True, searchable=("debit", "credit"))
MEMOS = Table("wallet.memo", Memo, CreatedBy(), section="memo")
PENDING = Table(
    "wallet.pending",
    Pending,
    CreatedBy(),
    searchable=("debit", "credit", "until_us"),
    indexes=(DeadlineIndex("expiry", "until_us", lambda key, row: ExpirePending(key)),),
)
BATCHES = Table("wallet.batch", Batch, CreatedBy(), write_once=True)
FEES = Table("wallet.fee", Fee, CreatedBy(), resident=True)
LIMITS = Table("wallet.limit", Limit, DerivedFrom(ACCOUNTS))
USAGE = Table("wallet.usage", Usage, CreatedBy())
VISITS = Table("wallet.visit", Visit, EndsWithOwner())
ROAMING = Table("wallet.roaming", Roaming, DerivedFrom(ACCOUNTS))
GRANTED = Table("wallet.granted", Granted, CreatedBy())
REQUESTS = Table("wallet.request", Request, CreatedBy(), write_once=True, searchable=("to",))
_MOVING = SumIndex("moving", "balance", "amount")
TRANSITS = Table(
    "wallet.transit",
    Transit,
    DerivedFrom(REQUESTS, lambda row: row.to),
    write_once=True,
    searchable=("to", "balance", "amount"),
    indexes=(_MOVING,),
)
CLAIMS = Table(
    "wallet.claim",
    Claim,
    DerivedFrom(TRANSITS, lambda row: row.to),
    write_once=True,
    searchable=("balance", "amount"),
    indexes=(_MOVING,),
)
RETURNS = Table(
    "wallet.return",
    Return,
    CreatedBy(),
    write_once=True,
    searchable=("to", "balance", "amount"),
    indexes=(_MOVING,),
)
RECEIPTS = Table(
    "wallet.receipt",
    Claim,
    DerivedFrom(RETURNS, lambda row: row.to),
    write_once=True,
    searchable=("balance", "amount"),
    indexes=(_MOVING,),
)

TABLES = (
    ASSETS,
    SUPPLY,
    ACCOUNTS,
    HANDLES,
    SHARES,
    HOLDS,
    TRANSFERS,
    MEMOS,
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
    VISITS,
)


def share_key(balance: str, node: str) -> str:
    return f"{balance}/{node}"


def hold_key(balance: str, purpose: str, node: str) -> str:
    return f"{balance}/{purpose}/{node}"


def home_of(account: str) -> SourceId:
    """The node that owns the account's row and limits: the first part of the account's key, and of a balance's."""
    return SourceId(account.partition("/")[0])

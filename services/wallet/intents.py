"""What the wallet can be asked to do. Amounts are decimal strings in the asset's scale; accounts are ids or handles."""

import msgspec

__all__ = (
    "Burn",
    "ClaimReturn",
    "ClaimShare",
    "CreateAccount",
    "CreateAsset",
    "DriftHome",
    "ExpirePending",
    "GrantShare",
    "Issue",
    "PostBatch",
    "PostLinked",
    "PostPending",
    "PostTransfer",
    "RequestShare",
    "ReserveTransfer",
    "ReturnHold",
    "SetFee",
    "SetLimit",
    "SetRoaming",
    "SetStatus",
    "VoidPending",
)


class _Intent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class CreateAsset(_Intent, frozen=True):
    """``code``: 2 to 12 of A-Z 0-9; ``scale``: 0 to 9 decimals."""

    code: str
    scale: int
    kind: str = "token"


class CreateAccount(_Intent, frozen=True):
    """``subject`` defaults to whoever asks; ``handle`` is qualified with this node: ``kestrel@ch-zug-01``."""

    subject: str = ""
    handle: str = ""
    kind: str = "user"


class Issue(_Intent, frozen=True):
    asset: str
    credit: str
    amount: str
    reference: str = ""


class Burn(_Intent, frozen=True):
    asset: str
    debit: str
    amount: str
    reference: str = ""


class PostTransfer(_Intent, frozen=True):
    debit: str
    credit: str
    asset: str
    amount: str
    reference: str = ""


class ReserveTransfer(_Intent, frozen=True):
    """Two-phase: reserved now; posted, voided, or expired after ``timeout_s``."""

    debit: str
    credit: str
    asset: str
    amount: str
    timeout_s: int = 3600
    reference: str = ""


class PostPending(_Intent, frozen=True):
    """``amount`` may be less than what is reserved; the rest returns. Empty: all of it."""

    id: str
    amount: str = ""


class VoidPending(_Intent, frozen=True):
    id: str


class ExpirePending(_Intent, frozen=True):
    key: str


class PostLinked(_Intent, frozen=True):
    """All or none; at most 100."""

    transfers: tuple[PostTransfer, ...]


class PostBatch(_Intent, frozen=True):
    """Each for itself; at most 1,000 in a request, 100 in one command."""

    transfers: tuple[PostTransfer, ...]


class SetFee(_Intent, frozen=True):
    """``tiers``: (from amount, basis points), amounts rising from 0; ``kind``: ``transfer`` or ``pending``."""

    asset: str
    tiers: tuple[tuple[str, int], ...]
    kind: str = "transfer"


class SetLimit(_Intent, frozen=True):
    account: str
    asset: str
    single: str = "0"
    daily: str = "0"
    monthly: str = "0"
    count: int = 0
    count_window_s: int = 86_400


class SetRoaming(_Intent, frozen=True):
    """``amount`` in all may be away at ``nodes``; of it each may get ``hourly`` in an hour (all of it when empty)."""

    account: str
    asset: str
    amount: str
    nodes: tuple[str, ...]
    hourly: str = ""
    ttl_s: int = 86_400


class SetStatus(_Intent, frozen=True):
    """``status``: ``active``, ``frozen`` or ``closed``."""

    account: str
    status: str


class RequestShare(_Intent, frozen=True):
    """The wallet's own: asks another node for part of a balance (``<account>/<asset>``). ``purpose`` names the command
    that waits for it: what comes is bound to that one."""

    balance: str
    amount: int
    purpose: str


class GrantShare(_Intent, frozen=True):
    key: str


class ClaimShare(_Intent, frozen=True):
    key: str


class DriftHome(_Intent, frozen=True):
    key: str


class ReturnHold(_Intent, frozen=True):
    key: str


class ClaimReturn(_Intent, frozen=True):
    key: str

"""What the wallet answers: amounts as decimal strings, accounts as ids that fit into a URL (``~`` for ``/``)."""

import msgspec

__all__ = (
    "AccountView",
    "AssetView",
    "Back",
    "BalanceView",
    "BatchItem",
    "BatchView",
    "NodePart",
    "PendingView",
    "Posted",
    "SettingView",
    "TransferView",
)


class AssetView(msgspec.Struct, frozen=True):
    asset: str
    scale: int
    kind: str
    issued: str = "0"
    burned: str = "0"


class AccountView(msgspec.Struct, frozen=True):
    id: str
    subject: str
    zone: str
    handle: str
    status: str
    kind: str
    home: str


class Posted(msgspec.Struct, frozen=True):
    """What is left at this node of the debited account after the transfer."""

    available_here: str
    held_here: str


class Back(msgspec.Struct, frozen=True):
    """What was paid back where two accounts exchanged: ``credit`` paid ``amount + fee``, ``debit`` got ``amount``."""

    asset: str
    amount: str
    fee: str


class TransferView(msgspec.Struct, frozen=True):
    id: str
    debit: str
    credit: str
    asset: str
    amount: str
    fee: str
    kind: str
    at_us: int
    reference: str = ""
    debit_balance: Posted | None = None
    back: Back | None = None


class PendingView(msgspec.Struct, frozen=True):
    id: str
    debit: str
    credit: str
    asset: str
    amount: str
    fee: str
    status: str
    posted: str
    expires_us: int
    reference: str | None = None
    """None where the answer is only about how it was resolved."""


class BatchItem(msgspec.Struct, frozen=True, omit_defaults=True):
    index: int
    transfer: str = ""
    code: str = ""
    detail: str = ""
    field: str = ""


class BatchView(msgspec.Struct, frozen=True):
    id: str
    posted: int
    refused: int
    items: list[BatchItem]


class SettingView(msgspec.Struct, frozen=True):
    id: str


class BalanceView(msgspec.Struct, frozen=True):
    """``total`` = available + pending + in transit, over all nodes as far as this one has heard; ``here`` is what can
    be spent at this node at once; ``pending`` is what is reserved, or came for a transfer that waits for it."""

    asset: str
    available: str
    pending: str
    in_transit: str
    total: str
    here: str
    nodes: list["NodePart"]


class NodePart(msgspec.Struct, frozen=True):
    """``age_ms``: how old this node's knowledge of that part is; 0 for its own; null when it was never heard."""

    node: str
    available: str
    held: str
    age_ms: int | None

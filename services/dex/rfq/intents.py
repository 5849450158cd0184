"""What can be asked of the RFQ desk. Prices and quantities are decimal strings, moments microseconds."""

import msgspec

__all__ = (
    "AcceptQuote",
    "CancelRequest",
    "ExpireQuote",
    "OpenRequest",
    "ReviewRequest",
    "SetRfqFee",
    "SubmitQuote",
    "WithdrawQuote",
)


class _Intent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class OpenRequest(_Intent, frozen=True):
    """``base``, ``quote``: assets, ``CODE@issuer``. ``side``, ``buy`` or ``sell``, is what ``account`` wants to do with
    ``quantity`` of the base asset. Quotes are taken until ``quotes_until_us``; one can be accepted until
    ``accept_until_us`` (0: a minute longer). ``sealed``: quotes are their makers' secret until ``quotes_until_us``;
    else each is shown as it comes. ``invited``: the only accounts that may see the request and quote; empty: all."""

    account: str
    base: str
    quote: str
    side: str
    quantity: str
    quotes_until_us: int
    accept_until_us: int = 0
    sealed: bool = False
    invited: tuple[str, ...] = ()


class CancelRequest(_Intent, frozen=True):
    id: str


class SubmitQuote(_Intent, frozen=True):
    """A firm price for all of the quantity, until ``valid_until_us`` (0: as long as the request can be accepted). It
    takes the place of the account's quote from before, which it must better."""

    request: str
    account: str
    price: str
    valid_until_us: int = 0


class WithdrawQuote(_Intent, frozen=True):
    id: str


class AcceptQuote(_Intent, frozen=True):
    """Settles at once, at the quoted price. There is no last look."""

    id: str


class SetRfqFee(_Intent, frozen=True):
    """Basis points of what each side gives, for requests that come from then on, at this node."""

    bps: int


class ReviewRequest(_Intent, frozen=True):
    """The kernel's own: a request's quotes are shown, or its time is over."""

    key: str


class ExpireQuote(_Intent, frozen=True):
    key: str

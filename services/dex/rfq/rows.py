"""The rows of requests for quotes. Moments are microseconds; a price is in billionths (``terms.py``).

A request lives at the node where it was opened, and its quotes with it. What is open is in resident tables; what has
ended is a row that is written once, with what stood and how it ended. Who sees a quote is said by its row, not by
anybody's clock: ``shown``.
"""

from jilnode.module import (
    CreatedBy,
    DeadlineIndex,
    EqualityIndex,
    OrderedIndex,
    Owned,
    Table,
)
from services.dex.queues import account_at
from services.dex.rfq.intents import ExpireQuote, ReviewRequest
from services.dex.rfq.terms import Leg, Terms
from services.dex.rows import BUY
from services.wallet.kinds import Exchange, Holding

__all__ = (
    "CANCELLED",
    "ENDED_QUOTES",
    "ENDED_REQUESTS",
    "EXPIRED",
    "FEES",
    "OPEN",
    "QUOTED",
    "QUOTES",
    "REQUESTS",
    "SETTLED",
    "SETTLEMENTS",
    "TABLES",
    "EndedQuote",
    "EndedRequest",
    "Fee",
    "Quote",
    "Request",
    "Settlement",
)

OPEN, QUOTED, SETTLED, EXPIRED, CANCELLED = "open", "quoted", "settled", "expired", "cancelled"


class Request(Owned, frozen=True):
    """``account`` is the taker's. ``state``: ``open`` until there are quotes that the taker sees, then ``quoted``. At
    ``due_us`` the kernel looks at it: when quotes end, and when acceptance does."""

    account: str
    terms: Terms
    placed_us: int
    quotes_until_us: int
    accept_until_us: int
    due_us: int
    sealed: bool = False
    invited: tuple[str, ...] = ()
    state: str = OPEN


class EndedRequest(Owned, frozen=True):
    """``state``: ``settled``, ``expired`` or ``cancelled``. ``request`` is how it stood."""

    account: str
    request: Request
    state: str
    ended_us: int


class Quote(Holding, frozen=True):
    """A firm quote of ``account``, the maker's: what it gives, with the fee, is ``reserved``. ``taker`` sees it when it
    is ``shown``."""

    request: str
    taker: str
    price: int
    terms: Terms
    placed_us: int
    valid_until_us: int
    shown: bool = False

    @property
    def at_node(self) -> str:
        return account_at(self.request, self.account)

    @property
    def of_maker(self) -> str:
        return f"{self.request} {self.account}"


class EndedQuote(Owned, frozen=True):
    """``reason``: ``accepted``, ``lost`` (another was accepted), ``withdrawn``, ``expired``, ``improved`` (by the
    maker's next), ``outbid`` (there were too many, and a better one came), ``request_expired`` or
    ``request_cancelled``. ``shown_in`` is the request where the taker saw it, else empty."""

    account: str
    shown_in: str
    quote: Quote
    reason: str
    ended_us: int


class Settlement(Exchange, frozen=True):
    """An accepted quote, and its payment: the taker is ``debit``, the maker ``credit``. Of a request there is one at
    most, which ends it. Each fee is in what its payer gave."""

    request: str
    quote: str
    price: int
    terms: Terms

    @property
    def taker(self) -> str:
        return self.debit

    @property
    def maker(self) -> str:
        return self.credit

    @property
    def legs(self) -> tuple[Leg, Leg]:
        """What its taker gave, and its maker."""
        return (
            Leg(self.asset, self.scale, self.amount, self.fee),
            Leg(self.back_asset, self.back_scale, self.back_amount, self.back_fee),
        )

    @property
    def turnover(self) -> int:
        return self.amount if self.terms.side == BUY else self.back_amount


class Fee(Owned, frozen=True):
    """Of one node, under its id."""

    bps: int


def _at_node(key: str, request: Request) -> str:
    return account_at(key, request.account)


def _as_made(key: str, request: Request) -> tuple[()]:
    """By their keys alone."""
    return ()


def _request(key: str, quote: Quote) -> str:
    return quote.request


def _best(key: str, quote: Quote) -> tuple[int, int]:
    """The taker's best price first, then who came first."""
    return (quote.price if quote.terms.side == BUY else -quote.price, quote.placed_us)


REQUESTS = Table(
    "dex.rfq",
    Request,
    CreatedBy(),
    resident=True,
    indexes=(
        OrderedIndex("at_node", _at_node, _as_made),
        DeadlineIndex("due", "due_us", lambda key, row: ReviewRequest(key)),
    ),
)
ENDED_REQUESTS = Table("dex.rfq_ended", EndedRequest, CreatedBy(), write_once=True, searchable=("account",))
QUOTES = Table(
    "dex.rfq_quote",
    Quote,
    CreatedBy(),
    resident=True,
    indexes=(
        OrderedIndex("best", _request, _best),
        EqualityIndex("by_request", "request"),
        EqualityIndex("at_node", "at_node"),
        EqualityIndex("of_maker", "of_maker"),
        DeadlineIndex("validity", "valid_until_us", lambda key, row: ExpireQuote(key)),
    ),
)
ENDED_QUOTES = Table(
    "dex.rfq_quote_ended", EndedQuote, CreatedBy(), write_once=True, searchable=("account", "shown_in")
)
SETTLEMENTS = Table(
    "dex.rfq_settlement", Settlement, CreatedBy(), write_once=True, searchable=("debit", "credit", "request")
)
FEES = Table("dex.rfq_fee", Fee, CreatedBy(), resident=True)

TABLES = (REQUESTS, ENDED_REQUESTS, QUOTES, ENDED_QUOTES, SETTLEMENTS, FEES)

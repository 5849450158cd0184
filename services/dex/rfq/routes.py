"""The RFQ desk's HTTP routes, as data."""

from collections.abc import Mapping

import msgspec

from jilnode.module import Query, Write
from services.dex.rfq import listings, queries
from services.dex.rfq.intents import AcceptQuote, CancelRequest, OpenRequest, SetRfqFee, SubmitQuote, WithdrawQuote
from services.dex.rfq.views import FeeView, LegView, QuoteView, RequestView, SettlementView
from services.wallet.listings import HistoryParams

__all__ = ("QUERIES", "WRITES")

BASE = "/v1/dex/rfq"
_REQUEST = "sg-mas-01~0-00000004d2"
_QUOTE = "sg-mas-01~0-00000004d7"
_TAKER, _MAKER = "sg-mas-01~0-0000000004", "sg-mas-01~0-0000000009"
_GOLD, _USD = "GOLD@sg-mas-01", "USDX@sg-mas-01"
_MOMENT_US = 1795415580000000
_REQUEST_VIEW = RequestView(
    _REQUEST,
    _TAKER,
    _GOLD,
    _USD,
    "buy",
    "250.0000",
    True,
    [_MAKER],
    2,
    "open",
    _MOMENT_US,
    _MOMENT_US + 30_000_000,
    _MOMENT_US + 90_000_000,
    None,
)
_TAKER_GIVES = LegView(_USD, "25312.5000", "5.0625", "25317.5625")
_MAKER_GIVES = LegView(_GOLD, "250.0000", "0.0500", "250.0500")
_QUOTE_VIEW = QuoteView(
    _QUOTE,
    _REQUEST,
    _MAKER,
    "101.25",
    "live",
    False,
    _TAKER_GIVES,
    _MAKER_GIVES,
    _MOMENT_US + 4_000_000,
    _MOMENT_US + 90_000_000,
    None,
)
_SETTLEMENT_VIEW = SettlementView(
    _REQUEST,
    _QUOTE,
    _TAKER,
    _MAKER,
    "buy",
    "101.25",
    "250.0000",
    "25312.5000",
    _TAKER_GIVES,
    _MAKER_GIVES,
    _MOMENT_US + 31_000_000,
)
_SEEN_QUOTE_VIEW = msgspec.structs.replace(_QUOTE_VIEW, status="accepted", shown=True, ended_us=_MOMENT_US + 31_000_000)
_CANCELLED_VIEW = msgspec.structs.replace(_REQUEST_VIEW, state="cancelled", ended_us=_MOMENT_US + 9_000_000)


class NoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``{}``."""


class QuoteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``price``: of one of the base asset, in the quote asset. ``valid_until_us`` 0: as long as the request can be
    accepted."""

    account: str
    price: str
    valid_until_us: int = 0


def _submit(parameters: Mapping[str, str], body: QuoteBody) -> SubmitQuote:
    return SubmitQuote(parameters["id"], body.account, body.price, body.valid_until_us)


def _cancel(parameters: Mapping[str, str], body: NoBody) -> CancelRequest:
    return CancelRequest(parameters["id"])


def _withdraw(parameters: Mapping[str, str], body: NoBody) -> WithdrawQuote:
    return WithdrawQuote(parameters["id"])


def _accept(parameters: Mapping[str, str], body: NoBody) -> AcceptQuote:
    return AcceptQuote(parameters["id"])


WRITES = (
    Write(
        f"{BASE}/fee",
        SetRfqFee,
        FeeView,
        "dex:operate",
        "Set this node's fee on accepted quotes",
        status=200,
        example=SetRfqFee(2),
        reply_example=FeeView(2),
    ),
    Write(
        f"{BASE}/requests",
        OpenRequest,
        RequestView,
        "dex:trade",
        "Ask for quotes",
        example=OpenRequest(
            "kestrel@sg-mas-01",
            _GOLD,
            _USD,
            "buy",
            "250.00",
            _MOMENT_US + 30_000_000,
            _MOMENT_US + 90_000_000,
            sealed=True,
            invited=(_MAKER,),
        ),
        reply_example=_REQUEST_VIEW,
        description="The request lives at this node: makers quote here, and the taker accepts here.",
    ),
    Write(
        f"{BASE}/requests/{{id:str}}/cancel",
        NoBody,
        RequestView,
        "dex:trade",
        "Cancel a request: its quotes end",
        status=200,
        command=_cancel,
        example=NoBody(),
        reply_example=_CANCELLED_VIEW,
    ),
    Write(
        f"{BASE}/requests/{{id:str}}/quotes",
        QuoteBody,
        QuoteView,
        "dex:trade",
        "Answer a request with a firm quote",
        command=_submit,
        example=QuoteBody("heron@sg-mas-01", "101.25"),
        reply_example=_QUOTE_VIEW,
        description="What the maker gives is set aside until the quote ends. `421 misdirected` tells at which node the "
        "request lives.",
    ),
    Write(
        f"{BASE}/quotes/{{id:str}}/withdraw",
        NoBody,
        QuoteView,
        "dex:trade",
        "Withdraw a quote",
        status=200,
        command=_withdraw,
        example=NoBody(),
        reply_example=msgspec.structs.replace(_SEEN_QUOTE_VIEW, status="withdrawn"),
    ),
    Write(
        f"{BASE}/quotes/{{id:str}}/accept",
        NoBody,
        SettlementView,
        "dex:trade",
        "Accept a quote: it settles at once",
        command=_accept,
        example=NoBody(),
        reply_example=_SETTLEMENT_VIEW,
        description="Both legs or neither, at the quoted price; all other quotes of the request end. "
        "`409 share_short`: the rest lies at another node, try again. `409 quote_void`: its maker may not pay now, "
        "take another.",
    ),
)

QUERIES = (
    Query(
        f"{BASE}/fee",
        queries.NoParams,
        FeeView,
        "dex:read",
        "This node's fee on accepted quotes",
        queries.fee,
        reply_example=FeeView(2),
    ),
    Query(
        f"{BASE}/requests",
        listings.RequestsParams,
        listings.Requests,
        "dex:read",
        "Open requests that you may quote",
        listing=listings.requests,
        reply_example=listings.Requests([_REQUEST_VIEW], None),
    ),
    Query(
        f"{BASE}/requests/ended",
        HistoryParams,
        listings.Requests,
        "dex:read",
        "An account's ended requests, newest first",
        listing=listings.ended_requests,
        reply_example=listings.Requests([_CANCELLED_VIEW], None),
    ),
    Query(
        f"{BASE}/requests/{{id:str}}",
        queries.IdParams,
        RequestView,
        "dex:read",
        "One request, open or ended",
        listing=listings.request,
        reply_example=_REQUEST_VIEW,
    ),
    Query(
        f"{BASE}/requests/{{id:str}}/quotes",
        queries.IdParams,
        queries.LiveQuotes,
        "dex:read",
        "A request's live quotes that you may see, best first",
        queries.quotes,
        reply_example=queries.LiveQuotes(_REQUEST, [msgspec.structs.replace(_QUOTE_VIEW, shown=True)]),
        description="Each tells exactly what acceptance would move and charge.",
    ),
    Query(
        f"{BASE}/requests/{{id:str}}/quotes/ended",
        listings.SeenQuotesParams,
        queries.Quotes,
        "dex:read",
        "A request's ended quotes that you could see, newest first",
        listing=listings.seen_quotes,
        reply_example=queries.Quotes([_SEEN_QUOTE_VIEW], None),
    ),
    Query(
        f"{BASE}/quotes",
        queries.OwnQuotesParams,
        queries.Quotes,
        "dex:read",
        "An account's live quotes",
        queries.own_quotes,
        reply_example=queries.Quotes([_QUOTE_VIEW], None),
    ),
    Query(
        f"{BASE}/quotes/ended",
        HistoryParams,
        queries.Quotes,
        "dex:read",
        "An account's ended quotes, newest first",
        listing=listings.ended_quotes,
        reply_example=queries.Quotes([_SEEN_QUOTE_VIEW], None),
    ),
    Query(
        f"{BASE}/quotes/{{id:str}}",
        queries.IdParams,
        QuoteView,
        "dex:read",
        "One quote, live or ended",
        listing=listings.quote,
        reply_example=_SEEN_QUOTE_VIEW,
    ),
    Query(
        f"{BASE}/settlements",
        HistoryParams,
        listings.Settlements,
        "dex:read",
        "An account's settled quotes, as taker and as maker, newest first",
        listing=listings.settlements,
        reply_example=listings.Settlements([_SETTLEMENT_VIEW], None),
    ),
    Query(
        f"{BASE}/settlements/{{id:str}}",
        queries.IdParams,
        SettlementView,
        "dex:read",
        "One settlement",
        listing=listings.settlement,
        reply_example=_SETTLEMENT_VIEW,
    ),
)

"""What the RFQ desk adds to the exchange's module."""

from collections.abc import Callable, Mapping
from typing import Any

from jilnode.module import Command, Owner
from services.dex.rfq.commands import acceptances, quotes, requests
from services.dex.rfq.intents import (
    AcceptQuote,
    CancelRequest,
    ExpireQuote,
    OpenRequest,
    ReviewRequest,
    SetRfqFee,
    SubmitQuote,
    WithdrawQuote,
)
from services.dex.rfq.invariants import INVARIANTS
from services.dex.rfq.problems import PROBLEMS
from services.dex.rfq.replies import (
    ended_quote_reply,
    ended_request_reply,
    fee_reply,
    quote_reply,
    request_reply,
    settlement_reply,
)
from services.dex.rfq.routes import QUERIES, WRITES
from services.dex.rfq.rows import (
    ENDED_QUOTES,
    ENDED_REQUESTS,
    QUOTES,
    REQUESTS,
    SETTLEMENTS,
    TABLES,
    Quote,
)
from services.wallet.replies import no_reply
from services.wallet.rows import ACCOUNTS

__all__ = ("COMMANDS", "INVARIANTS", "PROBLEMS", "QUERIES", "SEALED", "SUBJECT_OF", "TABLES", "WRITES")

COMMANDS = (
    Command(SetRfqFee, "dex.rfq.fee_set", requests.set_fee, fee_reply, status=200),
    Command(OpenRequest, "dex.rfq.opened", requests.open_request, request_reply, review=requests.review_opening),
    Command(CancelRequest, "dex.rfq.cancelled", requests.cancel_request, ended_request_reply, status=200),
    Command(SubmitQuote, "dex.rfq.quoted", quotes.submit_quote, quote_reply, review=quotes.review_quote),
    Command(WithdrawQuote, "dex.rfq.quote_withdrawn", quotes.withdraw_quote, ended_quote_reply, status=200),
    Command(
        AcceptQuote,
        "dex.rfq.settled",
        acceptances.accept_quote,
        settlement_reply,
        review=acceptances.review_acceptance,
    ),
    Command(ExpireQuote, "dex.rfq.quote_expired", quotes.expire_quote, no_reply),
    Command(ReviewRequest, "dex.rfq.reviewed", requests.review_request, no_reply),
)


def _parties(quote: Quote) -> tuple[Owner, ...]:
    """The maker; and the taker, when it is shown."""
    return ((ACCOUNTS, quote.account), (ACCOUNTS, quote.taker)) if quote.shown else ((ACCOUNTS, quote.account),)


SUBJECT_OF: Mapping[str, Callable[[str, Any], tuple[Owner, ...]]] = {
    REQUESTS.name: lambda key, row: tuple((ACCOUNTS, account) for account in (row.account, *row.invited)),
    ENDED_REQUESTS.name: lambda key, row: tuple((ACCOUNTS, account) for account in (row.account, *row.request.invited)),
    QUOTES.name: lambda key, row: _parties(row),
    ENDED_QUOTES.name: lambda key, row: _parties(row.quote),
    SETTLEMENTS.name: lambda key, row: ((ACCOUNTS, row.taker), (ACCOUNTS, row.maker)),
}

SEALED: Mapping[str, Callable[[str, Any], bool]] = {
    QUOTES.name: lambda key, row: not row.shown,
    ENDED_QUOTES.name: lambda key, row: not row.quote.shown,
}

"""Every stable code that the RFQ desk adds to those of the exchange, with its title."""

__all__ = ("PROBLEMS",)

PROBLEMS = {
    "bad_fee": "The fee is not one",
    "bad_invited": "The accounts that are invited are too many, or the taker's own",
    "bad_pair": "The pair is not one",
    "inexact_notional": "Price times quantity is no whole number of minor units",
    "quote_expired": "The quote is not valid any more",
    "quote_not_better": "The account has a quote that is as good",
    "quote_void": "The quote's maker may not pay now",
    "quotes_ended": "The time for quotes is over",
    "request_expired": "The time to accept is over",
    "self_trade": "Both sides are one owner's",
    "too_many_open_requests": "Too many open requests",
    "too_many_quotes": "Too many quotes",
    "unknown_quote": "The quote is not known here",
    "unknown_request": "The request for quotes is not known here",
    "unknown_settlement": "The settlement is not known here",
}

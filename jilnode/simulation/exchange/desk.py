"""One node's requests for quotes as its events tell them: kept beside the desk's own rows, and judged after each event.

Q1: a request ends once, a quote is accepted once, before its time and its request's are over; nothing outlives either.
Q2: a quote holds what its maker would give from its first event to its last. Q3: both sides pay what was quoted.
"""

from fractions import Fraction
from typing import Any, NamedTuple

import msgspec

from jilnode.simulation.exchange.book import ceiling
from jilnode.simulation.exchange.money import Hold, Moved
from jilnode.simulation.finding import Finding
from services.dex.rfq.rows import EndedQuote, EndedRequest, Quote, Request, Settlement

__all__ = ("DeskEvent", "DeskShape", "Legs", "ShadowDesk", "legs")

PRICES = 10**9
"""A price is in billionths."""
LATE_US = 6_000_000
"""How long after its time the kernel may still have to end something: it tries again after five seconds."""

DeskShape = dict[str, tuple[str, tuple[tuple[str, int, bool], ...]]]
"""request -> (state, (quote, price, shown), the taker's best first)."""


class Leg(NamedTuple):
    asset: str
    amount: int
    fee: int


class Legs(NamedTuple):
    """What the taker and what the maker gives, in minor units."""

    taker: Leg
    maker: Leg


class DeskEvent(NamedTuple):
    """What one entry says of requests; rows by their keys, None where they are deleted."""

    where: str
    time_us: int
    requests: dict[str, Request | None]
    ended_requests: dict[str, EndedRequest]
    quotes: dict[str, Quote | None]
    ended_quotes: dict[str, EndedQuote]
    settlements: dict[str, Settlement]

    @property
    def empty(self) -> bool:
        return not any(self[2:])

    @property
    def settled(self) -> list[str]:
        """The requests that end with a settlement."""
        return [settlement.request for settlement in self.settlements.values()]


class ShadowDesk:
    def __init__(self) -> None:
        self.requests: dict[str, Request] = {}
        self.quotes: dict[str, Quote] = {}
        self.ended: dict[str, Any] = {}
        """How requests and quotes ended, by their keys."""
        self.shapes: list[tuple[int, DeskShape]] = [(0, {})]
        """(size of the journal, what there is from then on), rising."""

    def apply(self, event: DeskEvent, size: int, expected: Moved) -> None:
        """Adds to ``expected`` what the event should move."""
        before = ShadowDesk()
        before.requests, before.quotes = self.requests, self.quotes
        self.requests = _after(self.requests, event.requests)
        self.quotes = _after(self.quotes, event.quotes)
        if len(set(event.settled)) != len(event.settled):
            raise Finding(f"accepted: {event.where} settles a request twice (Q1)")
        for settlement in event.settlements.values():
            _settled(event, before, settlement, expected)
        for key, request in event.requests.items():
            self._requested(event, before, key, request)
        for key, quote in event.quotes.items():
            self._quoted(event, before, key, quote)
        for key in (event.ended_requests.keys() - event.requests) | (event.ended_quotes.keys() - event.quotes):
            raise Finding(f"desk: {event.where} ends {key}, which it does not take away (Q1)")
        self.ended |= event.ended_requests | event.ended_quotes
        makers = [(quote.request, quote.account) for quote in self.quotes.values()]
        if len(set(makers)) != len(makers):
            raise Finding(f"desk: {event.where} leaves an account with two live quotes of one request")
        for key, quote in self.quotes.items():
            if quote.request not in self.requests:
                raise Finding(f"desk: {event.where} leaves {key} live, and its request has ended (Q1)")
        self.shapes.append((size, self._shape()))

    def check_timely(self, where: str, time_us: int) -> None:
        """At a tick, before which the kernel ends what is due, and at the end."""
        for key, due_us in [
            *[(key, request.due_us) for key, request in self.requests.items()],
            *[(key, quote.valid_until_us) for key, quote in self.quotes.items()],
        ]:
            if due_us + LATE_US < time_us:
                raise Finding(f"desk: {where} still has {key}, {time_us - due_us} us after its time (Q1)")

    def holds(self) -> dict[str, Hold]:
        """Q2: what is reserved for each live quote."""
        found = {}
        for key, quote in self.quotes.items():
            asset, amount, fee = legs(quote).maker
            found[key] = Hold(quote.account, asset, amount + fee)
        return found

    def _requested(self, event: DeskEvent, before: "ShadowDesk", key: str, request: Request | None) -> None:
        old, last = before.requests.get(key), event.ended_requests.get(key)
        where = f"desk: {event.where} {{}} {key} (Q1)"
        if request is None or last is not None:
            if old is None or request is not None or last is None or last.request != old:
                raise Finding(where.format("ends without a word, twice, or as another than it was"))
            if (last.state == "settled") != (key in event.settled):
                raise Finding(where.format(f"says {last.state} of"))
            quoted = any(quote.request == key for quote in before.quotes.values())
            over_us = old.accept_until_us if quoted else old.quotes_until_us
            if last.state == "expired" and event.time_us < over_us:
                raise Finding(where.format("lets expire too early"))
        elif old is None:
            if key in self.ended or request.state != "open" or request.quotes_until_us <= event.time_us:
                raise Finding(where.format("opens again, or too late,"))
        elif request != msgspec.structs.replace(old, state="quoted", due_us=request.due_us):
            raise Finding(where.format("changes what was asked as"))

    def _quoted(self, event: DeskEvent, before: "ShadowDesk", key: str, quote: Quote | None) -> None:
        old, last = before.quotes.get(key), event.ended_quotes.get(key)
        where = f"desk: {event.where} {{}} {key} (Q1)"
        if quote is None or last is not None:
            if old is None or quote is not None or last is None or last.quote != old:
                raise Finding(where.format("ends without a word, twice, or as another than it was"))
            if (last.reason == "accepted") != (key in [item.quote for item in event.settlements.values()]):
                raise Finding(where.format(f"says {last.reason} of"))
            if last.reason == "expired" and event.time_us < old.valid_until_us:
                raise Finding(where.format("lets expire too early"))
            if last.reason == "improved" and not any(_improves(item, old) for item in event.quotes.values()):
                raise Finding(where.format("has nothing better than"))
            return
        request = before.requests.get(quote.request)
        if request is None or (quote.terms, quote.taker) != (request.terms, request.account):
            raise Finding(where.format("has a quote for nothing that was asked,"))
        if old is None:
            if key in self.ended or not event.time_us < min(request.quotes_until_us, quote.valid_until_us):
                raise Finding(where.format("quotes again, or too late,"))
            if quote.account == request.account or (request.invited and quote.account not in request.invited):
                raise Finding(where.format("has a maker who was not invited:"))
            if quote.shown == request.sealed:
                raise Finding(f"desk: {event.where} shows a sealed quote, or hides an open one, {key}")
        elif quote != msgspec.structs.replace(old, shown=True):
            raise Finding(where.format("changes the firm quote"))
        elif event.time_us < request.quotes_until_us:
            raise Finding(f"desk: {event.where} shows the sealed quote {key} before its time")

    def _shape(self) -> DeskShape:
        found: dict[str, list[tuple[int, int, str, Quote]]] = {key: [] for key in self.requests}
        for key, quote in self.quotes.items():
            sign = 1 if quote.terms.side == "buy" else -1
            found[quote.request].append((sign * quote.price, quote.placed_us, key, quote))
        return {
            request: (
                self.requests[request].state,
                tuple((key, quote.price, quote.shown) for _, _, key, quote in sorted(quotes)),
            )
            for request, quotes in found.items()
        }


def legs(quote: Quote | Settlement) -> Legs:
    """By fractions, and not as the desk does it. A price that leaves a remainder is a finding."""
    terms = quote.terms
    turnover = Fraction(quote.price * terms.quantity, PRICES * 10**terms.base_scale) * 10**terms.quote_scale
    if turnover.denominator != 1:
        raise Finding(f"desk: {quote.price} x {terms.quantity} leaves a remainder")
    paid = Leg(terms.quote, turnover.numerator, ceiling(turnover.numerator, terms.fee_bps))
    sold = Leg(terms.base, terms.quantity, ceiling(terms.quantity, terms.fee_bps))
    return Legs(paid, sold) if terms.side == "buy" else Legs(sold, paid)


def _settled(event: DeskEvent, before: ShadowDesk, settlement: Settlement, expected: Moved) -> None:
    key = settlement.request
    request, quote = before.requests.get(key), before.quotes.get(settlement.quote)
    if request is None or quote is None or quote.request != key or not quote.shown:
        raise Finding(f"accepted: {event.where} settles {key} with a quote that its taker does not have (Q1)")
    if event.time_us >= min(request.accept_until_us, quote.valid_until_us) or settlement.at_us != event.time_us:
        raise Finding(f"accepted: {event.where} settles {key} too late (Q1)")
    if (settlement.price, settlement.terms) != (quote.price, request.terms):
        raise Finding(f"accepted: {event.where} settles {key} at {settlement.price}, not {quote.price} (Q3)")
    if (settlement.taker, settlement.maker) != (request.account, quote.account):
        raise Finding(f"accepted: {event.where} settles {key} between others than asked and quoted (Q3)")
    taker, maker = legs(quote)
    source = key.partition("/")[0]
    for payer, payee, (asset, amount, fee) in (
        (request.account, quote.account, taker),
        (quote.account, request.account, maker),
    ):
        for account, change in ((payer, -amount - fee), (payee, amount), (f"{source}/fees", fee)):
            balance = f"{account}/{asset}"
            expected[balance] = expected.get(balance, 0) + change


def _improves(quote: Quote | None, old: Quote) -> bool:
    if quote is None or (quote.request, quote.account) != (old.request, old.account):
        return False
    gain = old.price - quote.price if old.terms.side == "buy" else quote.price - old.price
    return gain > 0 or (gain == 0 and quote.valid_until_us > old.valid_until_us)


def _after(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    found = {**before, **changes}
    return {key: row for key, row in found.items() if row is not None}

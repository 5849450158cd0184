"""Broken rules of requests for quotes, as ``mutants.py`` has them of books."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import msgspec

from jilnode.kernel.cache import TableCache
from jilnode.kernel.indexes import DeadlineQueue
from jilnode.simulation.exchange.mutants import Mutants, broken_each
from services.dex.rfq import standing, terms
from services.dex.rfq.commands import acceptances, ending, quotes, requests
from services.dex.rfq.rows import QUOTES, Quote, Settlement
from services.wallet.kinds import Reserved
from services.wallet.ledger import Ledger

__all__ = ("DESK_MUTANTS",)


class _Miser(Ledger):
    """Gives nothing back."""

    def keep(self, account: str, reserved: Reserved, amount: int) -> Reserved:
        return reserved


def hold_kept_at_expiry() -> list[AbstractContextManager[Any]]:
    """What a quote holds does not go back when its time is over."""

    def end(state: Any, context: Any, ledger: Any, key: str, quote: Quote, left: Reserved, reason: str) -> None:
        keeper = _Miser(state, context) if reason == "expired" else ledger
        ending.end_quote(state, context, keeper, key, quote, left, reason)

    return [patch.object(quotes, "end_quote", end)]


def hold_kept_at_the_end() -> list[AbstractContextManager[Any]]:
    """What quotes hold does not go back when their request is taken back, or its time is over."""

    def end(state: Any, context: Any, ledger: Any, *others: Any) -> None:
        ending.end_request(state, context, _Miser(state, context), *others)

    return [patch.object(requests, "end_request", end)]


def one_leg() -> list[AbstractContextManager[Any]]:
    """The taker pays, and the maker keeps what the quote held."""

    class OneSided(Ledger):
        def give_reserved(self, account: str, reserved: Reserved, *others: Any) -> Reserved:
            return reserved

    return [patch.object(acceptances, "Ledger", OneSided)]


def losers_stay() -> list[AbstractContextManager[Any]]:
    """Quotes stay when their request ends."""
    return [patch.object(ending, "live_quotes", lambda state, request: [])]


def unsealed() -> list[AbstractContextManager[Any]]:
    """A sealed quote is shown as it comes."""

    def shown(*fields: Any) -> Quote:
        return msgspec.structs.replace(Quote(*fields), shown=True)

    return [patch.object(quotes, "Quote", shown)]


def never_due() -> list[AbstractContextManager[Any]]:
    """The kernel's timers forget quotes."""
    keep = DeadlineQueue.set

    def forgetful(self: DeadlineQueue, key: str, moment: int) -> None:
        if self.spec.field != "valid_until_us":
            keep(self, key, moment)

    return [patch.object(DeadlineQueue, "set", forgetful)]


def expires_too_early() -> list[AbstractContextManager[Any]]:
    """A request expires when the time for quotes is over, whether it has any or not."""
    return [patch.object(requests, "live_quotes", lambda state, request: [])]


def own_quotes() -> list[AbstractContextManager[Any]]:
    """One owner may be taker and maker."""
    return [patch.object(module, "check_owners", lambda *arguments: None) for module in (quotes, standing)]


def worse_quotes() -> list[AbstractContextManager[Any]]:
    """A firm quote is replaced by any other."""
    return [patch.object(quotes, "_rank", lambda quote: 0)]


def fees_rounded_down() -> list[AbstractContextManager[Any]]:
    return [patch.object(terms, "fee_on", lambda amount, bps: amount * bps // 10_000)]


def last_look() -> list[AbstractContextManager[Any]]:
    """The maker makes another price of the quoted one when it is accepted."""

    def dearer(*fields: Any) -> Settlement:
        settlement = Settlement(*fields)
        return msgspec.structs.replace(settlement, price=settlement.price * 2)

    return [patch.object(acceptances, "Settlement", dearer)]


def short_leg() -> list[AbstractContextManager[Any]]:
    """The maker gives one unit, whatever was quoted, and says so."""

    def stingy(found: terms.Terms, price: int) -> tuple[terms.Leg, terms.Leg]:
        taker, maker = terms.legs(found, price)
        return taker, maker._replace(amount=1, fee=0)

    return [patch.object(acceptances, "legs", stingy)]


def frozen_makers() -> list[AbstractContextManager[Any]]:
    """A quote whose maker was frozen since is accepted."""
    return [patch.object(standing, "may_pay", lambda *arguments: "")]


def ghosts_at_replicas() -> list[AbstractContextManager[Any]]:
    """At a replica a quote that has ended stays among those of its request: the rows are right, the list is not."""
    keep = TableCache.set

    def haunted(self: TableCache, key: str, old: Any, new: Any) -> None:
        if self.spec is QUOTES and old is not None and new is None and old.owner != self.source:
            self.images[key] = None
        else:
            keep(self, key, old, new)

    return [patch.object(TableCache, "set", haunted)]


DESK_MUTANTS: Mutants = broken_each(
    {
        "hold of an expired quote": hold_kept_at_expiry,
        "holds of an ended request": hold_kept_at_the_end,
        "both legs": one_leg,
        "quotes of an ended request": losers_stay,
        "seal": unsealed,
        "timer of a quote": never_due,
        "time of a request": expires_too_early,
        "self-trade": own_quotes,
        "firm quote": worse_quotes,
        "fees": fees_rounded_down,
        "quoted price": last_look,
        "quoted amount": short_leg,
        "freeze": frozen_makers,
        "quotes of a replica": ghosts_at_replicas,
    }
)

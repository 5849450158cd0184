"""Broken rules of pools, as ``mutants.py`` has them of books."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from jilnode.kernel.cache import TableCache
from jilnode.simulation.exchange.mutants import Mutants, broken_each
from services.dex.pools import commands, quoting
from services.dex.pools.rows import POOLS
from services.wallet.ledger import Ledger

__all__ = ("POOL_MUTANTS",)


def rounded_for_traders() -> list[AbstractContextManager[Any]]:
    """A swap gives the ceiling."""

    def generous(amount: int, reserve_in: int, reserve_out: int, fee_bps: int) -> int:
        paid = amount * (10_000 - fee_bps)
        return -(-paid * reserve_out // (reserve_in * 10_000 + paid))

    return [patch.object(quoting, "amount_out", generous)]


def product_falls() -> list[AbstractContextManager[Any]]:
    """A swap is at the price before it, however large it is."""

    def flat(amount: int, reserve_in: int, reserve_out: int, fee_bps: int) -> int:
        return min(amount * reserve_out // reserve_in, reserve_out - 1)

    return [patch.object(quoting, "amount_out", flat)]


def cheap_shares() -> list[AbstractContextManager[Any]]:
    """Who puts in pays the floor of what the shares cost."""
    return [patch.object(commands, "cost_of", lambda part, reserve, shares: part * reserve // shares)]


def dear_shares() -> list[AbstractContextManager[Any]]:
    """Who takes out gets the ceiling of what the shares are worth."""
    return [patch.object(commands, "worth_of", lambda part, reserve, shares: -(-part * reserve // shares))]


def shares_not_burned() -> list[AbstractContextManager[Any]]:
    """Who takes out keeps the shares."""

    class Careless(Ledger):
        def burn(self, *arguments: Any) -> None:
            """Nothing is burned."""

    return [patch.object(commands, "Ledger", Careless)]


def nothing_locked() -> list[AbstractContextManager[Any]]:
    """The first one gets all of the shares."""
    return [patch.object(commands, "MINIMUM_LIQUIDITY", 0)]


def one_sided() -> list[AbstractContextManager[Any]]:
    """A swap pays in, and nothing comes out."""

    class Greedy(Ledger):
        def give(self, debit: str, *arguments: Any) -> None:
            kind, _, _ = arguments[-1]
            # What is taken out goes this way too.
            if kind != "swap" or "/dex.LP" not in debit:
                super().give(debit, *arguments)

    return [patch.object(commands, "Ledger", Greedy)]


def least_ignored() -> list[AbstractContextManager[Any]]:
    """A swap may give less than ``min_out``."""
    exchange = commands.exchange

    def enough(*arguments: Any) -> int:
        exchange(*arguments)
        return 1 << 62

    return [patch.object(commands, "exchange", enough)]


def deadlines_ignored() -> list[AbstractContextManager[Any]]:
    return [patch.object(commands, "check_deadline", lambda context, deadline_us: None)]


def halted_goes_on() -> list[AbstractContextManager[Any]]:
    return [patch.object(commands, "check_open", lambda *arguments, **options: None)]


def time_stands_still() -> list[AbstractContextManager[Any]]:
    """Nothing is added to the mean prices."""
    return [patch.object(commands, "accumulated", lambda cumulative, *others: cumulative)]


def stale_replicas() -> list[AbstractContextManager[Any]]:
    """At a replica readers get a pool as it was when it was made."""
    keep = TableCache.set

    def stale(self: TableCache, key: str, old: Any, new: Any) -> None:
        if not (self.spec is POOLS and old is not None and new is not None and new.owner != self.source):
            keep(self, key, old, new)

    return [patch.object(TableCache, "set", stale)]


POOL_MUTANTS: Mutants = broken_each(
    {
        "rounding of a swap": rounded_for_traders,
        "product": product_falls,
        "cost of shares": cheap_shares,
        "worth of shares": dear_shares,
        "burned shares": shares_not_burned,
        "locked shares": nothing_locked,
        "output of a swap": one_sided,
        "least output": least_ignored,
        "deadline": deadlines_ignored,
        "halt": halted_goes_on,
        "mean price": time_stands_still,
        "pool of a replica": stale_replicas,
    }
)

"""The order book in this process, no HTTP and no store, at a constant number of open orders; and the naive book, which
the tests have as its oracle, with the same orders."""

import gc
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice

from jilnode.kernel.command import Submission
from scripts.benchmark.kernel import BATCH, SCOPES, Core, crossing, resting, settle
from services.dex.commands.batches import ORDERS_MAX
from services.dex.intents import PlaceOrder, PlaceOrders
from tests.services.dex.naive import Naive
from tests.services.dex.naive_rules import Trader

__all__ = ("core_rates", "naive_rates")

WARM = 16
"""Rounds before measuring: each account's rows have been asked for by then."""
ACTOR = "bench"
PLENTY = 10**15


class _Book:
    """A core with so many open orders."""

    def __init__(self, open_orders: int) -> None:
        self._core = Core(timed=False)
        accounts = self._core.accounts
        self._calls = {"resting": resting(accounts), "crossing": crossing(accounts)}
        for first in range(0, open_orders, ORDERS_MAX):
            orders = list(islice(self._calls["resting"], min(ORDERS_MAX, open_orders - first)))
            self._core.run([_together(orders).command])

    def round(self) -> dict[str, float]:
        """Orders a second of each kind: what rests in it is taken in it, one a command, and then in batches."""
        found: dict[str, float] = {}
        for ending in ("", "_batch"):
            for kind, source in self._calls.items():
                orders = list(islice(source, BATCH))
                seconds = sum(self._core.batch([_together(orders)] if ending else orders))
                found[kind + ending] = BATCH / seconds
        return found


def core_rates(open_orders: Sequence[int], rounds: int) -> dict[int, dict[str, list[float]]]:
    """number of open orders -> kind -> orders a second of each round, the books in turn."""
    books = {count: _Book(count) for count in open_orders}
    found: dict[int, dict[str, list[float]]] = {count: {} for count in open_orders}
    settle()
    for number in range(WARM + rounds):
        for open_count, book in books.items():
            for kind, rate in book.round().items():
                if number >= WARM:
                    found[open_count].setdefault(kind, []).append(rate)
    gc.unfreeze()
    return found


def _together(orders: list[Submission]) -> Submission:
    first = orders[0]
    return Submission(PlaceOrders(tuple(map(_command, orders))), ACTOR, SCOPES, first.key_hash, first.body_hash)


def naive_rates(open_orders: int, orders: int) -> dict[str, list[float]]:
    """The same with the naive book: so many orders rest, and are taken."""
    accounts = [f"bench-01/{number}" for number in range(1_000)]
    naive = Naive(traders={account: Trader(ACTOR, PLENTY, PLENTY, group=account) for account in accounts})
    ids = (str(number) for number in count())
    sells, buys = resting(accounts), crossing(accounts)
    naive.place(_command(next(sells)), next(ids), ACTOR)
    first = naive.open[0]
    naive.open += [
        replace(first, id=next(ids), price=first.price + number % 50 * 100, came=(0, number))
        for number in range(open_orders - 1)
    ]
    found: dict[str, list[float]] = {}
    for kind, source in (("resting", sells), ("crossing", buys)):
        commands = [_command(call) for call in islice(source, orders)]
        began = time.process_time()
        for command in commands:
            naive.place(command, next(ids), ACTOR)
        found[kind] = [orders / (time.process_time() - began)]
    assert len(naive.trades) == orders
    return found


def _command(call: Submission) -> PlaceOrder:
    assert isinstance(call.command, PlaceOrder)
    return call.command

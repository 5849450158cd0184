"""Broken rules of books, and how any rule of the exchange is broken: with its own invariants switched off, so that what
is found, the simulation's books and sums have found."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from jilnode.kernel.cache import TableCache
from jilnode.kernel.registry import Registry
from services.dex.commands import desk as desks
from services.dex.commands.desk import Desk
from services.dex.matching import match
from services.dex.rows import ORDERS
from services.wallet.ledger import Ledger

__all__ = ("BOOK_MUTANTS", "Mutants", "broken_each")

Patches = Callable[[], list[AbstractContextManager[Any]]]
Mutants = dict[str, Callable[[], AbstractContextManager[None]]]


def takers_price() -> list[AbstractContextManager[Any]]:
    """A fill is at the taker's price."""
    filled = Desk._filled

    def at_takers_price(taker: Any, *arguments: Any) -> Any:
        found = match(taker, *arguments)
        fills = [fill._replace(maker=msgspec.structs.replace(fill.maker, price=taker.price)) for fill in found.fills]
        return found._replace(fills=fills)

    def keep_price(self: Desk, key: str, maker: Any, *arguments: Any) -> None:
        order = self.state[ORDERS].get(key)
        assert order is not None
        filled(self, key, msgspec.structs.replace(maker, price=order.price), *arguments)

    return [patch.object(desks, "match", at_takers_price), patch.object(Desk, "_filled", keep_price)]


def remainder_kept() -> list[AbstractContextManager[Any]]:
    """What an order holds does not go back when it ends."""
    keep = Ledger.keep

    def kept(self: Ledger, account: str, reserved: Any, amount: int) -> Any:
        return keep(self, account, reserved, amount) if amount else reserved

    return [patch.object(Ledger, "keep", kept)]


def last_come_first_served() -> list[AbstractContextManager[Any]]:
    """Among orders of one price the newest is filled first."""
    makers = Desk._makers

    def newest_first(self: Desk, taker: Any, *arguments: Any) -> Iterator[Any]:
        found = list(makers(self, taker, *arguments))
        sign = 1 if taker.side == "buy" else -1
        return iter(sorted(found, key=lambda item: (sign * item[1].price, -item[1].priority)))

    return [patch.object(Desk, "_makers", newest_first)]


def no_prevention() -> list[AbstractContextManager[Any]]:
    """Whoever an order belongs to, it trades with others of the same owner."""

    def careless(taker: Any, *arguments: Any) -> Any:
        return match(msgspec.structs.replace(taker, prevention="none"), *arguments)

    return [patch.object(desks, "match", careless)]


def not_counted() -> list[AbstractContextManager[Any]]:
    """The book's sequence stays where it is."""
    begin = Desk.__init__

    def standing(self: Desk, *arguments: Any) -> None:
        begin(self, *arguments)
        self.sequence -= 1

    return [patch.object(Desk, "__init__", standing)]


def unfunded_stop() -> list[AbstractContextManager[Any]]:
    """A stop order waits and holds nothing."""
    return [patch.object(Desk, "wait", lambda self, key, order: self.state[ORDERS].insert(key, order))]


def fees_rounded_down() -> list[AbstractContextManager[Any]]:
    return [patch.object(desks, "fee_on", lambda amount, bps: amount * bps // 10_000)]


def post_only_takes() -> list[AbstractContextManager[Any]]:
    enter = Desk.enter

    def taking(self: Desk, key: str, order: Any, **options: Any) -> None:
        enter(self, key, order, **{**options, "takes": True})

    return [patch.object(Desk, "enter", taking)]


def part_of_all_or_nothing() -> list[AbstractContextManager[Any]]:
    """A fill-or-kill order takes what there is."""
    enter = Desk.enter

    def partly(self: Desk, key: str, order: Any, **options: Any) -> None:
        enter(self, key, order, **{**options, "whole": False})

    return [patch.object(Desk, "enter", partly)]


def everything_rests() -> list[AbstractContextManager[Any]]:
    """What an immediate-or-cancel order does not get stays in the book."""
    enter = Desk.enter

    def resting(self: Desk, key: str, order: Any, **options: Any) -> None:
        enter(self, key, order, **{**options, "rests": True})

    return [patch.object(Desk, "enter", resting)]


def frozen_pays() -> list[AbstractContextManager[Any]]:
    """Orders of an account that was frozen since are filled."""
    return [patch.object(desks, "may_pay", lambda context, account, row: "")]


def lowered_to_the_end() -> list[AbstractContextManager[Any]]:
    """An order that is lowered loses its place."""
    lower = Desk.lower

    def behind(self: Desk, key: str, order: Any, quantity: int) -> None:
        lower(self, key, msgspec.structs.replace(order, priority=self.place()), quantity)

    return [patch.object(Desk, "lower", behind)]


def stale_replicas() -> list[AbstractContextManager[Any]]:
    """At a replica an order that changes is not found anew by the book's indexes: the rows are right, the book is
    not."""
    keep = TableCache.set

    def stale(self: TableCache, key: str, old: Any, new: Any) -> None:
        if self.spec is ORDERS and old is not None and new is not None and new.owner != self.source:
            self.images[key] = new
        else:
            keep(self, key, old, new)

    return [patch.object(TableCache, "set", stale)]


def broken_each(patches: dict[str, Patches]) -> Mutants:
    """The name of a rule -> what breaks it for as long as it is entered."""
    return {name: lambda found=found: _broken(found) for name, found in patches.items()}  # type: ignore[misc]


@contextmanager
def _broken(patches: Patches) -> Iterator[None]:
    checks = Registry.checks

    def without(self: Registry, schema: Any, tables: Any) -> Any:
        return tuple(item for item in checks(self, schema, tables) if not item.name.startswith(("dex_", "rfq_")))

    with ExitStack() as stack:
        for item in (patch.object(Registry, "checks", without), *patches()):
            stack.enter_context(item)
        yield


BOOK_MUTANTS: Mutants = broken_each(
    {
        "maker's price": takers_price,
        "remainder of a hold": remainder_kept,
        "time priority": last_come_first_served,
        "self-trade prevention": no_prevention,
        "sequence": not_counted,
        "stop order's hold": unfunded_stop,
        "fees": fees_rounded_down,
        "post only": post_only_takes,
        "fill or kill": part_of_all_or_nothing,
        "immediate or cancel": everything_rests,
        "freeze": frozen_pays,
        "place of a lowered order": lowered_to_the_end,
        "book of a replica": stale_replicas,
    }
)

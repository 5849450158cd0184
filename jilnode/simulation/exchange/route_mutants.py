"""Broken rules of the router, as ``mutants.py`` has them of books."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import msgspec

from jilnode.simulation.exchange.mutants import Mutants, broken_each
from services.dex.router import commands
from services.dex.router.lanes import quotes_of
from services.wallet.amounts import parse_amount

__all__ = ("ROUTE_MUTANTS",)


def worst_lane() -> list[AbstractContextManager[Any]]:
    """The lane that gives least is taken."""

    def worst(quotes: Any) -> Any:
        left = [quote for quote in quotes if not quote.code]
        return ("2_highest_output", min(left, key=lambda quote: quote.output)) if left else ("", None)

    return [patch.object(commands, "choose", worst)]


def lanes_forgotten(*names: str) -> list[AbstractContextManager[Any]]:
    """Some lanes are never asked."""

    def forgetful(*arguments: Any) -> Any:
        return [quote for quote in quotes_of(*arguments) if quote.lane not in names]

    return [patch.object(commands, "quotes_of", forgetful)]


def promises() -> list[AbstractContextManager[Any]]:
    """A lane says that it gives a unit more than it does."""

    def boasting(*arguments: Any) -> Any:
        return [msgspec.structs.replace(quote, output=quote.output + 1) for quote in quotes_of(*arguments)]

    return [patch.object(commands, "quotes_of", boasting)]


def least_ignored() -> list[AbstractContextManager[Any]]:
    """A route may give less than ``min_out``."""

    def anything(text: str, scale: int, field: str, **options: Any) -> int:
        return 1 if field == "/min_out" else parse_amount(text, scale, field, **options)

    return [patch.object(commands, "parse_amount", anything)]


def deadlines_ignored() -> list[AbstractContextManager[Any]]:
    return [patch.object(commands, "check_deadline", lambda context, deadline_us: None)]


ROUTE_MUTANTS: Mutants = broken_each(
    {
        "best lane": worst_lane,
        "lanes of the book": lambda: lanes_forgotten("book", "split"),
        "pool's lane": lambda: lanes_forgotten("pool"),
        "quote's lane": lambda: lanes_forgotten("rfq"),
        "lane's word": promises,
        "least output of a route": least_ignored,
        "deadline of a route": deadlines_ignored,
    }
)

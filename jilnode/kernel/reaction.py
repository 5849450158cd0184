"""Reactions: how this node answers a row that another node addressed to it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from jilnode.kernel.table import Table

__all__ = ("Reaction",)


@dataclass(frozen=True, eq=False)
class Reaction:
    """An obligation: a row of ``table`` addressed to a node (``addressed_to(row)``; the field must be searchable as
    ``to_field``) stays open until that node writes a row of ``answer`` under the same key. ``command(key, row)`` is
    what this node runs for each open row addressed to it: when it arrives, and again after start, snapshot or
    release."""

    table: Table[Any]
    to_field: str
    answer: Table[Any]
    command: Callable[[str, Any], msgspec.Struct]

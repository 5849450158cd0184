"""Open obligations: rows addressed to this node that it has not answered yet.

An arriving entry is only a hint: the set is rebuilt from the database at start, and kept by what every batch changed.
An obligation whose command was refused is tried again later, so that nothing is lost by it.
"""

from collections.abc import Iterable
from typing import Any

from jilnode.kernel.cache import TableCache
from jilnode.kernel.command import Reaction
from jilnode.kernel.table import Table

__all__ = ("Obligations",)

RETRY_US = 5_000_000


class Obligations:
    def __init__(self, source: str, reactions: Iterable[Reaction]) -> None:
        self._source = source
        self._by_table: dict[Table[Any], list[Reaction]] = {}
        self._by_answer: dict[Table[Any], list[Reaction]] = {}
        self.reactions = list(reactions)
        for reaction in self.reactions:
            self._by_table.setdefault(reaction.table, []).append(reaction)
            self._by_answer.setdefault(reaction.answer, []).append(reaction)
        self._open: dict[tuple[Reaction, str], int] = {}
        """(reaction, key) -> not before this moment."""

    def add(self, reaction: Reaction, keys: Iterable[str]) -> None:
        for key in keys:
            self._open.setdefault((reaction, key), 0)

    def observe(self, caches: dict[Table[Any], TableCache]) -> None:
        """What a sealed batch changed; called when its commit is durable and before its undo list is dropped."""
        for table, reactions in self._by_table.items():
            for key in caches[table].before:
                image = caches[table].images.get(key)
                for reaction in reactions:
                    if image is None:
                        self._open.pop((reaction, key), None)
                    elif getattr(image.row, reaction.to_field) == self._source:
                        self._open.setdefault((reaction, key), 0)
        for table, reactions in self._by_answer.items():
            for key in caches[table].before:
                for reaction in reactions:
                    self._open.pop((reaction, key), None)

    def due(self, now_us: int, limit: int) -> list[tuple[Reaction, str]]:
        found = []
        for item, moment in self._open.items():
            if moment <= now_us:
                found.append(item)
                if len(found) == limit:
                    break
        return found

    def next_us(self) -> int | None:
        return min(self._open.values(), default=None)

    def close(self, reaction: Reaction, key: str) -> None:
        self._open.pop((reaction, key), None)

    def postpone(self, reaction: Reaction, key: str, now_us: int) -> None:
        self._open[(reaction, key)] = now_us + RETRY_US

    def __len__(self) -> int:
        return len(self._open)

"""Open obligations: rows addressed to this node that it has not answered yet.

An arriving entry is only a hint: the set is rebuilt from the database at start, and kept by what every batch changed.
One whose command was refused is tried again later, and each time later still, so that nothing is lost by it and nobody
keeps this node busy with it. Of each source a bounded number is in memory; the rest waits in the database until those
are answered.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from jilnode.kernel.cache import TableCache
from jilnode.kernel.indexes import Moments
from jilnode.kernel.reaction import Reaction
from jilnode.kernel.table import Table
from jilnode.limits import OBLIGATIONS_PER_SOURCE_MAX

__all__ = ("RETRY_MAX_US", "RETRY_US", "Obligations")

RETRY_US = 5_000_000
RETRY_MAX_US = 60_000_000

Place = tuple[int, str]
"""(number of the reaction, key)"""


class Obligations:
    """``source`` is this node. ``per_source`` is how many of one reaction and source are in memory."""

    def __init__(
        self, source: str, reactions: Iterable[Reaction], per_source: int = OBLIGATIONS_PER_SOURCE_MAX
    ) -> None:
        self.reactions = list(reactions)
        self._source = source
        self._per_source = per_source
        self._by_table: defaultdict[Table[Any], list[int]] = defaultdict(list)
        self._by_answer: defaultdict[Table[Any], list[int]] = defaultdict(list)
        for number, reaction in enumerate(self.reactions):
            self._by_table[reaction.table].append(number)
            self._by_answer[reaction.answer].append(number)
        self._moments: Moments[Place] = Moments()
        """When each is due."""
        self._owners: dict[Place, str] = {}
        self._refused: dict[Place, int] = {}
        """How often its command was refused."""
        self._counts: Counter[tuple[int, str]] = Counter()
        """(number of the reaction, owner) -> how many are in memory."""
        self._beyond: set[tuple[int, str]] = set()
        """Of whom more are open than are in memory."""

    def observe(self, caches: dict[Table[Any], TableCache], now_us: int) -> None:
        """What a sealed batch changed; called when its commit is durable and before its undo list is dropped."""
        for table, numbers in self._by_table.items():
            for key in caches[table].before:
                image = caches[table].images.get(key)
                for number in numbers:
                    if image is None or getattr(image.row, self.reactions[number].to_field) != self._source:
                        self._close((number, key))
                    else:
                        self._open((number, key), image.owner, now_us)
        for table, numbers in self._by_answer.items():
            for key in caches[table].before:
                for number in numbers:
                    self._close((number, key))

    def fill(self, reaction: Reaction, found: Iterable[tuple[str, str]], now_us: int) -> None:
        """``found``: (key, owner) of what the database has as open, ``wanted`` of each owner at most."""
        number = self.reactions.index(reaction)
        self._beyond = {place for place in self._beyond if place[0] != number}
        for key, owner in found:
            self._open((number, key), owner, now_us)

    @property
    def wanted(self) -> int:
        """How many of each owner to ask the database for: one more than there is room for tells that there are more."""
        return self._per_source + 1

    def short(self) -> list[Reaction]:
        """Of what is to be asked for again: more of a source are open, and half of its room is empty."""
        if not self._beyond:
            return []
        numbers = {place[0] for place in self._beyond if self._counts[place] <= self._per_source // 2}
        return [self.reactions[number] for number in sorted(numbers)]

    def due(self, now_us: int, limit: int) -> list[tuple[Reaction, str]]:
        return [(self.reactions[number], key) for number, key in self._moments.due(now_us, limit)]

    def next_us(self) -> int | None:
        return self._moments.next_us()

    def close(self, reaction: Reaction, key: str) -> None:
        self._close((self.reactions.index(reaction), key))

    def postpone(self, reaction: Reaction, key: str, now_us: int) -> None:
        """After a refusal."""
        place = (self.reactions.index(reaction), key)
        refused = self._refused[place] = self._refused.get(place, 0) + 1
        self._moments.postpone(place, now_us + min(RETRY_US << min(refused - 1, 10), RETRY_MAX_US))

    def __len__(self) -> int:
        return len(self._owners)

    def _open(self, place: Place, owner: str, now_us: int) -> None:
        if place in self._owners:
            return
        whose = (place[0], owner)
        if self._counts[whose] >= self._per_source:
            self._beyond.add(whose)
            return
        self._counts[whose] += 1
        self._owners[place] = owner
        self._moments.set(place, now_us)

    def _close(self, place: Place) -> None:
        owner = self._owners.pop(place, None)
        if owner is None:
            return
        self._moments.set(place, 0)
        self._refused.pop(place, None)
        whose = (place[0], owner)
        self._counts[whose] -= 1
        if not self._counts[whose]:
            del self._counts[whose]

"""What operators stop for a while: accounts, markets and pools. Whatever is lost in between, somebody goes on wanting
that it is let go on, until that is known to be done."""

import random
from typing import Any

from jilnode.simulation.clients import Errand

__all__ = ("Stops",)


class Stops:
    def __init__(self, scopes: frozenset[str]) -> None:
        self._scopes = scopes
        self._reliefs: dict[str, Errand] = {}
        """What undoes each stop that was ever wanted, by the name of both errands."""
        self._wanted: set[str] = set()

    def stop(self, node: int, command: Any, relief: Any) -> Errand:
        name = f"stop {len(self._reliefs)}"
        self._reliefs[name] = Errand(node, relief, "operator", self._scopes, name)
        self._wanted.add(name)
        return Errand(node, command, "operator", self._scopes, name)

    def relief(self, randomness: random.Random) -> Errand | None:
        return self._reliefs[randomness.choice(sorted(self._wanted))] if self._wanted else None

    def heard(self, errand: Errand, *, again: bool) -> bool:
        """Takes note of what is done, or can never be. ``again``: it was answered before, and may be of what was
        stopped again since. Whether it is any of these errands."""
        relief = self._reliefs.get(errand.name)
        if relief is not None and not again:
            # A stop may come after its relief.
            (self._wanted.discard if errand is relief else self._wanted.add)(errand.name)
        return relief is not None

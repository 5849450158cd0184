"""What clients ask of the simulation's own small module, bugs on purpose included."""

from typing import TYPE_CHECKING, Any

from jilnode.kernel.errors import Rejected
from jilnode.kernel.keys import Answer
from jilnode.simulation.clients import Errand
from jilnode.simulation.ledger import Ask, Drain, Fill, Grab, Mint, Move, PlaceBid
from jilnode.simulation.world import START_US

if TYPE_CHECKING:
    from jilnode.simulation.world import SimulatedNode, World

__all__ = ("LedgerWork",)

POTS = 5


class LedgerWork:
    weight = 1

    def __init__(self, world: "World") -> None:
        self._world = world

    def errand(self) -> Errand:
        index = self._world.random.randrange(len(self._world.nodes))
        return Errand(index, self._command())

    def answered(self, errand: Errand, answer: Answer) -> None:
        """Nothing rests on it."""

    def refused(self, errand: Errand, rejected: Rejected) -> None:
        """Nothing rests on it."""

    def restored(self, node: "SimulatedNode", first_lost: int) -> None:
        """Nothing is known that could be forgotten."""

    def _command(self) -> Any:
        randomness, nodes = self._world.random, self._world.nodes
        what = randomness.random()
        name, other = f"p{randomness.randrange(POTS)}", f"p{randomness.randrange(POTS)}"
        if what < 0.40:
            until_us = 0
            if randomness.random() < 0.1:
                until_us = START_US + self._world.elapsed_us + randomness.randrange(20_000_000)
            return Fill(name, randomness.randrange(100), until_us)
        if what < 0.45:
            return Drain(name)
        if what < 0.75:
            return Move(name, other if other != name else f"{name}x", randomness.randrange(1, 50))
        if what < 0.87:
            return Ask(randomness.choice(nodes).source, randomness.randrange(1000))
        if what < 0.93:
            return PlaceBid("m", randomness.randrange(100))
        if what < 0.97:
            return Grab(f"{name}/{randomness.choice(nodes).source}")
        return Mint(name)

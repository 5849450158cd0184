"""What clients do at the simulated exchange: they build its stage, trade in its books, ask each other for quotes, and
use its pools."""

from typing import TYPE_CHECKING, Any, Protocol

from jilnode.kernel.errors import Rejected
from jilnode.kernel.keys import Answer
from jilnode.simulation.clients import Errand
from jilnode.simulation.exchange.quoters import Quoters
from jilnode.simulation.exchange.routers import Routers
from jilnode.simulation.exchange.setting import NEVER, Setting
from jilnode.simulation.exchange.swappers import Swappers
from jilnode.simulation.exchange.traders import Traders

if TYPE_CHECKING:
    from jilnode.simulation.world import SimulatedNode, World

__all__ = ("ExchangeWork",)

MADE_ALREADY = ("asset_exists", "market_exists", "pool_exists")


class _Trade(Protocol):
    """What one kind of client wants, and what it makes of the answers; those of others are not for it."""

    weight: int

    def errand(self) -> Errand: ...
    def heard(self, errand: Errand, reply: Any) -> None: ...


class ExchangeWork:
    weight = 5

    def __init__(self, world: "World") -> None:
        self._world = world
        self._setting = Setting(world)
        self._trades: list[_Trade] = [kind(world, self._setting) for kind in (Traders, Quoters, Swappers, Routers)]
        self._weights = [trade.weight for trade in self._trades]

    def errand(self) -> Errand:
        setting, randomness = self._setting, self._world.random
        ready = setting.open_markets() and setting.open_pools() and setting.accounts()
        if not ready or randomness.random() < 0.3:
            missing = setting.missing()
            if missing is not None:
                return missing
        relief = setting.stops.relief(randomness) if randomness.random() < 0.1 else None
        if relief is not None:
            return relief
        (trade,) = randomness.choices(self._trades, self._weights)
        return trade.errand()

    def answered(self, errand: Errand, answer: Answer) -> None:
        if not self._setting.stops.heard(errand, again=answer.replayed):
            self._setting.built(errand, answer.sequence, answer.reply)
        for trade in self._trades:
            trade.heard(errand, answer.reply)

    def refused(self, errand: Errand, rejected: Rejected) -> None:
        if rejected.code in MADE_ALREADY:
            # Nobody was told of it. When, nobody knows, so any loss may be its.
            self._setting.built(errand, NEVER, None)
        if rejected.final:
            self._setting.stops.heard(errand, again=False)

    def restored(self, node: "SimulatedNode", first_lost: int) -> None:
        self._setting.restored(self._world.nodes.index(node), first_lost)

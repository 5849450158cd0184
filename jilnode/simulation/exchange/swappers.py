"""Who uses pools: they put in, take out and swap, with least amounts and deadlines that sometimes can't be met."""

from typing import TYPE_CHECKING, Any

from jilnode.simulation.clients import Errand
from jilnode.simulation.exchange.setting import Pool, Setting
from jilnode.simulation.exchange.units import UNITS, text_of, units_of
from services.dex.pools.intents import AddLiquidity, RemoveLiquidity, SetPoolStatus, Swap
from services.dex.pools.views import LiquidityView

if TYPE_CHECKING:
    from jilnode.simulation.world import World

__all__ = ("Swappers",)

REMEMBERED = 20
LEAST = "0.0001"


class Swappers:
    weight = 1

    def __init__(self, world: "World", setting: Setting) -> None:
        self._random = world.random
        self._setting = setting
        self._filled: set[str] = set()
        """Pools into which somebody has put something."""
        self._parts: list[tuple[str, int, int]] = []
        """(pool, account, shares) that somebody was given."""

    def errand(self) -> Errand:
        setting, randomness = self._setting, self._random
        pool = randomness.choice(setting.open_pools())
        account = setting.trader(pool.node, pool.base, pool.quote)
        what = randomness.random()
        if what < 0.02:
            return setting.stops.stop(pool.node, SetPoolStatus(pool.name, "news"), SetPoolStatus(pool.name))
        if what < 0.25 or pool.name not in self._filled:
            return self._add(pool, account)
        parts = [part for part in self._parts if part[0] == pool.name]
        if what < 0.40 and parts:
            return self._remove(pool, randomness.choice(parts))
        return self._swap(pool, account)

    def heard(self, errand: Errand, reply: Any) -> None:
        accounts = {self._setting.account(account): account for account in self._setting.accounts()}
        if isinstance(reply, LiquidityView) and reply.side == "add" and reply.account in accounts:
            self._filled.add(reply.pool)
            part = (reply.pool, accounts[reply.account], units_of(reply.shares))
            self._parts = [*self._parts[-REMEMBERED:], part]

    def _add(self, pool: Pool, account: int) -> Errand:
        randomness = self._random
        base = randomness.randint(1, 5 * UNITS)
        quote = base * randomness.randint(90, 110)
        least = LEAST if randomness.random() < 0.8 else text_of(base)
        command = AddLiquidity(
            pool.name,
            self._setting.account(account),
            text_of(base),
            text_of(quote),
            least,
            LEAST,
            self._setting.deadline_us(pool.node),
        )
        return self._setting.trade(pool.node, account, command)

    def _remove(self, pool: Pool, part: tuple[str, int, int]) -> Errand:
        """All or some of what they once got; they may have less by now."""
        _, account, shares = part
        if self._random.random() < 0.7:
            shares = self._random.randint(1, shares)
        least = LEAST if self._random.random() < 0.8 else text_of(shares)
        command = RemoveLiquidity(
            pool.name,
            self._setting.account(account),
            text_of(shares),
            LEAST,
            least,
            self._setting.deadline_us(pool.node),
        )
        return self._setting.trade(pool.node, account, command)

    def _swap(self, pool: Pool, account: int) -> Errand:
        """Small ones too, where roundings are all that there is; the least that they want is sometimes too much."""
        randomness = self._random
        buys = randomness.random() < 0.5
        most = randomness.choice((20, 1_000, UNITS // 4))
        amount = randomness.randint(1, most) * (100 if buys else 1)
        worth = amount // 100 if buys else amount * 100
        least = max(1, worth * randomness.randint(80, 110) // 100) if randomness.random() < 0.4 else 1
        command = Swap(
            pool.name,
            self._setting.account(account),
            pool.quote if buys else pool.base,
            text_of(amount),
            text_of(least),
            self._setting.deadline_us(pool.node),
        )
        return self._setting.trade(pool.node, account, command)

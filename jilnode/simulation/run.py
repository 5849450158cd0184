"""Runs a world from a seed and reports what was found. The same seed gives the same run, step for step."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from jilnode.kernel.registry import ModuleLike
from jilnode.simulation.checks import Checks
from jilnode.simulation.clients import Clients, Work
from jilnode.simulation.errands import LedgerWork
from jilnode.simulation.exchange.audit import ExchangeAudit
from jilnode.simulation.exchange.work import ExchangeWork
from jilnode.simulation.finding import Finding
from jilnode.simulation.ledger import MODULE
from jilnode.simulation.world import World
from services.dex.module import MODULE as DEX
from services.dex.pools.rows import LIQUIDITY, SWAPS
from services.dex.rfq.rows import SETTLEMENTS
from services.dex.router.rows import ROUTES
from services.dex.rows import TRADES

__all__ = ("Report", "simulate")

CLIENT_EVERY = 12
"""Steps from one request to the next, of each unit of weight of what clients do."""
FAULT_EVERY = 60
LIE_EVERY = 500
AGREEMENT_EVERY = 5_000
HEAL_STEPS_MIN, HEAL_STEPS_PER_ENTRY = 400_000, 10
"""After so many steps, and so many more for each entry that a node lacks of another, everybody has everything."""


class Report(msgspec.Struct, frozen=True):
    seed: int
    nodes: int
    steps: int
    seconds: float
    trace: str
    entries: int
    acknowledged: int
    refused: int
    replayed: int
    crashes: int
    restores: int
    partitions: int
    clock_jumps: int
    trades: int
    settlements: int
    """Quotes that were accepted."""
    pool_acts: int
    """Swaps, and what was put into pools and taken out."""
    routes: int
    """Taken by the router, by whichever lane."""
    books: int
    finding: str | None

    @property
    def steps_per_second(self) -> float:
        return self.steps / self.seconds

    def text(self) -> str:
        lines = [
            f"seed {self.seed}: {self.nodes} nodes, {self.steps} steps, {self.steps_per_second:,.0f} steps/s",
            f"{self.entries} entries; {self.acknowledged} answers ({self.replayed} again), {self.refused} refusals",
            f"{self.crashes} crashes, {self.restores} restores from older copies, {self.partitions} partitions, "
            f"{self.clock_jumps} clock jumps",
            f"{self.trades} trades, {self.settlements} quotes accepted, {self.pool_acts} acts at pools, "
            f"{self.routes} routes; {self.books} times a node's book was compared with its owner's",
            f"trace {self.trace}",
        ]
        if self.finding is None:
            lines.append("everything held")
        else:
            lines.append(f"FOUND: {self.finding}")
            lines.append(f"again: jilnode simulate --seed {self.seed} --nodes {self.nodes} --steps {self.steps}")
        return "\n".join(lines)

    def rows(self) -> list[dict[str, Any]]:
        values: list[tuple[str, float, str]] = [
            ("simulation.steps_per_second", round(self.steps_per_second, 1), "1/s"),
            ("simulation.steps", self.steps, "1"),
            ("simulation.nodes", self.nodes, "1"),
            ("simulation.entries", self.entries, "1"),
            ("simulation.crashes", self.crashes, "1"),
            ("simulation.trades", self.trades, "1"),
            ("simulation.settlements", self.settlements, "1"),
            ("simulation.pool_acts", self.pool_acts, "1"),
            ("simulation.routes", self.routes, "1"),
            ("simulation.books_compared", self.books, "1"),
            ("simulation.findings", 0 if self.finding is None else 1, "1"),
        ]
        return [
            {"name": name, "value": value, "unit": unit, "reference": None, "ratio": None, "spread": None}
            for name, value, unit in values
        ]


def simulate(
    *, seed: int, steps: int, nodes: int = 20, modules: Sequence[ModuleLike] = (), hostile: bool = False
) -> Report:
    """Runs ``steps`` steps with faults, then heals the world and waits until everybody agrees.

    ``hostile``: somebody on the bus sends entries in others' names. Their victims are then suspended by those who read
    the lie, which is right, so agreement is not waited for. ``modules`` run beside the simulation's own small one;
    where the exchange is one of them, there are markets, desks and pools, and clients use them. The report's
    ``finding`` is None when everything held.
    """
    begun = time.perf_counter()
    world = World(seed, nodes, [MODULE, *modules], names=lambda index: f"node-{index + 1:02}")
    works: list[Work] = [LedgerWork(world)]
    audit = None
    if DEX in modules:
        works.append(ExchangeWork(world))
        audit = ExchangeAudit(world)
    client_every = CLIENT_EVERY // sum(work.weight for work in works)
    checks, clients = Checks(world, audit), Clients(world, works)
    world.before_restore = lambda node: clients.restored(node, checks.restored(node))
    finding = None
    done = 0
    try:
        for done in range(1, steps + 1):
            world.step()
            if done % client_every == 0:
                clients.act()
            if done % FAULT_EVERY == 0:
                world.fault()
                clients.check()
                checks.node(world.random.choice(world.nodes))
            if hostile and done % LIE_EVERY == 0:
                world.network.lie()
            if done % AGREEMENT_EVERY == 0:
                _check_all(world, checks, hostile)
        if not hostile:
            done += _heal(world, checks, clients)
            if audit is not None:
                audit.settled(clients.told())
    except Finding as found:
        finding = str(found)
    finally:
        world.close()
    return Report(
        seed,
        nodes,
        done,
        time.perf_counter() - begun,
        world.trace.hexdigest(),
        len(checks.history),
        clients.acknowledged,
        clients.refused,
        clients.replayed,
        world.crashes,
        world.restores,
        world.cuts,
        world.jumps,
        0 if audit is None else audit.count(TRADES.name),
        0 if audit is None else audit.count(SETTLEMENTS.name),
        0 if audit is None else audit.count(SWAPS.name, LIQUIDITY.name),
        0 if audit is None else audit.count(ROUTES.name),
        0 if audit is None else audit.books,
        finding,
    )


def _check_all(world: World, checks: Checks, hostile: bool = False) -> None:
    # A source's own disk first: what others have of it must have been there before.
    for node in world.nodes:
        checks.node(node)
    if not hostile:
        checks.agreement()


def _heal(world: World, checks: Checks, clients: Clients) -> int:
    """Steps until every node has what every other wrote, and rests. Raises ``Finding`` when that never comes."""
    world.heal()
    steps_max = HEAL_STEPS_MIN + HEAL_STEPS_PER_ENTRY * _missing(world)
    for step in range(1, steps_max + 1):
        world.step()
        if step % 2_000 == 0:
            clients.check()
            stepped = [
                node.kernel.writer for node in world.nodes if node.kernel and node.kernel.writer.clock_guard.stepped
            ]
            for writer in stepped:
                writer.confirm_clock()
            # Whoever stood still until now has not done yet what was due.
            if not stepped and all(node.writable for node in world.nodes) and not _missing(world):
                _check_all(world, checks)
                clients.check_durable()
                return step
    behind = sorted(
        {
            f"{other.source} behind {node.source}"
            for node in world.nodes
            for other in world.nodes
            if other.disk.heads.get(node.source) != node.disk.heads.get(node.source)
        }
        | {f"{node.source} does not write" for node in world.nodes if not node.writable}
    )
    raise Finding(f"no agreement {steps_max} steps after everything was healed: {', '.join(behind[:4])}")


def _missing(world: World) -> int:
    """How many entries somebody lacks of somebody, about; 0: everybody has what everybody wrote, and nothing else."""
    missing = 0
    for node in world.nodes:
        epoch, size = head = node.disk.heads.get(node.source, (0, 0))
        for other in world.nodes:
            known = other.disk.heads.get(node.source, (0, 0))
            if known != head:
                missing += max(1, size - known[1] if known[0] == epoch else size)
    return missing

"""A suspended source is followed again, over every bus, and nothing of it is missing."""

import pytest

from jilnode.kernel.errors import Rejected
from jilnode.kernel.invariants import Invariant
from jilnode.kernel.system import EVIDENCE, PENDING
from jilnode.limits import PENDING_PER_SOURCE_MAX
from jilnode.simulation.ledger import Fill
from tests.events.test_convergence import ONE, THREE, TWO, amount
from tests.kit.follower import converged
from tests.kit.wait import eventually


@pytest.mark.parametrize("records_max", [PENDING_PER_SOURCE_MAX, 3])
async def test_a_release_leaves_no_gap(fleet, records_max, monkeypatch):
    """A node with a rule that was wrong suspends an honest source, is put right, and follows again: from what it kept,
    and, where that was too much, from the bus."""
    monkeypatch.setattr("jilnode.events.quarantine.PENDING_PER_SOURCE_MAX", records_max)
    one, two = await fleet.join(ONE, TWO)
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))
    two.node.engine.registry.checks = lambda schema, tables: (Invariant("wrong", range(1, 9), lambda change: "no"),)
    await one.node.run(Fill("a", 1))
    await eventually(lambda: two.node.engine.sources[ONE].status == "suspended")
    for _ in range(5):
        await one.node.run(Fill("a", 1))

    async def kept() -> bool:
        page = await two.node.store.page([PENDING], [("source", ONE)])
        return len(page.items) >= min(records_max, 12)

    await eventually(kept)
    await two.replicator.store_positions(now=True)
    await fleet.leave(two)
    two = await fleet.rejoin(TWO, two.node.disk)
    assert two.node.engine.sources[ONE].status == "suspended"
    await one.node.run(Fill("a", 1))
    await two.replicator.release(ONE)
    await eventually(lambda: converged(one.node, two.node))
    assert await amount(two, "a/ch-zug-01") == 12
    assert (await two.node.store.page([PENDING], [("source", ONE)])).items == []
    assert two.node.engine.sources[ONE].status == "following"


async def test_what_a_rule_here_fails_over_waits_for_an_operator_and_accuses_nobody(fleet):
    """A fault of ours stops neither this node nor its other sources."""
    one, two, three = await fleet.join(ONE, TWO, THREE)
    await eventually(lambda: converged(one.node, two.node) and converged(three.node, two.node))
    known = two.node.engine.sources
    faulty = Invariant("faulty", range(1, 9), lambda change: None if change.source != ONE else 1 // 0)
    two.node.engine.registry.checks = lambda schema, tables: (faulty,)
    await one.node.run(Fill("a", 1))
    await eventually(lambda: known[ONE].code == "not_judged")
    del two.node.engine.registry.checks
    assert known[ONE].status == "parked"
    assert [alarm.partition(":")[0] for alarm in two.node.engine.alarms] == ["not_judged"]
    await one.node.run(Fill("a", 2))
    await three.node.run(Fill("b", 4))
    await eventually(lambda: converged(three.node, two.node))
    await eventually(lambda: converged(one.node, three.node))
    assert (await two.node.store.page([EVIDENCE], [("source", ONE)])).items == []
    assert known[ONE].code == "not_judged"
    await two.replicator.release(ONE)
    await eventually(lambda: converged(one.node, two.node))
    assert known[ONE].status == "following"


async def test_a_release_says_what_it_can_t_do(fleet):
    one, two = await fleet.join(ONE, TWO)
    await eventually(lambda: converged(one.node, two.node))
    for source, code in (("xx-nobody-01", "not_found"), (TWO, "own_source"), (ONE, "not_suspended")):
        with pytest.raises(Rejected, match=code):
            await two.replicator.release(source)

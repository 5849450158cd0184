"""A source that takes more memory than it may is parked, not accused; an operator makes room, and nothing is lost."""

import pytest

from jilnode.kernel.cache import ROW_OVERHEAD_BYTES
from jilnode.kernel.system import EVIDENCE, PENDING
from jilnode.limits import PENDING_PER_SOURCE_MAX
from jilnode.simulation.ledger import PlaceBid
from tests.events.test_convergence import ONE, THREE, TWO
from tests.kit.follower import converged
from tests.kit.wait import eventually

BID_BYTES = ROW_OVERHEAD_BYTES + len(b'{"market":"m","price":10}')


@pytest.mark.parametrize("records_max", [PENDING_PER_SOURCE_MAX, 3])
async def test_it_waits_for_an_operator_over_every_bus(fleet, records_max, monkeypatch):
    monkeypatch.setattr("jilnode.events.quarantine.PENDING_PER_SOURCE_MAX", records_max)
    one, two, three = await fleet.join(ONE, TWO, THREE)
    await eventually(lambda: converged(one.node, two.node))
    two.node.engine.resident_bytes = 5 * BID_BYTES
    for _ in range(8):
        await one.node.run(PlaceBid("m", 10))
    known = two.node.engine.sources
    await eventually(lambda: known[ONE].code == "resident_full")
    assert known[ONE].status == "parked"
    assert two.node.engine.weights[ONE] == 5 * BID_BYTES
    assert [alarm.partition(":")[0] for alarm in two.node.engine.alarms] == ["resident_full"]
    await one.node.run(PlaceBid("m", 10))
    await three.node.run(PlaceBid("m", 10))
    await eventually(lambda: converged(three.node, two.node))
    await eventually(lambda: converged(one.node, three.node))
    assert (await two.node.store.page([EVIDENCE], [("source", ONE)])).items == []
    # It stands so after a restart, whatever comes; an operator who made no room is told the same.
    await two.replicator.store_positions(now=True)
    await fleet.leave(two)
    two = await fleet.rejoin(TWO, two.node.disk)
    known = two.node.engine.sources
    assert (known[ONE].status, known[ONE].code) == ("parked", "resident_full")
    assert two.node.engine.weights[ONE] == 5 * BID_BYTES
    two.node.engine.resident_bytes = 6 * BID_BYTES
    await one.node.run(PlaceBid("m", 10))
    await two.replicator.release(ONE)
    await eventually(lambda: known[ONE].code == "resident_full")
    assert two.node.engine.weights[ONE] <= 6 * BID_BYTES
    two.node.engine.resident_bytes = 20 * BID_BYTES
    await two.replicator.release(ONE)
    await eventually(lambda: converged(one.node, two.node))
    assert two.node.engine.weights[ONE] == 10 * BID_BYTES
    assert (await two.node.store.page([PENDING], [("source", ONE)])).items == []
    assert known[ONE].status == "following"

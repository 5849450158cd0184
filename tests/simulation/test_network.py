"""The simulated bus loses nothing that nobody could miss."""

import random

from jilnode.events.bus import Record
from jilnode.events.record import SEAL_KIND
from jilnode.simulation.network import Network, SimulatedBus


async def test_the_end_of_a_lane_is_never_dropped():
    """A node that was restored from an older copy waits for its last entry and that one's seal, and writes no other."""
    lane = [Record("test.entry", "node-01", b"1"), Record(SEAL_KIND, "node-01", b"one")]
    lane += [Record("test.entry", "node-01", b"2"), Record(SEAL_KIND, "node-01", b"two")]
    lost = 0
    for seed in range(200):
        network = Network(random.Random(seed))
        network.faults = 100.0
        network.append(lane)
        bus = SimulatedBus(network, "node-01", lambda source: (0, 0))
        seen: list[Record] = []
        position = "0"
        while position != str(len(lane)):
            ((_, records, position),) = await bus.receive(64)
            seen += records
        assert lane[2] in seen and lane[3] in seen, f"seed {seed} handed over {seen}"
        lost += lane[0] not in seen or lane[1] not in seen
    assert lost, "what follows shows that these are missing, so they may be"

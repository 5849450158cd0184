"""The same tests over every bus."""

from collections.abc import AsyncIterator

import pytest

from tests.events.networks import Fleet, KafkaNetwork, MemoryNetwork, Network, PeerNetwork


@pytest.fixture(params=["memory", "kafka", "peer"])
def network(request: pytest.FixtureRequest) -> Network:
    if request.param == "kafka":
        return KafkaNetwork(request.getfixturevalue("kafka"))
    return MemoryNetwork() if request.param == "memory" else PeerNetwork()


@pytest.fixture(params=["memory", "kafka"])
def brokered(request: pytest.FixtureRequest) -> MemoryNetwork | KafkaNetwork:
    """Where anybody who reaches the bus can send anything in anybody's name."""
    return MemoryNetwork() if request.param == "memory" else KafkaNetwork(request.getfixturevalue("kafka"))


@pytest.fixture
async def fleet(network: Network) -> AsyncIterator[Fleet]:
    made = Fleet(network)
    yield made
    await made.close()


@pytest.fixture
async def brokered_fleet(brokered: Network) -> AsyncIterator[Fleet]:
    made = Fleet(brokered)
    yield made
    await made.close()

"""What others may put into the memory of a node, and what a node therefore refuses to put into theirs."""

import random

import pytest

from jilnode.kernel.cache import ROW_OVERHEAD_BYTES
from jilnode.kernel.errors import Parked, Rejected
from jilnode.stores.memory import Fate, MemoryStore
from tests.kernel.shelf import MODULE, SHELF, Put, Swap, Take
from tests.kit.follower import converged
from tests.kit.node import TestNode, running
from tests.stores.backends import over_each_database

ONE, TWO, THREE = "ch-zug-01", "sg-mas-01", "gb-lon-01"
JAR_BYTES = ROW_OVERHEAD_BYTES + len(b'{"text":""}')


def weight(node: TestNode, source: str) -> int:
    """Added up from what is in memory, whatever the node has counted."""
    images = [image for image in node.engine.caches[SHELF].images.values() if image is not None]
    return sum(ROW_OVERHEAD_BYTES + len(image.doc) for image in images if image.owner == source)


def check_weights(*nodes: TestNode) -> None:
    for node in nodes:
        for source in (ONE, TWO, THREE):
            assert node.engine.weights[source] == weight(node, source)


@pytest.fixture
def bound(monkeypatch) -> int:
    """A network whose nodes take a hundred empty jars of each other, and put eighty there."""
    monkeypatch.setattr("jilnode.kernel.recorder.RESIDENT_BYTES_OWN_MAX", 80 * JAR_BYTES)
    monkeypatch.setattr("jilnode.kernel.recorder.RESIDENT_BYTES_PER_SOURCE_MAX", 100 * JAR_BYTES)
    return 100 * JAR_BYTES


async def test_what_is_counted_is_what_is_there():
    one, two = TestNode(ONE, [MODULE]), TestNode(TWO, [MODULE])
    fates: list[Fate] = []
    one.store = MemoryStore(one.disk, fate=lambda commit: fates.pop() if fates else Fate.DURABLE)
    one.kernel.store = one.writer.store = one.store
    async with running(one, two):
        await one.run(Put("a", "text"))
        await one.run(Put("a", "a longer text"))
        await one.run(Swap("a", "b", "hello"))
        await one.run(Put("c"))
        with pytest.raises(Rejected, match="refused"):
            await one.run(Swap("c", "d", "hello", refused=True))
        check_weights(one)
        fates.append(Fate.LOST)
        with pytest.raises(Rejected, match="commit_failed"):
            await one.run(Swap("b", "e", "more"))
        check_weights(one)
        await one.run(Swap("b", "e", "more"))
        await one.run(Take("c"))
        await two.follow(one)
        check_weights(one, two)
        assert one.engine.weights[ONE] == two.engine.weights[ONE] > 0
    again = TestNode(ONE, [MODULE], store=MemoryStore(one.disk))
    async with running(again):
        check_weights(again)
        assert again.engine.weights[ONE] == two.engine.weights[ONE]


@over_each_database
async def test_a_flood_stops_at_the_bound_and_everybody_else_goes_on(backend):
    """One writes more than this node takes: by its rules, or by none."""
    one, three = TestNode(ONE, [MODULE]), TestNode(THREE, [MODULE])
    two = TestNode(TWO, [MODULE], store=backend.store(), resident_bytes=10 * JAR_BYTES)
    async with running(one, two, three):
        for number in range(12):
            await one.run(Put(f"{number:02}"))
        with pytest.raises(Parked, match="resident_full"):
            await two.follow(one)
        check_weights(two)
        assert two.engine.weights[ONE] == 10 * JAR_BYTES
        size = two.engine.sources[ONE].size
        assert await two.store.heads() == {TWO: (0, two.engine.own.size), ONE: (0, size)}
        await three.run(Put("a"))
        await two.follow(three)
        await two.run(Put("own"))
        assert converged(three, two)
    again = TestNode(TWO, [MODULE], store=backend.store(), resident_bytes=10 * JAR_BYTES, trusted=two.trusted)
    async with running(one, again):
        check_weights(again)
        with pytest.raises(Parked, match="resident_full"):
            await again.follow(one)
        assert (again.engine.weights[ONE], again.engine.sources[ONE].size) == (10 * JAR_BYTES, size)
        again.engine.resident_bytes = 12 * JAR_BYTES
        await again.follow(one)
        assert converged(one, again)


async def test_who_is_beyond_a_bound_may_still_become_less():
    one, two = TestNode(ONE, [MODULE]), TestNode(TWO, [MODULE])
    async with running(one, two):
        for name in "abc":
            await one.run(Put(name))
        await two.follow(one)
        two.engine.resident_bytes = JAR_BYTES
        await one.run(Take("a"))
        await two.follow(one)
        assert converged(one, two)
        await one.run(Put("d"))
        with pytest.raises(Parked, match="resident_full"):
            await two.follow(one)


@pytest.mark.patches
async def test_a_writer_refuses_before_others_would(bound):
    one, two = TestNode(ONE, [MODULE]), TestNode(TWO, [MODULE], resident_bytes=bound)
    async with running(one, two):
        for number in range(80):
            await one.run(Put(f"{number:02}"))
        with pytest.raises(Rejected, match="resident_full") as refused:
            await one.run(Put("more"), key="k")
        assert (refused.value.status, refused.value.final) == (503, False)
        check_weights(one)
        # What is there may change, up to what others take; what goes makes room, and the key was not used up.
        for number in range(40):
            await one.run(Put(f"{number:02}", "x" * (JAR_BYTES // 2 - 1)))
        with pytest.raises(Rejected, match="resident_full"):
            await one.run(Put("41", "x" * (JAR_BYTES // 2)))
        await one.run(Put("00", ""))
        for number in range(40):
            await one.run(Swap(f"{number:02}", f"{number:02}"))
        await one.run(Take("79"))
        assert (await one.run(Put("more"), key="k")).replayed is False
        await two.follow(one)
        check_weights(one, two)
        assert converged(one, two)


@pytest.mark.patches
@pytest.mark.parametrize("seed", range(5))
async def test_whatever_an_honest_node_does_nobody_parks_it(bound, seed):
    randomness = random.Random(seed)
    one, two = TestNode(ONE, [MODULE]), TestNode(TWO, [MODULE], resident_bytes=bound)
    async with running(one, two):
        refused = most = 0
        for number in range(600):
            name, text = str(randomness.randrange(150)), "x" * randomness.randrange(JAR_BYTES)
            command = randomness.choice((Put(name, text), Put(name, text), Swap(name, str(number % 150), text[:9])))
            try:
                await one.run(command if randomness.random() < 0.95 else Take(name))
            except Rejected as rejected:
                assert rejected.code == "resident_full"
                refused += 1
            most = max(most, one.engine.weights[ONE])
        check_weights(one)
        await two.follow(one)
        assert converged(one, two)
        assert refused > 10
        assert 80 * JAR_BYTES < most <= bound

"""A source's digest is of the rows that were applied, whatever was refused beside them."""

import asyncio

import pytest

from jilnode.kernel.errors import Parked
from jilnode.kernel.verify import verify
from tests.kernel.shelf import MODULE, Label, Put, Take
from tests.kit.follower import converged
from tests.kit.node import TestNode, running

RESIDENT_BYTES = 20_000


@pytest.fixture
async def nodes():
    """The second takes no more of the first than small rows."""
    one = TestNode("ch-zug-01", [MODULE])
    two = TestNode("sg-mas-01", [MODULE], resident_bytes=RESIDENT_BYTES)
    async with running(one, two):
        await one.run(Put("small", "x"))
        await two.follow(one)
        yield one, two


async def add_up(node: TestNode, source: str) -> None:
    """A commit that counts what changed."""
    await node.writer.write_local(lambda engine: engine.touch_source(source) and None)


async def grow(one: TestNode, command: type[Put | Label] = Put) -> None:
    """By more than others take, in a commit that ends with a tick."""
    one.clock.advance(31)
    await one.run(command("large", "y" * RESIDENT_BYTES))


@pytest.mark.parametrize("command", [Put, Label])
async def test_a_refused_group_leaves_it_as_it_was(nodes, command):
    one, two = nodes
    before = two.engine.sources[one.source].digest
    await grow(one, command)
    with pytest.raises(Parked, match="resident_full"):
        await two.follow(one)
    await add_up(two, one.source)
    assert two.engine.sources[one.source].digest == before
    two.engine.resident_bytes *= 10
    await two.follow(one)
    assert converged(one, two)
    await one.run(Take("large"))
    await two.follow(one)
    assert converged(one, two)


async def test_what_was_applied_before_a_refused_group_counts(nodes):
    one, two = nodes
    await one.run(Put("more", "z"))
    await grow(one)
    groups = await one.groups(one.source, two.engine.sources[one.source].size)
    known = two.engine.sources[one.source].copy()
    applying = []
    for group in groups:
        verified = verify(group, known, "dev", two.trusted, two.engine.registry)
        known.frontier = verified.frontier.copy()
        applying.append(two.writer.apply(verified))
    done, refused = await asyncio.gather(*applying, return_exceptions=True)
    assert (done, refused.code) == (None, "resident_full")
    two.engine.resident_bytes *= 10
    await two.follow(one)
    assert converged(one, two)


async def test_rows_that_drifted_are_an_alarm_and_in_the_log(nodes, caplog):
    one, two = nodes
    two.engine.sources[one.source].digest += 1
    one.clock.advance(31)
    await one.run(Put("more", "z"))
    await two.follow(one)
    assert two.engine.sources[one.source].drift
    assert [record.message for record in caplog.records] == ["the rows of a source are not those that it has"]
    assert len(two.engine.alarms) == 1

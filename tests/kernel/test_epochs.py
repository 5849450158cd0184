"""A key that changes, an epoch that ends: followers go along, and nobody else can do either."""

import hashlib

import pytest

from jilnode.kernel.errors import Breach, Parked
from jilnode.kernel.seal import SealKey
from jilnode.simulation.ledger import MODULE, POTS, Fill
from jilnode.stores.memory import MemoryStore
from tests.kit.node import TestNode, running

NEW_KEY = SealKey.from_seed(hashlib.sha256(b"another").digest())


async def test_followers_go_along_with_a_rotated_key():
    one, two = TestNode("ch-zug-01", [MODULE]), TestNode("sg-mas-01", [MODULE])
    async with running(one, two):
        await one.run(Fill("a", 1))
        await one.writer.rotate_key(NEW_KEY)
        await one.run(Fill("a", 2))
        await two.follow(one)
        assert two.engine.sources[one.source].public_key == NEW_KEY.public_key
        assert await two.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 3
        rotation = next(g for g in await one.groups(one.source) if b"kernel.key.rotated" in g.entries[-1].header)
        assert rotation.seal.note.count("\N{EM DASH} jil/dev/ch-zug-01/0 ") == 2


async def test_a_rotation_that_only_one_key_sealed_is_refused():
    one, two = TestNode("ch-zug-01", [MODULE]), TestNode("sg-mas-01", [MODULE])
    async with running(one, two):
        await one.writer.rotate_key(NEW_KEY)
        groups = await one.groups(one.source)
        two.trusted[one.source] = await one.genesis_hash()
        for group in groups:
            if b"kernel.key.rotated" not in group.entries[-1].header:
                await two.apply(group)
                continue
            lines = group.seal.note.splitlines(keepends=True)
            for kept in ([*lines[:-1]], [*lines[:-2], lines[-1]]):
                seal = type(group.seal)(group.seal.source, 0, group.seal.size, "".join(kept))
                with pytest.raises(Breach, match="bad_seal"):
                    await two.apply(group._replace(seal=seal))
            await two.apply(group)


async def test_the_node_starts_again_with_its_new_key_only():
    one = TestNode("ch-zug-01", [MODULE])
    async with running(one):
        await one.writer.rotate_key(NEW_KEY)
    again = TestNode("ch-zug-01", [MODULE], store=MemoryStore(one.disk))
    with pytest.raises(Exception, match="key is not the one"):
        await again.start()
    again = TestNode("ch-zug-01", [MODULE], store=MemoryStore(one.disk))
    again.engine.key = NEW_KEY
    async with running(again):
        await again.run(Fill("a", 1))


async def test_a_new_epoch_binds_the_end_of_the_one_before():
    one, two = TestNode("ch-zug-01", [MODULE]), TestNode("sg-mas-01", [MODULE])
    async with running(one, two):
        await one.run(Fill("a", 1))
        await two.follow(one)
    again = TestNode("ch-zug-01", [MODULE], store=MemoryStore(one.disk))
    follower = TestNode("sg-mas-01", [MODULE], store=MemoryStore(two.disk), trusted=two.trusted)
    await again.kernel.start()
    await again.kernel.begin_epoch()
    again.kernel.run()
    again.kernel.allow_writes()
    async with running(follower):
        await again.run(Fill("a", 2))
        assert again.engine.own.epoch == 1
        for group in await again.groups(again.source):
            await follower.apply(group)
        assert follower.engine.sources["ch-zug-01"].epoch == 1
        assert await follower.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 3
        mine, theirs = again.engine.own, follower.engine.sources["ch-zug-01"]
        assert (mine.digest, mine.frontier.root()) == (theirs.digest, theirs.frontier.root())
    await again.kernel.close()


async def test_a_new_epoch_counts_its_entries_to_the_next_tick_from_0():
    one = TestNode("ch-zug-01", [MODULE])
    async with running(one):
        one.clock.advance(31)
        await one.run(Fill("a", 1))
        assert one.engine.own.tick_size
    again = TestNode("ch-zug-01", [MODULE], store=MemoryStore(one.disk), clock=one.clock)
    await again.kernel.start()
    await again.kernel.begin_epoch()
    assert (again.engine.own.tick_size, again.engine.own.size) == (0, 1)
    await again.kernel.close()


async def test_an_epoch_begun_on_a_lost_tail_is_a_fork_where_the_tail_is_known():
    one, two = TestNode("ch-zug-01", [MODULE]), TestNode("sg-mas-01", [MODULE])
    async with running(one, two):
        await one.run(Fill("a", 1))
        backup = one.disk.copy()
        await one.run(Fill("a", 2))
        await two.follow(one)
        restored = TestNode("ch-zug-01", [MODULE], store=MemoryStore(backup))
        await restored.kernel.start()
        await restored.kernel.begin_epoch()
        with pytest.raises((Breach, Parked), match="fork"):
            await two.apply((await restored.groups("ch-zug-01"))[0])
        await restored.kernel.close()


async def test_a_node_whose_journal_is_lost_applies_what_others_wrote():
    one, lost = TestNode("ch-zug-01", [MODULE]), TestNode("sg-mas-01", [MODULE])
    async with running(one):
        await one.run(Fill("a", 1))
        await lost.kernel.start()
        task = lost.kernel.run()
        lost.kernel.forbid_writes("its journal is being got back")
        await lost.follow(one)
        assert lost.kernel.head(one.source) == one.kernel.head(one.source)
        await lost.kernel.close()
        await task

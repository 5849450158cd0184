"""A success that changed nothing: with a key it is an entry without sections, so it is done once; without one, none."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from jilnode.audit import Auditor
from jilnode.events.record import record_of_entry, record_of_seal
from jilnode.http.auth import Principal
from jilnode.http.visible import Filter, Seer
from jilnode.kernel.codec import decode_header
from jilnode.kernel.command import Command
from jilnode.kernel.entry import Entry
from jilnode.kernel.errors import Rejected
from jilnode.simulation.ledger import MODULE, POTS, Drain, Fill
from tests.kit.follower import converged
from tests.kit.node import TestNode, running


async def amount(node: TestNode) -> int:
    return await node.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount)


async def test_the_same_request_tried_again_is_answered_and_not_run(backend):
    async with running(TestNode(modules=[MODULE], store=backend.store())) as (node,):
        first = await node.run(Drain("a"), key="k")
        assert (first.status, first.reply, first.sequence, first.replayed) == (201, 0, 1, False)
        await node.run(Fill("a", 5))
        again = await node.run(Drain("a"), key="k")
        assert (again.status, again.reply, again.sequence, again.replayed) == (201, 0, 1, True)
        assert await amount(node) == 5
    async with running(TestNode(modules=[MODULE], store=backend.store())) as (node,):
        again = await node.run(Drain("a"), key="k")
        assert (again.status, again.reply, again.sequence, again.replayed) == (201, 0, 1, True)
        with pytest.raises(Rejected, match="idempotency_key_reused"):
            await node.run(Drain("b"), key="k", body=b"another")
        assert await amount(node) == 5
        assert (await node.run(Drain("a"), key="other")).reply == 5


async def test_within_one_batch_too():
    async with running(TestNode(modules=[MODULE])) as (node,):
        commands = ((Drain("a"), "k"), (Fill("a", 5), "f"), (Drain("a"), "k"))
        first, _, again = await asyncio.gather(*[node.run(command, key=key) for command, key in commands])
        assert (first.sequence, again.sequence, again.reply, again.replayed) == (1, 1, 0, True)


async def test_without_a_key_it_makes_no_entry():
    async with running(TestNode(modules=[MODULE])) as (node,):
        await node.run(Fill("b", 1))
        size = node.engine.own.size
        commits = node.writer.statistics.commits
        assert (await node.run(Drain("a"))).reply == 0
        assert (node.engine.own.size, node.writer.statistics.commits) == (size, commits)


async def test_its_entry_has_no_sections_and_is_followed_and_proven():
    one, two = TestNode(modules=[MODULE]), TestNode("sg-mas-01", [MODULE])
    async with running(one, two):
        await one.run(Drain("a"), key="k")
        await one.run(Fill("a", 5))
        entries, seals = await one.journal()
        header = decode_header(entries[1].header)
        assert (header.type, header.schema, header.sections, entries[1].sections) == ("ledger.pot.drained", {}, {}, {})
        assert b'"sections"' not in entries[1].header
        # In the live stream auditors see it, with no rows; to a subject there is nothing of theirs in it.
        seer = Seer([MODULE], two.writer.image)
        opened = await seer.opened(entries[1])
        seen = seer.frame(opened, Principal("auditor", frozenset({"audit"}), 4e9), Filter())
        assert seen is not None
        assert b'"type":"ledger.pot.drained"' in seen.data
        assert b'"rows":[]' in seen.data
        assert seer.frame(opened, Principal("tester", frozenset(), 4e9), Filter()) is None
        await two.follow(one)
        assert converged(one, two)
        # Who takes over, or has heard of it, gives the same answer.
        assert (await two.run(Drain("a"), key="k")).reply == 0
        auditor = Auditor("dev", [MODULE], None)
        for entry in entries:
            assert await auditor.take(record_of_entry(entry)) is None
            for seal in seals:
                if seal.size == entry.sequence + 1:
                    assert await auditor.take(record_of_seal(seal)) is None
        assert await auditor.finish() is None
        assert auditor.heads == {one.source: (0, one.engine.own.size)}


def _tick(entry: Entry) -> bool:
    return decode_header(entry.header).type == "kernel.tick.recorded"


def _failing(rows: Any) -> None:
    raise LookupError("no such row")


@pytest.mark.parametrize("command", [Drain("a"), Fill("a", 5)])
async def test_a_reply_that_fails_leaves_nothing_behind(command):
    broken = tuple(
        Command(spec.type, spec.event, spec.handler, _failing) if spec.type is type(command) else spec
        for spec in MODULE.commands
    )
    one, two = TestNode(modules=[replace(MODULE, commands=broken)]), TestNode("sg-mas-01", [MODULE])
    async with running(one, two):
        with pytest.raises(Rejected, match="internal_error"):
            await one.run(command, key="k")
        entries, _ = await one.journal()
        assert [decode_header(entry.header).type for entry in entries if not _tick(entry)] == ["kernel.genesis"]
        one.clock.advance(31)
        await one.run(Fill("b", 1) if isinstance(command, Drain) else Drain("b"), key="next")
        await two.follow(one)
        assert converged(one, two)

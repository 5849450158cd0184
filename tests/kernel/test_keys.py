"""Whose entry answers for an Idempotency-Key: keys are seen by everybody, so anybody may write one into a journal."""

import hashlib

import msgspec
import pytest

from jilnode.kernel.entry import CommandReference
from jilnode.kernel.verify import Group
from jilnode.simulation.ledger import MODULE, POTS, Fill
from tests.kernel.test_hostile import Liar, set_header
from tests.kit.node import TestNode, running

KEY, BODY = hashlib.sha256(b"tester\x00k").digest(), hashlib.sha256(b"x").digest()


@pytest.fixture
async def nodes(backend):
    """Two nodes; the first has the lower name, and the second follows all but its newest entry."""
    one = TestNode("ch-zug-01", [MODULE])
    two = TestNode("sg-mas-01", [MODULE], store=backend.store())
    async with running(one, two):
        await one.run(Fill("b", 99))
        await two.follow(one)
        await one.run(Fill("b", 1))
        yield one, two


async def copied(one: TestNode) -> Group:
    """An entry of ``one`` that says it used ``KEY``."""
    reference = CommandReference(KEY.hex(), BODY.hex(), 201)
    lie = await Liar(one).group(head=set_header(command=reference))
    return lie._replace(entries=[msgspec.structs.replace(lie.entries[0], key_hash=KEY)])


async def test_another_s_entry_does_not_answer_for_ours(nodes):
    one, two = nodes
    first = await two.run(Fill("a", 5), key="k", body=b"x")
    await two.apply(await copied(one))
    again = await two.run(Fill("a", 5), key="k", body=b"x")
    assert again.replayed
    assert (again.source, again.sequence, again.reply) == (first.source, first.sequence, first.reply)
    elsewhere = await two.run(Fill("a", 5), key="k", body=b"x", session=one.source)
    assert (elsewhere.source, elsewhere.sequence) == (first.source, first.sequence)


async def test_another_s_entry_uses_up_no_key_of_ours(nodes):
    one, two = nodes
    await two.apply(await copied(one))
    done = await two.run(Fill("a", 5), key="k", body=b"x")
    assert (done.source, done.replayed) == (two.source, False)
    assert await two.writer.query(lambda view: view[POTS].get("a/sg-mas-01").amount) == 5


async def test_the_node_that_the_session_names_answers_for_what_was_asked_there(nodes):
    one, two = nodes
    await two.apply(await copied(one))
    answer = await two.run(Fill("a", 5), key="k", body=b"x", session=one.source)
    assert (answer.source, answer.replayed) == (one.source, True)

"""How deep a document may nest: what one node writes, every reader can follow, from however deep a stack."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jilnode.kernel.codec import decode_record, encode_record, guard_documents, guard_json
from jilnode.kernel.errors import Rejected
from jilnode.kernel.state import Context, State
from jilnode.limits import DOCUMENT_NESTING_MAX, RECORD_NESTING_MAX
from jilnode.module import Command, CreatedBy, Module, Owned, Table
from tests.kit.node import TestNode, running

JSON = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('[]{}"\\ab,:', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"\\a', max_size=3), inner, max_size=3),
    max_leaves=40,
)


class Tree(Owned, frozen=True):
    root: Any


class Plant(msgspec.Struct, frozen=True):
    depth: int


def _plant(state: State, context: Context, command: Plant) -> None:
    root: list[Any] = []
    for _ in range(command.depth - 1):
        root = [root]
    state[TREES].insert(context.new_key(), Tree(root))


TREES = Table("grove.tree", Tree, CreatedBy())
GROVE = Module("grove", 1, tables=(TREES,), commands=(Command(Plant, "grove.tree.planted", _plant, lambda rows: None),))


def depth_of(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)


def refused(doc: bytes) -> bool:
    try:
        guard_json(doc)
    except Rejected as rejected:
        assert rejected.code == "bad_json"
        return True
    return False


@given(JSON, st.integers(DOCUMENT_NESTING_MAX - 12, DOCUMENT_NESTING_MAX), st.integers(0, 70))
def test_the_depth_is_that_of_the_values_whatever_stands_in_strings(value, above, beside):
    for _ in range(above):
        value = [*['["'] * (beside % 3), value, *[{"]": [[]]}] * (beside // 20)]
    doc = json.dumps(value, separators=(",", ":")).encode()
    assert refused(doc) == (depth_of(value) > DOCUMENT_NESTING_MAX)


@pytest.mark.parametrize("beside", [0, 1, 500])
@pytest.mark.parametrize("deep", [DOCUMENT_NESTING_MAX, DOCUMENT_NESTING_MAX + 1])
def test_each_of_many_documents_is_as_deep_as_it_is(beside, deep):
    documents = [b'{"a":{"b":[]}}'] * beside + [b'{"a":' * deep + b"0" + b"}" * deep] + [b"{}"] * beside
    if deep <= DOCUMENT_NESTING_MAX:
        guard_documents(documents)
    else:
        with pytest.raises(Rejected, match="bad_json"):
            guard_documents(documents)


@pytest.mark.parametrize("deep", [300, 990, 5_000, 500_000])
def test_no_depth_is_too_much_for_the_reader_that_refuses_it(deep):
    sections = b'{"rows":%b%b}' % (b"[" * deep, b"]" * deep)
    with pytest.raises(ValueError, match="nested"):
        decode_record(b'{"header":{"source_id":"ch-zug-01","epoch":0,"sequence":0},"sections":%b}' % sections)


async def test_what_a_command_may_write_every_node_reads_and_nothing_deeper_is_written():
    one, two = TestNode("ch-zug-01", [GROVE]), TestNode("sg-mas-01", [GROVE])
    async with running(one, two):
        # The row itself is one more.
        await one.run(Plant(DOCUMENT_NESTING_MAX - 1))
        with pytest.raises(Rejected, match="bad_json"):
            await one.run(Plant(DOCUMENT_NESTING_MAX))
        await one.run(Plant(1))
        entries, _ = await one.journal()
        values = [encode_record(entry) for entry in entries]
        assert max(depth_of(json.loads(value)) for value in values) == RECORD_NESTING_MAX
        assert [decode_record(value) for value in values] == entries
        await two.follow(one)
        assert two.engine.sources[one.source].size == one.engine.own.size

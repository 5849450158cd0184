"""What peers answer each other has a bound, and what one of them says counts for no more than it proves."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from jilnode.events.export import read_lines, write_lines
from jilnode.events.peer import PeerBus
from jilnode.events.peer_server import PeerServer
from jilnode.events.record import SEAL_KIND, record_of_seal
from jilnode.limits import EVENT_BYTES_MAX, HEADER_BYTES_MAX, PEER_RESPONSE_BYTES_MAX, WRITER_BATCH_BYTES_MAX
from jilnode.simulation.ledger import MODULE, Fill
from tests.events.test_convergence import ONE, PAGE_MODULE, TWO, WritePage
from tests.kernel.test_hostile import Liar
from tests.kit.node import TestNode, running

URL = "http://127.0.0.1:1"


class Told(PeerBus):
    """A bus with one peer, which says what the test says."""

    def __init__(self, node: TestNode, heads: dict[str, tuple[int, int]], journal: bytes = b"") -> None:
        super().__init__([URL], node.writer, {TWO: "00" * 32})
        self._peers[URL] = TWO
        self._heads_told = msgspec.json.encode(heads)
        self._journal_told = journal

    async def _get(self, url: str, peer: str | None) -> bytes:
        return self._heads_told if url.endswith("heads") else self._journal_told


@pytest.fixture
async def one() -> AsyncIterator[TestNode]:
    async with running(TestNode(ONE, [MODULE])) as (node,):
        await node.run(Fill("a", 1))
        yield node


async def test_a_page_is_within_what_a_peer_reads_whatever_is_in_it():
    async with running(TestNode(ONE, [PAGE_MODULE])) as (node,):
        for _ in range(150):
            await node.run(WritePage('"' * 130_000))
        server = PeerServer(node.writer, node.store)
        size = start = 0
        while body := await server._lines(ONE, 0, start, 500):
            assert len(body) <= PEER_RESPONSE_BYTES_MAX
            records = list(read_lines(body.splitlines()))
            assert records[-1].kind == SEAL_KIND
            start += len([record for record in records if record.kind != SEAL_KIND])
            size += len(body)
        assert start == node.engine.own.size
        assert size > PEER_RESPONSE_BYTES_MAX


async def test_a_commit_has_a_bound_in_bytes_and_what_has_no_room_is_in_the_next():
    async with running(TestNode(ONE, [PAGE_MODULE])) as (node,):
        await asyncio.gather(*[node.run(WritePage("x" * 400_000)) for _ in range(100)])
        entries, seals = await node.journal()
        start = 0
        for seal in seals:
            size = sum(entry.size for entry in entries[start : seal.size])
            assert size <= WRITER_BATCH_BYTES_MAX + EVENT_BYTES_MAX + HEADER_BYTES_MAX
            start = seal.size
        assert start == len(entries) > 100


async def test_a_head_of_this_node_counts_only_with_its_seal(one):
    assert await Told(one, {ONE: (99, 1)}).ends(ONE) == {}


async def test_a_head_of_this_node_that_its_seal_proves_has_to_come_back_first(one):
    size = one.engine.own.size
    (entry,) = await one.store.journal(ONE, 0, size - 1, 1)
    seal = await Liar(one).seal([entry, entry])
    journal = b"".join(write_lines([record_of_seal(seal)]))
    lane = f"peer/{TWO}/{ONE}"
    assert await Told(one, {ONE: (0, seal.size)}, journal).ends(ONE) == {lane: f"0/{seal.size}"}
    # What it claims beyond that is its word alone.
    assert await Told(one, {ONE: (99, 1)}, journal).ends(ONE) == {lane: f"0/{seal.size}"}


async def test_what_a_peer_says_of_sources_that_nobody_named_leaves_nothing(one):
    bus = Told(one, {f"s{number}": (0, 9) for number in range(10_000)} | {TWO: (0, 0)})
    one.engine.touch_source(TWO)
    await bus._pull(URL)
    assert set(bus.lag()) <= {f"peer/{TWO}/{TWO}"}

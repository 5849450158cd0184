"""The book is its rows: after a restart, on a replica, and out of the journal alone it is the same, order by order."""

from contextlib import asynccontextmanager
from typing import Any

import pytest

from jilnode.kernel.errors import CommitFailed, Rejected
from jilnode.stores.memory import MemoryStore
from services.dex.intents import PlaceOrder
from services.dex.module import MODULE as DEX
from services.dex.rows import ORDERS
from services.wallet.module import MODULE as WALLET
from tests.kit.node import TestNode, running
from tests.services.dex.flow import Flow
from tests.services.dex.kit import MARKET, book, check_exchange, exchange
from tests.services.dex.pair import Pair
from tests.services.wallet.kit import rows, turn

KEY = "sg-mas-01/GOLD-USDX"
MODULES = [WALLET, DEX]


def stops(node: TestNode) -> list[list[str]]:
    """The queues of those that wait."""
    queues = node.engine.caches[ORDERS].ordered["stops"]
    return [[key for *_, key in queues.places((KEY, side))] for side in ("buy", "sell")]


def everything(node: TestNode) -> dict[str, Any]:
    return {table.name: rows(node, table) for table in (*WALLET.tables, *DEX.tables)}


@asynccontextmanager
async def restarted(node: TestNode) -> Any:
    """Another process over the same disk."""
    await node.close()
    again = TestNode(node.source, MODULES, clock=node.clock, store=MemoryStore(node.disk))
    again.disk = node.disk
    async with running(again):
        yield again


async def busy(one: Any, seed: int, commands: int = 250) -> Flow:
    pair = Pair(one, 50, maker_bps=5, taker_bps=15)
    flow = Flow(pair, seed, spread=12)
    await flow.traders(5, gold=20, usd=2000)
    for _ in range(commands):
        await flow.hostile()
    if pair.naive.halted:
        await pair.halt("")
    return flow


@pytest.mark.parametrize("seed", [11, 12])
async def test_a_restart_in_the_middle_changes_nothing(seed):
    async with exchange(market={"maker_bps": 5, "taker_bps": 15}) as one:
        flow = await busy(one, seed)
        before, waiting = book(one.home), stops(one.home)
        assert before[0]
        assert before[1]
        async with restarted(one.home) as again:
            assert (book(again), stops(again)) == (before, waiting)
            check_exchange(again)
            # And it goes on as the naive book does, which was not restarted.
            one.nodes[0] = one.home = again
            again.writer.listeners.append(flow.pair._heard)
            for _ in range(100):
                await flow.hostile()
            flow.pair.compare(thorough=True)


async def test_a_replica_has_the_same_book_order_by_order():
    async with exchange(2, market={"maker_bps": 5, "taker_bps": 15}) as two:
        replica = two.nodes[1]
        await replica.follow(two.home)
        pair_and_flow = await busy(two, 21)
        await replica.follow(two.home)
        assert book(replica) == book(two.home)
        assert stops(replica) == stops(two.home)
        # A second node, that was not there, out of the journal alone.
        empty = TestNode("ae-fsra-01", MODULES, clock=two.clock)
        async with running(empty):
            await empty.follow(two.home)
            assert book(empty) == book(two.home)
            assert stops(empty) == stops(two.home)
            assert everything(empty) == everything(two.home)
            assert not empty.engine.alarms
            # The state digests agree: a tick is checked by everybody who applies it.
            two.clock.advance(31)
            await turn(two.home)
            await empty.follow(two.home)
            await replica.follow(two.home)
        assert pair_and_flow.pair.naive.trades


async def test_what_was_not_answered_is_not_in_the_book_after_a_crash():
    """The last commit fails: money, book and the numbers are as before, and the next order gets the next number."""
    async with exchange() as one:
        a = await one.trader("a")
        await one.order("a", a, "sell", "1", "100")
        before = everything(one.home)
        commit, one.home.store.commit = one.home.store.commit, failing
        with pytest.raises(Rejected, match="commit_failed"):
            await one.home.run(PlaceOrder(MARKET, a, "sell", "1", "99"), actor="a")
        one.home.store.commit = commit
        assert everything(one.home) == before
        assert len(book(one.home)[1]) == 1
        await one.order("a", a, "sell", "1", "99")
        check_exchange(one.home)


async def failing(commit: Any) -> None:
    raise CommitFailed("the disk is full")

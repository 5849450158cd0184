"""Pools and routes over each real database, with a cache for nothing: the same acts, the same rows after a restart."""

from jilnode.module import QueryContext
from services.dex.module import MODULE as DEX
from services.dex.pools import listings
from services.dex.pools.intents import CreatePool
from services.dex.pools.rows import POOLS
from services.dex.router import queries
from services.wallet.listings import HistoryParams
from services.wallet.module import MODULE as WALLET
from tests.kit.node import TestNode, running
from tests.services.dex.kit import BASE, QUOTE, Exchange
from tests.services.dex.pool_kit import KEY, POOL, Pools
from tests.stores.backends import over_each_database


@over_each_database
async def test_a_pool_is_the_same_over_every_store_and_after_a_restart(backend):
    made = Pools(Exchange(1, [backend.store()], cache_bytes=1))
    context = QueryContext("a", frozenset(), made.home.source, made.later_us)
    async with running(made.home):
        await made.exchange.begin()
        await made.exchange.operate(CreatePool(BASE, QUOTE))
        a, m = await made.exchange.trader("a"), await made.exchange.trader("m")
        await made.add("a", a, 1_000_000, 100_000_000)
        await made.exchange.order("m", m, "buy", "5", "99.90")
        swap = await made.swap("a", a, BASE, 10_000)
        assert swap.amount_out == "98.7158"
        route = await made.route("a", a, BASE, 100_000)
        assert route.lane == "split"
        removed = await made.remove("a", a, 1_000_000)
        before = await made.home.writer.query(lambda view: view[POOLS].get(KEY))
        assert before.shares == 9_000_000
    again = TestNode(made.home.source, [WALLET, DEX], clock=made.exchange.clock, store=backend.store())
    async with running(again):
        assert await again.writer.query(lambda view: view[POOLS].get(KEY)) == before
        page = await listings.pool_swaps(again.store, context, listings.PoolSwapsParams(POOL, limit=1))
        rest = await listings.pool_swaps(again.store, context, listings.PoolSwapsParams(POOL, page.next, 1))
        assert ([item.id for item in rest.items], rest.next) == ([swap.id], None)
        liquidity = await listings.account_liquidity(again.store, context, HistoryParams(a))
        assert (liquidity.items[0], len(liquidity.items)) == (removed, 2)
        assert (await queries.routes(again.store, context, HistoryParams(a))).items == [route]

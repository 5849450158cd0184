"""The RFQ desk over each real database, with a cache for nothing: quotes, timers, pages, a restart."""

from jilnode.module import QueryContext
from services.dex.module import MODULE as DEX
from services.dex.rfq import listings, queries
from services.dex.rfq.intents import AcceptQuote
from services.wallet.listings import HistoryParams
from services.wallet.module import MODULE as WALLET
from tests.kit.node import TestNode, running
from tests.services.dex.kit import BASE, Exchange
from tests.services.dex.rfq_kit import Desk
from tests.services.wallet.kit import turn
from tests.stores.backends import over_each_database


@over_each_database
async def test_quotes_settle_the_same_over_every_store(backend):
    exchange = Exchange(1, [backend.store()], cache_bytes=1)
    async with running(*exchange.nodes):
        await exchange.begin()
        one = Desk(exchange)
        await one.begin(fee_bps=10)
        request, unwanted = await one.ask(sealed=True), await one.ask("sell")
        await one.offer(request, "102")
        quote = await one.offer(request, "101", "n")
        await one.offer(unwanted, "99")
    again = TestNode("sg-mas-01", [WALLET, DEX], clock=one.clock, store=backend.store(), cache_bytes=1)
    async with running(again):
        one.clock.advance(30)
        await turn(again)
        assert [item.price for item in await one.seen(request, node=again)] == ["101", "102"]
        settled = (await again.run(AcceptQuote(quote.id), actor="t")).reply
        one.clock.advance(60)
        await turn(again)
        context = QueryContext("t", frozenset(), again.source, again.engine.now_us())
        reader = again.store
        ended = await listings.ended_requests(reader, context, HistoryParams(one.taker))
        assert [(item.id, item.state) for item in ended.items] == [(unwanted.id, "expired"), (request.id, "settled")]
        found = await listings.settlements(reader, context, HistoryParams(one.taker))
        assert found.items == [settled]
        assert await listings.settlement(reader, context, queries.IdParams(request.id)) == settled
        seen = await listings.seen_quotes(reader, context, listings.SeenQuotesParams(request.id))
        assert [item.status for item in seen.items] == ["accepted", "lost"]
        assert (await listings.requests(reader, context, listings.RequestsParams(BASE))).items == []
        one.home = again
        later = await one.accept(await one.offer(await one.ask(), "100"))
        assert await listings.settlement(reader, context, queries.IdParams(later.id)) == later
        newest = await listings.settlements(reader, context, HistoryParams(one.taker, limit=1))
        assert newest.items == [later]
        rest = await listings.settlements(reader, context, HistoryParams(one.taker, newest.next, 1))
        assert (rest.items, rest.next) == ([settled], None)

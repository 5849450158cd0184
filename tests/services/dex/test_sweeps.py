"""Cancel all, tried again with its key: what it found nothing of is not run again, and changes no row."""

import httpx

from jilnode.http.app import AppParts, build_app
from services.dex.intents import CancelAll
from services.dex.module import MODULE as DEX
from services.wallet.module import MODULE as WALLET
from tests.http.kit import authenticator, bearer
from tests.kit.node import TestNode, running
from tests.services.dex.kit import Exchange, book, exchange
from tests.stores.backends import over_each_database

MODULES = [WALLET, DEX]


def bids(node: TestNode) -> list[str]:
    return [key.replace("/", "~") for key, _, _ in book(node)[0]]


@over_each_database
async def test_what_came_since_outlives_the_same_request_and_a_restart(backend):
    made = Exchange(1, [backend.store()])
    async with running(made.home):
        await made.begin()
        account = await made.trader("a")
        first = await made.home.run(CancelAll(account), actor="a", key="k")
        assert (first.reply.cancelled, first.replayed) == ([], False)
        order = await made.order("a", account, "buy", "1.00", "100.00")
        again = await made.home.run(CancelAll(account), actor="a", key="k")
        assert (again.reply, again.sequence, again.replayed) == (first.reply, first.sequence, True)
        assert bids(made.home) == [order.id]
    restarted = TestNode(made.home.source, MODULES, clock=made.clock, store=backend.store())
    replica = TestNode("ch-zug-01", MODULES, clock=made.clock)
    async with running(restarted, replica):
        again = await restarted.run(CancelAll(account), actor="a", key="k")
        assert (again.reply, again.sequence, again.replayed) == (first.reply, first.sequence, True)
        assert bids(restarted) == [order.id]
        await replica.follow(restarted)
        assert bids(replica) == [order.id]


async def test_over_http():
    async with exchange() as made:
        account = await made.trader("a")
        node = made.home
        parts = AppParts(
            source=node.source,
            modules=(WALLET, DEX),
            writer=node.writer,
            reader=node.store,
            authenticator=authenticator(),
            readiness=list,
            ticks=lambda: {source: state.tick_us for source, state in node.engine.sources.items()},
            rate_limiter=None,
        )
        transport = httpx.ASGITransport(build_app(parts), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as http:

            async def cancel_all(key: str) -> httpx.Response:
                headers = {**bearer(subject="a", scopes="dex:trade"), "Idempotency-Key": key}
                return await http.post("/v1/dex/orders/cancel-all", json={"account": account}, headers=headers)

            first = await cancel_all("k1")
            assert (first.status_code, first.json()) == (200, {"cancelled": [], "goes_on": False})
            assert "idempotency-replayed" not in first.headers
            order = await made.order("a", account, "buy", "1.00", "100.00")
            again = await cancel_all("k1")
            assert (again.status_code, again.content) == (200, first.content)
            assert again.headers["jil-entry"] == first.headers["jil-entry"]
            assert again.headers["idempotency-replayed"] == "true"
            assert bids(node) == [order.id]
            assert (await cancel_all("k2")).json() == {"cancelled": [order.id], "goes_on": False}

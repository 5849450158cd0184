"""The wallet over each real database, with a cache for nothing: balances, shares between nodes, pages, a restart."""

from pathlib import Path

import pytest

from jilnode.module import QueryContext
from services.wallet import listings
from services.wallet.intents import PostBatch, PostTransfer, ReserveTransfer, SetFee, SetLimit, SetRoaming
from services.wallet.module import MODULE
from tests.kit.node import TestNode, running
from tests.services.wallet.kit import CHF, Bank, started, turn
from tests.stores.backends import Backend, PostgresBackend, SqliteBackend


@pytest.fixture(params=["sqlite", "postgres"])
def backends(request: pytest.FixtureRequest, tmp_path: Path) -> list[Backend]:
    if request.param == "sqlite":
        return [SqliteBackend(tmp_path / f"{number}.db") for number in range(2)]
    server = request.getfixturevalue("postgres")
    return [PostgresBackend(server.database()) for _ in range(2)]


async def test_money_moves_the_same_over_every_store(backends):
    two = Bank(2, [backend.store() for backend in backends], cache_bytes=1)
    home, away = two.nodes
    async with running(*two.nodes):
        await two.begin()
        a, b = await two.account("a", "100.00"), await two.account("b", node=away, handle="kestrel")
        await two.operate(SetFee(CHF, (("0", 100),)))
        await two.operate(SetLimit(a, CHF, daily="60.00"))
        await two.operate(SetRoaming(a, CHF, "50.00", ("sg-mas-01",)))
        await two.settle()
        await two.pay(a, "kestrel@sg-mas-01", "10.00")
        future = await started(two, away, PostTransfer(a, b, CHF, "20.00"), "a")
        await two.settle()
        two.clock.advance(3)
        await turn(away)
        assert (await future).reply.fee == "0.00"
        batch = await two.operate(PostBatch((PostTransfer(a, b, CHF, "5.00"), PostTransfer(b, a, CHF, "99.00"))))
        assert (batch.posted, batch.refused) == (1, 1)
        await home.run(ReserveTransfer(a, b, CHF, "1.00", 30), actor="a")
        await two.settle()
        balance = await two.balance(a)
        assert (balance.available, balance.pending, balance.total) == ("63.85", "1.00", "64.85")
        two.clock.advance(61)
        await two.settle()
        balance = await two.balance(a)
        assert (balance.available, balance.pending, balance.in_transit) == ("64.85", "0.00", "0.00")
        assert (await two.balance(b, away)).here == "35.00"
        context = QueryContext("auditor", frozenset({"audit"}), away.source, 0)
        params = listings.HistoryParams("kestrel@sg-mas-01", limit=2)
        page = await listings.statement(away.store, context, params)
        assert [line.change for line in page.items] == ["20.00", "5.00"]
        rest = await listings.statement(away.store, context, listings.HistoryParams(b, page.next, 2))
        assert ([line.change for line in rest.items], rest.next) == (["10.00"], None)
        pendings = await listings.pendings(home.store, context, listings.HistoryParams(a))
        assert [item.status for item in pendings.items] == ["expired"]
    again = TestNode(home.source, [MODULE], clock=two.clock, store=backends[0].store())
    async with running(again):
        assert (await two.balance(a, again)).available == "64.85"

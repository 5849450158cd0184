"""The order book over HTTP, as a client meets it; and what its routes declare."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from jilnode.http.app import AppParts, build_app
from jilnode.http.assembly import check_modules
from services.dex import routes
from services.dex.feeds import FEEDS
from services.dex.module import MODULE as DEX
from services.wallet.module import MODULE as WALLET
from tests.http.kit import authenticator, bearer
from tests.kit.node import TestNode
from tests.services.dex.kit import BASE, MARKET, QUOTE, exchange

TRADER = "dex:read dex:trade"
OPERATOR = "dex:read dex:operate"


class Client:
    def __init__(self, http: httpx.AsyncClient, node: str) -> None:
        self.http = http
        self.node = node
        self.count = 0

    async def write(
        self, path: str, body: Any = None, subject: str = "a", scopes: str = TRADER, method: str = "POST", **more: str
    ) -> httpx.Response:
        self.count += 1
        headers = {**bearer(subject=subject, scopes=scopes), "Idempotency-Key": f"{self.node}-{self.count}", **more}
        return await self.http.request(method, f"/v1/dex{path}", json={} if body is None else body, headers=headers)

    async def get(self, path: str, subject: str = "a", **more: str) -> httpx.Response:
        return await self.http.get(f"/v1/dex{path}", headers={**bearer(subject=subject, scopes=TRADER), **more})

    async def place(self, account: str, side: str, quantity: str, price: str, subject: str = "a") -> str:
        body = {"market": MARKET, "account": account, "side": side, "quantity": quantity, "price": price}
        placed = await self.write("/orders", body, subject)
        assert placed.status_code == 201
        return str(placed.json()["id"])


@asynccontextmanager
async def client_of(node: TestNode) -> AsyncIterator[Client]:
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
        yield Client(http, node.source)


async def test_an_open_order_tells_until_when_it_is_good() -> None:
    async with exchange() as one, client_of(one.home) as client:
        a = await one.trader("a")
        until = one.clock.now_us + 60_000_000
        body = {"market": MARKET, "account": a, "side": "sell", "quantity": "1", "price": "100"}
        good = (await client.write("/orders", {**body, "time_in_force": "gtd", "expires_us": until})).json()
        other = (await client.write("/orders", body)).json()
        assert (good["expires_us"], other["expires_us"]) == (until, None)
        listed = (await client.get(f"/accounts/{a}/orders")).json()["items"]
        assert [order["expires_us"] for order in listed] == [until, None]
        assert (await client.get(f"/orders/{good['id']}")).json()["expires_us"] == until


async def test_an_order_has_an_etag_that_moves_with_it() -> None:
    async with exchange() as one, client_of(one.home) as client:
        a, b = await one.trader("a"), await one.trader("b")
        order = f"/orders/{await client.place(a, 'sell', '3', '100')}"
        first = await client.get(order)
        etag = first.headers["etag"]
        assert (await client.get(order, **{"If-None-Match": etag})).status_code == 304
        await client.place(b, "buy", "1", "100", "b")
        filled = await client.get(order, **{"If-None-Match": etag})
        assert (filled.status_code, filled.json()["filled"]) == (200, "1.0000")
        assert filled.headers["etag"] != etag
        lowered = await client.write(f"{order}/amend", {"quantity": "2"})
        assert lowered.headers["etag"] == (await client.get(order)).headers["etag"] != filled.headers["etag"]
        cancelled = await client.write(f"{order}/cancel")
        ended = await client.get(order)
        # What has ended never changes again.
        assert (ended.status_code, ended.json()["status"]) == (200, "cancelled")
        assert "etag" not in cancelled.headers and "etag" not in ended.headers


NEW = {"market": MARKET, "side": "sell", "quantity": "2", "price": "101"}
ACTIONS: dict[str, Any] = {
    "cancel": lambda account: {},
    "amend": lambda account: {"quantity": "2"},
    "replace": lambda account: {"order": {**NEW, "account": account}},
    "replace or place": lambda account: {"order": {**NEW, "account": account}, "mode": "allow_failure"},
}


@pytest.mark.parametrize("action", ACTIONS)
async def test_an_order_that_was_filled_meanwhile_is_left_alone_if_its_owner_says_so(action: str) -> None:
    async with exchange() as one, client_of(one.home) as client:
        a, b = await one.trader("a"), await one.trader("b")
        order = f"/orders/{await client.place(a, 'sell', '3', '100')}"
        etag = (await client.get(order)).headers["etag"]
        await client.place(b, "buy", "1", "100", "b")
        path, body = f"{order}/{action.split()[0]}", ACTIONS[action](a)
        stale = await client.write(path, body, **{"If-Match": etag})
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
        opened = (await client.get(f"/accounts/{a}/orders")).json()["items"]
        assert [(item["price"], item["remaining"]) for item in opened] == [("100.00", "2.0000")]
        etag = (await client.get(order)).headers["etag"]
        assert (await client.write(path, body, **{"If-Match": etag})).status_code in (200, 201)
        etag = etag.replace(":0:", ":1:")
        assert (await client.write(path, body, **{"If-Match": etag})).status_code == 412


async def test_a_trade_is_in_the_wallet_s_history_of_both_who_made_it() -> None:
    async with exchange(market={"maker_bps": 10, "taker_bps": 20}) as one, client_of(one.home) as client:
        a, b = await one.trader("a"), await one.trader("b")
        await client.place(a, "sell", "3", "100")
        await client.place(b, "buy", "1", "100", "b")
        (trade,) = (await client.get(f"/accounts/{b}/fills", "b")).json()["items"]
        for subject, account in (("a", a), ("b", b)):
            headers = bearer(subject=subject, scopes="wallet:read")
            first, *_ = (await client.http.get(f"/v1/wallet/accounts/{account}/history", headers=headers)).json()[
                "items"
            ]
            assert (first["id"], first["kind"], first["debit"], first["credit"]) == (
                trade["fill"]["trade"],
                "trade",
                b,
                a,
            )
            assert (first["asset"], first["amount"], first["fee"]) == (QUOTE, "100.0000", "0.2000")
            assert first["back"] == {"asset": BASE, "amount": "1.0000", "fee": "0.0010"}
            one_of_it = await client.http.get(f"/v1/wallet/transfers/{first['id']}", headers=headers)
            assert one_of_it.json() == first
        headers = bearer(subject="c", scopes="wallet:read")
        unknown = await client.http.get(f"/v1/wallet/transfers/{trade['fill']['trade']}", headers=headers)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_transfer")


async def test_only_the_node_of_an_order_says_whether_it_is_still_what_it_was() -> None:
    """A node that follows may be behind, so it names the one that knows, whatever it has heard."""
    async with exchange(2) as two, client_of(two.home) as client, client_of(two.nodes[1]) as elsewhere:
        await two.settle()
        a, b = await two.trader("a"), await two.trader("b")
        order = f"/orders/{await client.place(a, 'sell', '3', '100')}"
        await two.settle()
        heard = (await elsewhere.get(order)).headers["etag"]
        assert heard == (await client.get(order)).headers["etag"]
        await client.place(b, "buy", "1", "100", "b")
        newer = (await client.get(order)).headers["etag"]
        for etag in (heard, newer):
            answer = await elsewhere.write(f"{order}/cancel", **{"If-Match": etag})
            assert (answer.status_code, answer.json()["code"], answer.json()["owner"]) == (
                421,
                "misdirected",
                "sg-mas-01",
            )


async def test_an_order_is_read_by_its_owner_while_it_is_open_and_after() -> None:
    async with exchange() as one, client_of(one.home) as client:
        a = await one.trader("a")
        order = await client.place(a, "sell", "1", "100")
        for status in ("open", "cancelled"):
            assert (await client.get(f"/orders/{order}")).json()["status"] == status
            unknown = await client.get(f"/orders/{order}", "b")
            assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_order")
            await client.write(f"/orders/{order}/cancel")
        for wrong in ("sg-mas-01~0-00000000ff", "nobody"):
            assert (await client.get(f"/orders/{wrong}")).json()["code"] == "unknown_order"
        assert (await client.get("/orders/%20")).status_code == 404


async def test_a_refusal_points_at_what_was_sent() -> None:
    async with exchange() as one, client_of(one.home) as client:
        a = await one.trader("a")
        halt = await client.write(f"/markets/{MARKET}/halt", {"reason": "x" * 141}, scopes=OPERATOR)
        assert (halt.status_code, halt.json()["code"], halt.json()["field"]) == (400, "bad_market", "/reason")
        terms = await client.write(f"/markets/{MARKET}", {"maker_bps": 1001}, scopes=OPERATOR, method="PUT")
        assert (terms.status_code, terms.json()["code"], terms.json()["field"]) == (400, "bad_market", "/maker_bps")
        order = {"market": MARKET, "account": a, "side": "sell", "quantity": "1", "price": "100.001"}
        finer = (await client.write("/orders", order)).json()
        assert (finer["code"], finer["field"], "asset" in finer["detail"]) == ("too_many_decimals", "/price", False)
        await client.place(a, "sell", "1", "100")
        for path in ("orders", "orders/ended", "fills"):
            page = await client.get(f"/accounts/{a}/{path}?after=%20")
            assert (page.status_code, page.json()["code"], page.json()["field"]) == (400, "bad_request", "/after")


def test_the_routes_can_be_served_and_their_examples_are_what_they_take_and_give() -> None:
    check_modules([WALLET, DEX])
    for write in routes.WRITES:
        assert msgspec.json.decode(msgspec.json.encode(write.example), type=write.body) == write.example
        assert isinstance(write.reply_example, write.reply), write.path
    for query in routes.QUERIES:
        if query.params.__struct_fields__:
            assert isinstance(query.example, query.params), query.path
        assert isinstance(query.reply_example, query.reply), query.path
    for feed in FEEDS:
        assert isinstance(feed.example, feed.message), feed.path

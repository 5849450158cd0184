"""The RFQ desk over HTTP, as clients meet it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from jilnode.http.app import AppParts, build_app
from jilnode.http.assembly import check_modules
from services.dex.module import MODULE as DEX
from services.dex.rfq.module import QUERIES, WRITES
from services.wallet.intents import SetStatus
from services.wallet.module import MODULE as WALLET
from tests.http.kit import authenticator, bearer
from tests.services.dex.kit import BASE, QUOTE
from tests.services.dex.rfq_kit import Desk, check_desk, desk
from tests.services.wallet.kit import turn

TRADER = "dex:read dex:trade"
ROOT = "/v1/dex/rfq"


class Client:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.count = 0

    async def post(self, path: str, body: Any = None, subject: str = "t", scopes: str = TRADER) -> httpx.Response:
        self.count += 1
        headers = {**bearer(subject=subject, scopes=scopes), "Idempotency-Key": f"k{self.count}"}
        return await self.http.post(ROOT + path, json={} if body is None else body, headers=headers)

    async def get(self, path: str, subject: str = "t", scopes: str = TRADER) -> Any:
        answer = await self.http.get(ROOT + path, headers=bearer(subject=subject, scopes=scopes))
        return answer.json() if answer.status_code == 200 else answer.status_code


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[Client, Desk]]:
    async with desk(**options) as one:
        node = one.home
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
            yield Client(http), one


def opening(one: Desk, **changes: Any) -> dict[str, Any]:
    values = {"account": one.taker, "base": BASE, "quote": QUOTE, "side": "buy", "quantity": "10"}
    return {**values, "quotes_until_us": one.in_s(30), **changes}


async def test_a_request_from_its_opening_to_its_settlement():
    async with served() as (client, one):
        fee = await client.post("/fee", {"bps": 5}, "operator", "dex:operate")
        assert (fee.status_code, await client.get("/fee")) == (200, {"bps": 5})
        asked = await client.post("/requests", opening(one, sealed=True))
        assert asked.status_code == 201
        request = asked.json()["id"]
        (listed,) = (await client.get(f"/requests?base={BASE}&quote={QUOTE}", "m"))["items"]
        assert listed == asked.json() == await client.get(f"/requests/{request}", "m")
        assert (await client.get("/requests?base=NONE@x", "m"))["items"] == []
        quotes = []
        for subject, account, price in (("m", one.maker, "101.25"), ("n", one.other, "101.5")):
            body = {"account": account, "price": price}
            quoted = await client.post(f"/requests/{request}/quotes", body, subject)
            assert quoted.status_code == 201, quoted.json()
            quotes.append(quoted.json()["id"])
        assert (await client.get(f"/requests/{request}/quotes"))["items"] == []
        assert await client.get(f"/quotes/{quotes[0]}") == 404
        assert await client.get(f"/quotes/{quotes[0]}", "n") == 404
        assert await client.get(f"/quotes/{quotes[0]}", "auditor", f"{TRADER} audit") == 404
        assert (await client.get(f"/quotes/{quotes[0]}", "m"))["status"] == "live"
        own = f"/quotes?account={one.maker}"
        assert [item["id"] for item in (await client.get(own, "m"))["items"]] == quotes[:1]
        assert (await client.get(own, "auditor", f"{TRADER} audit"))["items"] == []
        one.clock.advance(30)
        await turn(one.home)
        shown = (await client.get(f"/requests/{request}/quotes"))["items"]
        assert [item["id"] for item in shown] == quotes
        settled = await client.post(f"/quotes/{quotes[0]}/accept")
        assert (settled.status_code, settled.json()["turnover"]) == (201, "1012.5000")
        assert settled.json()["taker_gives"] == shown[0]["taker_gives"]
        assert settled.json()["maker_gives"] == shown[0]["maker_gives"]
        assert shown[0]["taker_gives"]["fee"] == "0.5063"
        for subject in "tm":
            assert await client.get(f"/settlements/{request}", subject) == settled.json()
            account = {"t": one.taker, "m": one.maker}[subject]
            assert (await client.get(f"/settlements?account={account}", subject))["items"] == [settled.json()]
        assert await client.get(f"/settlements/{request}", "n") == 404
        assert (await client.get(f"/requests/{request}"))["state"] == "settled"
        (ended,) = (await client.get(f"/requests/ended?account={one.taker}"))["items"]
        assert (ended["id"], ended["state"]) == (request, "settled")
        seen = (await client.get(f"/requests/{request}/quotes/ended"))["items"]
        assert sorted(item["status"] for item in seen) == ["accepted", "lost"]
        assert [item["status"] for item in (await client.get(f"/quotes/ended?account={one.other}", "n"))["items"]] == [
            "lost"
        ]
        assert (await client.get(f"/quotes/{quotes[1]}"))["status"] == "lost"
        # A maker sees of a request what is theirs.
        assert [item["id"] for item in (await client.get(f"/requests/{request}/quotes/ended", "n"))["items"]] == [
            quotes[1]
        ]
        check_desk(one.home)


async def test_withdrawn_cancelled_and_not_accepted_twice():
    async with served() as (client, one):
        request = (await client.post("/requests", opening(one))).json()["id"]
        body = {"account": one.maker, "price": "101.25", "valid_until_us": one.in_s(60)}
        quote = (await client.post(f"/requests/{request}/quotes", body, "m")).json()["id"]
        worse = await client.post(f"/requests/{request}/quotes", body, "m")
        assert (worse.status_code, worse.json()["code"], worse.json()["field"]) == (409, "quote_not_better", "/price")
        withdrawn = await client.post(f"/quotes/{quote}/withdraw", subject="m")
        assert (withdrawn.status_code, withdrawn.json()["status"]) == (200, "withdrawn")
        late = await client.post(f"/quotes/{quote}/accept")
        assert (late.status_code, late.json()["code"]) == (404, "unknown_quote")
        cancelled = await client.post(f"/requests/{request}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        assert await client.get(f"/requests/{request}/quotes") == 404
        check_desk(one.home)


async def test_one_quote_says_that_it_is_void_as_the_lists_do():
    async with served() as (client, one):
        request = (await client.post("/requests", opening(one))).json()["id"]
        body = {"account": one.maker, "price": "101.25"}
        quote = (await client.post(f"/requests/{request}/quotes", body, "m")).json()["id"]
        await one.exchange.operate(SetStatus(one.maker, "frozen"))
        found = await client.get(f"/quotes/{quote}")
        assert found["void"] == "account_frozen"
        assert (await client.get(f"/requests/{request}/quotes"))["items"] == [found]
        await one.exchange.operate(SetStatus(one.maker, "active"))
        assert (await client.get(f"/quotes/{quote}"))["void"] == ""


async def test_who_is_not_invited_finds_nothing():
    async with served() as (client, one):
        request = (await client.post("/requests", opening(one, invited=[one.maker]))).json()["id"]
        for subject, scopes, count in (
            ("m", TRADER, 1),
            ("t", TRADER, 1),
            ("n", TRADER, 0),
            ("a", "dex:read audit", 1),
        ):
            assert len((await client.get("/requests", subject, scopes))["items"]) == count
            found = await client.get(f"/requests/{request}", subject, scopes)
            assert found == 404 if not count else found["id"] == request
        assert await client.get(f"/requests/{request}/quotes", "n") == 404
        assert (await client.get(f"/requests/{request}/quotes", "m"))["items"] == []


async def test_pages():
    async with served() as (client, one):
        ids = [(await client.post("/requests", opening(one))).json()["id"] for _ in range(5)]
        for request in ids:
            body = {"account": one.maker, "price": "1"}
            assert (await client.post(f"/requests/{request}/quotes", body, "m")).status_code == 201
        for path, subject in (("/requests?", "m"), (f"/quotes?account={one.maker}&", "m")):
            found, after = [], ""
            while after is not None:
                page = await client.get(f"{path}limit=2&after={after}", subject)
                found += [item.get("request", item["id"]) for item in page["items"]]
                after = page["next"]
            assert found == ids
        assert await client.get(f"/quotes?account={one.maker}&limit=0", "m") == 400
        assert await client.get("/requests?limit=0", "m") == 400
        assert await client.get(f"/quotes?account={one.maker}", "n") == 404


async def test_scopes_guard_the_routes():
    async with served() as (client, one):
        for path, scopes in (
            ("/fee", TRADER),
            ("/requests", "dex:read"),
            ("/requests/x/cancel", "dex:read"),
            ("/requests/x/quotes", "dex:read"),
            ("/quotes/x/withdraw", "dex:read"),
            ("/quotes/x/accept", "dex:read"),
        ):
            assert (await client.post(path, {}, "t", scopes)).status_code == 403, path
        for query in QUERIES:
            path = query.path.removeprefix(ROOT).replace("{id:str}", "x") + f"?account={one.taker}"
            assert await client.get(path, "t", "dex:trade") == 403, path


def test_the_module_can_be_served_and_its_examples_are_what_the_routes_take_and_give():
    check_modules([WALLET, DEX])
    for write in WRITES:
        assert msgspec.json.decode(msgspec.json.encode(write.example), type=write.body) == write.example, write.path
        assert isinstance(write.reply_example, write.reply), write.path
    for query in QUERIES:
        assert isinstance(query.reply_example, query.reply), query.path

"""Pools and the router over HTTP, as a client meets them; and what their routes and problems declare."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from jilnode.http.app import AppParts, build_app
from jilnode.http.assembly import check_modules
from jilnode.http.problems import CORE_PROBLEMS
from jilnode.stores.memory import MemoryStore
from jilnode.stores.memory_disk import MemoryDisk
from services.dex.module import MODULE as DEX
from services.dex.pools import module as pools_part
from services.dex.router import module as router_part
from services.wallet.module import MODULE as WALLET
from tests.http.kit import authenticator, bearer
from tests.kit.node import TestNode
from tests.services.dex.kit import BASE, QUOTE, exchange
from tests.services.dex.pool_kit import POOL, pools

PARTS = (pools_part, router_part)
TRADER = "dex:read dex:trade"
OPERATOR = "dex:read dex:operate"
LATER_US = 1 << 60


class Client:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.count = 0

    async def post(self, path: str, body: Any = None, subject: str = "a", scopes: str = TRADER) -> httpx.Response:
        self.count += 1
        headers = {**bearer(subject=subject, scopes=scopes), "Idempotency-Key": f"k{self.count}"}
        return await self.http.post(f"/v1/dex{path}", json={} if body is None else body, headers=headers)

    async def get(self, path: str, subject: str = "a", scopes: str = TRADER) -> httpx.Response:
        return await self.http.get(f"/v1/dex{path}", headers=bearer(subject=subject, scopes=scopes))


@asynccontextmanager
async def over_http(node: TestNode) -> AsyncIterator[Client]:
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
        yield Client(http)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Client, str]]:
    """With an account of ``a``."""
    async with exchange() as made:
        account = await made.trader("a")
        async with over_http(made.home) as client:
            yield client, account


async def test_sums_that_are_read_while_a_swap_is_committed_go_on_from_there():
    """What a commit under way has changed is older than who reads meanwhile: who reads is told of the time before."""
    reached, written = asyncio.Event(), asyncio.Event()
    written.set()

    async def pause(where: str) -> None:
        if where == "commit.before":
            reached.set()
            await written.wait()

    async with pools(stores=[MemoryStore(MemoryDisk(), pause=pause)], fee_bps=0) as made:
        clock, trader = made.exchange.clock, await made.exchange.trader("a")
        await made.add("a", trader, 10_000, 1_000_000)
        async with over_http(made.home) as client:
            clock.advance(10)
            reached.clear()
            written.clear()
            swap = asyncio.create_task(made.swap("a", trader, BASE, 990_000))
            await reached.wait()
            swapped_us = clock.now_us
            clock.advance(1)
            before = (await client.get(f"/pools/{POOL}")).json()
            written.set()
            await swap
            clock.advance(1)
            after = (await client.get(f"/pools/{POOL}")).json()
        assert (before["base_reserve"], after["base_reserve"]) == ("1.0000", "100.0000")
        assert before["as_of_us"] == swapped_us
        elapsed_us = after["as_of_us"] - before["as_of_us"]
        assert elapsed_us == 2_000_000
        assert int(after["base_cumulative"]) - int(before["base_cumulative"]) == ((1 << 112) // 100) * elapsed_us


async def test_a_pool_from_its_making_to_the_last_share():
    async with served() as (client, account):
        made = await client.post("/pools", {"base": BASE, "quote": QUOTE}, scopes=OPERATOR)
        assert (made.status_code, made.json()["pool"], made.json()["price"]) == (201, POOL, None)
        added = await client.post(
            "/liquidity/add",
            {
                "pool": POOL,
                "account": account,
                "base": "100",
                "quote": "10000",
                "min_base": "100",
                "min_quote": "10000",
                "deadline_us": LATER_US,
            },
        )
        assert (added.status_code, added.json()["shares"]) == (201, "999.9000")
        quote = (await client.get(f"/pools/{POOL}/quote?asset_in={BASE}&amount_in=1")).json()
        body = {
            "pool": POOL,
            "account": account,
            "asset_in": BASE,
            "amount_in": "1",
            "min_out": quote["amount_out"],
            "deadline_us": LATER_US,
        }
        swapped = await client.post("/swaps", body)
        assert (swapped.status_code, swapped.json()["amount_out"]) == (201, quote["amount_out"])
        dry = (await client.get(f"/routes/dry-run?asset_in={BASE}&asset_out={QUOTE}&amount_in=1")).json()
        assert (dry["id"], dry["lane"], dry["rule"]) == (None, "pool", "1_only_lane")
        route = {name: value for name, value in body.items() if name != "pool"}
        taken = await client.post("/routes", {**route, "asset_out": QUOTE, "min_out": dry["output"]})
        assert (taken.status_code, taken.json()["output"]) == (201, dry["output"])
        found = await client.get(f"/routes/{taken.json()['id']}")
        assert found.json() == taken.json()
        assert (await client.get(f"/routes/{taken.json()['id']}", "b")).status_code == 404
        shown = (await client.get(f"/pools/{POOL}")).json()
        assert shown["base_reserve"] == "102.0000"
        public = (await client.get(f"/pools/{POOL}/swaps?limit=1", "b")).json()
        assert (len(public["items"]), public["items"][0]["account"], public["next"] is None) == (1, None, False)
        rest = (await client.get(f"/pools/{POOL}/swaps?limit=1&after={public['next']}", "b")).json()
        assert (rest["items"][0]["amount_out"], rest["next"]) == (quote["amount_out"], None)
        for name, count in (("swaps", 2), ("liquidity", 1), ("routes", 1)):
            page = (await client.get(f"/accounts/{account}/{name}")).json()
            assert (len(page["items"]), page["next"]) == (count, None)
            assert (await client.get(f"/accounts/{account}/{name}", "b")).status_code == 404
        removed = await client.post(
            "/liquidity/remove",
            {
                "pool": POOL,
                "account": account,
                "shares": "999.9",
                "min_base": "101",
                "min_quote": "9800",
                "deadline_us": LATER_US,
            },
        )
        assert (removed.status_code, removed.json()["base"]) == (201, "101.9898")


async def test_halt_resume_and_what_is_refused_before_it_is_decided():
    async with served() as (client, account):
        assert (await client.post("/pools", {"base": BASE, "quote": QUOTE})).status_code == 403
        assert (await client.post("/pools", {"base": BASE, "quote": QUOTE}, scopes=OPERATOR)).status_code == 201
        halted = await client.post(f"/pools/{POOL}/halt", {"reason": "news"}, scopes=OPERATOR)
        assert (halted.status_code, halted.json()["halted"]) == (200, "news")
        resumed = await client.post(f"/pools/{POOL}/resume", scopes=OPERATOR)
        assert (resumed.status_code, resumed.json()["halted"]) == (200, "")
        assert [item["pool"] for item in (await client.get("/pools")).json()["items"]] == [POOL]
        swap = {"pool": POOL, "account": account, "asset_in": BASE, "amount_in": "1", "min_out": "1"}
        # Neither a least output nor a deadline can be left out.
        for body in (swap, {**swap, "deadline_us": LATER_US, "min_out": None}):
            missing = await client.post("/swaps", body)
            assert (missing.status_code, missing.json()["code"]) == (400, "bad_request")
        empty = await client.post("/swaps", {**swap, "deadline_us": LATER_US})
        assert (empty.status_code, empty.json()["code"], empty.json()["field"]) == (409, "pool_empty", "/pool")
        assert (await client.get("/pools/nope/swaps")).json()["code"] == "unknown_pool"
        assert (await client.get("/pools/nope")).status_code == 404
        assert (await client.get("/routes/x")).json()["code"] == "unknown_route"


def test_the_routes_can_be_served_and_their_examples_are_what_they_take_and_give():
    check_modules([WALLET, DEX])
    for part in PARTS:
        for write in part.WRITES:
            assert msgspec.json.decode(msgspec.json.encode(write.example), type=write.body) == write.example
            assert isinstance(write.reply_example, write.reply), write.path
        for query in part.QUERIES:
            assert isinstance(query.reply_example, query.reply), query.path
            assert query.scope == "dex:read"


def test_every_code_is_listed_once_with_a_title():
    folder = Path(__file__).resolve().parents[3] / "services" / "dex"
    core = {kind.code for kind in CORE_PROBLEMS} | set(WALLET.problems)
    assert not set(pools_part.PROBLEMS) & set(router_part.PROBLEMS)
    for path in (*(folder / "pools").glob("*.py"), *(folder / "router").glob("*.py")):
        raised = set(re.findall(r'Rejected\(\s*"([a-z_]+)"', path.read_text()))
        assert raised <= set(DEX.problems) | core, path
    every = "".join(path.read_text() for path in folder.rglob("*.py"))
    for code in (*pools_part.PROBLEMS, *router_part.PROBLEMS):
        assert re.search(rf'Rejected\(\s*"{code}"', every), code

"""The wallet over HTTP: the app over a real writer, as a client meets it."""

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
from services.wallet.module import MODULE
from tests.http.kit import authenticator, bearer
from tests.kit.node import TestNode, running
from tests.services.wallet.kit import turn

ALL = "wallet:read wallet:transfer wallet:operate wallet:issue"
OWN = "wallet:read wallet:transfer"
BASE = "/v1/wallet"
CHF = "CHFX@ch-zug-01"


class Client:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.count = 0

    async def post(
        self, path: str, body: Any = None, subject: str = "operator", scopes: str = ALL, **more: str
    ) -> httpx.Response:
        self.count += 1
        headers = {**bearer(subject=subject, scopes=scopes), "Idempotency-Key": f"k{self.count}", **more}
        return await self.http.post(BASE + path, json={} if body is None else body, headers=headers)

    async def get(self, path: str, subject: str = "operator", scopes: str = ALL) -> httpx.Response:
        return await self.http.get(BASE + path, headers=bearer(subject=subject, scopes=scopes))


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Client, TestNode]]:
    node = TestNode(modules=[MODULE])
    async with running(node):
        parts = AppParts(
            source=node.source,
            modules=(MODULE,),
            writer=node.writer,
            reader=node.store,
            authenticator=authenticator(),
            readiness=list,
            ticks=lambda: {source: state.tick_us for source, state in node.engine.sources.items()},
            rate_limiter=None,
        )
        transport = httpx.ASGITransport(build_app(parts), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as http:
            client = Client(http)
            assert (await client.post("/assets", {"code": "CHFX", "scale": 2})).status_code == 201
            for name in ("kestrel", "heron"):
                opened = await client.post("/accounts", {"handle": name}, name, OWN)
                assert opened.status_code == 201
            issue = {"asset": CHF, "credit": "kestrel@ch-zug-01", "amount": "100.00"}
            assert (await client.post("/issues", issue)).status_code == 201
            yield client, node


def payment(amount: str, **changes: str) -> dict[str, str]:
    return {"debit": "kestrel@ch-zug-01", "credit": "heron@ch-zug-01", "asset": CHF, "amount": amount, **changes}


async def test_a_payment_and_what_both_see_of_it():
    async with served() as (client, _):
        paid = await client.post("/transfers", payment("12.50", reference="rent"), "kestrel", OWN)
        assert paid.status_code == 201
        assert paid.json()["debit_balance"] == {"available_here": "87.50", "held_here": "0.00"}
        seen = await client.get(f"/transfers/{paid.json()['id']}", "heron", OWN)
        assert seen.json()["amount"] == "12.50"
        balances = (await client.get("/accounts/heron@ch-zug-01/balances", "heron", OWN)).json()
        assert [(item["asset"], item["available"], item["total"]) for item in balances["items"]] == [
            (CHF, "12.50", "12.50")
        ]
        (line,) = (await client.get("/accounts/heron@ch-zug-01/statement", "heron", OWN)).json()["items"]
        assert (line["change"], line["reference"], line["at_us"] > 0) == ("12.50", "rent", True)


async def test_somebody_else_s_account_is_not_there():
    async with served() as (client, _):
        paid = (await client.post("/transfers", payment("1.00"), "kestrel", OWN)).json()
        for path in (
            "/accounts/kestrel@ch-zug-01",
            "/accounts/kestrel@ch-zug-01/balances",
            "/accounts/kestrel@ch-zug-01/history",
            "/accounts/kestrel@ch-zug-01/status",
            "/accounts/kestrel@ch-zug-01/pending",
            f"/transfers/{paid['id']}",
            "/transfers/ch-zug-01~9-9",
            "/transfers/pending/ch-zug-01~9-9",
            "/accounts/%20",
            "/accounts/x@y%20z/history",
        ):
            assert (await client.get(path, "stranger", OWN)).status_code == 404, path
        for path in ("/accounts/kestrel@ch-zug-01/balances", f"/transfers/{paid['id']}"):
            assert (await client.get(path, "auditor", "wallet:read audit")).status_code == 200
        refused = await client.post("/transfers", payment("1.00"), "heron", OWN)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_your_account")


async def test_a_subject_lists_its_own_accounts():
    async with served() as (client, _):
        second = await client.post("/accounts", {}, "kestrel", OWN)
        first = (await client.get("/accounts?limit=1", "kestrel", OWN)).json()
        assert [item["handle"] for item in first["items"]] == ["kestrel@ch-zug-01"]
        rest = (await client.get(f"/accounts?limit=1&after={first['next']}", "kestrel", OWN)).json()
        assert ([item["id"] for item in rest["items"]], rest["next"]) == ([second.json()["id"]], None)


async def test_scopes_guard_the_routes():
    async with served() as (client, _):
        for path in ("/assets", "/issues", "/burns", "/fees", "/limits", "/accounts/kestrel@ch-zug-01/freeze"):
            assert (await client.post(path, {}, "kestrel", OWN)).status_code == 403, path


async def test_history_comes_in_pages_newest_first():
    async with served() as (client, _):
        for number in range(1, 8):
            assert (await client.post("/transfers", payment(f"0.0{number}"), "kestrel", OWN)).status_code == 201
        found, cursor = [], ""
        while cursor is not None:
            query = f"?limit=3&after={cursor}" if cursor else "?limit=3"
            page = (await client.get(f"/accounts/heron@ch-zug-01/history{query}", "heron", OWN)).json()
            assert len(page["items"]) <= 3
            found += [item["amount"] for item in page["items"]]
            cursor = page["next"]
        assert found == [f"0.0{number}" for number in range(7, 0, -1)]
        for bad in ("limit=0", "limit=501", "after=%20x"):
            answer = await client.get(f"/accounts/heron@ch-zug-01/history?{bad}", "heron", OWN)
            assert answer.status_code == 400


async def test_a_batch_is_cut_into_chunks_and_answered_as_one():
    async with served() as (client, node):
        before = node.engine.own.size
        items = [payment("0.01") for _ in range(250)]
        items[120] = payment("0.001")
        answer = await client.post("/transfers/batch", {"transfers": items}, "kestrel", OWN)
        assert answer.status_code == 201
        assert (answer.json()["posted"], answer.json()["refused"]) == (249, 1)
        assert [item["index"] for item in answer.json()["items"]] == list(range(250))
        assert answer.json()["items"][120]["code"] == "too_many_decimals"
        assert node.engine.own.size == before + 3
        for count in (0, 1001):
            refused = await client.post("/transfers/batch", {"transfers": items[:1] * count}, "kestrel", OWN)
            assert (refused.status_code, refused.json()["code"]) == (400, "bad_count")


async def test_two_phases_over_http():
    async with served() as (client, _):
        reserved = await client.post("/transfers/pending", {**payment("10.00"), "timeout_s": 30}, "kestrel", OWN)
        key = reserved.json()["id"]
        posted = await client.post(f"/transfers/pending/{key}/post", {"amount": "4.00"}, "kestrel", OWN)
        assert (posted.status_code, posted.json()["amount"]) == (201, "4.00")
        again = await client.post(f"/transfers/pending/{key}/void", {}, "kestrel", OWN)
        assert (again.status_code, again.json()["code"]) == (409, "pending_resolved")
        listed = (await client.get("/accounts/kestrel@ch-zug-01/pending", "kestrel", OWN)).json()
        assert [(item["status"], item["posted"]) for item in listed["items"]] == [("posted", "4.00")]
        read = await client.get(f"/transfers/pending/{key}", "kestrel", OWN)
        assert read.json()["status"] == "posted"


async def test_fees_quotes_limits_roaming_and_status_over_http():
    async with served() as (client, node):
        assert (await client.post("/fees", {"asset": CHF, "tiers": [["0", 30], ["50.00", 10]]})).status_code == 200
        quote = (await client.get(f"/quotes?asset={CHF}&amount=10.00")).json()
        assert (quote["fee"], quote["total"]) == ("0.03", "10.03")
        assert (await client.post("/transfers", payment("10.00"), "kestrel", OWN)).json()["fee"] == "0.03"
        limit = {"account": "kestrel@ch-zug-01", "asset": CHF, "single": "5.00"}
        assert (await client.post("/limits", limit)).status_code == 200
        refused = await client.post("/transfers", payment("5.01"), "kestrel", OWN)
        assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (
            422,
            "limit_single",
            "/amount",
        )
        leave = {"account": "kestrel@ch-zug-01", "asset": CHF, "amount": "20.00", "nodes": ["sg-mas-01"]}
        assert (await client.post("/roaming", leave, "kestrel", OWN)).status_code == 200
        assert (await client.post("/roaming", leave, "heron", OWN)).status_code == 403
        terms = (await client.get(f"/accounts/kestrel@ch-zug-01/terms?asset={CHF}", "kestrel", OWN)).json()
        assert (terms["limit"]["single"], terms["roaming"]["amount"]) == ("5.00", "20.00")
        none = (await client.get(f"/accounts/heron@ch-zug-01/terms?asset={CHF}", "heron", OWN)).json()
        assert (none["limit"], none["roaming"]) == (None, None)
        for verb, status in (("freeze", "frozen"), ("unfreeze", "active")):
            answer = await client.post(f"/accounts/kestrel@ch-zug-01/{verb}")
            assert (answer.status_code, answer.json()["status"]) == (200, status)
        own = (await client.get("/accounts/kestrel@ch-zug-01", "kestrel", OWN)).json()["id"]
        etag = (await client.get(f"/accounts/{own}", "kestrel", OWN)).headers["etag"]
        for wanted in (200, 412):
            answer = await client.post(f"/accounts/{own}/freeze", **{"If-Match": etag})
            assert answer.status_code == wanted
        assert (await client.post(f"/accounts/{own}/unfreeze")).status_code == 200
        found = (await client.get("/accounts/kestrel@ch-zug-01/status", "kestrel", OWN)).json()
        assert (found["status"], found["nodes"]) == ("active", [{"node": "ch-zug-01", "in_force": True}])
        await turn(node)
        assets = (await client.get("/assets", "kestrel", OWN)).json()
        assert [(item["asset"], item["issued"]) for item in assets["items"]] == [(CHF, "100.00")]


def test_the_module_can_be_served_and_its_examples_are_what_the_routes_take():
    check_modules([MODULE])
    for write in MODULE.writes:
        assert write.example is not None, write.path
        assert msgspec.json.decode(msgspec.json.encode(write.example), type=write.body) == write.example
        assert isinstance(write.reply_example, write.reply), write.path
    for query in MODULE.queries:
        assert isinstance(query.reply_example, query.reply), query.path
        info = msgspec.inspect.type_info(query.params)
        needed = any(field.required for field in info.fields)
        assert isinstance(query.example, query.params) or not needed, query.path


def test_every_code_is_listed_once_with_a_title():
    folder = Path(__file__).resolve().parents[3] / "services" / "wallet"
    raised = set()
    for path in folder.rglob("*.py"):
        raised |= set(re.findall(r'Rejected\(\s*"([a-z_]+)"', path.read_text()))
    core = {kind.code for kind in CORE_PROBLEMS}
    assert raised - core <= set(MODULE.problems)
    assert set(MODULE.problems) - raised <= {"account_frozen"}

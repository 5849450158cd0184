"""Clients that move money and trade without pause, each waiting for its answer, until the node is gone."""

import asyncio
import json
import random
from contextlib import suppress

import httpx

from scripts.crashing.ledger import Answer, Ledger, Request, minor
from scripts.crashing.market import Market

__all__ = ("Clients",)

CLIENTS = 8
ORDERS_PART = 0.3
BATCH_ITEMS_MAX = 150
"""More than one command holds, so that a crash may come between two parts of a batch."""


class Clients:
    def __init__(self, url: str, token: str, asset: str, accounts: list[str], ledger: Ledger, market: Market) -> None:
        self._url = url
        self._token = token
        self._asset = asset
        self._accounts = accounts
        self._ledger = ledger
        self._market = market

    async def load(self, name: str, random_source: random.Random, gone: asyncio.Event) -> None:
        """Until ``gone``, or until nobody answers."""
        async with self._connect() as client:
            seeds = [random_source.random() for _ in range(CLIENTS)]
            await asyncio.gather(
                *[
                    self._work(client, f"{name}-{number}", random.Random(seed), gone)
                    for number, seed in enumerate(seeds)
                ]
            )

    async def retry(self, keys: list[str]) -> None:
        """Sends again what was sent, with the same keys, and settles it. Raises ``Wrong``, ``httpx.HTTPError``."""
        asked = iter(keys)

        async def settle(client: httpx.AsyncClient) -> None:
            for key in asked:
                self._ledger.settle(key, await self._ask(client, self._ledger.sent[key]))

        async with self._connect() as client:
            await asyncio.gather(*[settle(client) for _ in range(CLIENTS)])

    async def ask(self, key: str, path: str, body: dict[str, object]) -> Answer:
        async with self._connect() as client:
            return await self._ask(client, Request(key, path, json.dumps(body)))

    async def compare_market(self) -> None:
        """Books what was settled. Raises ``Wrong``."""
        for request, answer in self._ledger.orders:
            self._market.book(request, answer)
        self._ledger.orders.clear()
        async with self._connect() as client:
            await self._market.compare(client)

    async def balances(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        async with self._connect() as client:
            for account in self._accounts:
                answer = await client.get(f"/v1/wallet/accounts/{account}/balances")
                (balance,) = answer.raise_for_status().json()["items"]
                found[account] = (minor(balance["available"]), minor(balance["pending"]))
        return found

    def _connect(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        return httpx.AsyncClient(base_url=self._url, headers=headers, timeout=30, trust_env=False)

    async def _ask(self, client: httpx.AsyncClient, request: Request) -> Answer:
        answer = await client.post(request.path, content=request.body, headers={"idempotency-key": request.key})
        return Answer(answer.status_code, answer.text)

    async def _work(self, client: httpx.AsyncClient, name: str, choice: random.Random, gone: asyncio.Event) -> None:
        number = 0
        reserved: list[str] = []
        # Once it can't be reached it is gone; the next round goes on.
        with suppress(httpx.HTTPError):
            while not gone.is_set():
                number += 1
                request = self._request(f"{name}-{number}", choice, reserved)
                self._ledger.sent[request.key] = request
                answer = await self._ask(client, request)
                self._ledger.acknowledged[request.key] = answer
                if answer.status == 201 and request.path.endswith("/pending"):
                    reserved.append(json.loads(answer.body)["id"])

    def _request(self, key: str, choice: random.Random, reserved: list[str]) -> Request:
        base = "/v1/wallet/transfers"
        if choice.random() < ORDERS_PART:
            return self._market.request(key, choice)
        kind = choice.random()
        if kind < 0.1:
            items = [self._transfer(choice) for _ in range(choice.randint(1, BATCH_ITEMS_MAX))]
            return Request(key, f"{base}/batch", json.dumps({"transfers": items}))
        if kind < 0.3 and reserved:
            verb = choice.choice(("post", "void"))
            return Request(key, f"{base}/pending/{reserved.pop()}/{verb}", "{}")
        if kind < 0.4:
            return Request(key, f"{base}/pending", json.dumps(self._transfer(choice)))
        return Request(key, base, json.dumps(self._transfer(choice)))

    def _transfer(self, choice: random.Random) -> dict[str, object]:
        debit, credit = choice.sample(self._accounts, 2)
        return {"debit": debit, "credit": credit, "asset": self._asset, "amount": f"0.{choice.randint(1, 9)}0"}

"""What the clients know of a market: each trade is in the answer to one order, and in no other's."""

import json
import random
from collections import Counter
from typing import Any

import httpx

from scripts.crashing.ledger import Request, Wrong, minor

__all__ = ("PATH", "Market")

PATH = "/v1/dex"
PRICES = (9_900, 10_100)
QUANTITY_MAX = 9


class Market:
    """``name`` as in ``GOLD-CHFX@node``; ``accounts`` trade there and do nothing else. Both assets have 2 decimals."""

    def __init__(self, name: str, base: str, quote: str) -> None:
        self.name = name
        self.base = base
        self.quote = quote
        self.accounts: list[str] = []
        self.funds: Counter[str] = Counter()
        self.fills: dict[int, tuple[str, str]] = {}
        """trade number -> (price, quantity), of every answer."""
        self._compared = 0

    def request(self, key: str, choice: random.Random) -> Request:
        account = choice.choice(self.accounts)
        if choice.random() < 0.1:
            return Request(key, f"{PATH}/orders/cancel-all", json.dumps({"account": account}))
        price = choice.randint(*PRICES)
        order = {
            "market": self.name,
            "account": account,
            "side": choice.choice(("buy", "sell")),
            "quantity": str(choice.randint(1, QUANTITY_MAX)),
            "price": f"{price // 100}.{price % 100:02}",
            # All accounts are one owner's, who may trade with itself.
            "prevention": "none",
        }
        return Request(key, f"{PATH}/orders", json.dumps(order))

    def book(self, request: Request, answer: dict[str, Any]) -> None:
        """Raises ``Wrong``."""
        for fill in answer.get("fills", ()):
            if fill["number"] in self.fills:
                raise Wrong(f"{request.key}: trade {fill['number']} is in the answer to another order too")
            self.fills[fill["number"]] = (fill["price"], fill["quantity"])

    async def compare(self, client: httpx.AsyncClient) -> None:
        """With every request settled: the node has the trades of the answers and no others, all the money, and holds of
        it what its open orders may still give. Raises ``Wrong``."""
        trades = (await _get(client, f"{PATH}/markets/{self.name}"))["trades"]
        if sorted(self.fills) != list(range(1, trades + 1)):
            raise Wrong(f"{self.name} has {trades} trades, the answers tell of {len(self.fills)}")
        after = ""
        while self._compared < trades:
            page = await _get(client, f"{PATH}/markets/{self.name}/trades?limit=100&after={after}")
            for trade in page["items"]:
                if self.fills[trade["number"]] != (trade["price"], trade["quantity"]):
                    raise Wrong(f"trade {trade['number']} of {self.name} is not what was answered")
            if not page["next"] or page["items"][-1]["number"] <= self._compared:
                break
            after = page["next"]
        self._compared = trades
        await self._compare_money(client)

    async def _compare_money(self, client: httpx.AsyncClient) -> None:
        totals: Counter[str] = Counter()
        for account in self.accounts:
            held: Counter[str] = Counter()
            after: str | None = ""
            while after is not None:
                orders = await _get(client, f"{PATH}/accounts/{account}/orders?after={after}")
                for order in orders["items"]:
                    left = minor(order["remaining"])
                    buys = order["side"] == "buy"
                    held[self.quote if buys else self.base] += left * minor(order["price"]) // 100 if buys else left
                after = orders["next"]
            for balance in (await _get(client, f"/v1/wallet/accounts/{account}/balances"))["items"]:
                totals[balance["asset"]] += minor(balance["total"])
                if minor(balance["pending"]) != held[balance["asset"]]:
                    raise Wrong(f"{account} has {balance['pending']} {balance['asset']} held, its orders differ")
        if totals != self.funds:
            raise Wrong(f"the traders have {totals}, and had {self.funds}")


async def _get(client: httpx.AsyncClient, path: str) -> Any:
    return (await client.get(path)).raise_for_status().json()

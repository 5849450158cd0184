"""What the tests of pools and of the router share: a node with a pool, traders, and what must always hold of pools."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jilnode.kernel.errors import Rejected
from services.dex.pools.curve import MINIMUM_LIQUIDITY
from services.dex.pools.intents import AddLiquidity, CreatePool, RemoveLiquidity, Swap
from services.dex.pools.rows import POOLS, Pool
from services.dex.router.intents import TakeRoute
from services.wallet.amounts import format_amount
from services.wallet.rows import SHARES, SUPPLY
from tests.kit.node import TestNode
from tests.services.dex.kit import BASE, QUOTE, Exchange, exchange
from tests.services.wallet.kit import check_conservation, rows

POOL = "dex.LP1@sg-mas-01"
KEY = "sg-mas-01/dex.LP1"
HOUR_US = 3_600_000_000


def text(amount: int, scale: int = 4) -> str:
    return format_amount(amount, scale)


class Pools:
    """An exchange whose first node has a pool of GOLD and USDX; amounts here are in minor units."""

    def __init__(self, made: Exchange) -> None:
        self.exchange = made
        self.home = made.home

    @property
    def later_us(self) -> int:
        return self.exchange.clock.now_us + HOUR_US

    @property
    def row(self) -> Pool:
        return rows(self.home, POOLS)[KEY]

    async def run(self, subject: str, command: Any, node: TestNode | None = None) -> Any:
        return (await (node or self.home).run(command, actor=subject)).reply

    async def add(self, subject: str, account: str, base: int, quote: int, **changes: Any) -> Any:
        values = {"min_base": text(1), "min_quote": text(1), "deadline_us": self.later_us, **changes}
        return await self.run(subject, AddLiquidity(POOL, account, text(base), text(quote), **values))

    async def remove(self, subject: str, account: str, shares: int, **changes: Any) -> Any:
        values = {"min_base": text(1), "min_quote": text(1), "deadline_us": self.later_us, **changes}
        return await self.run(subject, RemoveLiquidity(POOL, account, text(shares), **values))

    async def swap(self, subject: str, account: str, asset: str, amount: int, least: int = 1, **changes: Any) -> Any:
        values = {"deadline_us": self.later_us, **changes}
        return await self.run(subject, Swap(POOL, account, asset, text(amount), text(least), **values))

    async def route(self, subject: str, account: str, asset: str, amount: int, least: int = 1, **changes: Any) -> Any:
        other = QUOTE if asset == BASE else BASE
        values = {"deadline_us": self.later_us, **changes}
        return await self.run(subject, TakeRoute(account, asset, other, text(amount), text(least), **values))

    def has(self, account: str, asset: str) -> int:
        share = rows(self.home, SHARES).get(f"{account.replace('~', '/')}/{asset}/{self.home.source}")
        return 0 if share is None else share.available


@asynccontextmanager
async def pools(count: int = 1, *, fee_bps: int = 30, **options: Any) -> AsyncIterator[Pools]:
    async with exchange(count, **options) as made:
        await made.operate(CreatePool(BASE, QUOTE, fee_bps))
        yield Pools(made)


async def refused(awaitable: Any, code: str, field: str | None = None) -> Rejected:
    with pytest.raises(Rejected) as refusal:
        await awaitable
    assert refusal.value.code == code, refusal.value
    if field is not None:
        assert refusal.value.field == field
    return refusal.value


def check_pools(node: TestNode) -> None:
    """M6, and shares: what lies on a pool's account is its reserves; its shares are what was issued and not burned."""
    check_conservation(node)
    shares, supplies = rows(node, SHARES), rows(node, SUPPLY)
    for key, pool in rows(node, POOLS).items():
        source, _, code = key.partition("/")
        found = {
            name.removeprefix(f"{key}/"): (row.available, row.held, row.bound)
            for name, row in shares.items()
            if row.account == key
        }
        expected = {
            f"{pool.base}/{source}": (pool.base_reserve, 0, 0),
            f"{pool.quote}/{source}": (pool.quote_reserve, 0, 0),
            f"{code}@{source}/{source}": (MINIMUM_LIQUIDITY, 0, 0),
        }
        assert found == (expected if pool.shares else {})
        assert supplies[key].issued - supplies[key].burned == pool.shares
        assert pool.shares**2 <= pool.base_reserve * pool.quote_reserve

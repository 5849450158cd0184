"""How soon a node with many open orders is ready. The orders are placed by the kernel itself, with journal and seals,
before the node starts."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import uvloop

from jilnode.kernel.command import Submission
from jilnode.module import installed_modules
from jilnode.parts import build_kernel
from jilnode.settings import Settings
from scripts.benchmark.kernel import ACCOUNTS, ASSET, BASE, SCOPES, resting
from scripts.benchmark.server import NODE, node
from services.dex.commands.batches import ORDERS_MAX
from services.dex.intents import CreateMarket, PlaceOrders
from services.wallet.intents import CreateAccount, CreateAsset, Issue

__all__ = ("starts_s",)

TOGETHER = 10
"""Batches of orders in one commit."""


def starts_s(place: Path, database: str, orders: int, rounds: int) -> list[float]:
    """Seconds from the process's start until ``/readyz`` says yes, one start after the other."""
    uvloop.run(_fill(place, database, orders))
    found: list[float] = []
    for _ in range(rounds):
        with node(place, database, []) as server:
            found.append(server.started_s)
    return found


async def _fill(place: Path, database: str, orders: int) -> None:
    kernel = build_kernel(Settings(node_id=NODE, data_dir=place, database_url=database), installed_modules())
    await kernel.start()
    await kernel.begin_journal()
    kernel.run()
    kernel.allow_writes()
    submit = kernel.writer.submit_nowait

    async def run(commands: list[Any]) -> list[Any]:
        return await asyncio.gather(*[submit(Submission(command, "bench", SCOPES)) for command in commands])

    await run([CreateAsset("CHFX", 4), CreateAsset("GOLD", 4)])
    accounts = [answer.reply.id for answer in await run([CreateAccount() for _ in range(ACCOUNTS)])]
    await run([Issue(BASE, account, "1000000.00") for account in accounts])
    await run([CreateMarket(BASE, ASSET, "0.01", "0.01", band_bps=10_000)])
    sells: Iterator[Any] = (call.command for call in resting(accounts))
    batches = [PlaceOrders(tuple(islice(sells, ORDERS_MAX))) for _ in range(orders // ORDERS_MAX)]
    for first in range(0, len(batches), TOGETHER):
        await run(batches[first : first + TOGETHER])
    await kernel.close()

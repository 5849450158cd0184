"""A million accounts behind a cache of 256 MiB, nine tenths of the traffic on ten thousand of them, beside a node that
has only those ten thousand. The accounts are made by the kernel itself, with journal and seals, before the node starts.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

import psutil
import uvloop

from jilnode.kernel.command import Submission
from jilnode.module import installed_modules
from jilnode.parts import build_kernel
from jilnode.settings import Settings
from scripts.benchmark.rows import Row, row
from scripts.benchmark.server import NODE, node
from services.wallet.intents import CreateAccount, CreateAsset, Issue
from tests.kit.postgres import PostgresServer

__all__ = ("measure",)

MANY, HOT = 1_000_000, 10_000
QUICK_SHARE = 50
"""A quick run has so many times fewer of both."""
HOT_TENTHS = 9
TOGETHER = 1_000
MEBIBYTE = 1024 * 1024


def measure(quick: bool) -> list[Row]:
    share = QUICK_SHARE if quick else 1
    many, hot = MANY // share, HOT // share
    rounds, seconds = (1, 2.0) if quick else (3, 8.0)
    folder = Path(tempfile.mkdtemp(prefix="jil-accounts-"))
    postgres = PostgresServer()
    postgres.start()
    rows: list[Row] = []
    try:
        for name in ("sqlite", "postgres"):
            rates: dict[int, list[float]] = {}
            memory: dict[int, float] = {}
            for count in (hot, many):
                database = postgres.database() if name == "postgres" else ""
                place = folder / f"{name}-{count}"
                accounts = uvloop.run(_fill(place, database, count))
                with node(place, database, accounts) as server:
                    server.load("/v1/wallet/transfers", 1, 64, seconds, hot)
                    results = [server.load("/v1/wallet/transfers", 1, 64, seconds, hot) for _ in range(rounds)]
                    rates[count] = [result["rate"] for result in results]
                    memory[count] = psutil.Process(server.process.pid).memory_info().rss / MEBIBYTE
            rows.append(row(f"accounts_{hot}.{name}", rates[hot], "1/s"))
            rows.append(row(f"accounts_{many}.{name}", rates[many], "1/s", f"{hot} accounts", rates[hot]))
            rows.append(row(f"accounts_{hot}.{name}.resident", [memory[hot]], "MiB"))
            rows.append(row(f"accounts_{many}.{name}.resident", [memory[many]], "MiB"))
    finally:
        postgres.close()
        shutil.rmtree(folder, ignore_errors=True)
    return rows


async def _fill(place: Path, database: str, count: int) -> list[str]:
    """The ids of so many accounts with money."""
    kernel = build_kernel(Settings(node_id=NODE, data_dir=place, database_url=database), installed_modules())
    await kernel.start()
    await kernel.begin_journal()
    kernel.run()
    kernel.allow_writes()
    scopes = frozenset(("wallet:operate", "wallet:issue", "wallet:transfer"))
    submit = kernel.writer.submit_nowait
    await submit(Submission(CreateAsset("CHFX", 2), "demo", scopes))
    accounts: list[str] = []
    for first in range(0, count, TOGETHER):
        size = min(TOGETHER, count - first)
        opened = await asyncio.gather(*[submit(Submission(CreateAccount(), "demo", scopes)) for _ in range(size)])
        ids = [answer.reply.id for answer in opened]
        issues = [Issue(f"CHFX@{NODE}", account, "1000000.00") for account in ids]
        await asyncio.gather(*[submit(Submission(command, "demo", scopes)) for command in issues])
        accounts += ids
    await kernel.close()
    return accounts

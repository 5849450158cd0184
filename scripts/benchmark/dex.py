"""Orders: in memory beside the naive book, over HTTP beside transfers, one and many a request; the depth as it
reaches a subscriber; and how soon a node with many open orders is ready."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from scripts.benchmark.depth import Shown, show
from scripts.benchmark.open_orders import starts_s
from scripts.benchmark.order_book import core_rates, naive_rates
from scripts.benchmark.rows import Row, row
from scripts.benchmark.server import Server, node, open_markets
from tests.kit.postgres import PostgresServer

__all__ = ("measure",)

FEW, MANY, QUICK_MANY = 1_000, 100_000, 10_000
TOGETHER = 100
KINDS = ("resting", "crossing")
RESTING_PART = 0.4
STARTS_MAX = 3


def measure(quick: bool) -> list[Row]:
    many = QUICK_MANY if quick else MANY
    return [*_in_memory(quick, many), *_durable(quick, many)]


def _in_memory(quick: bool, many: int) -> list[Row]:
    rounds = 20 if quick else 100
    # A large book takes the processor's caches from the small one beside it: what that makes is measured alone, and
    # what the size costs in turn, so that a slow minute is everybody's.
    in_turn = core_rates((FEW, many), rounds)
    found = core_rates((FEW,), rounds) | {many: in_turn[many]}
    naive = {count: naive_rates(count, 8 if count == FEW else 1) for count in (FEW, many)}
    rows: list[Row] = []
    for count, rates in found.items():
        for kind in KINDS:
            alone, together = rates[kind], rates[f"{kind}_batch"]
            rows.append(row(f"book_{count}.{kind}", alone, "1/s", "the naive book", naive[count][kind]))
            rows.append(row(f"book_{count}.{kind}.batch", together, "1/s", "one a command", alone))
    for kind in (*KINDS, *[f"{kind}_batch" for kind in KINDS]):
        name = f"book_{many}.{kind.replace('_', '.')}.cost"
        few, more = ([1e6 / rate for rate in in_turn[count][kind]] for count in (FEW, many))
        rows.append(row(name, more, "us", f"{FEW} open orders", few))
    return rows


def _durable(quick: bool, many: int) -> list[Row]:
    rounds, seconds = (1, 2.0) if quick else (8, 3.0)
    folder = Path(tempfile.mkdtemp(prefix="jil-dex-"))
    postgres = PostgresServer()
    postgres.start()
    rows: list[Row] = []
    try:
        for name in ("sqlite", "postgres"):
            with node(folder / name, postgres.database() if name == "postgres" else "") as server:
                open_markets(server)
                _round(server, 1.0)
                found = [_round(server, seconds) for _ in range(rounds)]
                shown = [show(server, seconds, number) for number in range(rounds)]
                empty_s = server.started_s
            rows += [*_orders(name, found), *_depth(name, shown)]
            database = postgres.database() if name == "postgres" else ""
            ready = starts_s(folder / f"{name}-{many}", database, many, min(rounds, STARTS_MAX))
            rows.append(row(f"start_{many}.{name}", ready, "s", "an empty node", [empty_s]))
    finally:
        postgres.close()
        shutil.rmtree(folder, ignore_errors=True)
    return rows


def _round(server: Server, seconds: float) -> dict[str, dict[str, Any]]:
    """What crosses takes what rested before it: there is more of that, since it is faster. In batches it rests for a
    part of the time only, or else a node on a fast machine would have more open orders than it may."""
    found = {"transfers": server.load("/v1/wallet/transfers", 1, 64, seconds)}
    for kind in KINDS:
        found[kind] = server.load("/v1/dex/orders", 1, 64, seconds, kind=kind)
    for kind, part in zip(KINDS, (RESTING_PART, 1.0), strict=True):
        found[f"{kind}.batch"] = server.load("/v1/dex/orders/batch", TOGETHER, 16, seconds * part, kind=kind)
    return found


def _depth(store: str, shown: list[Shown]) -> list[Row]:
    p50, p99 = ([one.answered[place] for one in shown] for place in (0, 1))
    return [
        row(f"depth.{store}.rate", [one.rate for one in shown], "1/s"),
        row(f"depth.{store}.p50", [one.p50_ms for one in shown], "ms", "the answer", p50),
        row(f"depth.{store}.p99", [one.p99_ms for one in shown], "ms", "the answer", p99),
    ]


def _orders(store: str, found: list[dict[str, dict[str, Any]]]) -> list[Row]:
    rates, spent = ({name: [one[name][what] for one in found] for name in found[0]} for what in ("rate", "cpu_us"))
    rows = [row(f"transfers.{store}", rates["transfers"], "1/s")]
    for kind in KINDS:
        rows.append(row(f"{kind}.{store}", rates[kind], "1/s", "single transfers", rates["transfers"]))
        rows += [
            row(f"{kind}.{store}.{place}", [one[kind][f"{place}_ms"] for one in found], "ms")
            for place in ("p50", "p99")
        ]
        rows.append(row(f"{kind}.{store}.node_cpu", spent[kind], "us", "single transfers", spent["transfers"]))
        batch = f"{kind}.batch"
        rows.append(row(f"{kind}.batch_{TOGETHER}.{store}", rates[batch], "1/s", "one a request", rates[kind]))
    return rows

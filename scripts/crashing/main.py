"""Kills a node at random moments under load, starts it again, and checks that nothing acknowledged is lost or done
twice. Exits with 1 and names the key where it is."""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.crashing.crashes import Crashes, Report
from scripts.crashing.ledger import Wrong
from tests.kit.postgres import PostgresServer

QUICK_S = 15.0
"""For each database, beside starting it."""


def rows(report: Report) -> list[dict[str, Any]]:
    def row(name: str, value: float, unit: str, spread: list[float] | None = None) -> dict[str, Any]:
        name = f"crash.{report.database}.{name}"
        return {"name": name, "value": value, "unit": unit, "reference": None, "ratio": None, "spread": spread}

    recovery = report.recovery_s
    return [
        row("rounds", report.rounds, "rounds"),
        *[row(f"crashes.{kind}", count, "crashes") for kind, count in sorted(report.crashes.items())],
        row("settled", report.settled, "requests"),
        row("unanswered", report.unanswered, "requests"),
        row("lost_or_doubled", 0, "requests"),
        row("recovery", round(statistics.median(recovery), 2), "s", [round(min(recovery), 2), round(max(recovery), 2)]),
        row("rate", round(report.rounds / report.seconds, 2), "rounds/s"),
    ]


def text(item: dict[str, Any]) -> str:
    spread = f"   {item['spread'][0]} to {item['spread'][1]}" if item["spread"] else ""
    return f"{item['name']:<34} {item['value']:>10} {item['unit']}{spread}"


async def crash(database: str, folder: Path, options: argparse.Namespace) -> Report:
    postgres = PostgresServer() if database == "postgres" else None
    try:
        if postgres is not None:
            postgres.start()
        async with Crashes(folder / database, options.seed, postgres) as crashes:
            return await crashes.run(options.rounds, QUICK_S if options.quick else None)
    finally:
        if postgres is not None:
            postgres.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="for each database (default: 1000)")
    parser.add_argument("--database", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and the load")
    parser.add_argument("--json", action="store_true", help="one object a row")
    parser.add_argument("--quick", action="store_true", help="ends within 50 s")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="jil-crash-"))
    try:
        for database in ("sqlite", "postgres") if options.database == "both" else (options.database,):
            (folder / database).mkdir()
            for item in rows(asyncio.run(crash(database, folder, options))):
                print(json.dumps(item) if options.json else text(item))
    except Wrong as wrong:
        print(f"LOST OR DOUBLED: {wrong}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The benchmark tells what it says that it tells; how fast anything is, no test asks."""

import json
import subprocess
import sys

from scripts.benchmark.rows import row, text
from tests.kit.parts import require


def test_a_row_is_the_median_beside_its_reference():
    found = row("transfers", [30.0, 10.0, 20.0], "1/s", "memory", [40.0, 50.0, 30.0])
    assert found == {
        "name": "transfers",
        "value": 20.0,
        "unit": "1/s",
        "reference": "memory",
        "ratio": 0.5,
        "spread": [10.0, 30.0],
    }
    assert "0.50 x memory" in text(found)
    alone = row("transfers", [1.0], "1/s")
    assert (alone["reference"], alone["ratio"]) == (None, None)


def test_a_part_prints_an_object_a_row():
    require("postgres")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.benchmark.main", "replica", "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {item["name"] for item in rows} == {
        f"replica.{store}{what}" for store in ("memory", "sqlite", "postgres") for what in ("", ".cpu")
    }
    for item in rows:
        assert set(item) == {"name", "value", "unit", "reference", "ratio", "spread"}
        assert item["value"] > 0

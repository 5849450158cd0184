"""The benchmark tells what it says that it tells; how fast anything is, no test asks."""

import json
import subprocess
import sys
from itertools import islice

import msgspec
import pytest

from scripts.benchmark.load import requests
from scripts.benchmark.rows import at, row, text
from services.dex.intents import PlaceOrder, PlaceOrders
from services.wallet.intents import PostBatch, PostTransfer
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


def test_a_place_among_times_is_one_of_them():
    assert [at([1.0, 2.0, 3.0, 4.0], place) for place in (0.0, 0.5, 0.99, 1.0)] == [1.0, 3.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("kind", "one", "many", "items"),
    [("transfer", PostTransfer, PostBatch, "transfers")]
    + [(kind, PlaceOrder, PlaceOrders, "orders") for kind in ("resting", "crossing", "ladder")],
)
def test_every_kind_of_request_says_what_the_node_understands(kind, one, many, items):
    job = {"kind": kind, "path": "/", "token": "t", "accounts": ["a", "b", "c"], "asset": "CHFX@n", "market": "m@n"}
    for count in (1, 3):
        for request in islice(requests(job | {"items": count, "first": 0, "prefix": "p"}), 20):
            body = request.partition(b"\r\n\r\n")[2]
            command = msgspec.json.decode(body, type=one if count == 1 else many)
            assert count == 1 or len(getattr(command, items)) == count


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
        assert set(item) == {"name", "value", "unit", "reference", "ratio", "spread", "build", "python"}
        assert item["value"] > 0

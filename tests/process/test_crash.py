"""A node killed again and again under load, in the short form of ``scripts/crash``; and that it would tell a loss."""

import asyncio
import json
from pathlib import Path

import pytest

from scripts.crashing.crashes import Crashes, Report
from scripts.crashing.ledger import Answer, Ledger, Request, Wrong
from tests.kit.postgres import PostgresServer

SEED = 5


async def _crash(crashes: Crashes, rounds: int) -> Report:
    async with crashes:
        return await crashes.run(rounds)


def test_killed_on_sqlite(tmp_path: Path) -> None:
    report = asyncio.run(_crash(Crashes(tmp_path, SEED), 5))
    assert report.rounds == 5
    assert report.crashes["load"] and report.settled > 0
    assert report.unanswered > 0


def test_killed_on_postgresql_and_its_server_too(tmp_path: Path, postgres: PostgresServer) -> None:
    report = asyncio.run(_crash(Crashes(tmp_path, SEED, postgres), 6))
    assert report.rounds == 6
    assert report.crashes["load"] and report.crashes["database"] and report.settled > 0


def _ledger() -> Ledger:
    ledger = Ledger()
    ledger.available.update({"a": 100, "b": 0})
    body = json.dumps({"debit": "a", "credit": "b", "asset": "X", "amount": "0.10"})
    ledger.sent["k"] = Request("k", "/v1/wallet/transfers", body)
    ledger.acknowledged["k"] = Answer(201, body)
    return ledger


def test_a_lost_answer_is_noticed() -> None:
    again = json.dumps({"debit": "a", "credit": "b", "asset": "X", "amount": "0.10", "id": "another"})
    with pytest.raises(Wrong, match="k was answered 201"):
        _ledger().settle("k", Answer(201, again))


def test_a_refusal_in_place_of_a_success_is_noticed() -> None:
    with pytest.raises(Wrong, match="k was answered 201"):
        _ledger().settle("k", Answer(422, "{}"))


def test_money_that_was_moved_twice_or_never_is_noticed() -> None:
    ledger = _ledger()
    ledger.settle("k", ledger.acknowledged["k"])
    ledger.compare({"a": (90, 0), "b": (10, 0)})
    for balances in ({"a": (80, 0)}, {"b": (0, 0)}, {"a": (90, 10)}):
        with pytest.raises(Wrong, match="the answers say"):
            ledger.compare(balances)

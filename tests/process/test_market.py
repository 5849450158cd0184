"""A scripted market session over HTTP on real nodes: two makers, many takers, stop orders, one owner's two accounts, a
crash, a halted market, a desk for requests for quotes, a pool. A second node shows the same through Kafka, and the
exported journal is proven."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from jilnode.cli.main import main
from tests.kit.kafka import KafkaBroker
from tests.kit.node_process import NodeProcess, pair
from tests.kit.wait import wait_until
from tests.process.market_desks import pool, quote_desk
from tests.process.market_session import TAKERS, MarketSession


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_market_session_ends_as_it_must(
    database: str, tmp_path: Path, kafka: KafkaBroker, request: pytest.FixtureRequest
) -> None:
    seeds = {"REDPANDA_SEEDS": kafka.bootstrap, "JIL_KAFKA_PARTITIONS": "4"}
    own = dict(seeds)
    names = (f"sg-{database}-01", f"ch-{database}-01")
    target = str(tmp_path / names[0] / "node.db")
    if database == "postgres":
        target = own["JIL_DATABASE_URL"] = request.getfixturevalue("postgres").database()
    home, other = pair(tmp_path, names, lambda ports: [own, seeds])
    with ExitStack() as running:
        for node in (home, other):
            node.start("/readyz")
            running.callback(node.process.kill)
        session = MarketSession(home)
        _trade(session, home)
        session.check(home)
        wait_until(lambda: _same(session, other), 60)
        assert (home.process.stop(), other.process.stop()) == (0, 0)
    journal = tmp_path / "journal.jsonl"
    assert main(["export", target, "--output", str(journal)]) == 0
    assert main(["verify", str(journal)]) == 0
    assert main(["verify", target]) == 0


def _trade(session: MarketSession, home: NodeProcess) -> None:
    session.open()
    session.quotes()
    session.flow(60)
    first, _ = session.again()
    home.process.kill()
    home.start("/readyz")
    # What was answered is so, and is answered again.
    assert session.again()[1] == first
    session.check(home)
    session.flow(60)
    session.owners()
    session.stops()
    session.quotes()
    session.refusals()
    session.halt()
    quote_desk(session)
    pool(session)
    session.cancel_all(TAKERS[0])
    session.flow(20)


def _same(session: MarketSession, other: NodeProcess) -> bool:
    session.check(other)
    return True

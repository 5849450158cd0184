"""A node as an operator has it: a process that is started, asked, stopped in good order, and killed."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any

import psutil
import pytest

from jilnode.cli.journals import journal_records
from jilnode.cli.main import main
from jilnode.events.bus import Record
from jilnode.events.kafka import DEAD_LETTERS, TOPIC
from jilnode.settings import inherited_environment
from tests.kit.certificates import Authority
from tests.kit.kafka import KafkaBroker
from tests.kit.node_process import NodeProcess, pair
from tests.kit.postgres import PostgresServer
from tests.kit.process import Process, answers, free_port
from tests.kit.wait import wait_until

START_S_MAX = 10.0
"""A second start takes well below 2 s on an idle machine; a busy one may pause."""


def _open_accounts(node: NodeProcess) -> None:
    for key, path, body in (
        ("asset", "assets", {"code": "CHFX", "scale": 2}),
        ("kestrel", "accounts", {"handle": "kestrel"}),
        ("heron", "accounts", {"handle": "heron"}),
        ("issue", "issues", {"asset": f"CHFX@{node.name}", "credit": f"kestrel@{node.name}", "amount": "100.00"}),
    ):
        status, answer = node.post(f"/v1/wallet/{path}", key, body)
        assert status == 201, answer


def _pay(node: NodeProcess, key: str, amount: str, home: str = "") -> tuple[int, Any]:
    home = home or node.name
    body: dict[str, object] = {
        "debit": f"kestrel@{home}",
        "credit": f"heron@{home}",
        "asset": f"CHFX@{home}",
        "amount": amount,
    }
    return node.post("/v1/wallet/transfers", key, body)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_a_node_keeps_what_it_acknowledged(home: Path) -> None:
    node = NodeProcess(home)
    node.start()
    try:
        assert node.get("/readyz") == (200, {"status": "ready", "reasons": []})
        assert "DEV MODE" in node.process.output()
        _open_accounts(node)
        paid = _pay(node, "one", "12.50")
        assert paid[0] == 201

        assert node.process.stop(SIGTERM) == 0
        assert "Traceback" not in node.process.output()

        assert node.start() < START_S_MAX
        assert _heron(node, node.name) == "12.50"
        assert _pay(node, "one", "12.50") == paid
        paid = _pay(node, "two", "7.50")
        assert paid[0] == 201

        node.process.kill()

        assert node.start() < START_S_MAX
        assert _heron(node, node.name) == "20.00"
        assert _pay(node, "two", "7.50") == paid
        assert node.process.stop(SIGINT) == 0
    finally:
        node.process.kill()


def test_events_are_printed_from_a_nodes_address(home: Path, monkeypatch: Any, capsys: Any) -> None:
    node = NodeProcess(home)
    node.start()
    monkeypatch.setenv("JIL_DATA_DIR", str(home))
    monkeypatch.setattr("jilnode.cli.events.QUIET_S", 0.5)
    try:
        _open_accounts(node)
        assert main(["events", node.url, "--type", "wallet."]) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
            "wallet.asset.created",
            *["wallet.account.opened"] * 2,
            "wallet.money.issued",
        ]
    finally:
        node.process.kill()
    for url in (node.url, "http://"):
        assert main(["events", url]) == 1
        assert capsys.readouterr().err.startswith(f"jilnode: {url} can't be read: ")


def test_only_one_process_writes_a_database(home: Path) -> None:
    first, second = NodeProcess(home), NodeProcess(home)
    first.start()
    try:
        with pytest.raises(RuntimeError, match="ended with 1"):
            second.start()
        assert "Stop it first" in first.process.output()
        assert first.get("/readyz")[0] == 200
    finally:
        first.process.kill()
        second.process.kill()


def test_a_node_whose_database_was_replaced_stops_and_says_why(home: Path) -> None:
    node = NodeProcess(home)
    node.start()
    try:
        (home / "node.db.lock").unlink()
        # Answered that it can't be done, or not at all; never that it is done.
        with suppress(OSError, ValueError):
            assert node.post("/v1/wallet/assets", "a", {"code": "CHFX", "scale": 2})[0] == 503
        wait_until(lambda: not node.process.running, 30)
        assert node.process.returncode == 1
        assert "removed or replaced while this node ran" in node.process.output()
    finally:
        node.process.kill()


def test_a_port_that_is_taken_is_said(home: Path) -> None:
    first = NodeProcess(home)
    second = NodeProcess(home.with_name("other"), "dev-node-02", JIL_HTTP_PORT=str(first.port))
    first.start()
    try:
        second.process.start()
        wait_until(lambda: not second.process.running)
        assert second.process.returncode == 1
        assert f"can't listen on 127.0.0.1:{first.port}" in second.process.output()
    finally:
        first.process.kill()
        second.process.kill()


def _heron(node: NodeProcess, home: str) -> str:
    path = f"/v1/wallet/accounts/heron@{home}/balances"
    status, answer = node.get(path, authorization=f"Bearer {node.token()}")
    return str(answer["items"][0]["total"]) if status == 200 and answer["items"] else ""


def _lose_disk(node: NodeProcess) -> None:
    """Its database is gone; its key is not."""
    for path in node.home.glob("node.db*"):
        path.unlink()


def test_two_nodes_tell_each_other_and_a_lost_journal_comes_back(tmp_path: Path) -> None:
    one, two = pair(
        tmp_path,
        ("ch-zug-01", "sg-mas-01"),
        lambda ports: [{"JIL_PEERS": f"http://127.0.0.1:{port}"} for port in reversed(ports)],
    )
    try:
        one.start()
        # Alone, it can't know its own highest entry.
        status, answer = one.get("/readyz")
        assert (status, answer["reasons"][0]["code"]) == (503, "not_writable")
        assert "--accept-tail" in answer["reasons"][0]["detail"]
        assert one.post("/v1/wallet/assets", "early", {"code": "CHFX", "scale": 2})[0] == 503

        two.start("/readyz")
        wait_until(lambda: one.get("/readyz")[0] == 200)
        _open_accounts(one)
        assert _pay(one, "one", "12.50")[0] == 201
        wait_until(lambda: _heron(two, one.name) == "12.50")

        one.process.kill()
        _lose_disk(one)
        one.start("/readyz")
        assert _heron(one, one.name) == "12.50"
        assert _pay(one, "two", "7.50")[0] == 201
        wait_until(lambda: _heron(two, one.name) == "20.00")
        assert (one.process.stop(), two.process.stop()) == (0, 0)
    finally:
        one.process.kill()
        two.process.kill()


def test_two_nodes_tell_each_other_through_kafka(tmp_path: Path, kafka: KafkaBroker) -> None:
    seeds = {"REDPANDA_SEEDS": kafka.bootstrap, "JIL_KAFKA_PARTITIONS": "4"}
    one, two = pair(tmp_path, ("ch-kafka-01", "sg-kafka-01"), lambda ports: [seeds, seeds])
    try:
        one.start("/readyz")
        two.start("/readyz")
        _open_accounts(one)
        assert _pay(one, "one", "12.50")[0] == 201
        wait_until(lambda: _heron(two, one.name) == "12.50", 30)

        kafka.kill()
        # Its own money moves while the broker is down; the others hear of it later.
        assert _pay(one, "two", "7.50")[0] == 201
        wait_until(lambda: [reason["code"] for reason in one.get("/readyz")[1]["reasons"]] == ["bus_down"], 60)
        kafka.start()
        wait_until(lambda: _heron(two, one.name) == "20.00", 90)

        one.process.kill()
        _lose_disk(one)
        one.start("/readyz")
        assert _heron(one, one.name) == "20.00"
        assert (one.process.stop(), two.process.stop()) == (0, 0)
    finally:
        if not kafka.running:
            kafka.start()
        one.process.kill()
        two.process.kill()


async def _tls_topics(broker: KafkaBroker, names: tuple[str, ...]) -> None:
    """As an administrator makes them; each node may do only what the events page says that it needs."""
    for topic in (TOPIC, DEAD_LETTERS):
        await broker.topic(4, name=topic)
    for name in names:
        for operation in ("read", "write", "describe"):
            await broker.allow(name, operation, TOPIC)
        for operation in ("write", "describe"):
            await broker.allow(name, operation, DEAD_LETTERS)


def _reasons(node: NodeProcess) -> dict[str, str]:
    return {reason["code"]: reason["detail"] for reason in node.get("/readyz")[1]["reasons"]}


def test_two_nodes_tell_each_other_over_mutual_tls_and_say_what_they_may_not_do(
    tmp_path: Path, tls_kafka: KafkaBroker
) -> None:
    names = ("ch-tls-01", "sg-tls-01")
    authority = tls_kafka.authority
    assert authority is not None
    asyncio.run(_tls_topics(tls_kafka, names))

    def settings(certificate: str) -> dict[str, str]:
        return {
            "REDPANDA_SEEDS": tls_kafka.bootstrap,
            "JIL_KAFKA_CA_FILE": str(authority.certificate),
            "JIL_KAFKA_CERT_FILE": certificate,
            "JIL_KAFKA_KEY_FILE": certificate,
        }

    one, two = pair(tmp_path, names, lambda ports: [settings(str(authority.issue(name))) for name in names])
    stranger = NodeProcess(tmp_path / "stranger", "xx-tls-01", **settings(str(Authority(tmp_path).issue("xx-tls-01"))))
    try:
        one.start("/readyz")
        two.start("/readyz")
        _open_accounts(one)
        assert _pay(one, "one", "12.50")[0] == 201
        wait_until(lambda: _heron(two, one.name) == "12.50", 30)

        asyncio.run(tls_kafka.deny(one.name, "write", TOPIC))
        assert _pay(one, "two", "7.50")[0] == 201
        wait_until(lambda: "TopicAuthorizationFailedError" in _reasons(one).get("bus_down", ""), 30)
        asyncio.run(tls_kafka.deny(two.name, "read", TOPIC))
        wait_until(lambda: "TopicAuthorizationFailedError" in _reasons(two).get("bus_unread", ""), 30)
        assert (one.process.stop(), two.process.stop()) == (0, 0)

        # Whom the brokers don't know is told why, though Kafka's client does not say it.
        stranger.start()
        wait_until(lambda: "certificate" in _reasons(stranger).get("bus_down", ""), 30)
    finally:
        for node in (one, two, stranger):
            node.process.kill()


@pytest.mark.parametrize(
    ("argument", "entry"), [(("--accept-tail", "the other is scrapped"), True), (("--new-epoch",), False)]
)
def test_an_operator_may_go_on_alone(tmp_path: Path, argument: tuple[str, ...], entry: bool) -> None:
    trust = tmp_path / "trust.json"
    trust.write_text("{}")
    settings = {"JIL_PEERS": f"http://127.0.0.1:{free_port()}", "JIL_TRUST_FILE": str(trust)}
    node = NodeProcess(tmp_path / "data", "dev-node-01", *argument, **settings)
    node.start("/readyz")
    try:
        _open_accounts(node)
        assert node.process.stop() == 0
    finally:
        node.process.kill()
    events = [record.kind for record in asyncio.run(_records(tmp_path / "data" / "node.db"))]
    assert ("kernel.tail.accepted" in events) == entry
    assert events.count("kernel.genesis") == (1 if entry else 2)


async def _records(database: Path) -> list[Record]:
    return [record async for record in journal_records(str(database))]


def test_a_node_on_postgresql(home: Path, postgres: PostgresServer, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text(postgres.database())
    node = NodeProcess(home, JIL_DATABASE_URL_FILE=str(secret))
    node.start("/readyz")
    try:
        _open_accounts(node)
        assert _pay(node, "one", "12.50")[0] == 201
        node.process.kill()
        node.start("/readyz")
        paid = _pay(node, "two", "7.50")
        assert paid[0] == 201
        postgres.kill()
        with ThreadPoolExecutor(1) as threads:
            # Whether it is done can't be told before the database is back.
            waiting = threads.submit(_pay, node, "three", "1.00")
            wait_until(lambda: node.get("/readyz")[0] == 503)
            assert _pay(node, "four", "1.00")[0] == 503
            postgres.start()
            assert waiting.result()[0] in (201, 503)
        wait_until(lambda: _pay(node, "three", "1.00")[0] == 201, 60)
        assert _pay(node, "two", "7.50") == paid
        assert _heron(node, node.name) == "21.00"
        assert main(["verify", secret.read_text()]) == 0
        assert node.process.stop() == 0
        assert "Traceback" not in node.process.output()
    finally:
        node.process.kill()


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""

    def found() -> int:
        first = free_port()
        return first if not any(answers(first + number) for number in range(count)) else 0

    return wait_until(found)


def test_a_fleet_moves_money_as_it_says(tmp_path: Path) -> None:
    first_port = _free_ports(2)
    command = [sys.executable, "-m", "jilnode.cli.main", "fleet", "2", "--first-port", str(first_port)]
    environment = inherited_environment() | {"JIL_DATA_DIR": str(tmp_path / "data")}
    fleet = Process(command, log=tmp_path / "fleet.log", env=environment)
    try:
        fleet.start()
        fleet.wait_ready(lambda: "Ctrl-C stops them all." in fleet.output())
        script = [line for line in fleet.output().splitlines() if line.startswith("  ")]
        token = next(line for line in script if "TOKEN=" in line).strip()
        start = next(index for index, line in enumerate(script) if "-X POST" in line)
        post = "\n".join(script[start : start + 3])
        see = next(line for line in script if "/balances" in line)
        assert '"amount":"12.50"' in _shell(f"{token}\n{post}")
        wait_until(lambda: '"total":"12.50"' in _shell(f"{token}\n{see}"))
        members = psutil.Process(fleet.pid).children()
        assert len(members) == 2
        assert fleet.stop(SIGINT) == 0
        assert not any(member.is_running() for member in members)

        # Again, on what is there; and one of them dies.
        fleet.start()
        wait_until(lambda: fleet.output().count("Ctrl-C stops them all.") == 2, 30)
        psutil.Process(fleet.pid).children()[0].kill()
        wait_until(lambda: not fleet.running)
        assert fleet.returncode == 1
        assert "ended by itself" in fleet.output()
    finally:
        fleet.kill()


def _shell(script: str) -> str:
    environment = inherited_environment() | {"no_proxy": "*"}
    return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True).stdout

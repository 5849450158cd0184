"""A node as an operator has it: a process that is started, asked, stopped in good order, and killed."""

import json
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any

import pytest

from jilnode.cli.token import all_scopes, make_development_token
from jilnode.settings import Settings, inherited_environment
from tests.kit.process import Process, free_port
from tests.kit.wait import wait_until

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""127.0.0.1 is never behind a proxy."""

START_S_MAX = 10.0
"""A second start takes well below 2 s on an idle machine; a busy one may pause."""


class NodeProcess:
    """``jilnode run`` on a port of its own."""

    def __init__(self, home: Path, name: str = "dev-node-01", *arguments: str, **settings: str) -> None:
        self.home = home
        self.name = name
        self.port = int(settings.pop("JIL_HTTP_PORT", "") or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        environment = inherited_environment() | {
            "JIL_NODE_ID": name,
            "JIL_DATA_DIR": str(home),
            "JIL_HTTP_PORT": str(self.port),
            "JIL_RATE_LIMIT": "off",
            **settings,
        }
        command = [sys.executable, "-m", "jilnode.cli.main", "run", *arguments]
        self.process = Process(command, log=home.with_suffix(".log"), env=environment)

    def start(self, ready: str = "/healthz") -> float:
        """Returns the seconds that it took."""
        began = time.monotonic()
        self.process.start()
        self.process.wait_ready(lambda: self._answers(ready))
        return time.monotonic() - began

    def _answers(self, path: str) -> bool:
        with suppress(OSError):
            return self.get(path)[0] == 200
        return False

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, key: str, body: dict[str, object]) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {self.token()}", "idempotency-key": key}
        return self._ask("POST", path, json.dumps(body).encode(), headers | {"content-type": "application/json"})

    def token(self) -> str:
        return make_development_token(Settings(data_dir=self.home), "demo", all_scopes(), 600)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any]:
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with OPENER.open(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


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


def _balance(node: NodeProcess, handle: str) -> str:
    status, answer = node.get(f"/v1/wallet/accounts/{handle}/balances", authorization=f"Bearer {node.token()}")
    assert status == 200, answer
    return str(answer["items"][0]["total"]) if answer["items"] else "0.00"


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
        assert _balance(node, f"heron@{node.name}") == "12.50"
        assert _pay(node, "one", "12.50") == paid
        paid = _pay(node, "two", "7.50")
        assert paid[0] == 201

        node.process.kill()

        assert node.start() < START_S_MAX
        assert _balance(node, f"heron@{node.name}") == "20.00"
        assert _pay(node, "two", "7.50") == paid
        assert node.process.stop(SIGINT) == 0
    finally:
        node.process.kill()


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
        with suppress(OSError):
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


def _genesis(home: Path, name: str) -> dict[str, str]:
    environment = inherited_environment() | {"JIL_NODE_ID": name, "JIL_DATA_DIR": str(home)}
    command = [sys.executable, "-m", "jilnode.cli.main", "genesis"]
    process = Process(command, log=home.with_suffix(".genesis"), env=environment)
    process.start()
    wait_until(lambda: not process.running, 30)
    found: dict[str, str] = json.loads(process.output())
    return found


def test_two_nodes_tell_each_other_and_a_lost_journal_comes_back(tmp_path: Path) -> None:
    names = ("ch-zug-01", "sg-mas-01")
    homes = {name: tmp_path / name for name in names}
    trust = tmp_path / "trust.json"
    trust.write_text(json.dumps({**_genesis(homes[names[0]], names[0]), **_genesis(homes[names[1]], names[1])}))
    ports = [free_port(), free_port()]
    one, two = (
        NodeProcess(
            homes[name],
            name,
            JIL_HTTP_PORT=str(ports[index]),
            JIL_PEERS=f"http://127.0.0.1:{ports[1 - index]}",
            JIL_PUBLIC_URL=f"http://127.0.0.1:{ports[index]}",
            JIL_TRUST_FILE=str(trust),
        )
        for index, name in enumerate(names)
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
        wait_until(lambda: _heron(two) == "12.50")

        # Its disk is gone; its key is not.
        one.process.kill()
        for path in homes[names[0]].glob("node.db*"):
            path.unlink()
        one.start("/readyz")
        assert _balance(one, f"heron@{names[0]}") == "12.50"
        assert _pay(one, "two", "7.50")[0] == 201
        wait_until(lambda: _heron(two) == "20.00")
        assert (one.process.stop(), two.process.stop()) == (0, 0)
    finally:
        one.process.kill()
        two.process.kill()


def _heron(node: NodeProcess) -> str:
    status, answer = node.get("/v1/wallet/accounts/heron@ch-zug-01/balances", authorization=f"Bearer {node.token()}")
    return str(answer["items"][0]["total"]) if status == 200 and answer["items"] else ""

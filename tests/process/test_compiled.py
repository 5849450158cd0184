"""A compiled node is the same node: the suites that decide money and that carry its bytes pass, a seed is the same run,
and its journal goes on as a plain one."""

import subprocess
import sys
from pathlib import Path

import pytest

from jilnode.cli.main import main
from jilnode.kernel.build import BUILD
from jilnode.settings import inherited_environment
from tests.kit.node_process import NodeProcess
from tests.kit.parts import require

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def compiled() -> dict[str, str]:
    """The environment of whoever runs compiled."""
    require("compiler")
    directory = ROOT / ".compiled"
    done = _run("scripts.compiling", directory)
    assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": str(directory), "PYTHONSAFEPATH": "1"}


def _run(module: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=inherited_environment() | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["kernel", "services", "simulation", "stores", "events", "http"])
def test_what_decides_money_and_carries_its_bytes_passes_compiled(compiled, suite):
    options = ("-p", "no:cacheprovider", "-m", "not patches", "--override-ini", "pythonpath=")
    done = _run("pytest", *options, f"tests/{suite}", **compiled)
    assert "the node is compiled" in done.stdout
    assert done.returncode == 0, done.stdout[-20_000:]


def test_a_seed_is_the_same_run_plain_and_compiled(compiled):
    command = ("simulate", "--seed", "5", "--steps", "6000", "--nodes", "4")
    plain, other = (_run("jilnode.cli.main", *command, **environment).stdout for environment in ({}, compiled))
    # The first line tells how fast it was.
    assert plain.splitlines()[1:] == other.splitlines()[1:]
    assert "trace " in plain


def test_nothing_is_compiled_twice_and_the_sources_stay_plain(compiled):
    directory = ROOT / ".compiled"
    made = directory.stat().st_mtime_ns
    assert _run("scripts.compiling", directory).stderr == ""
    assert directory.stat().st_mtime_ns == made
    assert not [path for package in ("jilnode", "services") for path in (ROOT / package).rglob("*.so")]


def test_without_a_compiler_it_says_so(tmp_path):
    done = _run("scripts.compiling", tmp_path / "compiled", CC="no-such-compiler")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no C compiler (no-such-compiler)" in done.stderr
    assert not (tmp_path / "compiled").exists()


def test_a_journal_of_a_compiled_node_is_proven_and_goes_on_plain(compiled, tmp_path, capsys):
    assert BUILD == "plain"
    node = NodeProcess(tmp_path / "node")
    plain, node.process.command = node.process.command, [str(ROOT / "scripts" / "run"), "--compiled"]
    node.start()
    assert node.get("/healthz")[1] == {"status": "alive", "build": "compiled"}
    assert "network dev, compiled)" in node.process.output()
    chfx, gold = f"CHFX@{node.name}", f"GOLD@{node.name}"
    kestrel, heron = f"kestrel@{node.name}", f"heron@{node.name}"
    order = {"market": f"GOLD-CHFX@{node.name}", "quantity": "2", "price": "20.00", "prevention": "none"}
    writes: tuple[tuple[str, dict[str, object]], ...] = (
        ("wallet/assets", {"code": "CHFX", "scale": 2}),
        ("wallet/assets", {"code": "GOLD", "scale": 4}),
        ("wallet/accounts", {"handle": "kestrel"}),
        ("wallet/accounts", {"handle": "heron"}),
        ("wallet/issues", {"asset": chfx, "credit": kestrel, "amount": "100.00"}),
        ("wallet/issues", {"asset": gold, "credit": heron, "amount": "5"}),
        ("wallet/transfers", {"debit": kestrel, "credit": heron, "asset": chfx, "amount": "12.50"}),
        ("dex/markets", {"base": gold, "quote": chfx, "tick": "0.01", "lot": "1"}),
        ("dex/orders", order | {"account": heron, "side": "sell"}),
        ("dex/orders", order | {"account": kestrel, "side": "buy"}),
    )
    for number, (path, body) in enumerate(writes):
        status, answer = node.post(f"/v1/{path}", str(number), body)
        assert status == 201, answer
    assert answer["status"] == "filled"
    refused = {"debit": kestrel, "credit": heron, "asset": chfx, "amount": "1000.00"}
    status, problem = node.post("/v1/wallet/transfers", "too-much", refused)
    assert (status, problem["code"]) == (422, "insufficient_funds")
    assert node.process.stop() == 0

    assert main(["verify", str(next((tmp_path / "node").glob("*.db")))]) == 0
    assert "proven" in capsys.readouterr().out
    node.process.command = plain
    node.start()
    assert node.get("/healthz")[1]["build"] == "plain"
    assert node.post("/v1/wallet/transfers", "too-much", refused)[1]["code"] == "insufficient_funds"
    assert node.post("/v1/dex/orders", str(number), body)[1] == answer
    assert node.process.stop() == 0

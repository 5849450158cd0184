"""The scaffold's result passes its own tests, the linter and the type checker, as it comes."""

import keyword
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_a_new_service_is_ready_as_it_comes(tmp_path):
    for name in ("jilnode", "services", "compliance", "scripts", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    run(tmp_path, "scripts/new_service", "example")
    run(tmp_path, sys.executable, "-m", "pytest", "-q", "tests/services/example", "-p", "no:cacheprovider")
    run(tmp_path, sys.executable, "-m", "ruff", "check", "services/example", "tests/services/example")
    run(tmp_path, sys.executable, "-m", "ruff", "format", "--check", "services/example", "tests/services/example")
    run(tmp_path, sys.executable, "-m", "mypy", "--strict", "services/example")
    assert 'example = "services.example.module:MODULE"' in (tmp_path / "pyproject.toml").read_text()


def test_a_bad_name_is_refused():
    for name in ("", "Example", "1a", "kernel", "wallet", *keyword.kwlist):
        done = subprocess.run([ROOT / "scripts/new_service", name], capture_output=True, text=True, check=False)
        assert done.returncode in (1, 2), name

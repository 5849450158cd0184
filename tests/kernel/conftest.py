"""What the kernel's tests share."""

from pathlib import Path

import pytest

from tests.stores.backends import Backend, MemoryBackend, PostgresBackend, SqliteBackend


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "sqlite":
        return SqliteBackend(tmp_path / "node.db")
    if request.param == "postgres":
        return PostgresBackend(request.getfixturevalue("postgres").database())
    return MemoryBackend()

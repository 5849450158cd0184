"""Fixtures for everybody: the real parts, started on first use and shared by the whole run; and a fresh database.

A test that stops or kills a part starts it again before it ends.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from jilnode.kernel.build import BUILD
from tests.kit.certificates import Authority
from tests.kit.kafka import KafkaBroker
from tests.kit.parts import require
from tests.kit.postgres import PostgresServer
from tests.kit.valkey import ValkeyServer
from tests.stores.backends import Backend, MemoryBackend, PostgresBackend, SqliteBackend

# Nodes read these, and tests start nodes: what a developer has set must not change what is tested.
for _name in list(os.environ):
    if (_name.startswith("JIL_") and _name != "JIL_PARTS_DIR") or _name == "REDPANDA_SEEDS":
        del os.environ[_name]

# A shared machine may pause for longer than any deadline of Hypothesis; a failure prints what reproduces it.
hypothesis.settings.register_profile("jil", deadline=None, print_blob=True)
hypothesis.settings.load_profile("jil")


def pytest_report_header() -> str:
    return f"the node is {BUILD}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    require("postgres")
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    require("kafka")
    broker = KafkaBroker()
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture(scope="session")
def tls_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker where clients prove their names with certificates and may do nothing unasked."""
    require("kafka")
    broker = KafkaBroker(authority=Authority(tmp_path_factory.mktemp("certificates")))
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    require("valkey")
    server = ValkeyServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Empty, of each kind; ``over_each_database`` leaves memory out."""
    if request.param == "memory":
        return MemoryBackend()
    if request.param == "sqlite":
        return SqliteBackend(tmp_path / "node.db")
    return PostgresBackend(request.getfixturevalue("postgres").database())

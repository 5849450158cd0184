"""The composition root: what it says of itself, and that a part's failure is not the node's."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from jilnode.kernel.errors import WrongDatabase
from jilnode.kernel.sources import SourceState
from jilnode.node import Node
from jilnode.settings import Settings
from tests.kit.process import free_port
from tests.kit.wait import eventually


def settings_of(folder: Path, **values: Any) -> Settings:
    return Settings(data_dir=folder, http_port=0, **values)


def codes(node: Node) -> list[str]:
    return [reason.code for reason in node.reasons()]


@pytest.fixture
async def started():
    """A function that starts a node; they are closed at the end."""
    nodes: list[Node] = []

    async def start(settings: Settings, **options: Any) -> Node:
        node = Node(settings)
        nodes.append(node)
        await node.start(**options)
        return node

    yield start
    for node in nodes:
        await node.close()


async def test_a_node_alone_is_ready_at_once(started, tmp_path):
    node = await started(settings_of(tmp_path))
    assert node.reasons() == []
    assert node.http.port > 0
    assert b"jil_writer_writable 1" in node.metrics.text()
    assert b"# TYPE jil_writer_commits_total counter" in node.metrics.text()


async def test_a_node_that_can_check_no_token_is_not_ready(started, tmp_path):
    url = f"http://127.0.0.1:{free_port()}/keys"
    node = await started(settings_of(tmp_path, jwks_url=url, jwt_issuer="somebody"))
    (reason,) = node.reasons()
    assert (reason.code, reason.blocking) == ("no_token_keys", True)
    assert "ConnectError" in reason.detail


async def test_a_node_without_its_redis_says_so_and_serves(started, tmp_path):
    node = await started(settings_of(tmp_path, redis_url=f"redis://127.0.0.1:{free_port()}"))
    node.rate_share.limiter.take("192.0.2.1")
    await node.rate_share.exchange()
    assert [(reason.code, reason.blocking) for reason in node.reasons()] == [("redis_down", False)]


async def test_a_part_that_fails_is_tried_again_and_the_node_goes_on(started, tmp_path, monkeypatch):
    monkeypatch.setattr("jilnode.node.RETRY_PAUSE_S", 0.05)
    node = Node(settings_of(tmp_path, peers=(f"http://127.0.0.1:{free_port()}",)))
    broken, calls = asyncio.Event(), 0
    assert node.replicator is not None
    really = node.replicator.run

    async def run() -> None:
        nonlocal calls
        calls += 1
        if not broken.is_set():
            raise ValueError("a bug")
        await really()

    monkeypatch.setattr(node.replicator, "run", run)
    await node.start(accept_tail="nobody else is there")
    try:
        await eventually(lambda: "replicator_failing" in codes(node))
        assert node.writer.writable
        assert not any(reason.blocking for reason in node.reasons())
        broken.set()
        await eventually(lambda: node.reasons() == [])
        assert calls > 1
    finally:
        await node.close()


async def test_everybody_hears_that_a_source_is_suspended_and_auditors_what_it_wrote(started, tmp_path):
    node = await started(settings_of(tmp_path, forwarding=True))
    other = SourceState("sg-mas-01")
    other.status, other.code, other.detail = "suspended", "bad_row", "kestrel@example.com"
    node.kernel.engine.sources["sg-mas-01"] = other
    (reason,) = node.reasons()
    assert (reason.code, reason.detail, reason.blocking) == ("source_suspended", "sg-mas-01: bad_row", False)
    # Nor does it get a user's token.
    forwarder = node.http._app.parts.forwarder
    assert [forwarder.suspended(source) for source in ("sg-mas-01", "dev-node-01", "us-nyc-01")] == [True, False, False]


async def test_the_address_is_published_when_it_changes(started, tmp_path):
    async def entries(url: str) -> int:
        node = Node(settings_of(tmp_path, public_url=url))
        await node.start()
        try:
            await asyncio.gather(node._work["address"])
            found = await node.kernel.store.journal("dev-node-01", 0, 0, 100)
            return sum(b'"kernel.address.published"' in entry.header for entry in found)
        finally:
            await node.close()

    assert await entries("https://one.example") == 1
    assert await entries("https://one.example") == 1
    assert await entries("https://two.example") == 2


async def test_a_lost_journal_is_not_begun_a_second_time(started, tmp_path):
    trust = tmp_path / "trust.json"
    trust.write_text(json.dumps({"dev-node-01": "00" * 32}))
    with pytest.raises(WrongDatabase, match="restore it"):
        await started(settings_of(tmp_path / "alone", trust_file=trust))
    peers = (f"http://127.0.0.1:{free_port()}",)
    node = await started(settings_of(tmp_path / "followed", trust_file=trust, peers=peers), accept_tail="no matter")
    assert not node.writer.writable
    assert "dev-node-01" not in node.kernel.engine.sources


async def test_closing_what_never_started_is_nothing(tmp_path):
    node = Node(settings_of(tmp_path))
    await node.close()
    await node.close()

"""SQLite: the lock file, settings that keep what was committed, and failing disks."""

import asyncio
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jilnode.kernel.errors import CommitFailed, CommitUnknown, LockLost, WrongDatabase
from jilnode.stores.sqlite import SqliteStore
from tests.stores.backends import Opener
from tests.stores.tables import SHARES, SOURCE, Share, commit_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "node.db"


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """Every write beyond ``size`` fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", ["", ".lock"])
async def test_a_replaced_file_stops_the_writer(path: Path, opened: Opener, suffix: str) -> None:
    store = await opened(SqliteStore(path))
    await store.commit(commit_of(0))
    victim = path.with_name(path.name + suffix)
    victim.rename(victim.with_suffix(".moved"))
    with pytest.raises(LockLost):
        await store.commit(commit_of(1))
    victim.touch()
    with pytest.raises(LockLost):
        await store.commit(commit_of(1))


async def test_the_refusal_names_the_holder(path: Path, opened: Opener) -> None:
    await opened(SqliteStore(path))
    with pytest.raises(LockLost, match=f"id {os.getpid()}"):
        await opened(SqliteStore(path))


async def test_nothing_is_made_beside_a_database_that_is_read_where_nothing_can_be(
    path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path.with_name("a node #1?.db")
    store = await opened(SqliteStore(path))
    await store.commit(commit_of(0))
    await store.close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    beside = SqliteStore(path)
    beside.open_beside()
    try:
        assert (await beside.heads())[SOURCE] == (0, 1)
        assert not list(path.parent.glob("*-wal")) + list(path.parent.glob("*-shm"))
    finally:
        await beside.close()


@pytest.fixture
def text_file(path: Path) -> Path:
    path.parent.mkdir()
    path.write_text("a text that is long enough not to be taken for an empty database" * 100)
    return path


async def test_what_is_no_database_is_refused(text_file: Path, opened: Opener) -> None:
    with pytest.raises(WrongDatabase, match="not a database"):
        await opened(SqliteStore(text_file))


async def test_another_encoding_is_refused(path: Path, opened: Opener) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("pragma encoding = 'UTF-16'")
    connection.execute("create table t (x)")
    connection.close()
    with pytest.raises(WrongDatabase, match="encoding is UTF-16"):
        await opened(SqliteStore(path))


async def test_the_settings_that_make_a_commit_durable(path: Path, opened: Opener) -> None:
    store = SqliteStore(path)
    await opened(store)
    assert store._connection is not None
    settings = {
        name: store._connection.execute(f"pragma {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2}


async def test_a_full_database_is_a_known_failure(path: Path, opened: Opener) -> None:
    store = SqliteStore(path)
    await opened(store)
    assert store._connection is not None
    pages = store._connection.execute("pragma page_count").fetchone()[0]
    store._connection.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(CommitFailed, match="full") as failed:
        await store.commit(commit_of(0, [(SHARES, "k", Share("a", 1, "x" * 100_000))]))
    assert failed.type is CommitFailed, "another time it may be taken"
    store._connection.execute("pragma max_page_count = 1000000")
    await store.commit(commit_of(0))
    assert await store.heads() == {SOURCE: (0, 1)}


async def test_a_failing_disk_at_commit_is_unknown_until_reopen(path: Path, opened: Opener) -> None:
    store = await opened(SqliteStore(path))
    await store.commit(commit_of(0))
    log = path.with_name(path.name + "-wal")
    with files_no_longer_than(log.stat().st_size + 1):
        with pytest.raises(CommitUnknown):
            await store.commit(commit_of(1, [(SHARES, "k", Share("a", 1, "x" * 100_000))]))
        with pytest.raises(CommitUnknown):
            await store.commit(commit_of(2))
    await store.reopen()
    assert await store.heads() == {SOURCE: (0, 1)}
    assert await store.get(SHARES, ["k"]) == {}
    await store.commit(commit_of(1))


async def test_a_cancelled_commit_is_unknown_until_reopen(path: Path, opened: Opener) -> None:
    store = await opened(SqliteStore(path))
    commit = asyncio.create_task(store.commit(commit_of(0)))
    await asyncio.sleep(0)
    commit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await commit
    with pytest.raises(CommitUnknown):
        await store.commit(commit_of(1))
    await store.reopen()
    assert await store.heads() == {SOURCE: (0, 1)}


async def test_readers_cannot_write(path: Path, opened: Opener) -> None:
    store = SqliteStore(path)
    await opened(store)
    with pytest.raises(Exception, match="readonly"):
        await store._queries._session.fetch("delete from journal")

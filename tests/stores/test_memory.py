"""The memory store fails as it is told, and its disk outlives it."""

import asyncio

import pytest

from jilnode.kernel.errors import CommitFailed, CommitUnknown
from jilnode.stores.memory import Fate, MemoryStore
from jilnode.stores.memory_disk import MemoryDisk
from tests.stores.tables import SHARES, SOURCE, TABLES, Share, commit_of


@pytest.mark.parametrize(
    ("fate", "error", "size"),
    [
        (Fate.LOST, CommitFailed, 1),
        (Fate.UNKNOWN_DURABLE, CommitUnknown, 2),
        (Fate.UNKNOWN_LOST, CommitUnknown, 1),
    ],
)
async def test_each_fate(fate: Fate, error: type[Exception], size: int) -> None:
    fates = iter([Fate.DURABLE, fate, Fate.DURABLE])
    store = MemoryStore(MemoryDisk(), fate=lambda commit: next(fates))
    await store.open(SOURCE, TABLES)
    await store.commit(commit_of(0))
    with pytest.raises(error):
        await store.commit(commit_of(1, [(SHARES, "k", Share("a", 1))]))
    if error is CommitUnknown:
        with pytest.raises(CommitUnknown):
            await store.commit(commit_of(9))
        await store.reopen()
    assert await store.heads() == {SOURCE: (0, size)}
    assert len(await store.resident(SHARES)) == size - 1
    await store.commit(commit_of(size))


@pytest.mark.parametrize(("point", "size"), [("commit.before", 0), ("commit.after", 1)])
async def test_a_crash_on_either_side_of_the_durable_point(point: str, size: int) -> None:
    disk = MemoryDisk()
    reached = asyncio.Event()

    async def pause(here: str) -> None:
        if here == point:
            reached.set()
            await asyncio.Event().wait()

    store = MemoryStore(disk, pause=pause)
    await store.open(SOURCE, TABLES)
    commit = asyncio.create_task(store.commit(commit_of(0)))
    await reached.wait()
    commit.cancel()
    restarted = MemoryStore(disk)
    await restarted.open(SOURCE, TABLES)
    assert await restarted.heads() == ({SOURCE: (0, 1)} if size else {})


async def test_a_copy_is_a_backup() -> None:
    disk = MemoryDisk()
    store = MemoryStore(disk)
    await store.open(SOURCE, TABLES)
    await store.commit(commit_of(0, [(SHARES, "k", Share("a", 1))]))
    backup = disk.copy()
    await store.commit(commit_of(1, [(SHARES, "k", Share("b", 2)), (SHARES, "l", Share("a", 1))]))
    restored = MemoryStore(backup)
    await restored.open(SOURCE, TABLES)
    assert await restored.heads() == {SOURCE: (0, 1)}
    assert [key for key, _ in (await restored.page([SHARES], [("account", "a")])).items] == ["k"]
    await restored.commit(commit_of(1))
    assert (await store.page([SHARES], [("account", "b")])).items[0][0] == "k"

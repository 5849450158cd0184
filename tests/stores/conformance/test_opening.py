"""Whose database it is, who may write it, and how its tables change."""

import pytest

from jilnode.kernel.errors import LockLost, WrongDatabase
from jilnode.kernel.ports import Wanted
from jilnode.kernel.rows import Owned
from jilnode.kernel.table import EqualityIndex, Table
from tests.stores.backends import Backend, Opener
from tests.stores.tables import SHARES, TRANSFERS, Share, Transfer, commit_of


async def test_what_was_committed_is_there_after_a_restart(backend: Backend, opened: Opener) -> None:
    first = await opened(backend.store())
    await first.commit(commit_of(0, [(SHARES, "k", Share("a", 1))]))
    await first.close()
    second = await opened(backend.store())
    assert (await second.get(SHARES, ["k"]))["k"].row == Share("a", 1)
    await second.commit(commit_of(1, [(SHARES, "k", Share("a", 2))]))


async def test_one_writer(backend: Backend, opened: Opener) -> None:
    first, second = await opened(backend.store()), backend.store()
    if backend.newcomer_wins:
        await opened(second)
        with pytest.raises(LockLost):
            await first.commit(commit_of(0))
        with pytest.raises(LockLost):
            await first.reopen()
        await second.commit(commit_of(0))
    else:
        with pytest.raises(LockLost, match="another"):
            await opened(second)
        await first.commit(commit_of(0))
        await first.close()
        await opened(second)
        await second.commit(commit_of(1))


async def test_another_nodes_database_is_refused(backend: Backend, opened: Opener) -> None:
    await (await opened(backend.store())).close()
    with pytest.raises(WrongDatabase, match=r"belongs to node node-a.*JIL_NODE_ID"):
        await opened(backend.store(), "node-b")
    await opened(backend.store())


async def test_a_newer_database_is_refused(backend: Backend, opened: Opener) -> None:
    await (await opened(backend.store())).close()
    await backend.make_newer()
    with pytest.raises(WrongDatabase, match="newer"):
        await opened(backend.store())


async def test_reopen_keeps_everything(backend: Backend, opened: Opener) -> None:
    store = await opened(backend.store())
    await store.commit(commit_of(0, [(SHARES, "k", Share("a", 1))]))
    await store.reopen()
    assert await store.heads() == {"node-a": (0, 1)}
    await store.commit(commit_of(1, [(SHARES, "k", Share("a", 2))]))
    assert (await store.load(Wanted(rows={SHARES: {"k"}}))).rows[SHARES]["k"] is not None


class _Grown(Owned, frozen=True):
    account: str
    amount: int
    text: str = ""
    expires: int | None = None


async def test_a_changed_declaration_adds_fills_and_drops_columns(backend: Backend, opened: Opener) -> None:
    first = await opened(backend.store())
    rows = [(SHARES, f"k/{number:04}", Share("a", number, f"text {number % 7}", number)) for number in range(2500)]
    await first.commit(commit_of(0, rows))
    await first.close()

    grown = Table(
        SHARES.name, _Grown, searchable=("text", "expires", "account"), indexes=(EqualityIndex("by_text", "text"),)
    )
    second = await opened(backend.store(), tables=(grown,))
    bucket = (grown, "text", "text 3")
    assert len((await second.load(Wanted(buckets={bucket}))).buckets[bucket]) == 357
    assert len((await second.page([grown], [("expires", 77)])).items) == 1
    assert len(await second.deadlines(grown, "expires", "node-a")) == 2499
    await second.close()

    third = await opened(backend.store())
    assert (await third.load(Wanted(sums={(SHARES, "account", "a", "amount")}))).sums.popitem()[1] == 2499 * 1250


class _Tagged(Transfer, frozen=True):
    pass


async def test_a_write_once_table_fills_columns_from_the_journal(backend: Backend, opened: Opener) -> None:
    first = await opened(backend.store())
    await first.commit(commit_of(0, [(TRANSFERS, f"t/{number}", Transfer("a", "b", number)) for number in range(5)]))
    await first.close()
    tagged = Table(TRANSFERS.name, _Tagged, write_once=True, searchable=("credit", "amount"))
    second = await opened(backend.store(), tables=(tagged,))
    page = await second.page([tagged], [("amount", 3), ("credit", "none")])
    assert [(key, image.row) for key, image in page.items] == [("t/3", _Tagged("a", "b", 3))]


async def test_a_table_that_stops_being_write_once_is_refused(backend: Backend, opened: Opener) -> None:
    await (await opened(backend.store())).close()
    mutable = Table(TRANSFERS.name, Transfer, searchable=("debit", "credit"))
    with pytest.raises(WrongDatabase, match=r"test\.transfer"):
        await opened(backend.store(), tables=(mutable,))

"""Reads beside the writer: pages, the journal, seals and heads."""

import pytest

from jilnode.kernel.ports import Store
from jilnode.kernel.table import Table
from tests.stores.tables import SHARES, SOURCE, TRANSFERS, Share, Transfer, commit_of

Filter = list[tuple[str, str | int]]


async def keys_of_all_pages(
    store: Store, table: Table[Transfer], any_of: Filter, limit: int, descending: bool
) -> list[str]:
    keys: list[str] = []
    after = None
    while True:
        page = await store.page(table, any_of, after=after, limit=limit, descending=descending)
        keys += [key for key, _ in page.items]
        assert len(page.items) == limit or not page.more
        if not page.more:
            return keys
        after = keys[-1]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 10, 50])
async def test_pages_of_two_columns_hold_every_row_once(store: Store, limit: int, descending: bool) -> None:
    # Bytewise order: capitals before small letters, "-" before "/".
    keys = ["B/1", "a-1", "a/1", "a/10", "a/2", "b/1", "b/2", "c/1", "~/1", "d/1"]
    pairs = [
        ("me", "x"),
        ("x", "me"),
        ("me", "me"),
        ("x", "x"),
        ("me", "y"),
        ("y", "me"),
        ("x", "y"),
        ("me", "x"),
        ("x", "me"),
        ("y", "x"),
    ]
    await store.commit(commit_of(0, [(TRANSFERS, key, Transfer(*pair)) for key, pair in zip(keys, pairs, strict=True)]))
    mine = sorted(key for key, pair in zip(keys, pairs, strict=True) if "me" in pair)
    found = await keys_of_all_pages(store, TRANSFERS, [("debit", "me"), ("credit", "me")], limit, descending)
    assert found == (mine[::-1] if descending else mine)
    everything = await keys_of_all_pages(store, TRANSFERS, [], limit, descending)
    assert everything == sorted(keys, reverse=descending)
    assert await keys_of_all_pages(store, TRANSFERS, [("debit", "nobody")], limit, descending) == []


async def test_a_page_by_an_integer_and_a_text(store: Store) -> None:
    shares = {"k/1": Share("a", 1), "k/2": Share("b", 2), "k/3": Share("c", 1, state="open"), "k/4": Share("a", 4)}
    await store.commit(commit_of(0, [(SHARES, key, share) for key, share in shares.items()]))
    page = await store.page(SHARES, [("amount", 1), ("account", "a")])
    assert [(key, image.row) for key, image in page.items] == [(key, shares[key]) for key in ("k/1", "k/3", "k/4")]
    assert not page.more


async def test_the_journal_and_seals_in_order(store: Store) -> None:
    for sequence in range(12):
        await store.commit(commit_of(sequence))
    await store.commit(commit_of(0, source="node-b"))
    await store.commit(commit_of(0, epoch=1))
    assert [entry.sequence for entry in await store.journal(SOURCE, 0, 3, 4)] == [3, 4, 5, 6]
    assert [entry.sequence for entry in await store.journal(SOURCE, 0, 10, 100)] == [10, 11]
    assert await store.journal(SOURCE, 0, 12, 100) == []
    assert [seal.size for seal in await store.seals(SOURCE, 0, 0, 5)] == [1, 2, 3, 4, 5]
    assert [seal.size for seal in await store.seals(SOURCE, 0, 10, 5)] == [11, 12]
    assert (await store.seals("node-b", 0, 0, 5))[0].note == "seal 1 — node-b\n"
    assert await store.seals("node-b", 0, 1, 5) == []


async def test_heads_name_the_newest_epoch_of_every_source(store: Store) -> None:
    assert await store.heads() == {}
    for source, epoch, sequence in (("node-b", 0, 0), ("node-b", 0, 1), (SOURCE, 0, 5), (SOURCE, 2, 0), ("q.c", 0, 0)):
        await store.commit(commit_of(sequence, source=source, epoch=epoch))
    assert await store.heads() == {"node-b": (0, 2), SOURCE: (2, 1), "q.c": (0, 1)}

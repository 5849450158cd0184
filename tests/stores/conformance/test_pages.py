"""Reads beside the writer: pages, the journal, seals and heads."""

from typing import Any

import pytest

from jilnode.kernel.ports import Store
from jilnode.kernel.table import Table
from tests.stores.tables import NOTES, PAYMENTS, SHARES, SOURCE, TRANSFERS, Note, Payment, Share, Transfer, commit_of

Filter = list[tuple[str, str | int]]


async def keys_of_all_pages(
    store: Store, tables: list[Table[Transfer]], any_of: Filter, limit: int, descending: bool
) -> list[str]:
    keys: list[str] = []
    after = None
    while True:
        page = await store.page(tables, any_of, after=after, limit=limit, descending=descending)
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
    found = await keys_of_all_pages(store, [TRANSFERS], [("debit", "me"), ("credit", "me")], limit, descending)
    assert found == (mine[::-1] if descending else mine)
    everything = await keys_of_all_pages(store, [TRANSFERS], [], limit, descending)
    assert everything == sorted(keys, reverse=descending)
    assert await keys_of_all_pages(store, [TRANSFERS], [("debit", "nobody")], limit, descending) == []


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 50])
async def test_a_page_of_several_tables_is_cut_between_keys(store: Store, limit: int, descending: bool) -> None:
    """Whether a table has its documents itself or in the journal."""
    transfers = [(TRANSFERS, f"k/{number}", Transfer("me", "x")) for number in (1, 2, 4, 7)]
    shares = [(SHARES, f"k/{number}", Share("me", 1)) for number in (2, 3, 4, 5, 6)]
    notes = [(NOTES, f"k/{number}", Note("a")) for number in (0, 4)]
    await store.commit(commit_of(0, [*transfers, *shares, *notes, (SHARES, "l/1", Share("x", 1))]))
    await store.commit(commit_of(1, [(TRANSFERS, "k/9", Transfer("x", "x")), (SHARES, "k/5", Share("me", 8))]))
    tables = [NOTES, TRANSFERS, SHARES]
    found: list[tuple[str, type]] = []
    after = None
    while True:
        page = await store.page(tables, [], after=after, limit=limit, descending=descending)
        rows = [(key, type(image.row)) for key, image in page.items]
        assert rows
        found += rows
        # Nothing of the key that ends a page is left for the next one.
        assert len({key for key, _ in rows[limit - 1 :]}) <= 1
        if not page.more:
            break
        after = rows[-1][0]
    written = [(key, type(row)) for _, key, row in [*transfers, *shares, *notes]]
    written += [("l/1", Share), ("k/9", Transfer)]
    assert [key for key, _ in found] == sorted([key for key, _ in written], reverse=descending)
    assert set(found) == set(written)


async def test_a_page_of_several_tables_by_their_columns(store: Store) -> None:
    first: list[tuple[Table[Any], str, Any]] = [
        (TRANSFERS, "k/1", Transfer("me", "x")),
        (PAYMENTS, "k/1", Payment("y", "me")),
        (PAYMENTS, "k/2", Payment("y", "x")),
        (PAYMENTS, "k/3", Payment("me", "me")),
    ]
    await store.commit(commit_of(0, first))
    page = await store.page([TRANSFERS, PAYMENTS], [("debit", "me"), ("credit", "me")], descending=True, limit=2)
    assert [key for key, _ in page.items] == ["k/3", "k/1", "k/1"]
    assert {type(image.row) for _, image in page.items[1:]} == {Transfer, Payment}
    assert not page.more


async def test_a_page_by_an_integer_and_a_text(store: Store) -> None:
    shares = {"k/1": Share("a", 1), "k/2": Share("b", 2), "k/3": Share("c", 1, state="open"), "k/4": Share("a", 4)}
    await store.commit(commit_of(0, [(SHARES, key, share) for key, share in shares.items()]))
    page = await store.page([SHARES], [("amount", 1), ("account", "a")])
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

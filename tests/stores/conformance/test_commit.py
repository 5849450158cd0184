"""Commits: all or nothing, and the very bytes come back."""

from collections.abc import Mapping

import pytest

from jilnode.kernel.codec import encode_row
from jilnode.kernel.entry import Entry
from jilnode.kernel.errors import CommitFailed, CommitRefused, Rejected
from jilnode.kernel.image import Image
from jilnode.kernel.ports import Commit, Store, Wanted
from tests.stores.tables import (
    NOTES,
    SECRETS,
    SHARES,
    SOURCE,
    TRANSFERS,
    Note,
    Secret,
    Share,
    Transfer,
    commit_of,
    row_write,
)

AWKWARD = 'quote " backslash \\ newline \n tab \t record \x1e unit \x1f delete \x7f ünïcödé \u2028 🦈 \\N {null}'


async def test_rows_come_back_with_their_very_bytes(store: Store) -> None:
    share = Share("a", -(2**63), AWKWARD, 2**63 - 1, "open")
    await store.commit(commit_of(7, [(SHARES, "k/1", share), (SECRETS, "s", Secret(AWKWARD))]))
    images = await store.get(SHARES, ["k/1", "absent"])
    assert list(images) == ["k/1"]
    image = images["k/1"]
    assert (image.row, image.owner, image.epoch, image.sequence) == (share, SOURCE, 0, 7)
    assert image.doc == encode_row(share)
    assert (await store.get(SECRETS, ["s"]))["s"].row == Secret(AWKWARD)


async def test_white_space_and_order_of_a_foreign_document_are_kept(store: Store) -> None:
    write = row_write(SHARES, "k", Share("a", 1), 0)._replace(
        doc=b'{ "unknown" : [1,  2.50] , "amount":1,"account":"a"}'
    )
    await store.commit(Commit(writes={SHARES: [write]}))
    assert (await store.get(SHARES, ["k"]))["k"].doc == write.doc


async def test_searchable_text_may_hold_anything(store: Store) -> None:
    accounts = ["\x1e", "\x1f", "\\N", "", "null", 'a"b\\c', "{}", ",", AWKWARD[:120]]
    rows = [(SHARES, f"k/{number}", Share(account, 1)) for number, account in enumerate(accounts)]
    await store.commit(commit_of(0, rows))
    for number, account in enumerate(accounts):
        page = await store.page([SHARES], [("account", account)])
        assert [key for key, _ in page.items] == [f"k/{number}"]


async def test_entries_come_back_with_their_very_bytes(store: Store) -> None:
    full = Entry(
        SOURCE, 0, 0, b'{"a": "\xc3\xa9 "}', {"rows": b'{ "salt":1}', "memo": b'"\xf0\x9f\xa6\x88"'}, b"h" * 32
    )
    bare = Entry("node-b", 3, 0, b"{}", {})
    await store.commit(Commit(entries=[full, bare]))
    assert await store.journal(SOURCE, 0, 0, 10) == [full]
    assert await store.journal("node-b", 3, 0, 10) == [bare]


async def test_a_section_without_a_place_is_refused_rather_than_lost(store: Store) -> None:
    stranger = Entry(SOURCE, 0, 0, b"{}", {"rows": b"{}", "other": b"{}"})
    try:
        await store.commit(Commit(entries=[stranger]))
    except CommitFailed:
        assert await store.journal(SOURCE, 0, 0, 10) == []
    else:
        assert await store.journal(SOURCE, 0, 0, 10) == [stranger]


async def test_a_row_is_replaced_and_deleted(store: Store) -> None:
    await store.commit(commit_of(0, [(SHARES, "k", Share("a", 1, state="open")), (SHARES, "l", Share("a", 2))]))
    await store.commit(commit_of(1, [(SHARES, "k", Share("b", 3))]))
    image = (await store.get(SHARES, ["k"]))["k"]
    assert (image.row, image.sequence) == (Share("b", 3), 1)
    assert (await store.page([SHARES], [("account", "a"), ("state", "open")])).items[0][0] == "l"
    await store.commit(commit_of(2, [(SHARES, "k", None), (SHARES, "never was", None)]))
    assert await store.get(SHARES, ["k"]) == {}
    assert list(await store.resident(SHARES)) == ["l"]


async def test_rows_are_updated_where_they_are(store: Store) -> None:
    """Of a table with indexes and of one without; in a batch with new rows."""
    await store.commit(
        commit_of(0, [(SHARES, "k", Share("a", 1)), (SHARES, "l", Share("a", 2)), (SECRETS, "s", Secret("old"))])
    )
    commit = commit_of(1, [(SHARES, "m", Share("a", 5))])
    commit.updates = {
        SHARES: [row_write(SHARES, "k", Share("a", 1, AWKWARD), 1), row_write(SHARES, "l", Share("a", 2), 1)],
        SECRETS: [row_write(SECRETS, "s", Secret("new"), 1)],
    }
    await store.commit(commit)
    found = await store.get(SHARES, ["k", "l", "m"])
    assert [(key, found[key].row, found[key].sequence) for key in ("k", "l", "m")] == [
        ("k", Share("a", 1, AWKWARD), 1),
        ("l", Share("a", 2), 1),
        ("m", Share("a", 5), 1),
    ]
    assert (await store.get(SECRETS, ["s"]))["s"].row == Secret("new")
    assert [key for key, _ in (await store.page([SHARES], [("account", "a")])).items] == ["k", "l", "m"]


async def test_an_update_of_a_row_that_is_not_there_fails_the_commit(store: Store) -> None:
    await store.commit(commit_of(0, [(SHARES, "k", Share("a", 1))]))
    commit = commit_of(1, [(SHARES, "new", Share("a", 5))])
    commit.updates = {SHARES: [row_write(SHARES, key, Share("a", 9), 1) for key in ("k", "absent")]}
    with pytest.raises(CommitRefused):
        await store.commit(commit)
    assert {key: image.row for key, image in (await store.resident(SHARES)).items()} == {"k": Share("a", 1)}
    assert await store.journal(SOURCE, 0, 1, 10) == []


async def test_an_empty_commit_is_fine(store: Store) -> None:
    await store.commit(Commit())
    await store.commit(Commit(writes={SHARES: []}, inserts={TRANSFERS: []}, deletes={SHARES: []}))


async def test_an_insert_of_a_known_key_fails_everything(store: Store) -> None:
    await store.commit(commit_of(0, [(TRANSFERS, "t/1", Transfer("a", "b"))]))
    with pytest.raises(CommitRefused):
        await store.commit(
            commit_of(
                1,
                [
                    (SHARES, "k", Share("a", 1)),
                    (TRANSFERS, "t/2", Transfer("a", "b")),
                    (TRANSFERS, "t/1", Transfer("c", "d")),
                ],
            )
        )
    await _only_the_first_is_there(store)


async def test_an_entry_of_a_known_sequence_fails_everything(store: Store) -> None:
    await store.commit(commit_of(0, [(TRANSFERS, "t/1", Transfer("a", "b"))]))
    with pytest.raises(CommitRefused):
        await store.commit(commit_of(0, [(SHARES, "k", Share("a", 1)), (TRANSFERS, "t/2", Transfer("a", "b"))]))
    await _only_the_first_is_there(store)


async def test_a_seal_of_a_known_size_fails_everything(store: Store) -> None:
    first = commit_of(0, [(TRANSFERS, "t/1", Transfer("a", "b"))])
    await store.commit(first)
    second = commit_of(1, [(SHARES, "k", Share("a", 1)), (TRANSFERS, "t/2", Transfer("a", "b"))])
    second.seals = first.seals
    with pytest.raises(CommitRefused):
        await store.commit(second)
    await _only_the_first_is_there(store)


async def _only_the_first_is_there(store: Store) -> None:
    assert await store.heads() == {SOURCE: (0, 1)}
    assert await store.get(SHARES, ["k"]) == {}
    assert list(await store.get(TRANSFERS, ["t/1", "t/2"])) == ["t/1"]
    assert [seal.size for seal in await store.seals(SOURCE, 0, 0, 10)] == [1]
    # And the session goes on.
    await store.commit(commit_of(1, [(SHARES, "k", Share("a", 1)), (TRANSFERS, "t/2", Transfer("a", "b"))]))
    assert await store.heads() == {SOURCE: (0, 2)}


def written(images: Mapping[str, Image | None]) -> dict[str, object]:
    return {
        key: None if image is None else (image.row, image.owner, image.epoch, image.sequence, image.doc)
        for key, image in images.items()
    }


async def test_write_once_rows_are_read_from_the_journal(store: Store) -> None:
    transfers = {f"t/{number}": Transfer("a", "b", number) for number in range(5)}
    rows = [(TRANSFERS, key, row) for key, row in transfers.items()]
    await store.commit(commit_of(0, [*rows[:3], (NOTES, "n", Note("hello"))]))
    await store.commit(commit_of(1, rows[3:]))
    images = await store.get(TRANSFERS, list(transfers))
    assert {key: image.row for key, image in images.items()} == transfers
    assert images["t/4"].doc == encode_row(transfers["t/4"])
    assert [images[key].sequence for key in sorted(images)] == [0, 0, 0, 1, 1]
    loaded = await store.load(
        Wanted(rows={TRANSFERS: {"t/0", "none"}, NOTES: {"n"}}, buckets={(TRANSFERS, "debit", "a")})
    )
    assert written(loaded.rows[TRANSFERS]) == written({"t/0": images["t/0"], "none": None})
    assert written(loaded.buckets[TRANSFERS, "debit", "a"]) == written(images)
    note = loaded.rows[NOTES]["n"]
    assert note is not None
    assert note.row == Note("hello")
    assert written(await store.resident(TRANSFERS)) == written(images)


async def test_a_write_once_row_whose_section_is_gone_is_absent(store: Store) -> None:
    whole = commit_of(0, [(TRANSFERS, "t/1", Transfer("a", "b")), (NOTES, "n", Note("hello"))])
    entry = whole.entries[0]
    whole.entries = [Entry(SOURCE, 0, 0, entry.header, {"rows": entry.sections["rows"]})]
    await store.commit(whole)
    assert await store.get(NOTES, ["n"]) == {}
    assert (await store.page([NOTES], [])).items == []
    assert list(await store.get(TRANSFERS, ["t/1"])) == ["t/1"]


async def test_many_rows_of_many_entries_in_one_commit(store: Store) -> None:
    whole = Commit()
    for sequence in range(300):
        one = commit_of(
            sequence,
            [(SHARES, f"k/{sequence:04}", Share("a", sequence)), (TRANSFERS, f"t/{sequence:04}", Transfer("a", "b"))],
        )
        whole.entries += one.entries
        whole.writes.setdefault(SHARES, []).extend(one.writes[SHARES])
        whole.inserts.setdefault(TRANSFERS, []).extend(one.inserts[TRANSFERS])
    whole.seals = one.seals
    await store.commit(whole)
    assert await store.heads() == {SOURCE: (0, 300)}
    assert len(await store.resident(SHARES)) == len(await store.resident(TRANSFERS)) == 300


def test_no_row_with_a_nul_reaches_a_store() -> None:
    with pytest.raises(Rejected):
        encode_row(Share("a\x00b", 1))

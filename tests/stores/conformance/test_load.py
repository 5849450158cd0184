"""What the writer asks for before it decides."""

from typing import Any

from jilnode.kernel.ports import Store, Wanted
from jilnode.kernel.reaction import Reaction
from jilnode.kernel.system import AcceptTail
from jilnode.kernel.table import Table
from tests.stores.tables import ANSWERS, REQUESTS, SHARES, SOURCE, Answer, Request, Share, commit_of


async def test_rows_and_their_absence(store: Store) -> None:
    await store.commit(commit_of(0, [(SHARES, "k/1", Share("a", 1)), (REQUESTS, "r", Request("node-b"))]))
    loaded = await store.load(Wanted(rows={SHARES: {"k/1", "k/2"}, REQUESTS: {"r"}}))
    image = loaded.rows[SHARES]["k/1"]
    assert image is not None
    assert image.row == Share("a", 1)
    assert loaded.rows[SHARES]["k/2"] is None
    assert loaded.rows[REQUESTS].keys() == {"r"}


async def test_buckets_are_whole_and_may_be_empty(store: Store) -> None:
    shares = [Share("a", 1), Share("a", 2, state="open"), Share("b", 2)]
    await store.commit(commit_of(0, [(SHARES, f"k/{number}", share) for number, share in enumerate(shares)]))
    wanted: set[tuple[Table[Any], str, str | int]]
    wanted = {(SHARES, "account", "a"), (SHARES, "account", "b"), (SHARES, "amount", 2), (SHARES, "account", "none")}
    loaded = await store.load(Wanted(buckets=wanted))
    assert {bucket[1:]: sorted(images) for bucket, images in loaded.buckets.items()} == {
        ("account", "a"): ["k/0", "k/1"],
        ("account", "b"): ["k/2"],
        ("amount", 2): ["k/1", "k/2"],
        ("account", "none"): [],
    }
    assert loaded.buckets[SHARES, "account", "b"]["k/2"].row == shares[2]


async def test_sums(store: Store) -> None:
    large = 2**62
    amounts = {"a": [large, large, large, -5], "b": [7, -9]}
    rows = [
        (SHARES, f"{account}/{number}", Share(account, amount))
        for account, each in amounts.items()
        for number, amount in enumerate(each)
    ]
    await store.commit(commit_of(0, rows))
    wanted = {(SHARES, "account", account, "amount") for account in ("a", "b", "none")}
    loaded = await store.load(Wanted(sums=wanted | {(SHARES, "account", "a", "expires")}))
    totals = {(group, amount): total for (_, _, group, amount), total in loaded.sums.items()}
    assert totals == {
        ("a", "amount"): 3 * large - 5,
        ("b", "amount"): -2,
        ("none", "amount"): 0,
        ("a", "expires"): 0,
    }


async def test_commands_of_any_source_and_entries(store: Store) -> None:
    mine, other = commit_of(0, key_hash=b"1" * 32), commit_of(0, source="node-b", key_hash=b"2" * 32)
    await store.commit(mine)
    await store.commit(other)
    found = {
        (SOURCE, b"1" * 32): mine.entries[0],
        ("node-b", b"1" * 32): None,
        (SOURCE, b"2" * 32): None,
        ("node-b", b"2" * 32): other.entries[0],
        (SOURCE, b"3" * 32): None,
    }
    wanted = {(SOURCE, 0, 0), ("node-b", 0, 0), ("node-b", 1, 0)}
    loaded = await store.load(Wanted(commands=set(found), entries=wanted))
    assert loaded.commands == found
    assert loaded.entries == {
        (SOURCE, 0, 0): mine.entries[0],
        ("node-b", 0, 0): other.entries[0],
        ("node-b", 1, 0): None,
    }


async def test_a_command_is_the_first_of_its_source(store: Store) -> None:
    copies = [commit_of(number, source="a-node", key_hash=b"1" * 32) for number in range(3)]
    mine = [commit_of(number, key_hash=b"1" * 32) for number in range(2)]
    for commit in (*copies, *mine):
        await store.commit(commit)
    loaded = await store.load(Wanted(commands={(SOURCE, b"1" * 32)}))
    assert loaded.commands == {(SOURCE, b"1" * 32): mine[0].entries[0]}


async def test_nothing_wanted(store: Store) -> None:
    loaded = await store.load(Wanted(rows={SHARES: set()}))
    assert not loaded.buckets
    assert not loaded.commands


async def test_deadlines_of_one_owner(store: Store) -> None:
    expiries = {"k/1": 5, "k/2": 0, "k/3": None, "k/4": 2**60}
    await store.commit(commit_of(0, [(SHARES, key, Share("a", 1, expires=at)) for key, at in expiries.items()]))
    await store.commit(commit_of(0, [(SHARES, "k/5", Share("a", 1, expires=9))], source="node-b"))
    assert await store.deadlines(SHARES, "expires", SOURCE) == {"k/1": 5, "k/4": 2**60}


async def test_open_obligations_of_each_owner(store: Store) -> None:
    asked = Reaction(REQUESTS, "to", ANSWERS, lambda key, row: AcceptTail(key, 0))
    rows = [(REQUESTS, f"r/{number}", Request("node-b" if number % 2 else "node-c")) for number in range(8)]
    await store.commit(commit_of(0, [*rows, (ANSWERS, "r/3", Answer())]))
    await store.commit(commit_of(0, [(REQUESTS, "q/1", Request("node-b"))], source="node-d"))
    found = [("q/1", "node-d"), ("r/1", SOURCE), ("r/5", SOURCE), ("r/7", SOURCE)]
    assert await store.open_obligations(asked, "node-b", 3) == found
    assert await store.open_obligations(asked, "node-b", 2) == found[:3]
    assert await store.open_obligations(asked, "node-d", 2) == []

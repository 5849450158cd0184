"""The live stream: whoever a transfer is of sees it, and nobody else does but auditors."""

import json

from jilnode.http.auth import Principal
from jilnode.http.visible import Filter, Seer
from services.wallet.intents import PostPending, ReserveTransfer
from services.wallet.module import MODULE
from tests.kit.node import TestNode
from tests.services.wallet.kit import CHF, bank


async def seen(node: TestNode, subject: str, *scopes: str) -> list[tuple[str, list[str]]]:
    """(type, tables of the rows) of every entry of this node's journal that the subject's stream has."""
    seer = Seer([MODULE], node.writer.image)
    principal = Principal(subject, frozenset({"events", *scopes}), 4e9)
    found = []
    for entry in (await node.journal())[0]:
        frame = seer.frame(await seer.opened(entry), principal, Filter(types=frozenset({"wallet.*"})))
        if frame is not None:
            event = json.loads(frame.data)
            found.append((event["type"], sorted({row["table"] for row in event["rows"]})))
    return found


async def test_both_parties_see_a_transfer_and_nobody_else_does():
    async with bank() as one:
        a, b, _ = await one.account("a", "100.00"), await one.account("b"), await one.account("c")
        before = {name: len(await seen(one.home, name)) for name in "abc"}
        await one.pay(a, b, "1.00")
        new = {name: (await seen(one.home, name))[before[name] :] for name in "abc"}
        # Each sees the transfer and the share that is theirs, not the other's balance.
        assert new["a"] == new["b"] == [("wallet.transfer.posted", ["wallet.share", "wallet.transfer"])]
        assert new["c"] == []
        reserved = await one.home.run(ReserveTransfer(a, b, CHF, "2.00"), actor="a")
        await one.home.run(PostPending(reserved.reply.id, "1.50"), actor="a")
        kinds = [kind for kind, _ in (await seen(one.home, "b"))[before["b"] + 1 :]]
        assert kinds == ["wallet.transfer.reserved", "wallet.pending.posted"]
        assert [kind for kind, _ in await seen(one.home, "c")] == ["wallet.account.opened"]


async def test_a_transfer_at_another_node_is_seen_there_and_here():
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await two.account("a", "100.00"), await two.account("b", node=away)
        await two.settle()
        await two.pay(a, b, "1.00")
        await two.settle()
        seer = Seer([MODULE], away.writer.image)
        entry = (await home.journal())[0][-1]
        assert entry.header.count(b"wallet.transfer.posted") == 1
        opened = await seer.opened(entry)
        principal = Principal("b", frozenset({"events"}), 4e9)
        assert seer.frame(opened, principal, Filter()) is not None

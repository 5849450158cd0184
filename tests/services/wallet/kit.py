"""What the wallet's tests share: nodes with the wallet, an asset, accounts, and the sums that must always hold."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from jilnode.kernel.codec import decode_row
from jilnode.kernel.command import Submission
from jilnode.kernel.ports import Store
from jilnode.kernel.table import Table
from jilnode.module import QueryContext
from services.wallet import queries
from services.wallet.intents import CreateAccount, CreateAsset, Issue, PostTransfer
from services.wallet.kinds import Holding
from services.wallet.module import MODULE
from services.wallet.rows import CLAIMS, HOLDS, PENDING, RECEIPTS, RETURNS, SHARES, SUPPLY, TRANSITS
from tests.kit.node import FakeClock, TestNode, running

CHF = "CHFX@ch-zug-01"
SOURCES = ("ch-zug-01", "sg-mas-01", "ae-fsra-01")
OPERATOR = ("wallet:operate", "wallet:issue", "wallet:transfer")


class Bank:
    """A fleet that shares one clock; the first node issues ``CHFX`` with 2 decimals. Each node has one of ``stores``,
    or memory. Further arguments are those of a ``TestNode``."""

    def __init__(self, count: int = 1, stores: Sequence[Store | None] = (), **options: Any) -> None:
        self.clock = FakeClock()
        self.nodes = [
            TestNode(source, [MODULE], clock=self.clock, store=store, **options)
            for source, store in zip(SOURCES[:count], stores or [None] * count, strict=True)
        ]
        self.home = self.nodes[0]

    async def begin(self) -> None:
        await self.operate(CreateAsset("CHFX", 2))
        await self.settle()

    async def operate(self, command: Any, node: TestNode | None = None) -> Any:
        answer = await (node or self.home).run(command, actor="operator", scopes=OPERATOR)
        return answer.reply

    async def account(self, subject: str, money: str = "", node: TestNode | None = None, handle: str = "") -> str:
        """The new account's id. It gets ``money``."""
        answer = await (node or self.home).run(CreateAccount(handle=handle), actor=subject)
        if money:
            await self.settle()
            await self.operate(Issue(CHF, answer.reply.id, money))
        return str(answer.reply.id)

    async def pay(self, debit: str, credit: str, amount: str, subject: str = "a", node: TestNode | None = None) -> Any:
        answer = await (node or self.home).run(PostTransfer(debit, credit, CHF, amount), actor=subject)
        return answer.reply

    async def settle(self) -> None:
        """Everybody applies everything, and answers it, until nothing is new."""
        before = None
        while before != (before := [node.engine.own.size for node in self.nodes]):
            for node in self.nodes:
                for other in self.nodes:
                    if other is not node:
                        await node.follow(other)
                await turn(node)

    async def balance(self, account: str, node: TestNode | None = None) -> Any:
        """The CHFX balance as the node tells it to an auditor; None when it knows of none."""
        node = node or self.home
        heads = {source: state.tick_us for source, state in node.engine.sources.items()}
        context = QueryContext("auditor", frozenset({"audit"}), node.source, node.engine.now_us(), heads)
        found = await node.writer.query(lambda view: queries.balances(view, context, queries.AccountParams(account)))
        return next((item for item in found.items if item.asset == CHF), None)

    async def available(self, account: str, node: TestNode | None = None) -> str:
        found = await self.balance(account, node)
        return "0.00" if found is None else str(found.here)


async def turn(node: TestNode) -> None:
    """One cycle of the writer: what is due and what is open runs."""
    node.writer.wake()
    await node.writer.write_local(lambda engine: None)


def rows(node: TestNode, table: Table[Any]) -> dict[str, Any]:
    """Every committed row that the node stores."""
    stored = node.disk.tables[table.name].rows.items()
    documents = {key: node.disk.document(table, row) for key, row in stored}
    return {key: decode_row(doc, table.row) for key, doc in documents.items() if doc is not None}


@asynccontextmanager
async def bank(count: int = 1, **options: Any) -> AsyncIterator[Bank]:
    made = Bank(count, **options)
    async with running(*made.nodes):
        await made.begin()
        yield made


def submission(command: Any, subject: str, scopes: Sequence[str] = ()) -> Submission:
    return Submission(command, subject, frozenset(scopes))


async def started(bank: Bank, node: TestNode, command: Any, subject: str) -> "asyncio.Future[Any]":
    """Submits, and lets the node decide once."""
    future = node.writer.submit_nowait(submission(command, subject))
    await turn(node)
    return future


def check_conservation(node: TestNode) -> None:
    """L1, L2, R1: shares and what is under way are what was issued and not burned; nothing is below zero; what is held
    is what open pending transfers and reservations hold; what is bound is what came for a purpose."""
    supply: dict[str, int] = {}
    for key, row in rows(node, SUPPLY).items():
        issuer, _, code = key.partition("/")
        supply[f"{code}@{issuer}"] = row.issued - row.burned
    found: dict[str, int] = {}
    held: dict[str, int] = {}
    bound: dict[str, int] = {}
    for key, share in rows(node, SHARES).items():
        assert share.available >= 0
        assert share.held >= 0
        assert share.bound >= 0
        found[share.asset] = found.get(share.asset, 0) + share.available + share.held + share.bound
        held[key] = share.held
        bound[key] = share.bound
    for table, sign in ((TRANSITS, 1), (RETURNS, 1), (CLAIMS, -1), (RECEIPTS, -1)):
        for row in rows(node, table).values():
            asset = row.balance.rpartition("/")[2]
            found[asset] = found.get(asset, 0) + sign * row.amount
    assert {asset: amount for asset, amount in found.items() if amount} == {
        asset: amount for asset, amount in supply.items() if amount
    }
    for key, pending in rows(node, PENDING).items():
        assert pending.posted <= pending.amount
        if pending.status == "open":
            held[f"{pending.debit}/{pending.asset}/{key.partition('/')[0]}"] -= pending.amount + pending.fee
    for table in node.engine.registry.tables.values():
        if issubclass(table.row, Holding):
            for key, row in rows(node, table).items():
                held[f"{row.account}/{row.reserved.asset}/{key.partition('/')[0]}"] -= row.reserved.amount
    assert not any(held.values())
    for key, row in rows(node, HOLDS).items():
        balance, _, owner = key.rsplit("/", 2)
        bound[f"{balance}/{owner}"] -= row.amount
    assert not any(bound.values())

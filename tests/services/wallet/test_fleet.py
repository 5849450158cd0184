"""Three nodes under partitions and delay: nothing is created, lost or overspent, and all agree in the end (L1 to L4,
L9, R1 to R5)."""

import asyncio
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jilnode.kernel.errors import Breach, Parked, Rejected
from services.wallet.amounts import format_amount, parse_amount
from services.wallet.intents import (
    CreateAccount,
    Issue,
    PostBatch,
    PostPending,
    PostTransfer,
    ReserveTransfer,
    SetFee,
    SetLimit,
    SetRoaming,
    VoidPending,
)
from services.wallet.module import MODULE
from services.wallet.rows import SHARES, TRANSFERS
from tests.kit.node import TestNode
from tests.services.wallet.kit import CHF, OPERATOR, SOURCES, Bank, check_conservation, rows, submission, turn

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking, which takes minutes here."""
NODE = st.integers(0, 2)
WHO = st.integers(0, 3)
AMOUNTS = st.integers(1, 4000)
REFUSALS = {
    *("insufficient_funds", "share_short", "same_account", "home_not_heard", "pending_resolved", "unknown_pending"),
    *("unknown_account", "misdirected", "limit_daily", "limit_count", "command_too_wide"),
}


class Fleet(RuleBasedStateMachine):
    """Account ``n`` is at home at node ``n % 3``. In the end each has what its posted transfers say."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.bank = Bank(3)
        self.accounts: list[str] = []
        self.pendings: list[tuple[int, str]] = []
        self.told: dict[str, int] = {}
        self.waiting: list[asyncio.Future[Any]] = []

    def wait(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    @initialize()
    def begin(self) -> None:
        for node in self.bank.nodes:
            self.wait(node.start())
        self.wait(self.bank.begin())
        for number in range(4):
            node = self.bank.nodes[number % 3]
            answer = self.wait(node.run(CreateAccount(), actor=f"s{number}"))
            self.accounts.append(answer.reply.id)
        self.wait(self.bank.settle())
        for number, account in enumerate(self.accounts):
            self.wait(self.bank.operate(Issue(CHF, account, "100.00")))
            self.told[account.replace("~", "/")] = 10_000
            node = self.bank.nodes[number % 3]
            self.wait(self.bank.operate(SetRoaming(account, CHF, "150.00", SOURCES, "90.00"), node))
        self.wait(self.bank.operate(SetLimit(self.accounts[1], CHF, daily="120.00", count=9), self.bank.nodes[1]))
        self.wait(self.bank.operate(SetFee(CHF, (("0", 37),)), self.bank.nodes[2]))
        self.told["sg-mas-01/fees"] = self.told["ae-fsra-01/fees"] = 0

    async def submit(self, node: TestNode, command: Any) -> Any:
        """The reply, or None when it is refused or waits for a share."""
        future = node.writer.submit_nowait(submission(command, "operator", OPERATOR))
        await turn(node)
        self.waiting.append(future)
        return self.collect()

    def collect(self) -> Any:
        """Adds what callers were told since; returns the last answer's reply."""
        reply = None
        for future in [future for future in self.waiting if future.done()]:
            self.waiting.remove(future)
            error = future.exception()
            if error is not None:
                assert isinstance(error, Rejected)
                assert error.code in REFUSALS, error
                continue
            reply = future.result().reply
        return reply

    @rule(at=NODE, debit=WHO, credit=WHO, amount=AMOUNTS)
    def transfer(self, at: int, debit: int, credit: int, amount: int) -> None:
        command = PostTransfer(self.accounts[debit], self.accounts[credit], CHF, format_amount(amount, 2))
        self.wait(self.submit(self.bank.nodes[at], command))

    @rule(at=NODE, items=st.lists(st.tuples(WHO, WHO, AMOUNTS), min_size=1, max_size=4))
    def batch(self, at: int, items: list[tuple[int, int, int]]) -> None:
        made = [
            PostTransfer(self.accounts[d], self.accounts[c], CHF, format_amount(amount, 2)) for d, c, amount in items
        ]
        self.wait(self.submit(self.bank.nodes[at], PostBatch(tuple(made))))

    @rule(at=NODE, debit=WHO, credit=WHO, amount=AMOUNTS)
    def reserve(self, at: int, debit: int, credit: int, amount: int) -> None:
        command = ReserveTransfer(self.accounts[debit], self.accounts[credit], CHF, format_amount(amount, 2), 90)
        reply = self.wait(self.submit(self.bank.nodes[at], command))
        if reply is not None and hasattr(reply, "expires_us"):
            self.pendings.append((at, reply.id))

    @rule(which=st.integers(0, 9), whole=st.booleans())
    def resolve(self, which: int, whole: bool) -> None:
        if self.pendings:
            at, key = self.pendings[which % len(self.pendings)]
            self.wait(self.submit(self.bank.nodes[at], PostPending(key) if whole else VoidPending(key)))

    @rule(at=NODE, source=NODE)
    def hears(self, at: int, source: int) -> None:
        node, other = self.bank.nodes[at], self.bank.nodes[source]
        if node is not other:
            self.follow(node, other)
            self.wait(turn(node))

    def follow(self, node: TestNode, other: TestNode) -> None:
        try:
            self.wait(node.follow(other))
        except Parked as parked:
            assert parked.code == "cause_not_applied"

    @rule(at=NODE, source=NODE)
    def hears_twice(self, at: int, source: int) -> None:
        """L3: what was applied is not applied again, and nothing changes."""
        node, other = self.bank.nodes[at], self.bank.nodes[source]
        if node is other:
            return
        before = rows(node, SHARES)
        groups = self.wait(other.groups(other.source))
        known = node.engine.sources[other.source].size
        for group in groups:
            if group.seal.size <= known:
                with pytest.raises((Parked, Breach), match=r"out_of_step|replayed|bad_seal"):
                    self.wait(node.apply(group))
        assert rows(node, SHARES) == before

    @rule(seconds=st.sampled_from([1, 3, 31, 61]))
    def time_passes(self, seconds: int) -> None:
        self.bank.clock.advance(seconds)
        for node in self.bank.nodes:
            self.wait(turn(node))

    @rule()
    def heals(self) -> None:
        self.wait(self.settle())

    async def settle(self) -> None:
        """Everybody hears everybody until nothing is new; who waits for a cause waits for another round."""
        before = None
        while before != (before := [node.engine.own.size for node in self.bank.nodes]):
            for _ in self.bank.nodes:
                for node in self.bank.nodes:
                    for other in self.bank.nodes:
                        if node is not other:
                            try:
                                await node.follow(other)
                            except Parked as parked:
                                assert parked.code == "cause_not_applied"
                    await turn(node)

    @invariant()
    def nothing_is_below_zero(self) -> None:
        if self.accounts:
            self.collect()
            for node in self.bank.nodes:
                assert not node.engine.alarms
                assert all(row.available >= 0 and row.held >= 0 for row in rows(node, SHARES).values())

    def teardown(self) -> None:
        if self.accounts:
            self.end()
        for node in self.bank.nodes:
            self.wait(node.close())
        self.runner.close()

    def end(self) -> None:
        for _ in range(8):
            self.bank.clock.advance(31)
            self.wait(self.settle())
        self.collect()
        first = self.bank.nodes[0]
        for node in self.bank.nodes:
            check_conservation(node)
            for table in MODULE.tables:
                assert rows(node, table) == rows(first, table), table.name
            for other in self.bank.nodes:
                mine, theirs = node.engine.sources[other.source], other.engine.own
                assert (mine.size, mine.digest) == (theirs.size, theirs.digest)
                assert not mine.drift
        # Every posted transfer, and nothing else, moved money since the issues.
        for transfer in rows(first, TRANSFERS).values():
            if transfer.debit:
                self.told[transfer.debit] -= transfer.amount + transfer.fee
                self.told[transfer.credit] += transfer.amount
        total: dict[str, int] = {}
        for row in rows(first, SHARES).values():
            total[row.account] = total.get(row.account, 0) + row.available + row.held
        fees = sum(total.pop(account, 0) for account in list(total) if account.endswith("/fees"))
        assert {account: amount for account, amount in total.items() if amount} == {
            account: amount for account, amount in self.told.items() if amount
        }
        assert fees == sum(transfer.fee for transfer in rows(first, TRANSFERS).values())
        away = [
            (row.account, key)
            for key, row in rows(first, SHARES).items()
            if row.available and not key.startswith(key.rpartition("/")[2] + "/")
        ]
        assert not away, "what is not used drifts home"
        for account in self.accounts:
            found = {self.wait(self.bank.balance(account, node)).total for node in self.bank.nodes}
            assert found == {format_amount(self.told[account.replace("~", "/")], 2)}
            assert parse_amount(found.pop(), 2, zero=True) >= 0
        self.wait(self.replay())

    async def replay(self) -> None:
        """L9: a node that begins with nothing and reads all journals has the same rows."""
        fresh = TestNode("us-nyc-01", [MODULE], clock=self.bank.clock)
        await fresh.start()
        before = None
        while before != (before := [state.size for state in fresh.engine.sources.values()]):
            # Each round as far as causes of the other journals are applied: how often depends on who waited for whom.
            for node in self.bank.nodes:
                try:
                    await fresh.follow(node)
                except Parked as parked:
                    assert parked.code == "cause_not_applied"
        for node in self.bank.nodes:
            assert fresh.engine.sources[node.source].size == node.engine.own.size
        for table in MODULE.tables:
            assert rows(fresh, table) == rows(self.bank.nodes[0], table), table.name
        await fresh.close()


def test_three_nodes_agree_and_no_money_is_made_or_lost():
    run_state_machine_as_test(Fleet, settings=settings(max_examples=30, stateful_step_count=40, phases=PHASES))

"""One node against a naive model: a few dictionaries. Every answer and refusal is predicted (L1, L2, L5 to L8)."""

import asyncio
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from jilnode.kernel.errors import Rejected
from services.wallet.amounts import format_amount
from services.wallet.intents import (
    Burn,
    Issue,
    PostBatch,
    PostLinked,
    PostPending,
    PostTransfer,
    ReserveTransfer,
    SetFee,
    SetLimit,
    SetStatus,
    VoidPending,
)
from services.wallet.rows import PENDING, SHARES, USAGE
from tests.services.wallet.kit import CHF, OPERATOR, Bank, check_conservation, rows, turn

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking, which takes minutes here: the failing steps are few enough to read."""
FEES = "ch-zug-01/fees"
AMOUNTS = st.integers(1, 1500)
WHO = st.integers(0, 3)


class Refused(Exception):
    pass


class Model:
    def __init__(self) -> None:
        self.available: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.status: dict[str, str] = {}
        self.single: dict[str, int] = {}
        self.daily: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self.bps = {"transfer": 0, "pending": 0}
        self.pending: dict[str, dict[str, Any]] = {}
        self.issued = 0

    def fee(self, kind: str, amount: int) -> int:
        whole, rest = divmod(amount * self.bps[kind], 10_000)
        return whole + (1 if rest else 0)

    def check(self, debit: str, credit: str, amount: int, fee: int) -> None:
        if debit == credit:
            raise Refused("same_account")
        if self.status[debit] != "active":
            raise Refused(f"account_{self.status[debit]}")
        if self.single.get(debit) and amount > self.single[debit]:
            raise Refused("limit_single")
        if self.daily.get(debit) and self.used.get(debit, 0) + amount > self.daily[debit]:
            raise Refused("limit_daily")
        if self.available[debit] < amount + fee:
            raise Refused("insufficient_funds")

    def count(self, debit: str, amount: int) -> bool:
        if self.daily.get(debit):
            self.used[debit] = self.used.get(debit, 0) + amount
        return bool(self.daily.get(debit))

    def transfer(self, debit: str, credit: str, amount: int) -> None:
        fee = self.fee("transfer", amount)
        self.check(debit, credit, amount, fee)
        self.count(debit, amount)
        self.available[debit] -= amount + fee
        self.available[credit] += amount
        self.available[FEES] += fee

    def reserve(self, debit: str, credit: str, amount: int) -> tuple[int, bool]:
        """The fee, and whether it counts against a limit."""
        fee = self.fee("pending", amount)
        self.check(debit, credit, amount, fee)
        counted = self.count(debit, amount)
        self.available[debit] -= amount + fee
        self.held[debit] += amount + fee
        return fee, counted

    def resolve(self, key: str, amount: int | None) -> None:
        """``amount`` None: void or expire; 0: all of it."""
        found = self.pending[key]
        if found["resolved"]:
            raise Refused("pending_resolved")
        posted = found["amount"] if amount == 0 else amount or 0
        if posted > found["amount"]:
            raise Refused("more_than_reserved")
        fee = min(found["fee"], self.fee("pending", posted))
        held = found["amount"] + found["fee"]
        found["resolved"] = True
        if found["counted"]:
            self.used[found["debit"]] -= found["amount"] - posted
        self.held[found["debit"]] -= held
        self.available[found["debit"]] += held - posted - fee
        self.available[found["credit"]] += posted
        self.available[FEES] += fee


def text(amount: int) -> str:
    return format_amount(amount, 2)


class OneNode(RuleBasedStateMachine):
    pendings = Bundle("pendings")
    cache_bytes = 64 * 1024 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.bank = Bank(1, cache_bytes=self.cache_bytes)
        self.accounts: list[str] = []

    def wait(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    def key(self, who: int) -> str:
        return self.accounts[who].replace("~", "/")

    @initialize()
    def begin(self) -> None:
        self.wait(self.bank.home.start())
        self.wait(self.bank.begin())
        self.wait(self.bank.operate(SetFee(CHF, (("0", 0),))))
        self.model.available[FEES] = 0
        for number in range(4):
            self.accounts.append(self.wait(self.bank.account(f"s{number}")))
            key = self.key(number)
            self.model.available[key] = self.model.held[key] = 0
            self.model.status[key] = "active"

    def agree(self, command: Any, predict: Any) -> Any:
        """Runs both; both do it, or both refuse with the same code."""
        try:
            expected = predict()
            code = None
        except Refused as refused:
            expected, code = None, str(refused)
        try:
            answer = self.wait(self.insist(command))
        except Rejected as rejected:
            assert rejected.code == code, (command, rejected)
            return None
        assert code is None, (command, code)
        return answer.reply, expected

    async def insist(self, command: Any) -> Any:
        """As a client that heeds ``Retry-After``: rows that took too long to find are at hand the next time."""
        for _ in range(9):
            try:
                return await self.bank.home.run(command, actor="operator", scopes=OPERATOR)
            except Rejected as rejected:
                if rejected.code != "command_too_wide":
                    raise
        return await self.bank.home.run(command, actor="operator", scopes=OPERATOR)

    @rule(who=WHO, amount=st.integers(1, 5000))
    def issue(self, who: int, amount: int) -> None:
        def predict() -> None:
            self.model.available[self.key(who)] += amount
            self.model.issued += amount

        self.agree(Issue(CHF, self.accounts[who], text(amount)), predict)

    @rule(who=WHO, amount=AMOUNTS)
    def burn(self, who: int, amount: int) -> None:
        def predict() -> None:
            key = self.key(who)
            if self.model.status[key] != "active":
                raise Refused(f"account_{self.model.status[key]}")
            if self.model.available[key] < amount:
                raise Refused("insufficient_funds")
            self.model.available[key] -= amount
            self.model.issued -= amount

        self.agree(Burn(CHF, self.accounts[who], text(amount)), predict)

    def item(self, debit: int, credit: int, amount: int) -> PostTransfer:
        return PostTransfer(self.accounts[debit], self.accounts[credit], CHF, text(amount))

    @rule(debit=WHO, credit=WHO, amount=AMOUNTS)
    def transfer(self, debit: int, credit: int, amount: int) -> None:
        fee = self.model.fee("transfer", amount)
        done = self.agree(
            self.item(debit, credit, amount),
            lambda: self.model.transfer(self.key(debit), self.key(credit), amount),
        )
        if done is not None:
            assert done[0].fee == text(fee)

    @rule(items=st.lists(st.tuples(WHO, WHO, AMOUNTS), min_size=1, max_size=5))
    def linked(self, items: list[tuple[int, int, int]]) -> None:
        def predict() -> None:
            saved = dict(self.model.available), dict(self.model.used)
            try:
                for debit, credit, amount in items:
                    self.model.transfer(self.key(debit), self.key(credit), amount)
            except Refused:
                self.model.available, self.model.used = saved
                raise

        self.agree(PostLinked(tuple(self.item(*item) for item in items)), predict)

    @rule(items=st.lists(st.tuples(WHO, WHO, AMOUNTS), min_size=1, max_size=5))
    def batch(self, items: list[tuple[int, int, int]]) -> None:
        def predict() -> list[str]:
            codes = []
            for debit, credit, amount in items:
                try:
                    self.model.transfer(self.key(debit), self.key(credit), amount)
                    codes.append("")
                except Refused as refused:
                    codes.append(str(refused))
            return codes

        reply, codes = self.agree(PostBatch(tuple(self.item(*item) for item in items)), predict)
        assert [item.code for item in reply.items] == codes

    @rule(target=pendings, debit=WHO, credit=WHO, amount=AMOUNTS, timeout_s=st.integers(1, 50))
    def reserve(self, debit: int, credit: int, amount: int, timeout_s: int) -> Any:
        command = ReserveTransfer(self.accounts[debit], self.accounts[credit], CHF, text(amount), timeout_s)
        done = self.agree(command, lambda: self.model.reserve(self.key(debit), self.key(credit), amount))
        if done is None:
            return multiple()
        reply, (fee, counted) = done
        assert reply.fee == text(fee)
        self.model.pending[reply.id] = {
            "debit": self.key(debit),
            "credit": self.key(credit),
            "amount": amount,
            "fee": fee,
            "counted": counted,
            "resolved": False,
            "until": self.bank.clock.now_us + timeout_s * 1_000_000,
        }
        return reply.id

    @rule(key=pendings, amount=st.just(0) | AMOUNTS)
    def post(self, key: str, amount: int) -> None:
        self.agree(PostPending(key, text(amount) if amount else ""), lambda: self.model.resolve(key, amount))

    @rule(key=pendings)
    def void(self, key: str) -> None:
        self.agree(VoidPending(key), lambda: self.model.resolve(key, None))

    @rule(seconds=st.integers(1, 40))
    def time_passes(self, seconds: int) -> None:
        self.bank.clock.advance(seconds)
        for key, found in self.model.pending.items():
            if not found["resolved"] and found["until"] <= self.bank.clock.now_us:
                self.model.resolve(key, None)
        self.wait(turn(self.bank.home))

    @rule(kind=st.sampled_from(["transfer", "pending"]), bps=st.sampled_from([0, 1, 30, 250, 10_000]))
    def fees(self, kind: str, bps: int) -> None:
        self.wait(self.bank.operate(SetFee(CHF, (("0", bps),), kind)))
        self.model.bps[kind] = bps

    @rule(who=WHO, single=st.sampled_from([0, 700]), daily=st.sampled_from([0, 2000]))
    def limits(self, who: int, single: int, daily: int) -> None:
        self.wait(self.bank.operate(SetLimit(self.accounts[who], CHF, text(single), text(daily))))
        key = self.key(who)
        self.model.single[key], self.model.daily[key] = single, daily

    @rule(who=WHO, status=st.sampled_from(["frozen", "active"]))
    def status(self, who: int, status: str) -> None:
        self.wait(self.bank.operate(SetStatus(self.accounts[who], status)))
        self.model.status[self.key(who)] = status

    @invariant()
    def same_balances(self) -> None:
        if not self.accounts:
            return
        found = {key.rpartition("/CHFX@")[0]: row for key, row in rows(self.bank.home, SHARES).items()}
        for key, available in self.model.available.items():
            share = found.get(key)
            assert (0 if share is None else share.available) == available
            assert (0 if share is None else share.held) == self.model.held.get(key, 0)
        assert sum(self.model.available.values()) + sum(self.model.held.values()) == self.model.issued
        resolved = {key.replace("/", "~"): row.status != "open" for key, row in rows(self.bank.home, PENDING).items()}
        assert resolved == {key: found["resolved"] for key, found in self.model.pending.items()}
        used = {key.rpartition("/CHFX@")[0]: row for key, row in rows(self.bank.home, USAGE).items()}
        assert {key: row.daily for key, row in used.items()} == self.model.used
        assert all(row.monthly == row.daily and row.count >= 0 for row in used.values())
        check_conservation(self.bank.home)
        assert not self.bank.home.engine.alarms

    def teardown(self) -> None:
        self.wait(self.bank.home.close())
        self.runner.close()


class OneForgetfulNode(OneNode):
    """With a cache for nothing: every command finds its rows in the database."""

    cache_bytes = 1


def test_the_node_answers_as_the_model_does():
    run_state_machine_as_test(OneNode, settings=settings(max_examples=40, stateful_step_count=40, phases=PHASES))


def test_a_node_that_keeps_nothing_in_memory_answers_the_same():
    run_state_machine_as_test(
        OneForgetfulNode, settings=settings(max_examples=20, stateful_step_count=40, phases=PHASES)
    )

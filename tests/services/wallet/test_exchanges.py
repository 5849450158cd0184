"""Rows of other modules that say that two accounts paid each other: the wallet judges them, and shows them in its
histories."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from jilnode.kernel.errors import Breach, Parked, Rejected
from jilnode.kernel.registry import tables_of_kinds
from jilnode.module import Command, CreatedBy, Module, QueryContext, Table, installed_modules
from services.wallet import listings
from services.wallet.amounts import format_amount
from services.wallet.intents import CreateAsset, Issue
from services.wallet.kinds import Exchange, sides
from services.wallet.ledger import Ledger
from services.wallet.module import MODULE as WALLET
from services.wallet.queries import IdParams
from services.wallet.rows import MEMOS, SHARES, TRANSFERS, Memo, Share, Transfer
from tests.kit.node import TestNode, running
from tests.services.wallet.kit import CHF, Bank, check_conservation, rows, turn

SILVER = "SILV@ch-zug-01"


class Deal(Exchange, frozen=True):
    of: str = "the fair"


DEALS = Table("fair.deal", Deal, CreatedBy(), write_once=True, searchable=("debit", "credit"))


class Make(msgspec.Struct, frozen=True):
    """``debit`` pays francs and ``credit`` silver, in minor units. With ``written`` the row says this; with ``moved``
    shares move by more: (account, asset, amount). Nothing is moved but that where ``paid`` is false."""

    debit: str
    credit: str
    amount: int
    back_amount: int
    fee: int = 0
    back_fee: int = 0
    written: dict[str, Any] = {}
    moved: tuple[tuple[str, str, int], ...] = ()
    paid: bool = True


def _make(state: Any, context: Any, command: Make) -> None:
    deal = Deal(
        command.debit,
        command.credit,
        CHF,
        command.amount,
        command.fee,
        2,
        SILVER,
        command.back_amount,
        command.back_fee,
        4,
        context.time_us,
    )
    ledger = Ledger(state, context)
    for payer, payee, asset, amount, fee in sides(deal) if command.paid else ():
        reserved = ledger.reserve(payer, asset, amount + fee, amount, ("fair", payee, amount))
        ledger.give_reserved(payer, reserved, payee, amount, fee)
    ledger.write()
    for account, asset, amount in command.moved:
        key = f"{account}/{asset}/{context.source}"
        share = state[SHARES].get(key) or Share(account, asset)
        state[SHARES].put(key, msgspec.structs.replace(share, available=share.available + amount))
    state[DEALS].insert(context.new_key(), msgspec.structs.replace(deal, **command.written))


class Twin(msgspec.Struct, frozen=True):
    """A transfer, and its memo, under the key of something else."""

    key: str
    debit: str
    credit: str


def _twin(state: Any, context: Any, command: Twin) -> None:
    row = Transfer(command.debit, command.credit, CHF, 9, 2, context.time_us)
    state[TRANSFERS].insert(command.key, row)
    state[MEMOS].insert(command.key, Memo("mine"))


FAIR = Module(
    "fair",
    1,
    tables=(DEALS,),
    commands=(
        Command(Make, "fair.deal.made", _make, lambda rows: rows.one(DEALS)[0]),
        Command(Twin, "fair.deal.twinned", _twin, lambda rows: None),
    ),
    requires=("wallet",),
)
MODULES = [WALLET, FAIR]
KINDS = tables_of_kinds([*WALLET.tables, DEALS], [WALLET.invariants])


class Fair(Bank):
    """``a`` has francs, ``b`` silver."""

    def __init__(self, modules: list[Module], **options: Any) -> None:
        super().__init__()
        self.home = TestNode("ch-zug-01", modules, clock=self.clock, **options)
        self.nodes = [self.home]

    async def begin(self) -> None:
        await super().begin()
        await self.operate(CreateAsset("SILV", 4))
        self.a = (await self.account("a", "100.00")).replace("~", "/")
        self.b = (await self.account("b", "1.00")).replace("~", "/")
        await self.operate(Issue(SILVER, self.b, "100"))

    async def deal(self, amount: int, back_amount: int, **more: Any) -> str:
        return str((await self.home.run(Make(self.a, self.b, amount, back_amount, **more))).reply)

    def context(self, subject: str, scopes: tuple[str, ...] = ()) -> QueryContext:
        return QueryContext(subject, frozenset(scopes), self.home.source, self.home.engine.now_us(), kinds=KINDS)


@asynccontextmanager
async def fair(**options: Any) -> AsyncIterator[Fair]:
    made = Fair(MODULES, **options)
    async with running(made.home):
        await made.begin()
        yield made
        check_conservation(made.home)


def test_every_table_of_exchanges_can_be_a_part_of_a_history():
    modules = installed_modules()
    kinds = tables_of_kinds(
        [table for module in modules for table in module.tables], [module.invariants for module in modules]
    )
    assert {"dex.rfq_settlement", "dex.swap", "dex.trade"} == {table.name for table in kinds[Exchange]}
    for table in kinds[Exchange]:
        assert table.write_once and {"debit", "credit"} <= set(table.searchable), table.name


async def test_both_pay_each_other_and_the_node_by_one_row():
    async with fair() as made:
        await made.deal(1000, 5, fee=7, back_fee=1)
        shares = rows(made.home, SHARES)
        for account, asset, amount in (
            (made.a, CHF, 8993),
            (made.b, CHF, 1100),
            ("ch-zug-01/fees", CHF, 7),
            (made.a, SILVER, 5),
            (made.b, SILVER, 999_994),
            ("ch-zug-01/fees", SILVER, 1),
        ):
            assert shares[f"{account}/{asset}/ch-zug-01"].available == amount
        assert [row.kind for row in rows(made.home, TRANSFERS).values()] == ["issue"] * 3


async def test_a_history_has_payments_and_exchanges_in_the_order_in_which_they_came(backend):
    made = Fair(MODULES, store=backend.store())
    async with running(made.home):
        await made.begin()
        expected = []
        for number in range(1, 13):
            if number % 3:
                key = await made.deal(number, 2 * number, fee=1)
                expected.append((key.replace("/", "~"), "trade", format_amount(2 * number, 4)))
            else:
                paid = await made.pay(made.a.replace("/", "~"), made.b.replace("/", "~"), f"0.{number:02}")
                expected.append((paid.id, "transfer", None))
        expected.reverse()
        for limit in (1, 2, 5, 12, 13):
            found: list[tuple[str, str, str | None]] = []
            cursor: str | None = ""
            while cursor is not None:
                params = listings.HistoryParams(made.a, cursor, limit)
                page = await listings.history(made.home.store, made.context("a"), params)
                assert len(page.items) <= limit
                found += [(item.id, item.kind, item.back and item.back.amount) for item in page.items]
                cursor = page.next
            assert found[:-1] == expected, limit
            # What came first is what was issued to it.
            assert found[-1][1] == "issue"
        page = await listings.statement(made.home.store, made.context("b"), listings.HistoryParams(made.b, limit=2))
        assert [(line.kind, line.asset, line.change, line.fee) for line in page.items] == [
            ("transfer", CHF, "0.12", "0.00"),
            ("trade", CHF, "0.11", "0.00"),
            ("trade", SILVER, "-0.0022", "0.0000"),
        ]
        assert {line.counterparty for line in page.items} == {made.a.replace("/", "~")}
        rest = await listings.statement(made.home.store, made.context("b"), listings.HistoryParams(made.b, page.next))
        assert (rest.items[0].kind, rest.items[0].change) == ("trade", "0.10")


class Between:
    """A store that commits a transfer and then an exchange after each page that is read of it."""

    def __init__(self, made: Fair) -> None:
        self._made = made
        self.get = made.home.store.get

    async def page(self, *arguments: Any, **named: Any) -> Any:
        page = await self._made.home.store.page(*arguments, **named)
        await self._made.pay(self._made.a, self._made.b, "0.07")
        await self._made.deal(2, 3)
        return page


async def test_who_is_shown_an_exchange_is_shown_what_came_before_it():
    async with fair() as made:
        await made.deal(1, 4)
        params = listings.HistoryParams(made.a)
        shown = await listings.history(Between(made), made.context("a"), params)
        after = await listings.history(made.home.store, made.context("a"), params)
        assert [item.id for item in shown.items] == [item.id for item in after.items[-len(shown.items) :]]


async def test_one_exchange_is_shown_to_both_and_to_nobody_else():
    async with fair() as made:
        key = await made.deal(1000, 5, fee=7, back_fee=1)
        for context in (made.context("a"), made.context("b"), made.context("x", ("audit",))):
            found = await listings.transfer(made.home.store, context, IdParams(key))
            assert (found.kind, found.amount, found.fee) == ("trade", "10.00", "0.07")
            assert (found.back.asset, found.back.amount, found.back.fee) == (SILVER, "0.0005", "0.0001")
        with pytest.raises(Rejected, match="unknown_transfer"):
            await listings.transfer(made.home.store, made.context("x"), IdParams(key))


ROGUE = [
    replace(WALLET, invariants=tuple([replace(rule, check=lambda change: None) for rule in WALLET.invariants])),
    FAIR,
]


async def test_a_payment_under_the_key_of_another_hides_it_from_nobody():
    """A key is one table's own, so a node that means ill can use one twice."""
    made = Fair(ROGUE)
    async with running(made.home):
        await made.begin()
        await made.deal(2, 3)
        key = await made.deal(1000, 5)
        await made.home.run(Twin(key, made.a, made.b))
        await made.deal(1, 4)
        for limit in (1, 2, 3, 5):
            found: list[str] = []
            cursor: str | None = ""
            while cursor is not None:
                params = listings.HistoryParams(made.a, cursor, limit)
                page = await listings.history(made.home.store, made.context("a"), params)
                found += [item.amount for item in page.items]
                cursor = page.next
            assert (sorted(found[:4]), len(found)) == (["0.01", "0.02", "0.09", "10.00"], 5), limit
        lines = await listings.statement(made.home.store, made.context("a"), listings.HistoryParams(made.a))
        said = {(line.change, line.reference) for line in lines.items if line.id == key.replace("/", "~")}
        assert said == {("-10.00", ""), ("0.0005", ""), ("-0.09", "mine")}
        shown = await listings.transfer(made.home.store, made.context("a"), IdParams(key))
        assert shown.kind == "trade"


def forged(paid: bool = True, **written: Any) -> Callable[[Fair], dict[str, Any]]:
    return lambda made: {"written": written, "paid": paid}


def backwards(made: Fair) -> dict[str, Any]:
    """``a`` is paid francs and silver by ``b``."""
    moved = ((made.a, CHF, 50), (made.b, CHF, -50), (made.a, SILVER, 5), (made.b, SILVER, -5))
    return {"written": {"amount": -50, "fee": 0, "back_fee": 0}, "moved": moved, "paid": False}


FORGERIES: dict[str, tuple[Callable[[Fair], dict[str, Any]], str]] = {
    "says that more was paid": (forged(amount=1001), "moved by"),
    "says that less was paid back": (forged(back_amount=4), "moved by"),
    "keeps the fee from the node": (forged(fee=6), "moved by"),
    "says that it was other money": (forged(back_asset="GOLD@ch-zug-01"), "moved by"),
    "says that somebody else got it": (forged(credit="ch-zug-01/fees"), "moved by"),
    "is of one account": (lambda made: {"written": {"credit": made.a}, "paid": False}, "two accounts"),
    "is of nobody": (forged(debit=""), "two accounts"),
    "pays nothing": (forged(amount=0), "moves nothing"),
    "pays nothing back": (forged(back_amount=0), "moves nothing"),
    "is of a balance that is cut elsewhere": (
        lambda made: {"written": {"debit": "ch-zug-01", "asset": f"{made.a.rpartition('/')[2]}/{CHF}"}},
        "no asset",
    ),
    "runs backwards": (backwards, "moves nothing"),
    "takes a fee below nothing": (forged(fee=-1), "below nothing"),
    "gives a fee back": (forged(back_fee=-1), "below nothing"),
    "is in absurd decimals": (forged(scale=10**9), "no scale"),
    "is in negative decimals": (forged(back_scale=-1), "no scale"),
    "says what did not happen": (forged(paid=False), "moved by"),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_exchange_is_refused_and_changes_nothing(name):
    """By the wallet, whatever the module itself makes of its row: it has no rules at all."""
    twist, broken = FORGERIES[name]
    made = Fair(ROGUE)
    honest = TestNode("sg-mas-01", MODULES, clock=made.clock)
    async with running(made.home, honest):
        await made.begin()
        await honest.follow(made.home)
        before = rows(honest, SHARES)
        await made.deal(1000, 5, fee=7, back_fee=1, **twist(made))
        with pytest.raises(Breach, match=broken) as breach:
            await honest.follow(made.home)
        assert breach.value.code == "invariant.wallet_explained"
        await turn(honest)
        assert (rows(honest, SHARES), rows(honest, DEALS)) == (before, {})


async def test_a_node_that_lacks_the_module_waits_and_accuses_nobody():
    async with fair() as made:
        stranger = TestNode("sg-mas-01", [WALLET], clock=made.clock)
        async with running(stranger):
            await stranger.follow(made.home)
            await made.deal(1000, 5)
            with pytest.raises(Parked, match=r"fair\.deal") as parked:
                await stranger.follow(made.home)
            assert parked.value.code == "module_unknown"

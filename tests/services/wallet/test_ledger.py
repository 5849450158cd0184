"""The ledger that other modules pay by, through a module that does nothing else."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from jilnode.kernel.codec import rows_of
from jilnode.kernel.errors import Breach, Parked, Rejected
from jilnode.module import Command, Module, Table
from services.wallet.intents import SetFee, SetLimit, SetRoaming, SetStatus
from services.wallet.kinds import Exchange, Holding
from services.wallet.ledger import Ledger, may_pay
from services.wallet.module import MODULE as WALLET
from services.wallet.rows import ACCOUNTS, HOLDS, REQUESTS, SHARES, SUPPLY, USAGE, VISITS
from tests.kit.node import TestNode, running
from tests.services.wallet.kit import CHF, Bank, check_conservation, rows, started, turn

DAY_S = 86_400


class Moves(msgspec.Struct, frozen=True):
    """``steps``: (method of the ledger, its arguments) each; a key that begins with ``+`` is made by this command.
    A step in a tuple of its own is tried under a savepoint. For what is given, the other gives one unit back."""

    steps: tuple[Any, ...]


class Ask(msgspec.Struct, frozen=True):
    account: str


class Box(Holding, frozen=True):
    """What money is set aside for."""


class Deal(Exchange, frozen=True):
    """What is given, and what is given back."""


BOXES = Table("locker.box", Box)
DEALS = Table("locker.deal", Deal, write_once=True, searchable=("debit", "credit"))


def _move(state: Any, context: Any, command: Moves) -> None:
    ledger = Ledger(state, context)
    made: dict[str, str] = {}

    def give_back(debit: str, credit: str, amount: int, fee: int) -> None:
        ledger.give(credit, debit, CHF, 1, 0, PURPOSE)
        deal = Deal(debit, credit, CHF, amount, fee, 2, CHF, 1, 0, 2, context.time_us)
        state[DEALS].insert(context.new_key(), deal)

    def run(step: tuple[Any, ...]) -> None:
        method, *arguments = step
        if method not in ("reserve", "keep", "give_reserved"):
            getattr(ledger, method)(*arguments)
            if method == "give":
                debit, credit, _, amount, fee, _ = arguments
                give_back(debit, credit, amount, fee)
            return
        key, *arguments = arguments
        if key.startswith("+"):
            if key not in made:
                made[key] = context.new_key()
            key = made[key]
        if method == "reserve":
            state[BOXES].insert(key, Box(arguments[0], ledger.reserve(*arguments)))
            return
        box = state[BOXES].get(key)
        reserved = getattr(ledger, method)(box.account, box.reserved, *arguments)
        if method == "give_reserved":
            give_back(box.account, *arguments)
        if reserved.amount:
            state[BOXES].put(key, Box(box.account, reserved))
            return
        ledger.keep(box.account, reserved, 0)
        state[BOXES].delete(key)

    for step in command.steps:
        if isinstance(step[0], tuple):
            try:
                with state.savepoint():
                    run(step[0])
            except Rejected:
                continue
        else:
            run(step)
    ledger.write()


def _ask(state: Any, context: Any, command: Ask) -> None:
    code = may_pay(context, command.account, state[ACCOUNTS].get(command.account))
    raise Rejected(code or "may_pay", "so it is", status=409)


LOCKER = Module(
    "locker",
    1,
    tables=(BOXES, DEALS),
    commands=(
        Command(Moves, "locker.moves.made", _move, lambda rows: [key for key, _ in rows.rows(BOXES)]),
        Command(Ask, "locker.account.asked", _ask, lambda rows: None),
    ),
    requires=("wallet",),
)
PURPOSE = ("locker", "x", 1)


class Lockers(Bank):
    def __init__(self, count: int = 1, **options: Any) -> None:
        super().__init__(count, **options)
        self.nodes = [TestNode(node.source, [WALLET, LOCKER], clock=self.clock, **options) for node in self.nodes]
        self.home = self.nodes[0]

    async def move(self, *steps: tuple[Any, ...], node: TestNode | None = None) -> list[str]:
        answer = await (node or self.home).run(Moves(steps), actor="a")
        return list(answer.reply)

    async def key(self, subject: str, money: str = "", node: TestNode | None = None) -> str:
        return (await self.account(subject, money, node)).replace("~", "/")

    def share(self, account: str, node: TestNode | None = None) -> tuple[int, int]:
        node = node or self.home
        row = rows(node, SHARES).get(f"{account}/{CHF}/{node.source}")
        return (0, 0) if row is None else (row.available, row.held)

    def used(self) -> tuple[int, int]:
        (usage,) = rows(self.home, USAGE).values()
        return usage.daily, usage.count


@pytest.fixture(params=[1 << 26, 1], ids=["warm", "cold"])
async def one(request):
    """With everything in memory, and with nothing."""
    made = Lockers(cache_bytes=request.param)
    async with running(*made.nodes):
        await made.begin()
        await made.operate(SetFee(CHF, (("0", 0),)))
        made.a, made.b, made.c = await made.key("a", "100.00"), await made.key("b"), await made.key("c")
        yield made
        check_conservation(made.home)


def reserve(key: str, account: str, amount: int, limited: int | None = None) -> tuple[Any, ...]:
    return ("reserve", key, account, CHF, amount, amount if limited is None else limited, PURPOSE)


def given(key: str, credit: str, amount: int, fee: int = 0) -> tuple[Any, ...]:
    return ("give_reserved", key, credit, amount, fee)


def give(debit: str, credit: str, amount: int, fee: int = 0) -> tuple[Any, ...]:
    return ("give", debit, credit, CHF, amount, fee, PURPOSE)


def pay(debit: str, credit: str, amount: int) -> tuple[Any, ...]:
    return ("pay", debit, credit, CHF, amount, 2, "ch-zug-01/of", PURPOSE)


async def test_what_is_reserved_is_held_and_comes_back(one):
    (key,) = await one.move(reserve("+k", one.a, 3000))
    assert one.share(one.a) == (7000, 3000)
    await one.move(("keep", key, 1000))
    assert one.share(one.a) == (9000, 1000)
    assert rows(one.home, BOXES)[key].reserved.amount == 1000
    await one.move(("keep", key, 0))
    assert one.share(one.a) == (10_000, 0)
    assert not rows(one.home, BOXES)


async def test_what_is_reserved_and_used_up_in_one_command_is_never_a_row(one):
    assert await one.move(reserve("+k", one.a, 3000), given("+k", one.b, 2900, 100)) == []
    assert (one.share(one.a), one.share(one.b), one.share("ch-zug-01/fees")) == ((7001, 0), (2899, 0), (100, 0))
    assert not rows(one.home, BOXES)


async def test_many_payments_write_each_balance_once(one):
    (key,) = await one.move(reserve("+k", one.a, 3000))
    await one.move(*[given(key, (one.b, one.c)[number % 2], 10, 1) for number in range(50)], pay(one.b, one.c, 50))
    assert (one.share(one.a), one.share(one.b), one.share(one.c)) == ((7050, 2450), (175, 0), (275, 0))
    assert one.share("ch-zug-01/fees") == (50, 0)
    assert rows(one.home, BOXES)[key].reserved.paid == 500
    entries, _ = await one.home.journal()
    names = [name for name, _, _ in rows_of(entries[-1])]
    tables = ("wallet.share", "wallet.transfer", "locker.deal", "locker.box")
    assert [names.count(table) for table in tables] == [4, 1, 50, 1]


async def test_what_is_given_out_of_what_is_available_goes_to_the_other_and_the_fee_to_the_node(one):
    await one.move(give(one.a, one.b, 500, 25))
    assert (one.share(one.a), one.share(one.b), one.share("ch-zug-01/fees")) == ((9476, 0), (499, 0), (25, 0))
    with pytest.raises(Rejected, match="insufficient_funds"):
        await one.move(give(one.a, one.b, 9470, 7))
    await one.operate(SetLimit(one.a, CHF, daily="50.00"))
    await one.move(give(one.a, one.b, 1000, 25))
    assert one.used()[0] == 1000, "without the fee"


async def test_what_came_in_the_same_command_can_be_spent_in_it(one):
    """By an account that had no share here before."""
    await one.move(pay(one.a, one.b, 500), pay(one.b, one.c, 500), reserve("+k", one.c, 400))
    assert (one.share(one.b), one.share(one.c)) == ((0, 0), (100, 400))
    before = rows(one.home, SHARES)
    with pytest.raises(Rejected, match="insufficient_funds"):
        await one.move(pay(one.a, one.b, 500), pay(one.b, one.c, 501))
    assert rows(one.home, SHARES) == before


async def test_a_reservation_that_is_refused_under_a_savepoint_leaves_the_others(one):
    keys = await one.move(
        reserve("+k", one.a, 6000), (reserve("+no", one.a, 6000),), reserve("+l", one.a, 4000), (pay(one.a, one.b, 1),)
    )
    assert len(keys) == 2
    assert one.share(one.a) == (0, 10_000)


async def test_more_than_is_reserved_can_t_be_paid_nor_kept(one):
    (key,) = await one.move(reserve("+k", one.a, 1000))
    before = rows(one.home, SHARES), rows(one.home, BOXES)
    for step in (given(key, one.b, 1000, 1), given(key, one.b, 1001), ("keep", key, 1001), ("keep", "ch-zug-01/no", 0)):
        with pytest.raises(Rejected, match="internal_error"):
            await one.move(step)
    assert (rows(one.home, SHARES), rows(one.home, BOXES)) == before
    assert len(one.home.engine.alarms) == 4


async def test_issued_and_burned(one):
    await one.move(("issue", CHF, one.b, 700, 2), ("burn", CHF, one.b, 300, 2, PURPOSE))
    assert one.share(one.b) == (400, 0)
    (supply,) = rows(one.home, SUPPLY).values()
    assert (supply.issued, supply.burned) == (10_700, 300)
    with pytest.raises(Rejected, match="insufficient_funds"):
        await one.move(("burn", CHF, one.b, 401, 2, PURPOSE))


async def test_limits_count_what_is_reserved_without_its_fee_and_get_back_what_was_not_paid(one):
    await one.operate(SetLimit(one.a, CHF, daily="50.00", count=2))
    (key,) = await one.move(reserve("+k", one.a, 4100, 4000))
    assert one.used() == (4000, 1)
    with pytest.raises(Rejected, match="limit_daily"):
        await one.move(reserve("+k", one.a, 1001))
    await one.move(given(key, one.b, 1000, 25), given(key, one.b, 500, 25))
    assert one.used() == (4000, 1), "it may still pay the rest"
    await one.move(("keep", key, 0))
    assert one.used() == (1500, 1), "one debit, of what was paid"
    (key,) = await one.move(reserve("+k", one.a, 3500))
    with pytest.raises(Rejected, match="limit_"):
        await one.move(pay(one.a, one.b, 1))
    await one.move(("keep", key, 0))
    assert one.used() == (1500, 1), "as if it had not been"


async def test_what_is_reserved_and_given_back_in_one_command_counts_nothing(one):
    await one.operate(SetLimit(one.a, CHF, daily="50.00", count=2))
    await one.move(reserve("+k", one.a, 4000), ("keep", "+k", 0))
    assert one.used() == (0, 0)
    await one.move(reserve("+k", one.a, 4000), given("+k", one.b, 1000), ("keep", "+k", 0))
    assert one.used() == (1000, 1)


async def test_what_is_given_back_the_next_day_is_not_of_that_day(one):
    await one.operate(SetLimit(one.a, CHF, daily="50.00"))
    (key,) = await one.move(reserve("+k", one.a, 4000))
    one.clock.advance(DAY_S)
    await one.move(pay(one.a, one.b, 100))
    await one.move(("keep", key, 0))
    assert one.used()[0] == 100


@pytest.mark.parametrize(("status", "code"), [("active", "may_pay"), ("frozen", "account_frozen")])
async def test_who_may_pay(one, status, code):
    await one.operate(SetStatus(one.a, status))
    with pytest.raises(Rejected) as refusal:
        await one.home.run(Ask(one.a))
    assert refusal.value.code == code
    with pytest.raises(Rejected, match="unknown_account"):
        await one.home.run(Ask("ch-zug-01/none"))


@pytest.fixture
async def two():
    made = Lockers(2)
    async with running(*made.nodes):
        await made.begin()
        made.away = made.nodes[1]
        made.a = await made.key("a", "100.00")
        made.b = await made.key("b")
        await made.operate(SetRoaming(made.a, CHF, "50.00", ("sg-mas-01",)))
        await made.settle()
        yield made
        for node in made.nodes:
            check_conservation(node)
            assert not node.engine.alarms


async def brought(two: Any, *steps: tuple[Any, ...]) -> Any:
    """The reply, once the money has come."""
    waiting = await started(two, two.away, Moves(steps), "a")
    await two.settle()
    # It stays a moment before it may move on.
    two.clock.advance(1)
    await turn(two.away)
    return (await waiting).reply


async def test_a_reservation_asks_the_node_that_has_the_money_and_is_made_when_it_comes(two):
    (key,) = await brought(two, reserve("+k", two.a, 3000))
    assert (two.share(two.a, two.away), two.share(two.a)) == ((0, 3000), (7000, 0))
    assert not rows(two.away, HOLDS)
    await two.move(given(key, two.b, 1000), ("keep", key, 0), node=two.away)
    await two.settle()
    two.clock.advance(62)
    await two.settle()
    assert two.share(two.a) == (9001, 0)
    assert two.share(two.b)[0] + two.share(two.b, two.away)[0] == 999


async def test_only_what_is_lacking_is_asked_for_after_what_came_in_the_same_command(two):
    """``b`` is paid there, has no share there yet, and needs more than that."""
    await brought(two, reserve("+k", two.a, 3000))
    await two.operate(SetRoaming(two.b, CHF, "50.00", ("sg-mas-01",)))
    await two.pay(two.a.replace("/", "~"), two.b.replace("/", "~"), "20.00")
    await two.settle()
    (key,) = rows(two.away, BOXES)
    waiting = await started(two, two.away, Moves((given(key, two.b, 1000), pay(two.b, two.a, 1500))), "a")
    await two.settle()
    two.clock.advance(1)
    await turn(two.away)
    await waiting
    asked = [row.amount for row in rows(two.away, REQUESTS).values() if row.balance.startswith(two.b)]
    assert asked == [501]


async def test_what_a_reservation_away_did_not_pay_goes_back_to_what_came_with_the_money(two):
    await two.operate(SetLimit(two.a, CHF, daily="40.00", count=8))
    await two.settle()
    (key,) = await brought(two, reserve("+k", two.a, 3000))
    (visit,) = rows(two.away, VISITS).values()
    assert visit.allowance == 0
    await two.move(given(key, two.b, 1000), ("keep", key, 0), node=two.away)
    (visit,) = rows(two.away, VISITS).values()
    assert visit.allowance == 2000
    await two.settle()
    two.clock.advance(62)
    await two.settle()
    assert two.used()[0] == 1000


async def test_an_account_pays_no_more_when_its_home_is_not_heard(two):
    two.clock.advance(601)
    with pytest.raises(Rejected, match="home_not_heard"):
        await two.away.run(Ask(two.a))


class Twist(msgspec.Struct, frozen=True):
    """Puts rows as they are: (key, row of the box)."""

    boxes: tuple[tuple[str, Box], ...]


def _twist(state: Any, context: Any, command: Twist) -> None:
    for key, box in command.boxes:
        state[BOXES].put(key, box)


ROGUE = [
    replace(WALLET, invariants=tuple([replace(rule, check=lambda change: None) for rule in WALLET.invariants])),
    replace(LOCKER, commands=(*LOCKER.commands, Command(Twist, "locker.box.twisted", _twist, lambda rows: None))),
]
OTHER = "USDX@ch-zug-01"


@pytest.mark.parametrize(
    ("twist", "broken"),
    [
        ({"amount": 2999}, "holds"),
        ({"amount": 3001}, "holds"),
        ({"amount": -1}, "less than nothing"),
        ({"asset": OTHER}, "another balance"),
        ({"paid": -1}, "takes back"),
    ],
)
async def test_what_a_module_says_that_it_holds_is_what_the_share_holds(twist, broken):
    """The wallet judges it, whatever the module itself makes of its row."""
    made = Lockers()
    made.nodes = [TestNode("ch-zug-01", ROGUE, clock=made.clock)]
    made.home = made.nodes[0]
    honest = TestNode("sg-mas-01", [WALLET, LOCKER], clock=made.clock)
    async with running(made.home, honest):
        await made.begin()
        account = await made.key("a", "100.00")
        (key,) = await made.move(reserve("+k", account, 3000))
        await honest.follow(made.home)
        box = rows(honest, BOXES)[key]
        forged = Box(box.account, msgspec.structs.replace(box.reserved, **twist))
        await made.home.run(Twist(((key, forged),)))
        with pytest.raises(Breach, match=broken) as breach:
            await honest.follow(made.home)
        assert breach.value.code == "invariant.wallet_reserved"
        assert rows(honest, BOXES)[key] == box


async def test_a_node_that_lacks_the_module_waits_and_accuses_nobody():
    """It can't tell what the share holds for rows that it does not know."""
    made = Lockers()
    stranger = TestNode("sg-mas-01", [WALLET], clock=made.clock)
    friend = TestNode("ae-fsra-01", [WALLET, LOCKER], clock=made.clock)
    async with running(made.home, stranger, friend):
        await made.begin()
        account, other = await made.key("a", "100.00"), await made.key("b")
        await made.move(pay(account, other, 500))
        await stranger.follow(made.home)
        await made.move(reserve("+k", account, 3000))
        with pytest.raises(Parked, match=r"locker\.box") as parked:
            await stranger.follow(made.home)
        assert parked.value.code == "module_unknown"
        await friend.follow(made.home)
        check_conservation(friend)

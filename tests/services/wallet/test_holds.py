"""Money that was asked for by one command waits for that one, and goes back at the deadline."""

import pytest

from jilnode.kernel.errors import Rejected
from jilnode.stores.memory import MemoryStore
from services.wallet.intents import Burn, PostBatch, PostTransfer, ReserveTransfer, SetLimit, SetStatus
from services.wallet.module import MODULE
from services.wallet.rows import HOLDS, RETURNS, SHARES, USAGE, VISITS
from tests.kit.node import TestNode, running
from tests.services.wallet.kit import CHF, OPERATOR, Bank, bank, check_conservation, rows, started, submission, turn
from tests.services.wallet.test_shares import pay_away, roaming, waited


async def given_up(two: Bank, amount: str = "20.00") -> tuple[str, str, PostTransfer]:
    """A transfer away asks for money, its caller is told to try again, and then the money comes."""
    away = two.nodes[1]
    a, b = await roaming(two)
    command = PostTransfer(a, b, CHF, amount)
    future = await started(two, away, command, "a")
    await waited(two, away)
    assert isinstance(future.exception(), Rejected)
    await two.settle()
    (hold,) = rows(away, HOLDS).values()
    assert hold.amount == int(amount.replace(".", ""))
    return a, b, command


def check(two: Bank) -> None:
    for node in two.nodes:
        check_conservation(node)
        assert not node.engine.alarms


@pytest.mark.parametrize("kind", ["less", "to another", "reservation", "batch", "operator"])
async def test_another_debit_cannot_take_it(kind):
    async with bank(2) as two:
        away = two.nodes[1]
        a, b, command = await given_up(two)
        c = await two.account("c")
        await two.settle()
        other, actor, scopes = {
            "less": (PostTransfer(a, b, CHF, "1.00"), "a", ()),
            "to another": (PostTransfer(a, c, CHF, "20.00"), "a", ()),
            "reservation": (ReserveTransfer(a, b, CHF, "20.00"), "a", ()),
            "batch": (PostBatch((PostTransfer(a, b, CHF, "19.99"),)), "a", ()),
            "operator": (command, "operator", OPERATOR),
        }[kind]
        before = rows(away, HOLDS)
        future = away.writer.submit_nowait(submission(other, actor, scopes))
        await turn(away)
        await waited(two, away)
        if kind == "batch":
            assert [item.code for item in (await future).reply.items] == ["share_short"]
        else:
            refusal = future.exception()
            assert isinstance(refusal, Rejected)
            assert refusal.code == "share_short"
        assert rows(away, HOLDS) == before
        assert (await away.run(command, actor="a")).reply.amount == "20.00"
        assert rows(away, HOLDS) == {}
        await two.settle()
        check(two)


async def test_after_a_restart_it_waits_for_the_same():
    async with bank(2) as two:
        home, away = two.nodes
        _, _, command = await given_up(two)
        await away.close()
        again = TestNode(away.source, [MODULE], clock=two.clock, store=MemoryStore(away.disk))
        async with running(again):
            other = await started(two, again, PostTransfer(command.debit, command.credit, CHF, "1.00"), "a")
            await waited(two, again)
            assert isinstance(other.exception(), Rejected)
            assert (await again.run(command, actor="a")).reply.amount == "20.00"
            assert rows(away, HOLDS) == {}
            await home.follow(again)
            check_conservation(home)


async def test_after_a_restart_it_goes_home_at_its_deadline():
    async with bank(2) as two:
        home, away = two.nodes
        a, _, _ = await given_up(two)
        await away.close()
        again = TestNode(away.source, [MODULE], clock=two.clock, store=MemoryStore(away.disk))
        async with running(again):
            two.clock.advance(28)
            await turn(again)
            await home.follow(again)
            await turn(home)
        assert await two.available(a, home) == "100.00"
        check_conservation(home)


async def test_at_the_deadline_it_goes_home():
    async with bank(2) as two:
        home, away = two.nodes
        a, _, _ = await given_up(two)
        two.clock.advance(28)
        await turn(away)
        assert rows(away, HOLDS) == {}
        assert [row.amount for row in rows(away, RETURNS).values()] == [2000]
        balance = await two.balance(a, away)
        assert (balance.available, balance.pending, balance.in_transit, balance.total) == (
            *("80.00", "0.00", "20.00", "100.00"),
        )
        await two.settle()
        assert await two.available(a, home) == "100.00"
        check(two)


async def test_at_home_it_stays_for_whoever_comes_next():
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await roaming(two)
        assert await pay_away(two, away, a, b, "1.00") == "posted"
        c = await two.account("c", node=away)
        await two.settle()
        await two.pay(a, c, "99.00")
        two.clock.advance(61)
        await two.settle()
        await two.pay(c, a, "9.00", "c", away)
        await two.settle()
        waiting = await started(two, home, PostTransfer(a, b, CHF, "9.00"), "a")
        await waited(two, home)
        assert isinstance(waiting.exception(), Rejected)
        await two.settle()
        assert [row.amount for row in rows(home, HOLDS).values()] == [900]
        two.clock.advance(31)
        await turn(home)
        assert await two.available(a, home) == "9.00"
        await two.settle()
        check(two)


async def test_what_waits_for_another_is_no_final_refusal():
    """Neither here nor at another node: it may come back."""
    async with bank(2) as two:
        home, away = two.nodes
        a, b, _ = await given_up(two, "50.00")
        await two.pay(a, b, "50.00")
        await two.settle()
        future = await started(two, away, PostTransfer(a, b, CHF, "1.00"), "a")
        refusal = future.exception()
        assert isinstance(refusal, Rejected)
        assert (refusal.code, refusal.extra, refusal.final) == ("share_short", {"reason": "held_for_another"}, False)
        at_home = await started(two, home, PostTransfer(a, b, CHF, "1.00"), "a")
        await waited(two, home)
        refusal = at_home.exception()
        assert isinstance(refusal, Rejected)
        assert refusal.code == "share_short"
        with pytest.raises(Rejected, match="insufficient_funds"):
            await home.run(PostTransfer(a, b, CHF, "50.01"), actor="a")


async def test_its_part_of_the_limits_is_nobody_else_s_either():
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await roaming(two)
        await two.operate(SetLimit(a, CHF, daily="10.00", count=8))
        await two.settle()
        future = await started(two, away, PostTransfer(a, b, CHF, "6.00"), "a")
        await waited(two, away)
        assert isinstance(future.exception(), Rejected)
        await two.settle()
        (visit,) = rows(away, VISITS).values()
        assert (visit.allowance, visit.count) == (0, 0)
        assert await pay_away(two, away, a, b, "6.00") == "posted"
        (usage,) = rows(home, USAGE).values()
        assert usage.daily == 600
        check(two)


async def test_its_part_of_the_limits_goes_home_with_it():
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await roaming(two)
        await two.operate(SetLimit(a, CHF, daily="10.00", count=8))
        await two.settle()
        await started(two, away, PostTransfer(a, b, CHF, "6.00"), "a")
        await waited(two, away)
        await two.settle()
        (usage,) = rows(home, USAGE).values()
        assert (usage.daily, usage.count) == (600, 4)
        two.clock.advance(31)
        await turn(away)
        await two.settle()
        (usage,) = rows(home, USAGE).values()
        assert (usage.daily, usage.count) == (0, 0)
        check(two)


async def test_a_frozen_account_gets_its_money_home():
    async with bank(2) as two:
        home, away = two.nodes
        a, _, command = await given_up(two)
        await two.operate(SetStatus(a, "frozen"))
        await two.settle()
        with pytest.raises(Rejected, match="account_frozen"):
            await away.run(command, actor="a")
        two.clock.advance(31)
        await turn(away)
        await two.settle()
        assert await two.available(a, home) == "100.00"
        check(two)


async def test_an_account_with_money_that_waits_cannot_be_closed():
    async with bank(2) as two:
        a, _, _ = await given_up(two, "50.00")
        await two.operate(Burn(CHF, a, "50.00"))
        with pytest.raises(Rejected, match="account_not_empty"):
            await two.operate(SetStatus(a, "closed"))


async def test_two_who_wait_both_get_theirs():
    """One request at a time for each balance: who comes second asks when the first has its answer."""
    async with bank(2) as two:
        _, away = two.nodes
        a, b = await roaming(two)
        first = await started(two, away, PostTransfer(a, b, CHF, "5.00"), "a")
        second = await started(two, away, PostTransfer(a, b, CHF, "7.00"), "a")
        await two.settle()
        two.clock.advance(1)
        await two.settle()
        assert (await first).reply.amount == "5.00"
        assert second.done(), "it waits for its own share, not for its time to be over"
        assert second.result().reply.amount == "7.00"
        assert all(row.bound == 0 for row in rows(away, SHARES).values())
        check(two)

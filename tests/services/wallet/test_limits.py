"""Limits of an account: at its home, and as they travel with the money."""

import pytest

from jilnode.kernel.errors import Rejected
from jilnode.limits import INT64_MAX
from services.wallet.intents import PostPending, ReserveTransfer, SetLimit, SetRoaming, VoidPending
from services.wallet.rows import USAGE, VISITS
from tests.services.wallet.kit import CHF, bank, check_conservation, rows, started, turn
from tests.services.wallet.test_shares import pay_away

DAY_S = 86_400


@pytest.mark.parametrize(
    ("limit", "payments", "code"),
    [
        ({"single": "5.00"}, ["5.00", "5.01"], "limit_single"),
        ({"daily": "10.00"}, ["6.00", "4.00", "0.01"], "limit_daily"),
        ({"monthly": "10.00"}, ["6.00", "4.00", "0.01"], "limit_monthly"),
        ({"count": 2}, ["1.00", "1.00", "1.00"], "limit_count"),
    ],
)
async def test_the_payment_that_would_pass_a_limit_is_refused(limit, payments, code):
    async with bank() as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        await one.operate(SetLimit(a, CHF, **limit))
        for payment in payments[:-1]:
            await one.pay(a, b, payment)
        with pytest.raises(Rejected, match=code):
            await one.pay(a, b, payments[-1])
        check_conservation(one.home)


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [({"daily": "5.00"}, DAY_S), ({"monthly": "5.00"}, 30 * DAY_S), ({"count": 1, "count_window_s": 60}, 60)],
)
async def test_a_new_window_begins_at_nothing(limit, seconds):
    async with bank() as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        await one.operate(SetLimit(a, CHF, **limit))
        await one.pay(a, b, "5.00")
        with pytest.raises(Rejected, match="limit_"):
            await one.pay(a, b, "5.00")
        one.clock.advance(seconds)
        await one.pay(a, b, "5.00")


async def test_what_is_counted_stops_at_the_end_of_64_bits():
    """Nearly all there can be goes to and fro: a limit on the number of payments says nothing of their amounts."""
    most = f"{INT64_MAX // 100}.00"
    async with bank() as one:
        a, b = await one.account("a", most), await one.account("b")
        await one.operate(SetLimit(a, CHF, count=4))
        for _ in range(2):
            await one.pay(a, b, most)
            await one.pay(b, a, most, "b")
        pending = (await one.home.run(ReserveTransfer(a, b, CHF, most, timeout_s=60), actor="a")).reply
        await one.home.run(VoidPending(pending.id), actor="a")
        (usage,) = rows(one.home, USAGE).values()
        assert (usage.count, usage.monthly) == (2, INT64_MAX - INT64_MAX // 100 * 100)
        check_conservation(one.home)


async def test_a_limit_that_is_refused():
    async with bank() as one:
        a = await one.account("a")
        for values in ({"count": -1}, {"count": 1, "count_window_s": 0}):
            with pytest.raises(Rejected, match="bad_limit"):
                await one.operate(SetLimit(a, CHF, **values))
        with pytest.raises(Rejected, match="too_many_decimals") as refusal:
            await one.operate(SetLimit(a, CHF, daily="0.001"))
        assert refusal.value.field == "/daily"


async def test_what_is_granted_away_counts_at_home_and_bounds_the_other_node():
    """A daily limit of 10 holds over both nodes together, though neither asks the other when it pays."""
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await two.account("a", "100.00"), await two.account("b")
        await two.operate(SetLimit(a, CHF, daily="10.00"))
        await two.operate(SetRoaming(a, CHF, "50.00", ("sg-mas-01",)))
        await two.settle()
        assert (await pay_away(two, away, a, b, "6.00")) == "posted"
        with pytest.raises(Rejected, match="limit_daily"):
            await two.pay(a, b, "4.01")
        await two.pay(a, b, "4.00")
        await two.settle()
        assert (await pay_away(two, away, a, b, "0.01")) == "limit_reached"
        for node in two.nodes:
            check_conservation(node)
        assert not home.engine.alarms


@pytest.mark.patches
async def test_a_count_from_before_counts_had_a_bound_sends_as_many_debits_as_can_be_sent(monkeypatch):
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await two.account("a", "100.00"), await two.account("b")
        with monkeypatch.context() as then:
            then.setattr("services.wallet.commands.limits.COUNT_MAX", INT64_MAX)
            await two.operate(SetLimit(a, CHF, count=INT64_MAX))
        await two.operate(SetRoaming(a, CHF, "50.00", ("sg-mas-01",)))
        await two.settle()
        assert (await pay_away(two, away, a, b, "6.00")) == "posted"
        assert not home.engine.alarms


async def test_an_allowance_that_was_not_used_comes_home_with_the_money():
    async with bank(2) as two:
        _, away = two.nodes
        a, b = await two.account("a", "100.00"), await two.account("b")
        await two.operate(SetLimit(a, CHF, daily="10.00", count=8))
        await two.operate(SetRoaming(a, CHF, "50.00", ("sg-mas-01",)))
        await two.settle()
        await pay_away(two, away, a, b, "6.00")
        two.clock.advance(61)
        await turn(away)
        await two.settle()
        await two.pay(a, b, "4.00")
        with pytest.raises(Rejected, match="limit_daily"):
            await two.pay(a, b, "0.01")


LIMIT = {"daily": "10.00", "monthly": "10.00", "count": 3}


@pytest.mark.parametrize("posted", ["void", "expire", "4.00", "10.00"])
async def test_what_a_reservation_did_not_move_counts_no_more(posted):
    async with bank() as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        await one.operate(SetLimit(a, CHF, **LIMIT))
        key = (await one.home.run(ReserveTransfer(a, b, CHF, "10.00", 60), actor="a")).reply.id
        with pytest.raises(Rejected, match="limit_daily"):
            await one.pay(a, b, "0.01")
        if posted == "void":
            await one.home.run(VoidPending(key), actor="a")
        elif posted == "expire":
            one.clock.advance(61)
            await turn(one.home)
        else:
            await one.home.run(PostPending(key, posted), actor="a")
        (usage,) = rows(one.home, USAGE).values()
        moved = {"void": (0, 0), "expire": (0, 0), "4.00": (400, 1), "10.00": (1000, 1)}[posted]
        assert (usage.daily, usage.monthly, usage.count) == (moved[0], moved[0], moved[1])
        check_conservation(one.home)


async def test_what_is_given_back_is_of_the_windows_it_was_taken_from():
    """Reserved on one day and voided on the next, in the same month: today's debits still count, this month's less."""
    async with bank() as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        await one.operate(SetLimit(a, CHF, daily="10.00", monthly="90.00", count=3))
        key = (await one.home.run(ReserveTransfer(a, b, CHF, "10.00", 3 * DAY_S), actor="a")).reply.id
        one.clock.advance(DAY_S)
        await one.pay(a, b, "2.00")
        await one.home.run(VoidPending(key), actor="a")
        (usage,) = rows(one.home, USAGE).values()
        assert (usage.daily, usage.monthly, usage.count) == (200, 200, 1)


async def test_a_limit_that_was_set_later_is_not_lowered_by_what_it_never_counted():
    async with bank() as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        key = (await one.home.run(ReserveTransfer(a, b, CHF, "10.00", 60), actor="a")).reply.id
        await one.operate(SetLimit(a, CHF, daily="10.00"))
        await one.pay(a, b, "3.00")
        await one.home.run(VoidPending(key), actor="a")
        (usage,) = rows(one.home, USAGE).values()
        assert (usage.daily, usage.count) == (300, 1)


@pytest.mark.parametrize("drifts_first", [False, True])
async def test_a_reservation_away_gives_its_part_of_the_limits_back_and_home(drifts_first):
    async with bank(2) as two:
        _, away = two.nodes
        a, b = await two.account("a", "100.00"), await two.account("b", node=away)
        await two.operate(SetLimit(a, CHF, daily="10.00", count=8))
        await two.operate(SetRoaming(a, CHF, "50.00", ("sg-mas-01",)))
        await two.settle()
        await pay_away(two, away, a, b, "1.00")
        waiting = await started(two, away, ReserveTransfer(a, b, CHF, "6.00", 100), "a")
        await two.settle()
        two.clock.advance(3)
        await turn(away)
        key = (await waiting).reply.id
        (visit,) = rows(away, VISITS).values()
        assert visit.allowance == 0
        if drifts_first:
            two.clock.advance(61)
            await two.settle()
        await away.run(VoidPending(key), actor="a")
        two.clock.advance(62)
        await two.settle()
        (usage,) = rows(two.home, USAGE).values()
        assert usage.daily == 100
        assert usage.count <= 8
        for node in two.nodes:
            check_conservation(node)

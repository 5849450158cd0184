"""Limits of an account: at its home, and as they travel with the money."""

import pytest

from jilnode.kernel.errors import Rejected
from services.wallet.intents import SetLimit, SetRoaming
from tests.services.wallet.kit import CHF, bank, check_conservation, turn
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
        assert home.engine.alarms == []


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

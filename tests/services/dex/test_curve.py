"""The curve's arithmetic against the real numbers, and the properties M1 to M5 over all of its range."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jilnode.limits import INT64_MAX
from services.dex.pools.curve import (
    MINIMUM_LIQUIDITY,
    PRICE_BITS,
    accumulated,
    amount_in,
    amount_out,
    cost_of,
    fee_in,
    first_shares,
    price_of,
    shares_for,
    worth_of,
)

AMOUNTS = st.integers(1, INT64_MAX) | st.integers(1, 10_000)
FEES = st.sampled_from([0, 1, 30, 100, 1000])
ETHER = 10**18


def real_out(amount: int, x: int, y: int, fee_bps: int) -> Fraction:
    """y - k / (x + what is left of the input after the fee), in real numbers."""
    effective = amount * (1 - Fraction(fee_bps, 10_000))
    return y - Fraction(x * y) / (x + effective)


@pytest.mark.parametrize(
    ("amount", "x", "y", "out"),
    [
        (1, 5, 10, 1662497915624478906),
        (1, 10, 5, 453305446940074565),
        (2, 5, 10, 2851015155847869602),
        (2, 10, 5, 831248957812239453),
        (1, 10, 10, 906610893880149131),
        (1, 100, 100, 987158034397061298),
        (1, 1000, 1000, 996006981039903216),
    ],
)
def test_swaps_give_what_uniswap_v2_tests_say(amount, x, y, out):
    """The published cases of uniswap-v2-core's UniswapV2Pair.spec.ts, at 0.3 %."""
    assert amount_out(amount * ETHER, x * ETHER, y * ETHER, 30) == out


@given(AMOUNTS, AMOUNTS, AMOUNTS, FEES)
def test_out_is_the_floor_of_the_real_amount_and_leaves_something(amount, x, y, fee):
    out = amount_out(amount, x, y, fee)
    assert out == real_out(amount, x, y, fee) // 1
    assert 0 <= out < y


@given(AMOUNTS, AMOUNTS, AMOUNTS, FEES)
def test_m1_the_product_never_falls(amount, x, y, fee):
    out = amount_out(amount, x, y, fee)
    assert (x + amount) * (y - out) >= x * y
    assert (x + Fraction(amount * (10_000 - fee), 10_000)) * (y - out) >= x * y


@given(AMOUNTS, AMOUNTS, AMOUNTS, FEES)
def test_m2_there_and_back_never_profits(amount, x, y, fee):
    out = amount_out(amount, x, y, fee)
    assert amount_out(out, y - out, x + amount, fee) <= amount


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, FEES)
def test_m3_two_parts_never_give_more_than_one(first, second, x, y, fee):
    out = amount_out(first, x, y, fee)
    parts = out + amount_out(second, x + first, y - out, fee)
    assert parts <= amount_out(first + second, x, y, fee)


@given(AMOUNTS, AMOUNTS, AMOUNTS, FEES)
def test_the_input_for_an_output_is_the_least(wanted, x, y, fee):
    if wanted >= y:
        return
    needed = amount_in(wanted, x, y, fee)
    assert amount_out(needed, x, y, fee) >= wanted
    assert amount_out(needed - 1, x, y, fee) < wanted


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)
def test_m4_m5_putting_in_and_taking_out(base, quote, x, y, shares):
    shares = min(shares, first_shares(x, y))
    made = shares_for(base, quote, x, y, shares)
    if not made:
        return
    costs = cost_of(made, x, shares), cost_of(made, y, shares)
    assert costs[0] <= base
    assert costs[1] <= quote
    # M4: each reserve for a share has not fallen, neither for those who stay nor after they go again.
    assert (x + costs[0]) * shares >= x * (shares + made)
    assert (y + costs[1]) * shares >= y * (shares + made)
    back = worth_of(made, x + costs[0], shares + made), worth_of(made, y + costs[1], shares + made)
    assert back[0] <= costs[0]
    assert back[1] <= costs[1]
    assert (x + costs[0] - back[0]) * shares >= x * shares
    # One more would cost more than there is.
    assert cost_of(made + 1, x, shares) > base or cost_of(made + 1, y, shares) > quote
    assert (shares + made) ** 2 <= (x + costs[0]) * (y + costs[1])


@given(AMOUNTS, AMOUNTS)
def test_the_first_shares_are_the_root_of_the_product(x, y):
    shares = first_shares(x, y)
    assert shares**2 <= x * y < (shares + 1) ** 2
    assert shares <= INT64_MAX


@given(AMOUNTS, AMOUNTS, st.lists(st.integers(0, 10**15), min_size=1, max_size=6))
def test_what_accumulates_does_not_depend_on_how_often_somebody_looks(x, y, steps):
    total = "0"
    for step in steps:
        total = accumulated(total, x, y, step)
    assert total == accumulated("0", x, y, sum(steps))
    mean = Fraction(int(total), 1 << PRICE_BITS)
    exact = Fraction(y, x) * sum(steps)
    assert exact - Fraction(sum(steps), 1 << PRICE_BITS) <= mean <= exact


def test_known_values():
    assert (fee_in(1, 30), fee_in(10_000, 30), fee_in(10_001, 30), fee_in(5, 0)) == (1, 30, 31, 0)
    assert price_of(4, 2) == 1 << (PRICE_BITS - 1)
    assert MINIMUM_LIQUIDITY == 1000

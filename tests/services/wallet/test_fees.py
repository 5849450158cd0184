"""Fees: what is quoted is charged, to the minor unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jilnode.kernel.errors import Rejected
from jilnode.limits import INT64_MAX
from jilnode.module import QueryContext
from services.wallet import queries
from services.wallet.amounts import fee_of, format_amount, parse_amount
from services.wallet.intents import PostTransfer, ReserveTransfer, SetFee
from tests.services.wallet.kit import CHF, bank, check_conservation

TIERS = (("0", 30), ("1.00", 25), ("10.00", 7))


@given(st.integers(1, INT64_MAX), st.integers(0, 9))
def test_amounts_survive_the_way_out_and_in(minor, scale):
    text = format_amount(minor, scale)
    assert len(text.partition(".")[2]) == scale
    assert parse_amount(text, scale) == minor


@given(st.text(max_size=12) | st.decimals(allow_nan=True).map(str), st.integers(0, 9))
def test_whatever_is_not_exactly_an_amount_is_refused(text, scale):
    try:
        minor = parse_amount(text, scale)
    except Rejected as rejected:
        assert rejected.code in ("bad_amount", "too_many_decimals")
        assert rejected.field == "/amount"
    else:
        assert 0 < minor <= INT64_MAX
        whole, _, decimals = text.partition(".")
        assert format_amount(minor, scale) == (whole.lstrip("0") or "0") + (
            "." + decimals.ljust(scale, "0") if scale else ""
        )


steps = st.tuples(st.integers(1, 10**12), st.integers(0, 10_000))
tiers = st.lists(steps, max_size=4, unique_by=lambda step: step[0]).map(lambda found: ((0, 15), *sorted(found)))


@given(st.integers(1, 10**13), tiers)
def test_the_sender_pays_the_ceiling_and_the_fee_never_exceeds_the_amount(amount, table):
    bps = [rate for start, rate in table if start <= amount][-1]
    fee = fee_of(amount, table)
    assert fee * 10_000 >= amount * bps > (fee - 1) * 10_000
    assert 0 <= fee <= amount


@pytest.mark.parametrize("amount", ["0.01", "0.99", "1.00", "3.33", "9.99", "10.00", "77.77"])
@pytest.mark.parametrize("kind", ["transfer", "pending"])
async def test_the_quote_is_the_charge_and_debit_is_credit_plus_fee(amount, kind):
    async with bank() as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        await one.operate(SetFee(CHF, TIERS, kind))
        context = QueryContext("a", frozenset(), one.home.source, 0)
        quoted = await one.home.writer.query(
            lambda view: queries.quote(view, context, queries.QuoteParams(CHF, amount, kind))
        )
        command = PostTransfer if kind == "transfer" else ReserveTransfer
        reply = (await one.home.run(command(a, b, CHF, amount), actor="a")).reply
        assert reply.fee == quoted.fee != "0.00"
        left = parse_amount(await one.available(a), 2, zero=True)
        assert 10_000 - left == parse_amount(quoted.total, 2)
        if kind == "transfer":
            assert await one.available(b) == amount
            assert await one.available("fees@ch-zug-01") == quoted.fee
        check_conservation(one.home)


async def test_an_operator_takes_the_fees_out_of_the_fee_account():
    async with bank() as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        await one.operate(SetFee(CHF, (("0", 100),)))
        await one.pay(a, b, "50.00")
        await one.operate(SetFee(CHF, (("0", 0),)))
        await one.operate(PostTransfer("fees@ch-zug-01", b, CHF, "0.50"))
        assert await one.available("fees@ch-zug-01") == "0.00"
        check_conservation(one.home)


@pytest.mark.parametrize(
    ("table", "kind", "code"),
    [
        ((("1", 5),), "transfer", "bad_tiers"),
        ((("0", 5), ("0", 6)), "transfer", "bad_tiers"),
        ((("0", 10_001),), "transfer", "bad_tiers"),
        ((("0", -1),), "transfer", "bad_tiers"),
        ((("0.001", 1),), "transfer", "too_many_decimals"),
        (tuple((str(index), 1) for index in range(33)), "transfer", "bad_tiers"),
        ((("0", 5),), "issue", "bad_kind"),
    ],
)
async def test_a_fee_table_that_is_refused(table, kind, code):
    async with bank() as one:
        with pytest.raises(Rejected, match=code):
            await one.operate(SetFee(CHF, table, kind))

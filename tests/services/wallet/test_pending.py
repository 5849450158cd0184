"""Two-phase transfers: reserved, then resolved exactly once."""

import pytest

from jilnode.kernel.errors import Rejected
from services.wallet.intents import Issue, PostPending, ReserveTransfer, SetFee, SetStatus, VoidPending
from services.wallet.rows import PENDING
from tests.services.wallet.kit import CHF, bank, check_conservation, rows, turn


async def reserved(one, amount="10.00", timeout_s=60):
    a, b = await one.account("a", "100.00"), await one.account("b")
    answer = await one.home.run(ReserveTransfer(a, b, CHF, amount, timeout_s), actor="a")
    return a, b, answer.reply.id


async def test_reserved_money_is_neither_spendable_nor_gone():
    async with bank() as one:
        a, b, _ = await reserved(one)
        balance = await one.balance(a)
        assert (balance.available, balance.pending, balance.total) == ("90.00", "10.00", "100.00")
        with pytest.raises(Rejected, match="insufficient_funds"):
            await one.pay(a, b, "90.01")
        check_conservation(one.home)


@pytest.mark.parametrize(("amount", "left", "got"), [("", "90.00", "10.00"), ("4.00", "96.00", "4.00")])
async def test_posting_moves_the_whole_or_a_part_and_the_rest_returns(amount, left, got):
    async with bank() as one:
        a, b, key = await reserved(one)
        answer = await one.home.run(PostPending(key, amount), actor="a")
        assert (answer.reply.kind, answer.reply.amount) == ("post", got)
        assert (await one.available(a), await one.available(b)) == (left, got)
        check_conservation(one.home)


async def test_it_resolves_once():
    async with bank() as one:
        a, _, key = await reserved(one)
        await one.home.run(VoidPending(key), actor="a")
        for command in (VoidPending(key), PostPending(key), PostPending(key, "1.00")):
            with pytest.raises(Rejected, match="pending_resolved"):
                await one.home.run(command, actor="a")
        assert await one.available(a) == "100.00"
        check_conservation(one.home)


async def test_it_expires_by_itself_and_never_twice():
    async with bank() as one:
        a, _, key = await reserved(one, timeout_s=5)
        one.clock.advance(5)
        await turn(one.home)
        assert rows(one.home, PENDING)[key.replace("~", "/")].status == "expired"
        assert await one.available(a) == "100.00"
        with pytest.raises(Rejected, match="pending_resolved"):
            await one.home.run(PostPending(key), actor="a")
        one.clock.advance(60)
        await turn(one.home)
        check_conservation(one.home)


@pytest.mark.parametrize(
    ("command", "actor", "code"),
    [
        (PostPending("{id}", "10.01"), "a", "more_than_reserved"),
        (PostPending("{id}", "1.001"), "a", "too_many_decimals"),
        (PostPending("{id}", "0"), "a", "bad_amount"),
        (PostPending("{id}"), "b", "not_your_account"),
        (VoidPending("{id}"), "b", "not_your_account"),
        (PostPending("ch-zug-01~9-9"), "a", "unknown_pending"),
        (VoidPending("\x00"), "a", "unknown_pending"),
    ],
)
async def test_a_resolution_that_is_refused(command, actor, code):
    async with bank() as one:
        _, _, key = await reserved(one)
        kind = type(command)
        arguments = {field: getattr(command, field).format(id=key) for field in command.__struct_fields__}
        with pytest.raises(Rejected, match=code):
            await one.home.run(kind(**arguments), actor=actor)
        check_conservation(one.home)


@pytest.mark.parametrize("timeout_s", [0, -1, 31 * 86_400])
async def test_a_timeout_has_bounds(timeout_s):
    async with bank() as one:
        with pytest.raises(Rejected, match="bad_timeout"):
            await reserved(one, timeout_s=timeout_s)


async def test_the_fee_of_a_pending_transfer_is_reserved_and_charged_for_what_is_posted():
    async with bank() as one:
        await one.operate(SetFee(CHF, (("0", 100),), "pending"))
        a, _, key = await reserved(one)
        balance = await one.balance(a)
        assert (balance.available, balance.pending) == ("89.90", "10.10")
        answer = await one.home.run(PostPending(key, "4.00"), actor="a")
        assert answer.reply.fee == "0.04"
        assert await one.available(a) == "95.96"
        assert await one.available("fees@ch-zug-01") == "0.04"
        check_conservation(one.home)


async def test_only_the_node_that_reserved_it_resolves_it():
    async with bank(2) as two:
        _, _, key = await reserved(two)
        await two.settle()
        with pytest.raises(Rejected) as refusal:
            await two.nodes[1].run(VoidPending(key), actor="a")
        assert (refusal.value.status, refusal.value.extra) == (421, {"owner": "ch-zug-01"})


async def test_a_node_that_has_not_heard_of_the_account_still_knows_who_reserved_it():
    async with bank(3) as three:
        home, away, third = three.nodes
        a, b = await three.account("a", node=away), await three.account("b")
        three.clock.advance(31)
        await turn(away)
        await home.follow(away)
        await three.operate(Issue(CHF, a, "100.00"))
        key = (await home.run(ReserveTransfer(a, b, CHF, "10.00"), actor="a")).reply.id
        await third.follow(home)
        with pytest.raises(Rejected) as refusal:
            await third.run(VoidPending(key), actor="a")
        assert (refusal.value.status, refusal.value.extra) == (421, {"owner": "ch-zug-01"})


async def test_a_reservation_of_an_account_that_was_frozen_since_can_still_be_resolved():
    async with bank() as one:
        a, b, key = await reserved(one)
        await one.operate(SetStatus(a, "frozen"))
        await one.home.run(PostPending(key), actor="a")
        assert await one.available(b) == "10.00"

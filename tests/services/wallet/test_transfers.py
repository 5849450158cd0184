"""Direct transfers, linked sets and batches: each outcome by its code."""

import pytest

from jilnode.kernel.errors import Rejected
from services.wallet.intents import Burn, CreateAsset, Issue, PostBatch, PostLinked, PostTransfer, SetFee, SetStatus
from services.wallet.rows import BATCHES, TRANSFERS
from tests.services.wallet.kit import CHF, OPERATOR, bank, check_conservation, rows


async def test_a_transfer_moves_money_and_tells_what_is_left():
    async with bank() as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        reply = await one.pay(a, b, "12.50")
        assert (reply.amount, reply.fee, reply.kind) == ("12.50", "0.00", "transfer")
        assert reply.debit_balance.available_here == "87.50"
        assert (await one.available(a), await one.available(b)) == ("87.50", "12.50")
        check_conservation(one.home)


@pytest.mark.parametrize(
    ("debit", "credit", "asset", "amount", "actor", "code", "field"),
    [
        ("{a}", "{b}", CHF, "100.01", "a", "insufficient_funds", "/amount"),
        ("{b}", "{a}", CHF, "0.01", "b", "insufficient_funds", "/amount"),
        ("{a}", "{b}", CHF, "1.001", "a", "too_many_decimals", "/amount"),
        ("{a}", "{b}", CHF, "1.000", "a", "too_many_decimals", "/amount"),
        ("{a}", "{b}", CHF, "0", "a", "bad_amount", "/amount"),
        ("{a}", "{b}", CHF, "0.00", "a", "bad_amount", "/amount"),
        ("{a}", "{b}", CHF, "-1", "a", "bad_amount", "/amount"),
        ("{a}", "{b}", CHF, "1e3", "a", "bad_amount", "/amount"),
        ("{a}", "{b}", CHF, "1.", "a", "bad_amount", "/amount"),
        ("{a}", "{b}", CHF, ".5", "a", "bad_amount", "/amount"),
        ("{a}", "{b}", CHF, " 1", "a", "bad_amount", "/amount"),
        ("{a}", "{b}", CHF, "\u0661", "a", "bad_amount", "/amount"),
        ("{a}", "{b}", CHF, "92233720368547758.08", "a", "bad_amount", "/amount"),
        ("{a}", "{b}", CHF, "9" * 40, "a", "bad_amount", "/amount"),
        ("{a}", "{a}", CHF, "1", "a", "same_account", "/credit"),
        ("{a}", "nobody@ch-zug-01", CHF, "1", "a", "unknown_account", "/credit"),
        ("{a}", "ch-zug-01~9-9", CHF, "1", "a", "unknown_account", "/credit"),
        ("{a}", "\x00", CHF, "1", "a", "unknown_account", "/credit"),
        ("{a}", "", CHF, "1", "a", "unknown_account", "/credit"),
        ("ch-zug-01~9-9", "{b}", CHF, "1", "a", "unknown_account", "/debit"),
        ("{a}", "{b}", "EURX@ch-zug-01", "1", "a", "unknown_asset", "/asset"),
        ("{a}", "{b}", "CHFX", "1", "a", "unknown_asset", "/asset"),
        ("{a}", "{b}", CHF, "1", "b", "not_your_account", "/debit"),
        ("{frozen}", "{b}", CHF, "1", "f", "account_frozen", "/debit"),
        ("{closed}", "{b}", CHF, "1", "c", "account_closed", "/debit"),
        ("{a}", "{closed}", CHF, "1", "a", "account_closed", "/credit"),
    ],
)
async def test_a_refused_transfer_says_why_and_where_and_moves_nothing(
    debit, credit, asset, amount, actor, code, field
):
    async with bank() as one:
        names = {
            "a": await one.account("a", "100.00"),
            "b": await one.account("b"),
            "frozen": await one.account("f", "5.00"),
            "closed": await one.account("c"),
        }
        await one.operate(SetStatus(names["frozen"], "frozen"))
        await one.operate(SetStatus(names["closed"], "closed"))
        with pytest.raises(Rejected) as refusal:
            await one.home.run(PostTransfer(debit.format(**names), credit.format(**names), asset, amount), actor=actor)
        assert (refusal.value.code, refusal.value.field) == (code, field)
        assert await one.available(names["a"]) == "100.00"
        check_conservation(one.home)


async def test_money_goes_to_a_handle_and_a_frozen_account_can_still_be_paid():
    async with bank() as one:
        a, b = await one.account("a", "10.00"), await one.account("b", handle="kestrel")
        await one.operate(SetStatus(b, "frozen"))
        await one.pay(a, "kestrel@ch-zug-01", "3")
        assert await one.available(b) == "3.00"


async def test_only_the_issuer_issues_and_never_beyond_64_bits():
    async with bank(2) as two:
        a = await two.account("a", "92233720368547758.07")
        with pytest.raises(Rejected, match="issue_too_large"):
            await two.operate(Issue(CHF, a, "0.01"))
        await two.settle()
        for command in (Issue(CHF, a, "1"), Burn(CHF, a, "1")):
            with pytest.raises(Rejected) as refusal:
                await two.operate(command, two.nodes[1])
            assert (refusal.value.status, refusal.value.extra) == (421, {"owner": "ch-zug-01"})


async def test_burning_lowers_the_supply():
    async with bank() as one:
        a = await one.account("a", "10.00")
        reply = await one.operate(Burn(CHF, a, "4.00"))
        assert (reply.kind, reply.credit) == ("burn", "")
        assert await one.available(a) == "6.00"
        with pytest.raises(Rejected, match="insufficient_funds"):
            await one.operate(Burn(CHF, a, "6.01"))
        with pytest.raises(Rejected, match="not_your_account"):
            await one.home.run(Burn(CHF, a, "1"), actor="somebody", scopes=("wallet:issue",))
        check_conservation(one.home)


@pytest.mark.parametrize(
    ("code", "scale", "problem"),
    [
        ("chfx", 2, "bad_asset_code"),
        ("C", 2, "bad_asset_code"),
        ("CHF-X", 2, "bad_asset_code"),
        ("C" * 13, 2, "bad_asset_code"),
        ("EURX", 10, "bad_scale"),
        ("EURX", -1, "bad_scale"),
        ("CHFX", 2, "asset_exists"),
    ],
)
async def test_an_asset_has_a_code_of_its_own_and_at_most_nine_decimals(code, scale, problem):
    async with bank() as one:
        with pytest.raises(Rejected, match=problem):
            await one.operate(CreateAsset(code, scale))


async def test_a_linked_set_is_posted_whole_or_not_at_all():
    async with bank() as one:
        a, b, c = await one.account("a", "10.00"), await one.account("b"), await one.account("c")
        chain = (PostTransfer(a, b, CHF, "10"), PostTransfer(b, c, CHF, "4"), PostTransfer(c, a, CHF, "1"))
        reply = await one.operate(PostLinked(chain))
        assert [item.transfer != "" for item in reply.items] == [True] * 3
        assert [await one.available(account) for account in (a, b, c)] == ["1.00", "6.00", "3.00"]
        with pytest.raises(Rejected, match="insufficient_funds") as refusal:
            await one.operate(PostLinked((PostTransfer(a, b, CHF, "1"), PostTransfer(c, a, CHF, "3.01"))))
        assert refusal.value.field == "/transfers/1/amount"
        assert [await one.available(account) for account in (a, b, c)] == ["1.00", "6.00", "3.00"]
        for count in (0, 101):
            with pytest.raises(Rejected, match="bad_count"):
                await one.operate(PostLinked((PostTransfer(a, b, CHF, "0.01"),) * count))
        await one.operate(PostLinked((PostTransfer(b, c, CHF, "0.01"),) * 100))
        check_conservation(one.home)


async def test_a_refused_item_of_a_batch_undoes_only_itself():
    async with bank() as one:
        a, b = await one.account("a", "10.00"), await one.account("b")
        await one.operate(SetFee(CHF, (("0", 100),)))
        items = (
            PostTransfer(a, b, CHF, "5.00"),
            PostTransfer(a, b, CHF, "5.00"),
            PostTransfer(a, b, CHF, "0.001"),
            PostTransfer(a, b, CHF, "1.00"),
        )
        answer = await one.home.run(PostBatch(items), actor="a", key="k", body=b"1")
        reply = answer.reply
        assert (reply.posted, reply.refused) == (2, 2)
        assert [(item.index, item.code, item.field) for item in reply.items] == [
            (0, "", ""),
            (1, "insufficient_funds", "/amount"),
            (2, "too_many_decimals", "/amount"),
            (3, "", ""),
        ]
        posted = rows(one.home, TRANSFERS)
        assert [posted[item.transfer.replace("~", "/")].amount for item in reply.items if item.transfer] == [500, 100]
        again = await one.home.run(PostBatch(items), actor="a", key="k", body=b"1")
        assert again.replayed
        assert again.reply == reply
        assert await one.available(a) == "3.94"
        assert len(rows(one.home, BATCHES)) == 1
        check_conservation(one.home)


async def test_a_whole_chunk_is_one_event_and_keeps_its_order():
    async with bank() as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        before = one.home.engine.own.size
        items = tuple(PostTransfer(a, b, CHF, f"0.{index + 1:02d}") for index in range(99))
        reply = await one.operate(PostBatch((*items, PostTransfer(a, a, CHF, "1"))))
        assert one.home.engine.own.size == before + 1
        posted = rows(one.home, TRANSFERS)
        amounts = [posted[item.transfer.replace("~", "/")].amount for item in reply.items if item.transfer]
        assert amounts == list(range(1, 100))
        assert reply.items[99].code == "same_account"
        with pytest.raises(Rejected, match="bad_count"):
            await one.operate(PostBatch(items + items[:2]))


async def test_the_same_key_moves_money_once():
    async with bank() as one:
        a, b = await one.account("a", "10.00"), await one.account("b")
        first = await one.home.run(PostTransfer(a, b, CHF, "4"), actor="a", key="k", body=b"4")
        again = await one.home.run(PostTransfer(a, b, CHF, "4"), actor="a", key="k", body=b"4")
        assert (again.replayed, again.reply) == (True, first.reply)
        with pytest.raises(Rejected, match="idempotency_key_reused"):
            await one.home.run(PostTransfer(a, b, CHF, "5"), actor="a", key="k", body=b"5")
        assert await one.available(a) == "6.00"


async def test_the_scopes_of_an_operator_reach_every_account():
    async with bank() as one:
        a, b = await one.account("a", "10.00"), await one.account("b")
        reply = await one.home.run(PostTransfer(a, b, CHF, "1"), actor="operator", scopes=OPERATOR)
        assert reply.status == 201

"""Accounts, handles, status; who may do what."""

from functools import partial

import pytest

from jilnode.kernel.errors import Rejected
from jilnode.module import QueryContext
from services.wallet import listings, queries
from services.wallet.commands.accounts import _named
from services.wallet.intents import (
    CreateAccount,
    CreateAsset,
    Issue,
    PostTransfer,
    SetFee,
    SetLimit,
    SetRoaming,
    SetStatus,
)
from services.wallet.module import MODULE
from tests.kit.node import TestNode, running
from tests.services.wallet.kit import CHF, OPERATOR, Bank, bank, check_conservation, started, turn


@pytest.mark.parametrize(
    ("command", "actor", "scopes", "code"),
    [
        (CreateAccount(subject="b"), "a", (), "not_your_account"),
        (CreateAccount(kind="system"), "a", (), "not_your_account"),
        (CreateAccount(kind="other"), "a", (), "bad_kind"),
        (CreateAccount(subject="x" * 129), "a", OPERATOR, "bad_subject"),
        (CreateAccount(handle="x"), "a", (), "bad_handle"),
        (CreateAccount(handle="x" * 65), "a", (), "bad_handle"),
        (CreateAccount(handle="no/slash"), "a", (), "bad_handle"),
        (CreateAccount(handle="no@at"), "a", (), "bad_handle"),
        (CreateAccount(handle="no blank"), "a", (), "bad_handle"),
        (CreateAccount(handle="taken"), "a", (), "handle_taken"),
        (CreateAccount(handle="fees"), "a", (), "handle_taken"),
    ],
)
async def test_an_account_that_may_not_be_opened(command, actor, scopes, code):
    async with bank() as one:
        await one.account("first", handle="taken")
        with pytest.raises(Rejected, match=code):
            await one.home.run(command, actor=actor, scopes=scopes)


async def test_an_account_says_whose_it_is_and_where_it_lives():
    async with bank() as one:
        answer = await one.home.run(CreateAccount(handle="kestrel"), actor="a")
        assert (answer.reply.subject, answer.reply.home) == ("a", "ch-zug-01")
        assert (answer.reply.handle, answer.reply.status) == ("kestrel@ch-zug-01", "active")
        assert "/" not in answer.reply.id


async def test_a_handle_with_a_tilde_is_read_as_it_is_paid():
    async with bank() as one:
        a, b = await one.account("a", "10.00", handle="a~b"), await one.account("b")
        await one.pay("a~b@ch-zug-01", b, "4.00")
        context = QueryContext("a", frozenset(), one.home.source, one.home.engine.now_us())
        params = queries.AccountParams("a~b@ch-zug-01")
        for read in (queries.account, queries.balances, queries.freeze_state):
            await one.home.writer.query(partial(read, context=context, params=params))
        account = await one.home.writer.query(lambda view: queries.account(view, context, params))
        assert (account.id, account.handle) == (a, "a~b@ch-zug-01")
        history = await listings.history(one.home.store, context, listings.HistoryParams("a~b@ch-zug-01"))
        assert [item.amount for item in history.items] == ["4.00", "10.00"]


async def test_frozen_is_undone_and_closed_is_not():
    async with bank() as one:
        a, b = await one.account("a", "10.00"), await one.account("b")
        await one.operate(SetStatus(a, "frozen"))
        await one.operate(SetStatus(a, "active"))
        await one.pay(a, b, "4.00")
        with pytest.raises(Rejected, match="account_not_empty"):
            await one.operate(SetStatus(a, "closed"))
        await one.pay(a, b, "6.00")
        await one.operate(SetStatus(a, "closed"))
        with pytest.raises(Rejected, match="account_closed"):
            await one.operate(SetStatus(a, "active"))
        with pytest.raises(Rejected, match="account_closed"):
            await one.operate(Issue(CHF, a, "1"))
        with pytest.raises(Rejected, match="bad_status"):
            await one.operate(SetStatus(b, "asleep"))
        check_conservation(one.home)


async def test_only_the_home_freezes_and_the_answer_tells_where_it_is_in_force():
    async with bank(2) as two:
        home, away = two.nodes
        a = await two.account("a")
        await two.settle()
        with pytest.raises(Rejected) as refusal:
            await two.operate(SetStatus(a, "frozen"), away)
        assert refusal.value.status == 421
        await two.operate(SetStatus(a, "frozen"))

        async def in_force(asked=home):
            context = QueryContext("operator", frozenset(OPERATOR), asked.source, asked.engine.now_us())
            found = await asked.writer.query(lambda view: queries.freeze_state(view, context, queries.AccountParams(a)))
            assert found.status == "frozen"
            return {node.node: node.in_force for node in found.nodes}

        assert await in_force() == {"ch-zug-01": True, "sg-mas-01": False}
        await two.settle()
        assert await in_force(away) == {"ch-zug-01": True, "sg-mas-01": True}
        two.clock.advance(31)
        await two.settle()
        assert await in_force() == {"ch-zug-01": True, "sg-mas-01": True}


async def test_names_of_any_length_make_keys_that_fit():
    """Node ids have at most 63 characters; everything that is made of them must still be a key."""
    sources = ["a" * 63, "b" * 63]
    two = Bank()
    two.nodes = [TestNode(source, [MODULE], clock=two.clock) for source in sources]
    two.home = two.nodes[0]
    async with running(*two.nodes):
        with pytest.raises(Rejected, match="bad_asset_code"):
            await two.operate(CreateAsset("CHFX", 2))
    sources = ["a" * 51, "b" * 63]
    two.nodes = [TestNode(source, [MODULE], clock=two.clock) for source in sources]
    two.home, away = two.nodes
    async with running(*two.nodes):
        asset = f"{'C' * 12}@{sources[0]}"
        await two.operate(CreateAsset("C" * 12, 2))
        a, b = await two.account("a", handle="x" * 64), await two.account("b", node=away)
        await two.settle()
        await two.operate(Issue(asset, a, "10.00"))
        await two.operate(SetRoaming(a, asset, "5.00", (sources[1],)))
        await two.operate(SetLimit(a, asset, daily="9.00"))
        await two.operate(SetFee(asset, (("0", 1),)))
        await two.settle()
        future = await started(two, away, PostTransfer(a, b, asset, "5.00"), "a")
        await two.settle()
        two.clock.advance(3)
        await turn(away)
        assert (await future).reply.amount == "5.00"
        for node in two.nodes:
            assert not node.engine.alarms
            check_conservation(node)


async def test_no_long_name_is_remembered_or_repeated():
    """Who sends a megabyte as an account gets none of this node's memory for it, nor of its database: a refusal is
    kept there for a day."""
    async with bank() as one:
        remembered = _named.cache_info().currsize
        with pytest.raises(Rejected) as refusal:
            await one.pay("x" * 300, "y" * 300, "1.00")
        assert (refusal.value.code, refusal.value.field) == ("unknown_account", "/debit")
        assert "x" not in refusal.value.detail
        assert _named.cache_info().currsize == remembered

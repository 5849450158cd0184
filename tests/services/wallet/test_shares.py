"""Money at several nodes: asked for, granted, claimed, drifting home; and what a partition does."""

import pytest

from jilnode.kernel.errors import Rejected
from jilnode.kernel.ports import Loaded, Wanted
from jilnode.stores.memory import MemoryStore
from jilnode.stores.memory_disk import MemoryDisk
from services.wallet.intents import CreateAsset, Issue, PostTransfer, SetRoaming, SetStatus
from services.wallet.rows import REQUESTS, TRANSITS
from tests.kit.node import running
from tests.services.wallet.kit import CHF, Bank, bank, check_conservation, rows, started, turn


async def pay_away(two: Bank, node, debit: str, credit: str, amount: str, subject: str = "a") -> str:
    """``posted``, the code of the refusal, or why the other node does not send."""
    future = await started(two, node, PostTransfer(debit, credit, CHF, amount), subject)
    await two.settle()
    await waited(two, node)
    try:
        await future
    except Rejected as rejected:
        return str(rejected.extra.get("reason", rejected.code))
    return "posted"


async def waited(two: Bank, node) -> None:
    """Time passes until whoever waits for a share is decided, one way or the other."""
    two.clock.advance(3)
    await turn(node)


async def roaming(two: Bank, amount: str = "50.00", hourly: str = "", ttl_s: int = 3600) -> tuple[str, str]:
    a, b = await two.account("a", "100.00"), await two.account("b", node=two.nodes[1])
    await two.settle()
    await two.operate(SetRoaming(a, CHF, amount, ("sg-mas-01",), hourly, ttl_s))
    await two.settle()
    return a, b


async def test_a_debit_away_waits_for_the_share_and_succeeds():
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await roaming(two)
        future = await started(two, away, PostTransfer(a, b, CHF, "20.00"), "a")
        assert not future.done()
        assert [request.to for request in rows(away, REQUESTS).values()] == ["ch-zug-01"]
        await two.settle()
        await waited(two, away)
        assert (await future).reply.amount == "20.00"
        assert (await two.available(a, home), await two.available(b, away)) == ("80.00", "20.00")
        for node in two.nodes:
            check_conservation(node)
            assert not node.engine.alarms


class Counted(MemoryStore):
    """Counts the rows that it gave."""

    given = 0

    async def load(self, wanted: Wanted) -> Loaded:
        loaded = await super().load(wanted)
        for found in (*loaded.rows.values(), *loaded.buckets.values()):
            self.given += sum(image is not None for image in found.values())
        return loaded


async def test_what_others_credit_to_an_account_costs_its_payments_nothing():
    """They may do so in as many assets of their own as they like."""
    store = Counted(MemoryDisk())
    two = Bank(2, [store, None], cache_bytes=1)
    away = two.nodes[1]
    async with running(*two.nodes):
        await two.begin()
        a, b = await two.account("a", "10.00"), await two.account("b")
        await two.settle()
        for number in range(40):
            await two.operate(CreateAsset(f"JUNK{number}", 0), away)
            await two.operate(Issue(f"JUNK{number}@{away.source}", a, "1"), away)
        await two.settle()
        store.given = 0
        with pytest.raises(Rejected, match="insufficient_funds"):
            await two.pay(a, b, "10.01")
        assert store.given < 10


async def test_a_debit_beyond_the_total_is_final():
    async with bank(2) as two:
        a, b = await roaming(two)
        assert await pay_away(two, two.nodes[1], a, b, "100.01") == "insufficient_funds"
        assert rows(two.nodes[1], REQUESTS) == {}


async def test_while_the_holder_is_cut_off_the_caller_is_told_to_try_again():
    async with bank(2) as two:
        away = two.nodes[1]
        a, b = await roaming(two)
        future = await started(two, away, PostTransfer(a, b, CHF, "20.00"), "a")
        two.clock.advance(3)
        await turn(away)
        refusal = future.exception()
        assert isinstance(refusal, Rejected)
        assert (refusal.code, refusal.status, refusal.retry_after_s) == ("share_short", 409, 1)
        assert not refusal.final
        again = await started(two, away, PostTransfer(a, b, CHF, "20.00"), "a")
        assert len(rows(away, REQUESTS)) == 1, "one open request for each balance and node"
        two.clock.advance(3)
        await turn(away)
        assert again.exception() is not None
        await two.settle()
        assert await two.available(a, away) == "0.00", "it came for that transfer"
        assert await pay_away(two, away, a, b, "20.00") == "posted"


async def test_without_leave_nothing_goes_away_and_the_caller_learns_why():
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await two.account("a", "100.00"), await two.account("b")
        await two.settle()
        assert await pay_away(two, away, a, b, "1.00") == "roaming_not_allowed"
        assert await two.available(a, home) == "100.00"
        assert [transit.amount for transit in rows(home, TRANSITS).values()] == [0]


async def test_leave_is_for_so_much_in_all_and_in_an_hour_and_until_a_moment():
    async with bank(2) as two:
        away = two.nodes[1]
        a, b = await roaming(two, "30.00", "20.00", 7000)
        assert await pay_away(two, away, a, b, "20.00") == "posted"
        assert await pay_away(two, away, a, b, "1.00") == "roaming_used_up"
        two.clock.advance(3600)
        await two.settle()
        two.clock.advance(31)
        await two.settle()
        assert await pay_away(two, away, a, b, "10.00") == "posted"
        assert await pay_away(two, away, a, b, "0.01") == "roaming_used_up"
        await two.operate(SetRoaming(a, CHF, "30.00", ("sg-mas-01",), ttl_s=5))
        two.clock.advance(6)
        await two.settle()
        assert await pay_away(two, away, a, b, "0.01") == "roaming_not_allowed"


async def test_what_lies_unused_drifts_home_and_can_be_granted_again():
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await two.account("a", "100.00"), await two.account("b", node=away)
        await two.settle()
        await two.pay(a, b, "40.00")
        assert await two.available(b, home) == "40.00"
        two.clock.advance(61)
        await turn(home)
        balance = await two.balance(b, home)
        assert (balance.here, balance.in_transit, balance.total) == ("0.00", "40.00", "40.00")
        await two.settle()
        assert await two.available(b, away) == "40.00"
        for node in two.nodes:
            check_conservation(node)


async def test_the_home_calls_money_back_whatever_the_roaming_row_says():
    async with bank(2) as two:
        away = two.nodes[1]
        a, b = await roaming(two, "60.00")
        assert await pay_away(two, away, a, b, "60.00") == "posted"
        c = await two.account("c", node=away)
        await two.settle()
        await two.pay(a, c, "40.00")
        await two.settle()
        assert await pay_away(two, away, c, b, "40.00", "c") == "posted"
        assert (await two.available(c, away)) == "0.00"


async def test_where_money_came_the_rest_stays_for_a_moment_so_that_two_nodes_do_not_play_ping_pong():
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await roaming(two)
        await two.pay(a, b, "95.00")
        two.clock.advance(61)
        await two.settle()
        await two.pay(b, a, "2.00", "b", away)
        given_up = await started(two, away, PostTransfer(a, b, CHF, "5.00"), "a")
        await waited(two, away)
        assert isinstance(given_up.exception(), Rejected)
        await two.settle()
        assert await two.available(a, away) == "2.00"
        await two.pay(a, b, "2.00")
        asked_back = await started(two, home, PostTransfer(a, b, CHF, "1.00"), "a")
        await two.settle()
        assert await two.available(a, away) == "2.00"
        assert [transit.code for transit in rows(away, TRANSITS).values() if transit.to == home.source] == [
            "minimum_stay"
        ]
        await waited(two, home)
        refusal = asked_back.exception()
        assert isinstance(refusal, Rejected)
        assert (refusal.code, refusal.extra) == ("share_short", {"reason": "minimum_stay"})


async def test_away_from_home_money_is_spendable_only_while_the_home_is_heard():
    async with bank(2) as two:
        _, away = two.nodes
        a, b = await roaming(two)
        assert await pay_away(two, away, a, b, "5.00") == "posted"
        two.clock.advance(601)
        future = await started(two, away, PostTransfer(a, b, CHF, "1.00"), "a")
        refusal = future.exception()
        assert isinstance(refusal, Rejected)
        assert (refusal.code, refusal.status, refusal.final) == ("home_not_heard", 503, False)


async def test_a_freeze_reaches_the_money_that_is_away():
    async with bank(2) as two:
        _, away = two.nodes
        a, b = await roaming(two)
        await two.operate(SetStatus(a, "frozen"))
        assert await pay_away(two, away, a, b, "5.00") == "account_frozen"
        await two.settle()
        assert await pay_away(two, away, a, b, "5.00") == "account_frozen"


async def test_a_balance_tells_each_node_s_part_and_how_old_that_is():
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await roaming(two)
        await two.pay(a, b, "10.00")
        await two.settle()
        two.clock.advance(7)
        balance = await two.balance(b, away)
        assert balance.here == "0.00"
        (part,) = balance.nodes
        assert (part.node, part.available) == ("ch-zug-01", "10.00")
        assert part.age_ms is not None
        assert part.age_ms >= 7000
        assert (await two.balance(b, home)).nodes[0].age_ms == 0

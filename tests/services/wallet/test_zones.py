"""What zones are asked about a transfer, and what their no does."""

import pytest

from jilnode.kernel.errors import Rejected
from jilnode.kernel.system import REFUSALS
from jilnode.zone import Verdict, ZoneBoard
from services.wallet.intents import PostBatch, PostLinked, PostTransfer, ReserveTransfer
from tests.services.wallet.kit import CHF, bank, check_conservation, rows


class Strict:
    """Approves what is below 10, and remembers what it was asked."""

    code = "XX_DEV"

    def __init__(self):
        self.asked = []

    def review(self, action, time_us):
        self.asked.append(action)
        facts = action.facts.get("items", [action.facts])
        if any(item["amount"].startswith("10") for item in facts):
            return Verdict(False, "too_much_for_us", "ten is too much", b"{}")
        return Verdict(True)

    def facts(self):
        return {}


async def test_the_zones_of_both_parties_are_asked_before_money_moves():
    zone = Strict()
    async with bank(zones=ZoneBoard("XX_DEV", [zone], development=True)) as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        await one.pay(a, b, "9.00")
        # Once more for each time that rows had to be loaded first.
        action = zone.asked[-1]
        assert all(asked == action for asked in zone.asked)
        assert (action.kind, action.zones) == ("wallet.transfer", ("XX_DEV", "XX_DEV"))
        assert action.facts == {"debit": a, "credit": b, "asset": CHF, "amount": "9.00"}


@pytest.mark.parametrize("kind", [PostTransfer, ReserveTransfer, PostLinked, PostBatch])
async def test_a_refusal_by_a_zone_is_recorded_and_moves_nothing(kind):
    zone = Strict()
    async with bank(zones=ZoneBoard("XX_DEV", [zone], development=True)) as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        command = (
            kind(a, b, CHF, "10.00")
            if kind in (PostTransfer, ReserveTransfer)
            else kind((PostTransfer(a, b, CHF, "1.00"), PostTransfer(a, b, CHF, "10.00")))
        )
        for _ in range(2):
            with pytest.raises(Rejected, match="too_much_for_us") as refusal:
                await one.home.run(command, actor="a", key="k", body=b"10")
            assert refusal.value.status == 403
        assert await one.available(a) == "100.00"
        assert len(rows(one.home, REFUSALS)) == 1
        check_conservation(one.home)


async def test_a_zone_without_rules_here_refuses():
    async with bank(zones=ZoneBoard("XX_DEV", [], development=True)) as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        with pytest.raises(Rejected, match="zone_unavailable"):
            await one.pay(a, b, "1.00")

"""What the zones are asked about an order, before the book sees it, and what their no does."""

import pytest

from jilnode.kernel.errors import Rejected
from jilnode.kernel.system import REFUSALS
from jilnode.zone import Verdict, ZoneBoard
from services.dex.intents import MassQuote, PlaceOrder, QuoteEntry, ReplaceOrder
from services.dex.pools.intents import AddLiquidity, CreatePool, Swap
from services.dex.rows import BOOKS, CLOSED, ORDERS
from services.wallet.rows import SHARES
from tests.services.dex.kit import BASE, MARKET, QUOTE, book, check_exchange, exchange
from tests.services.wallet.kit import rows


class Zone:
    """Bans whoever touches an asset of ``banned``; raises while ``broken``."""

    code = "XX_DEV"

    def __init__(self) -> None:
        self.banned: set[str] = set()
        self.broken = False
        self.asked: list = []

    def review(self, action, time_us):
        if not action.kind.startswith("dex."):
            return Verdict(True)
        if self.broken:
            raise RuntimeError("a rule failed")
        self.asked.append(action)
        if self.banned & {action.facts["base"], action.facts["quote"]}:
            return Verdict(False, "asset_banned", "not here", b"{}")
        return Verdict(True)

    def facts(self):
        return {}


@pytest.fixture
async def zoned():
    zone = Zone()
    async with exchange(zones=ZoneBoard("XX_DEV", [zone], development=True)) as one:
        one.zone = zone
        one.a = await one.trader("a")
        yield one


async def test_what_belongs_to_another_node_is_not_judged_here():
    """The caller is told where to go: a no would be recorded, and final, at a node whose book it never was."""
    zone = Zone()
    zone.banned.add(BASE)
    async with exchange(2, zones=ZoneBoard("XX_DEV", [zone], development=True)) as one:
        a = await one.trader("a")
        await one.operate(CreatePool(BASE, QUOTE, 30))
        await one.settle()
        until_us = one.clock.now_us + 1_000_000
        order = PlaceOrder(MARKET, a, "sell", "1", "101")
        for command in (
            order,
            ReplaceOrder(a, order),
            MassQuote(MARKET, a, (QuoteEntry("sell", "101", "1"),)),
            Swap("dex.LP1@sg-mas-01", a, BASE, "1", "1", until_us),
            AddLiquidity("dex.LP1@sg-mas-01", a, "1", "1", "1", "1", until_us),
        ):
            with pytest.raises(Rejected) as refusal:
                await one.nodes[1].run(command, actor="a")
            assert (refusal.value.code, refusal.value.extra["owner"]) == ("misdirected", "sg-mas-01")
        assert not zone.asked
        assert not rows(one.nodes[1], REFUSALS)


async def test_taking_quotes_back_asks_nobody(zoned):
    await zoned.home.run(MassQuote(MARKET, zoned.a, (QuoteEntry("sell", "101", "1"),)), actor="a")
    zoned.zone.banned.add(BASE)
    assert (await zoned.home.run(MassQuote(MARKET, zoned.a, ()), actor="a")).reply.withdrawn == 1
    check_exchange(zoned.home)


COMMANDS = {
    "an order": lambda a, rests: PlaceOrder(MARKET, a, "sell", "1", "101"),
    "a stop order": lambda a, rests: PlaceOrder(MARKET, a, "sell", "1", "101", kind="stop_limit", stop="101"),
    "a replacement": lambda a, rests: ReplaceOrder(rests, PlaceOrder(MARKET, a, "sell", "1", "101")),
    "a mass quote": lambda a, rests: MassQuote(MARKET, a, (QuoteEntry("sell", "101", "1"),)),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("how", "code"), [("bans", "asset_banned"), ("fails", "zone_error")])
async def test_a_no_is_recorded_and_nothing_is_held_nor_changed(zoned, name, how, code):
    rests = (await zoned.order("a", zoned.a, "sell", "1", "100")).id
    if how == "bans":
        zoned.zone.banned = {BASE}
    zoned.zone.broken = how == "fails"
    tables = (ORDERS, CLOSED, SHARES, BOOKS)
    before = [rows(zoned.home, table) for table in tables]
    for _ in range(2):
        with pytest.raises(Rejected) as refusal:
            await zoned.home.run(COMMANDS[name](zoned.a, rests), actor="a", key="k", body=b"1")
        assert (refusal.value.code, refusal.value.status) == (code, 403)
    assert [rows(zoned.home, table) for table in tables] == before
    (refused,) = rows(zoned.home, REFUSALS).values()
    assert refused.code == code
    check_exchange(zoned.home)
    # Leaving is nobody's to forbid.
    assert (await zoned.cancel("a", rests)).reason == "cancelled"


async def test_the_facts_of_an_order(zoned):
    await zoned.order("a", zoned.a, "sell", "1", "100", kind="post_only")
    action = zoned.zone.asked[-1]
    assert (action.kind, action.zones) == ("dex.order", ("XX_DEV",))
    assert action.facts == {
        "account": zoned.a,
        "market": MARKET,
        "base": BASE,
        "quote": QUOTE,
        "side": "sell",
        "kind": "post_only",
        "quantity": "1",
        "price": "100",
        "leverage": 1,
    }
    await zoned.home.run(MassQuote(MARKET, zoned.a, (QuoteEntry("sell", "101", "1"),)), actor="a")
    action = zoned.zone.asked[-1]
    assert action.kind == "dex.quotes"
    assert action.facts["quotes"] == [{"side": "sell", "price": "101", "quantity": "1"}]


async def test_a_zone_without_rules_here_refuses():
    async with exchange(zones=ZoneBoard("XX_DEV", [], development=True)) as one:
        a = await one.trader("a")
        with pytest.raises(Rejected, match="zone_unavailable"):
            await one.order("a", a, "sell", "1", "100")
        assert book(one.home) == ([], [])

"""Every refusal of the order book, with the field at fault; and that it changes nothing."""

from typing import Any

import pytest

from jilnode.kernel.errors import Rejected
from services.dex.commands import orders
from services.dex.intents import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    CreateMarket,
    MassQuote,
    PlaceOrder,
    ReplaceOrder,
    SetGroup,
    SetMarketStatus,
)
from services.dex.module import MODULE
from services.dex.rows import ORDERS
from services.wallet.intents import SetStatus
from services.wallet.rows import SHARES
from tests.services.dex.kit import BASE, MARKET, QUOTE, check_exchange, exchange
from tests.services.wallet.kit import rows

ORDERS_REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "side": ({"side": "both"}, "bad_side", "/side"),
    "kind": ({"kind": "iceberg"}, "bad_kind", "/kind"),
    "prevention": ({"prevention": "both ways"}, "bad_prevention", "/prevention"),
    "a market order that rests": ({"kind": "market", "time_in_force": "gtc"}, "bad_time_in_force", "/time_in_force"),
    "a post-only order that does not": (
        {"kind": "post_only", "time_in_force": "ioc"},
        "bad_time_in_force",
        "/time_in_force",
    ),
    "a time in force": ({"time_in_force": "day"}, "bad_time_in_force", "/time_in_force"),
    "a stop order without a stop": ({"kind": "stop_limit"}, "bad_stop", "/stop"),
    "a stop of a limit order": ({"stop": "1"}, "bad_stop", "/stop"),
    "a stop between ticks": ({"kind": "stop_limit", "stop": "100.01"}, "off_tick", "/stop"),
    "no number": ({"quantity": "one"}, "bad_amount", "/quantity"),
    "nothing": ({"quantity": "0"}, "bad_amount", "/quantity"),
    "less than nothing": ({"quantity": "-1"}, "bad_amount", "/quantity"),
    "other digits": ({"price": "\u0661\u0660\u0660"}, "bad_amount", "/price"),
    "an exponent": ({"price": "1e2"}, "bad_amount", "/price"),
    "beyond 64 bits": ({"price": "92233720368547758.08"}, "bad_amount", "/price"),
    "far beyond 64 bits": ({"price": "9" * 400}, "bad_amount", "/price"),
    "no price": ({"price": ""}, "bad_amount", "/price"),
    "decimals of a price": ({"price": "100.001"}, "too_many_decimals", "/price"),
    "decimals of a quantity": ({"quantity": "1.00001"}, "too_many_decimals", "/quantity"),
    "between lots": ({"quantity": "1.001"}, "off_lot", "/quantity"),
    "between ticks": ({"price": "100.01"}, "off_tick", "/price"),
    "too cheap": ({"quantity": "0.01", "price": "99"}, "bad_notional", "/quantity"),
    "too dear": ({"quantity": "92233720368547", "price": "150"}, "bad_notional", "/quantity"),
    "above the band": ({"price": "150.05"}, "price_out_of_band", "/price"),
    "below the band": ({"price": "49.95"}, "price_out_of_band", "/price"),
    "far from its stop": ({"kind": "stop_limit", "stop": "100", "price": "150.05"}, "price_out_of_band", "/price"),
    "an expiry of a gtc": ({"expires_us": 1 << 62}, "bad_expiry", "/expires_us"),
    "no expiry of a gtd": ({"time_in_force": "gtd"}, "bad_expiry", "/expires_us"),
    "an expiry in a year": ({"time_in_force": "gtd", "expires_us": 1 << 62}, "bad_expiry", "/expires_us"),
    "a name that is none": ({"client_id": "a b"}, "bad_client_id", "/client_id"),
    "a name with a slash": ({"client_id": "a/b"}, "bad_client_id", "/client_id"),
    "a long name": ({"client_id": "a" * 37}, "bad_client_id", "/client_id"),
    "a name that is taken": ({"client_id": "taken"}, "client_id_taken", "/client_id"),
    "more than there is": ({"quantity": "1001"}, "insufficient_funds", "/quantity"),
    "all or nothing": ({"quantity": "2", "time_in_force": "fok", "price": "90"}, "not_filled_whole", "/quantity"),
    "post-only that takes": ({"kind": "post_only", "price": "90"}, "would_take", "/price"),
    "another market": ({"market": "GOLD-NONE@sg-mas-01"}, "unknown_market", "/market"),
    "a market that can't be": ({"market": "/"}, "unknown_market", "/market"),
    "nobody": ({"account": "sg-mas-01~none"}, "unknown_account", "/account"),
    "somebody else": ({"account": "other"}, "not_your_account", "/account"),
}


@pytest.mark.parametrize("name", ORDERS_REFUSED)
async def test_an_order_is_refused_for(name):
    async with exchange(market={"tick": "0.05", "min_notional": "1", "band_bps": 5_000}) as one:
        a, b = await one.trader("a"), await one.trader("b")
        await one.order("b", b, "buy", "1", "100")
        await one.order("a", a, "sell", "1", "100")
        await one.order("b", b, "buy", "1", "90")
        await one.order("a", a, "sell", "1", "120", client_id="taken")
        changes, code, field = ORDERS_REFUSED[name]
        values = {"market": MARKET, "account": a, "side": "sell", "quantity": "1", "price": "110", **changes}
        if values["account"] == "other":
            values["account"] = b
        before = rows(one.home, SHARES), rows(one.home, ORDERS)
        with pytest.raises(Rejected) as refusal:
            await one.home.run(PlaceOrder(**values), actor="a")
        assert (refusal.value.code, refusal.value.field) == (code, field), refusal.value
        assert refusal.value.code in MODULE.problems or refusal.value.code in WALLET_CODES
        assert (rows(one.home, SHARES), rows(one.home, ORDERS)) == before
        # In a replacement the field is the order's, and the old order stays.
        rests = next(key for key, row in before[1].items() if row.client_id == "taken")
        if name == "a name that is taken":
            return
        with pytest.raises(Rejected) as refusal:
            await one.home.run(ReplaceOrder(rests, PlaceOrder(**values)), actor="a")
        assert (refusal.value.code, refusal.value.field) == (code, f"/order{field}"), refusal.value
        assert rows(one.home, ORDERS) == before[1]
        check_exchange(one.home)


WALLET_CODES = {
    "bad_amount",
    "bad_kind",
    "too_many_decimals",
    "insufficient_funds",
    "unknown_account",
    "not_your_account",
}


async def test_a_frozen_account_and_a_halted_market_take_no_orders():
    async with exchange() as one:
        a = await one.trader("a")
        resting = await one.order("a", a, "sell", "1", "100")
        await one.operate(SetStatus(a, "frozen"))
        with pytest.raises(Rejected) as refusal:
            await one.order("a", a, "sell", "1", "100")
        assert (refusal.value.code, refusal.value.status) == ("account_frozen", 403)
        await one.operate(SetStatus(a, "active"))
        await one.operate(SetMarketStatus(MARKET, "a fire"))
        for kind in ("limit", "market", "post_only"):
            with pytest.raises(Rejected) as refusal:
                await one.order("a", a, "sell", "1", "100", kind=kind)
            assert (refusal.value.code, refusal.value.field) == ("market_halted", "/market")
            assert refusal.value.retry_after_s
        # Who is in may leave.
        await one.home.run(AmendOrder(resting.id, "0.5"), actor="a")
        assert (await one.cancel("a", resting.id)).reason == "cancelled"
        check_exchange(one.home)


async def test_what_needs_no_price_needs_a_last_one():
    async with exchange() as one:
        a = await one.trader("a")
        with pytest.raises(Rejected) as refusal:
            await one.order("a", a, "sell", "1", kind="market")
        assert (refusal.value.code, refusal.value.field) == ("no_reference", "/price")
        assert (await one.order("a", a, "sell", "1", "1", kind="market")).reason == "immediate_or_cancel"


async def test_a_market_order_is_worth_what_the_market_pays_and_not_what_it_may_cost():
    """Its band may reach down to one tick: that makes it no small order."""
    async with exchange(market={"min_notional": "50"}) as one:
        a, b = await one.trader("a"), await one.trader("b")
        await one.order("b", b, "buy", "3", "100")
        await one.order("a", a, "sell", "1", "100")
        assert (await one.order("a", a, "sell", "1", kind="market")).status == "filled"
        with pytest.raises(Rejected, match="bad_notional"):
            await one.order("a", a, "sell", "0.4", kind="market")


async def test_an_order_is_lowered_to_no_less_than_the_market_takes():
    """Else what is too little to be placed would still be met, one by one, by those who may meet a hundred."""
    async with exchange(market={"min_notional": "50"}) as one:
        a = await one.trader("a")
        placed = await one.order("a", a, "sell", "1", "100")
        with pytest.raises(Rejected) as refusal:
            await one.home.run(AmendOrder(placed.id, "0.49"), actor="a")
        assert (refusal.value.code, refusal.value.field) == ("bad_notional", "/quantity")
        assert (await one.home.run(AmendOrder(placed.id, "0.5"), actor="a")).reply.remaining == "0.5000"


@pytest.mark.patches
async def test_too_many_orders(monkeypatch):
    monkeypatch.setattr(orders, "OPEN_ORDERS_MAX", 3)
    async with exchange() as one:
        a = await one.trader("a")
        for _ in range(3):
            await one.order("a", a, "sell", "1", "100")
        with pytest.raises(Rejected) as refusal:
            await one.order("a", a, "sell", "1", "100")
        assert (refusal.value.code, refusal.value.field) == ("too_many_orders", "/account")


CHANGES_REFUSED = {
    "unknown": (lambda order: CancelOrder("sg-mas-01~none"), "a", "unknown_order", "/id"),
    "not an id": (lambda order: CancelOrder("?"), "a", "unknown_order", "/id"),
    "another's": (lambda order: CancelOrder(order), "b", "not_your_account", "/id"),
    "another's, lowered": (lambda order: AmendOrder(order, "1"), "b", "not_your_account", "/id"),
    "raised": (lambda order: AmendOrder(order, "3"), "a", "bad_quantity", "/quantity"),
    "as it is": (lambda order: AmendOrder(order, "2"), "a", "bad_quantity", "/quantity"),
    "to what is filled": (lambda order: AmendOrder(order, "0.5"), "a", "bad_quantity", "/quantity"),
    "below what is filled": (lambda order: AmendOrder(order, "0.25"), "a", "bad_quantity", "/quantity"),
    "between lots": (lambda order: AmendOrder(order, "1.001"), "a", "off_lot", "/quantity"),
    "to nothing": (lambda order: AmendOrder(order, "0"), "a", "bad_amount", "/quantity"),
    "replaced in no mode": (
        lambda order: ReplaceOrder(order, PlaceOrder(MARKET, "fees@sg-mas-01", "sell", "1", "100"), "any"),
        "a",
        "bad_mode",
        "/mode",
    ),
    "all of nobody's": (lambda order: CancelAll("nobody"), "a", "unknown_account", "/account"),
}


@pytest.mark.parametrize("name", CHANGES_REFUSED)
async def test_an_open_order_is_not_changed(name):
    async with exchange() as one:
        a, b = await one.trader("a"), await one.trader("b")
        resting = await one.order("a", a, "sell", "2", "100")
        await one.order("b", b, "buy", "0.5", "100")
        command, actor, code, field = CHANGES_REFUSED[name]
        with pytest.raises(Rejected) as refusal:
            await one.home.run(command(resting.id), actor=actor)
        assert (refusal.value.code, refusal.value.field) == (code, field)
        check_exchange(one.home)


async def test_other_nodes_name_the_node_that_has_the_book():
    async with exchange(2) as two:
        await two.settle()
        a = await two.trader("a")
        resting = await two.order("a", a, "sell", "1", "100")
        await two.settle()
        for command in (
            PlaceOrder(MARKET, a, "sell", "1", "100"),
            CancelOrder(resting.id),
            AmendOrder(resting.id, "0.5"),
            MassQuote(MARKET, a, ()),
            CancelAll(a, MARKET),
        ):
            with pytest.raises(Rejected) as refusal:
                await two.nodes[1].run(command, actor="a")
            assert (refusal.value.code, refusal.value.status) == ("misdirected", 421)
            assert refusal.value.extra["owner"] == "sg-mas-01"


MARKETS_REFUSED = {
    "no such base": ({"base": "NONE@sg-mas-01"}, "unknown_asset", "/base"),
    "no such quote": ({"quote": "USDX"}, "unknown_asset", "/quote"),
    "one asset": ({"quote": BASE}, "bad_market", "/quote"),
    "there already": ({}, "market_exists", "/base"),
    "a tick of nothing": ({"tick": "0.0"}, "bad_amount", "/tick"),
    "a tick of ten decimals": ({"tick": "0.0000000001"}, "bad_market", "/tick"),
    "a lot of nothing": ({"lot": "0"}, "bad_amount", "/lot"),
    "a tick and a lot with a remainder": ({"lot": "0.001", "tick": "0.01"}, "bad_market", "/lot"),
    "a fee of more than a tenth": ({"taker_bps": 1001}, "bad_market", "/taker_bps"),
    "a fee of less than nothing": ({"maker_bps": -1}, "bad_market", "/maker_bps"),
    "no band": ({"band_bps": 0}, "bad_market", "/band_bps"),
    "states that do not rise": ({"states_bps": (5, 5, 6)}, "bad_market", "/states_bps"),
}


@pytest.mark.parametrize("name", MARKETS_REFUSED)
async def test_a_market_is_not_made(name):
    async with exchange() as one:
        changes, code, field = MARKETS_REFUSED[name]
        with pytest.raises(Rejected) as refusal:
            await one.operate(CreateMarket(**{"base": BASE, "quote": QUOTE, "tick": "0.01", "lot": "0.01", **changes}))
        assert (refusal.value.code, refusal.value.field) == (code, field)


async def test_a_group_that_can_t_be():
    async with exchange() as one:
        a = await one.trader("a")
        for name in ("a b", "a/b", "a" * 65):
            with pytest.raises(Rejected) as refusal:
                await one.operate(SetGroup(a, name))
            assert (refusal.value.code, refusal.value.field) == ("bad_group", "/group")

"""The core by itself: whom an order meets, and what that is."""

from typing import Any

import pytest

from services.dex.matching import MAKERS_MAX, match
from services.dex.rows import Order
from services.wallet.kinds import Reserved


def order(side: str, price: int, quantity: int, account: str = "n/a", group: str = "", **more: Any) -> Order:
    values = {"market": "n/A-B", "priority": 1, "placed_us": 1, "quantity": quantity, "remaining": quantity, **more}
    nothing = Reserved("ASSET", 0)
    return Order(account=account, reserved=nothing, side=side, price=price, group=group or account, **values)


def book(*orders: Order) -> list[tuple[str, Order]]:
    return [(str(number), maker) for number, maker in enumerate(orders)]


def test_nothing_is_read_beyond_what_is_needed():
    read = []

    def makers():
        for key, maker in book(*[order("sell", 10, 5) for _ in range(9)]):
            read.append(key)
            yield key, maker

    found = match(order("buy", 10, 10, "n/b"), makers())
    assert (found.filled, found.remaining, read) == (10, 0, ["0", "1"])


@pytest.mark.parametrize(("side", "prices", "filled"), [("buy", (9, 10, 11), 2), ("sell", (11, 10, 9), 2)])
def test_a_fill_is_within_the_limit(side, prices, filled):
    other = "sell" if side == "buy" else "buy"
    found = match(order(side, 10, 9, "n/b"), book(*[order(other, price, 1) for price in prices]))
    assert [fill.maker.price for fill in found.fills] == list(prices[:2])
    assert (found.filled, found.remaining, found.reason) == (filled, 7, "")


def test_a_hundred_makers_are_met_and_no_more():
    makers = book(*[order("sell", 10, 1) for _ in range(MAKERS_MAX + 1)])
    found = match(order("buy", 10, MAKERS_MAX, "n/b"), makers)
    assert (found.filled, found.remaining, found.reason) == (100, 0, "")
    found = match(order("buy", 10, MAKERS_MAX + 1, "n/b"), makers)
    assert (found.filled, found.remaining, found.reason) == (100, 1, "fill_limit")
    found = match(order("buy", 10, MAKERS_MAX + 1, "n/b"), makers[:100])
    assert (found.filled, found.remaining, found.reason) == (100, 1, "")


def test_whom_it_meets_and_may_not_trade_counts_too():
    makers = book(*[order("sell", 10, 1, "n/cold") for _ in range(60)], *[order("sell", 10, 1) for _ in range(60)])
    found = match(
        order("buy", 10, 90, "n/b"), makers, MAKERS_MAX, lambda maker: "cold" if maker.account == "n/cold" else ""
    )
    assert (len(found.unfit), found.filled, found.reason) == (60, 40, "fill_limit")
    assert {item.code for item in found.unfit} == {"cold"}


PREVENTED = {
    # prevention: (quantity filled of the stranger behind, remaining, prevented, what the own maker loses, reason)
    "none": (1, 0, 0, None, ""),
    "taker": (0, 4, 0, None, "self_trade"),
    "maker": (4, 0, 0, (3, True), ""),
    "both": (0, 4, 0, (3, True), "self_trade"),
    "decrement": (1, 0, 3, (3, False), ""),
}


@pytest.mark.parametrize("prevention", PREVENTED)
def test_an_order_meets_one_of_its_own_owner(prevention):
    makers = book(order("sell", 10, 3, "n/a", "owner"), order("sell", 10, 9, "n/x"))
    found = match(order("buy", 10, 4, "n/b", "owner", prevention=prevention), makers)
    filled, remaining, prevented, lost, reason = PREVENTED[prevention]
    strangers = [fill.quantity for fill in found.fills if fill.maker.account == "n/x"]
    assert (sum(strangers), found.remaining, found.prevented, found.reason) == (filled, remaining, prevented, reason)
    assert [(item.quantity, item.cancelled) for item in found.met] == ([] if lost is None else [lost])


@pytest.mark.parametrize("prevention", PREVENTED)
def test_an_account_is_its_own_owner_whatever_its_orders_say(prevention):
    makers = book(order("sell", 10, 3, "n/a", "before"))
    found = match(order("buy", 10, 3, "n/a", "after", prevention=prevention), makers)
    assert not found.fills

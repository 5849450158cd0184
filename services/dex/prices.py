"""The arithmetic of a market: exact, in integers. Markets are made so that no notional has a remainder."""

from typing import Final

from jilnode.limits import INT64_MAX
from jilnode.module import Rejected
from services.dex.rows import BUY, Market, Order
from services.wallet.amounts import BASIS_POINTS, parse_amount

__all__ = (
    "PRICE_SCALE_MAX",
    "check_quantity",
    "fee_on",
    "given",
    "is_exact",
    "notional",
    "parse_price",
    "rest_cost",
    "saturated",
    "wait_cost",
    "worth",
)


PRICE_SCALE_MAX: Final = 9
_TENS: Final[tuple[int, ...]] = tuple(10**decimals for decimals in range(19))
"""As many decimals as a price and a quantity may have together."""


def is_exact(market: Market) -> bool:
    """Whether tick x lot is a whole number of the quote's minor units, so that every price x quantity is."""
    numerator = market.tick * market.lot * int(10**market.quote_scale)
    return numerator % int(10 ** (market.price_scale + market.base_scale)) == 0


def notional(market: Market, price: int, quantity: int) -> int:
    """Minor units of the quote asset for ``quantity`` (minor units of the base) at ``price``."""
    return price * quantity * _TENS[market.quote_scale] // _TENS[market.price_scale + market.base_scale]


def worth(scales: tuple[int, int, int], price: int, quantity: int) -> int:
    """The same, of the decimals of a price, of the base and of the quote asset."""
    price_scale, base_scale, quote_scale = scales
    return price * quantity * _TENS[quote_scale] // _TENS[price_scale + base_scale]


def given(market: Market, side: str, price: int, quantity: int) -> int:
    """What a side gives for a fill: the buyer the notional, the seller the quantity."""
    return notional(market, price, quantity) if side == BUY else quantity


def fee_on(amount: int, bps: int) -> int:
    """The ceiling: who gives pays the rounding. Of an order filled in parts, each part pays the difference that it
    makes to the fee on all so far, so the parts cost what the whole costs."""
    return -(-amount * bps // BASIS_POINTS)


def rest_cost(order: Order, rest: int) -> int:
    """What an order in the book holds that may still give ``rest``: that, and the fee that it would add."""
    gave, bps = order.given, order.maker_bps
    return rest + fee_on(gave + rest, bps) - fee_on(gave, bps)


def wait_cost(order: Order, most: int) -> int:
    """What an order that waits for its stop holds: enough for whatever becomes of it, at the fees with which it came.
    Taken in one part and resting in another, its two fees are rounded apart."""
    return most + fee_on(most, max(order.taker_bps, order.maker_bps)) + 1


def parse_price(market: Market, text: str, field: str = "/price") -> int:
    """Raises ``Rejected``: ``bad_amount``, ``too_many_decimals``, ``off_tick``."""
    price = parse_amount(text, market.price_scale, field)
    if price % market.tick:
        raise Rejected("off_tick", "a price is a multiple of the market's tick", field=field)
    return price


def check_quantity(market: Market, text: str, field: str = "/quantity") -> int:
    """Raises ``Rejected``: ``bad_amount``, ``too_many_decimals``, ``off_lot``."""
    quantity = parse_amount(text, market.base_scale, field)
    if quantity % market.lot:
        raise Rejected("off_lot", "a quantity is a multiple of the market's lot", field=field)
    return quantity


def saturated(total: int) -> int:
    """Running sums for charts stop at 64 bits: nobody is paid by them."""
    return min(total, INT64_MAX)

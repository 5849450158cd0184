"""What is asked for, and what a price makes of it: exact, in integers. Pure.

A pair has no market here, so no tick and no lot: a price is in billionths of the quote asset for one of the base asset,
and one at which the quantity costs no whole number of minor units is refused, never rounded.
"""

from typing import NamedTuple

import msgspec

from jilnode.limits import INT64_MAX
from jilnode.module import Rejected
from services.dex.prices import fee_on
from services.dex.rows import BUY
from services.wallet.amounts import format_amount, parse_amount

__all__ = ("PRICE_SCALE", "Leg", "Terms", "format_price", "legs", "parse_price", "turnover")

PRICE_SCALE = 9


class Terms(msgspec.Struct, frozen=True, gc=False):
    """``side`` is the taker's. ``quantity`` is in minor units of the base asset. ``fee_bps`` is what each side pays on
    what it gives, as the node's fee was when the request was opened."""

    base: str
    quote: str
    side: str
    quantity: int
    base_scale: int
    quote_scale: int
    fee_bps: int


class Leg(NamedTuple):
    """What one side gives: ``amount`` to the other, ``fee`` to the node, both of ``asset``, in minor units."""

    asset: str
    scale: int
    amount: int
    fee: int


def turnover(terms: Terms, price: int) -> int | None:
    """Minor units of the quote asset for all of the quantity; None where that is no whole number."""
    amount, rest = divmod(
        price * terms.quantity * int(10**terms.quote_scale), int(10 ** (PRICE_SCALE + terms.base_scale))
    )
    return None if rest else amount


def legs(terms: Terms, price: int) -> tuple[Leg, Leg]:
    """(what the taker gives, what the maker gives) at a price that is exact."""
    amount = turnover(terms, price)
    assert amount is not None
    paid = Leg(terms.quote, terms.quote_scale, amount, fee_on(amount, terms.fee_bps))
    sold = Leg(terms.base, terms.base_scale, terms.quantity, fee_on(terms.quantity, terms.fee_bps))
    return (paid, sold) if terms.side == BUY else (sold, paid)


def parse_price(terms: Terms, text: str) -> int:
    """Raises ``Rejected``: ``bad_amount``, ``too_many_decimals``, ``inexact_notional``, ``bad_notional``."""
    price = parse_amount(text, PRICE_SCALE, "/price")
    amount = turnover(terms, price)
    if amount is None:
        raise Rejected(
            "inexact_notional",
            "at this price the quantity costs no whole number of the quote's minor units",
            field="/price",
        )
    if amount > INT64_MAX:
        raise Rejected("bad_notional", "price times quantity is too much", field="/price")
    return price


def format_price(price: int) -> str:
    """Without the zeros that end it."""
    return format_amount(price, PRICE_SCALE).rstrip("0").rstrip(".")

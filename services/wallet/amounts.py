"""Amounts: decimal strings outside, integers in minor units inside. Never a float, never a rounding."""

from typing import Final

from jilnode.limits import INT64_MAX
from jilnode.module import Rejected

__all__ = ("fee_of", "format_amount", "parse_amount")

BASIS_POINTS: Final = 10_000
_NOTHING: Final = ("0", *[f"0.{'0' * scale}" for scale in range(1, 20)])
"""Nothing, in each scale: of an order mostly something is nothing."""


def parse_amount(text: str, scale: int, field: str = "/amount", *, zero: bool = False) -> int:
    """Minor units of ``text``. Raises ``Rejected``: ``bad_amount``, ``too_many_decimals``."""
    whole, point, decimals = text.partition(".")
    if not whole.isdecimal() or not whole.isascii() or (point and not (decimals.isdecimal() and decimals.isascii())):
        raise Rejected("bad_amount", "an amount is digits, with a point before the decimals", field=field, status=400)
    if len(decimals) > scale:
        raise Rejected("too_many_decimals", f"{scale} decimals at most", field=field)
    if len(whole) > 19:
        raise Rejected("bad_amount", "the amount is beyond 64 bits", field=field, status=400)
    minor = int(whole + decimals + "0" * (scale - len(decimals)))
    if minor > INT64_MAX:
        raise Rejected("bad_amount", "the amount is beyond 64 bits", field=field, status=400)
    if minor == 0 and not zero:
        raise Rejected("bad_amount", "the amount must be more than nothing", field=field, status=400)
    return minor


def format_amount(minor: int, scale: int) -> str:
    """The decimal string with exactly ``scale`` decimals."""
    if not minor:
        return _NOTHING[scale]
    if not scale:
        return str(minor)
    digits = str(minor)
    width = scale + (1 if minor >= 0 else 2)
    if len(digits) < width:
        digits = digits.zfill(width)
    return f"{digits[:-scale]}.{digits[-scale:]}"


def fee_of(amount: int, tiers: tuple[tuple[int, int], ...]) -> int:
    """The ceiling of the share that the highest tier reached takes: the sender pays the rounding."""
    bps = 0
    for start, tier_bps in tiers:
        if amount < start:
            break
        bps = tier_bps
    return -(-amount * bps // BASIS_POINTS)

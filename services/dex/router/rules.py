"""By which rule a lane is chosen. Pure: of the lanes' numbers, and of nothing else.

1. A lane that can't be used is out. With one left, that is it (``1_only_lane``).
2. The highest output (``2_highest_output``).
3. Of those that give the same: what spends the least (``3_least_spent``).
4. Of those: the first in the order of the lanes, the simplest first (``4_lane_order``).
"""

from collections.abc import Sequence

from services.dex.router.rows import LaneQuote

__all__ = ("choose",)


def choose(quotes: Sequence[LaneQuote]) -> tuple[str, LaneQuote | None]:
    """(rule, lane); an empty rule and None when no lane can be used."""
    left = [quote for quote in quotes if not quote.code]
    if not left:
        return "", None
    if len(left) == 1:
        return "1_only_lane", left[0]
    most = max(quote.output for quote in left)
    left = [quote for quote in left if quote.output == most]
    if len(left) == 1:
        return "2_highest_output", left[0]
    least = min(quote.spent for quote in left)
    left = [quote for quote in left if quote.spent == least]
    return ("3_least_spent" if len(left) == 1 else "4_lane_order"), left[0]

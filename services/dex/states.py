"""The state of a market: how wild its prices are, and what may still be done in it. Pure.

A market goes up at once, to whatever its volatility says, and down one state at a time: only when it has been in a
state for a minute and volatility is below four fifths of what leads into it (hysteresis). A state that this node does
not know is taken for the most restrictive one.
"""

from typing import Final

from services.dex.rows import Book, Market
from services.wallet.amounts import BASIS_POINTS

__all__ = (
    "HALTED",
    "MINUTE_US",
    "NORMAL",
    "STATES",
    "WINDOW_MINUTES",
    "band_of",
    "next_state",
    "state_of",
    "volatility",
)

NORMAL: Final = "normal"
ELEVATED: Final = "elevated"
RESTRICTED: Final = "restricted"
HALTED: Final = "halted"
STATES: Final = (NORMAL, ELEVATED, RESTRICTED, HALTED)
MINUTE_US: Final = 60_000_000
WINDOW_MINUTES: Final = 5
DWELL_US: Final = MINUTE_US
EXIT_FIFTHS: Final = 4


def state_of(market: Market, book: Book) -> str:
    """What holds: an operator's halt, else the book's own state."""
    if market.halted or book.state not in STATES:
        return HALTED
    return book.state


def band_of(market: Market, state: str) -> int:
    """Basis points that a price may be off the last one: half of the market's when elevated, a quarter when
    restricted."""
    return market.band_bps >> STATES.index(state)


def volatility(ranges: tuple[tuple[int, int, int], ...], minute: int) -> int:
    """Basis points between the lowest and the highest price of the last minutes, ``minute`` the newest."""
    lows = [low for at, low, _ in ranges if at > minute - WINDOW_MINUTES]
    if not lows:
        return 0
    low = min(lows)
    return (max([high for at, _, high in ranges if at > minute - WINDOW_MINUTES]) - low) * BASIS_POINTS // low


def next_state(state: str, since_us: int, now_us: int, volatility_bps: int, states_bps: tuple[int, int, int]) -> str:
    """``states_bps``: the volatility that leads into elevated, restricted, halted."""
    now = STATES.index(state) if state in STATES else len(states_bps)
    wanted = sum([volatility_bps >= entry_bps for entry_bps in states_bps])
    if wanted > now:
        return STATES[wanted]
    if wanted < now and now_us - since_us >= DWELL_US and volatility_bps * 5 < states_bps[now - 1] * EXIT_FIFTHS:
        return STATES[now - 1]
    return STATES[now]

"""A node's markets of two assets: a halt of one holds for whatever else trades the pair there, pools and requests."""

from jilnode.kernel.state import State, View
from jilnode.module import Rejected
from services.dex.rows import BOOKS, MARKETS
from services.dex.states import HALTED, state_of

__all__ = ("check_pair", "markets_between")


def markets_between(rows: State | View, source: str, sold: str, bought: str) -> list[str]:
    """The keys of the node's markets of two assets: that whose base is sold, then that whose base is bought."""
    found = []
    for base, quote in ((sold, bought), (bought, sold)):
        key = f"{source}/{base.partition('@')[0]}-{quote.partition('@')[0]}"
        market = rows[MARKETS].get(key)
        if market is not None and (market.base, market.quote) == (base, quote):
            found.append(key)
    return found


def check_pair(rows: State | View, source: str, one: str, other: str, field: str) -> None:
    """Raises ``Rejected``: ``market_halted``."""
    for key in markets_between(rows, source, one, other):
        market, book = rows[MARKETS].get(key), rows[BOOKS].get(key)
        if market is None or book is None or state_of(market, book) == HALTED:
            raise Rejected(
                "market_halted", "the market of this pair is halted", status=409, field=field, retry_after_s=60
            )

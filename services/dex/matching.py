"""The matching core: pure, in integers, over orders as they stand in the book. It changes nothing: it says what would
happen.

Price-time priority: makers come best price first, then who came first; a fill is at the maker's price. One command
touches at most ``MAKERS_MAX`` makers; what is left of a taker that would need more is cancelled.

Self-trade prevention is by beneficial owner (``Order.group``), and the taker decides what ends: itself, the maker,
both, or as much of both as the smaller has. An account never trades with itself, whatever it chose, and whoever its
orders' owners were when they came. A maker that may not trade now is no maker: it ends when it is met.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from services.dex.rows import BUY, Order

__all__ = ("MAKERS_MAX", "PREVENTIONS", "Fill", "Match", "Prevented", "Unfit", "match")

MAKERS_MAX: Final = 100
PREVENTIONS: Final = ("none", "taker", "maker", "both", "decrement")


class Fill(NamedTuple):
    key: str
    maker: Order
    quantity: int


class Prevented(NamedTuple):
    """A maker of the same owner that was met: ``quantity`` of it is prevented; with ``cancelled`` all of it ends."""

    key: str
    maker: Order
    quantity: int
    cancelled: bool


class Unfit(NamedTuple):
    """A maker that was met and may not trade; ``code`` says why."""

    key: str
    maker: Order
    code: str


class Match(NamedTuple):
    """``filled`` is what the fills come to, ``remaining`` what nobody took, ``prevented`` how much of the taker was.
    ``reason`` is why the taker ends here: ``self_trade`` (also when the last of it was prevented), ``fill_limit``;
    empty when what is left may rest, or all of it is filled."""

    fills: list[Fill]
    met: list[Prevented]
    filled: int
    remaining: int
    prevented: int
    reason: str
    unfit: list[Unfit]


def _fit(maker: Order) -> str:
    return ""


def match(
    taker: Order,
    makers: Iterable[tuple[str, Order]],
    makers_max: int = MAKERS_MAX,
    unfit: Callable[[Order], str] = _fit,
) -> Match:
    """``makers``: (key, order) of the other side, best first; read no further than needed. ``unfit(maker)``: the code
    of why it may not trade now, or empty. At most ``makers_max`` are touched."""
    fills: list[Fill] = []
    met: list[Prevented] = []
    ended: list[Unfit] = []
    remaining, prevented, reason = taker.remaining, 0, ""
    buys, price, group, account = taker.side == BUY, taker.price, taker.group, taker.account
    prevention = taker.prevention
    for key, maker in makers:
        if maker.price > price if buys else maker.price < price:
            break
        if len(fills) + len(met) + len(ended) >= makers_max:
            reason = "fill_limit"
            break
        code = unfit(maker)
        if code:
            ended.append(Unfit(key, maker, code))
            continue
        if maker.account != account and (maker.group != group or prevention == "none"):
            quantity = min(remaining, maker.remaining)
            fills.append(Fill(key, maker, quantity))
            remaining -= quantity
        elif prevention == "decrement":
            quantity = min(remaining, maker.remaining)
            met.append(Prevented(key, maker, quantity, cancelled=False))
            remaining -= quantity
            prevented += quantity
            if not remaining:
                reason = "self_trade"
        else:
            if prevention in ("maker", "both"):
                met.append(Prevented(key, maker, maker.remaining, cancelled=True))
            if prevention != "maker":
                reason = "self_trade"
                break
        if not remaining:
            break
    return Match(fills, met, taker.remaining - remaining - prevented, remaining, prevented, reason, ended)

"""Where an open order stands: in which queue and at which place of it, and under which names it is found.

What the indexes of ``dex.order`` are made of, and asked at each change of an order.
"""

from typing import Any, Final

__all__ = (
    "BUY",
    "SELL",
    "account_at",
    "at_node",
    "book_place",
    "book_side",
    "level_of",
    "name_of",
    "own_name",
    "quoting_name",
    "stop_place",
    "stop_side",
)

BUY: Final = "buy"
SELL: Final = "sell"


def book_side(key: str, order: Any) -> tuple[str, str] | None:
    return None if order.stop else (order.market, order.side)


def book_place(key: str, order: Any) -> tuple[int, int]:
    """Best price first, then who came first."""
    return (-order.price if order.side == BUY else order.price, order.priority)


def stop_side(key: str, order: Any) -> tuple[str, str] | None:
    return (order.market, order.side) if order.stop else None


def stop_place(key: str, order: Any) -> tuple[int, int]:
    """The one that wakes first comes first: buys wake when the price rises to their stop, sells when it falls."""
    return (order.stop if order.side == BUY else -order.stop, order.priority)


def level_of(order: Any) -> tuple[str, str, int] | None:
    """The price level that it is part of; None while it waits for its stop."""
    return None if order.stop else (order.market, order.side, order.price)


def account_at(node: str, account: str) -> str:
    """Under which an account's rows at one node are found, so that nobody there walks what another node writes in the
    account's name. ``node``: its id, or a key of its rows."""
    return f"{node.partition('/')[0]} {account}"


def at_node(order: Any) -> str:
    """Whose it is, at the node of its market."""
    return account_at(order.market, order.account)


def name_of(market: str, account: str, client_id: str) -> str:
    """Under which an order is found by its client's id, at the node of its market: what is open elsewhere takes no name
    here."""
    return f"{market.partition('/')[0]} {account} {client_id}"


def own_name(order: Any) -> str | None:
    """What its owner calls it; unique among the open orders of an account at one node."""
    return name_of(order.market, order.account, order.client_id) if order.client_id else None


def quoting_name(order: Any) -> str | None:
    """Whose mass quote it is part of."""
    return f"{order.account} {order.market}" if order.quoting else None

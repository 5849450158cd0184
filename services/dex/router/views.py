"""What the router answers."""

import msgspec

__all__ = ("LaneView", "RouteView")


class LaneView(msgspec.Struct, frozen=True):
    """``code`` and ``reason`` say why a lane can't be used; empty when it can, and null is what it does not have. All
    of ``spent``, ``fee`` and ``pool_in`` is in ``asset_in``; ``price``: what one whole ``asset_in`` gives of
    ``asset_out``, fees included, cut after 12 decimals. ``pool_in`` is the part that goes to the pool, ``quote_id``
    the firm quote that is accepted."""

    lane: str
    code: str
    reason: str
    spent: str | None
    output: str | None
    fee: str | None
    pool_in: str | None
    price: str | None
    quote_id: str | None = None


class RouteView(msgspec.Struct, frozen=True):
    """``rule`` is the rule by which ``lane`` was chosen, both null when no lane can be used. ``id`` and ``at_us`` are
    null in a dry run."""

    id: str | None
    account: str | None
    asset_in: str
    asset_out: str
    amount_in: str
    market: str | None
    pool: str | None
    rule: str | None
    lane: str | None
    spent: str | None
    output: str | None
    lanes: list[LaneView]
    at_us: int | None

"""The router's rows. Amounts are integers in minor units."""

import msgspec

from jilnode.module import CreatedBy, Owned, Table

__all__ = ("ROUTES", "TABLES", "LaneQuote", "Route")


class LaneQuote(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What one lane would do with the amount. ``code`` says why it can't; empty when it can. ``spent`` is what it takes
    of the amount, ``fee`` with it (what pools keep is part of what they take); ``output`` what it gives. Of that the
    book gives for ``quantity`` of its base at ``limit`` or better, and the pool gives for ``pool_in``; or it is what
    the firm quote ``accepted`` gives."""

    lane: str
    code: str = ""
    spent: int = 0
    output: int = 0
    fee: int = 0
    quantity: int = 0
    limit: int = 0
    pool_in: int = 0
    accepted: str = ""


class Route(Owned, frozen=True):
    """One route that was taken: what every lane offered, and by which rule ``lane`` was chosen, so that anybody can
    choose again. ``market`` and ``pool`` are where the lanes looked; empty where there was none."""

    account: str
    asset_in: str
    asset_out: str
    scale_in: int
    scale_out: int
    amount_in: int
    min_out: int
    deadline_us: int
    market: str
    pool: str
    lanes: tuple[LaneQuote, ...]
    rule: str
    lane: str
    at_us: int


ROUTES = Table("dex.route", Route, CreatedBy(), write_once=True, searchable=("account",))

TABLES = (ROUTES,)

"""The router's HTTP routes, as data."""

import msgspec

from jilnode.module import Query, Write
from services.dex.router import queries
from services.dex.router.intents import TakeRoute
from services.dex.router.problems import PROBLEMS
from services.dex.router.views import LaneView, RouteView
from services.wallet.listings import HistoryParams

__all__ = ("QUERIES", "WRITES")

BASE = "/v1/dex"
_GOLD, _USD = "GOLD@sg-mas-01", "USDX@sg-mas-01"
_VIEW = RouteView(
    "sg-mas-01~0-00000004d2",
    "sg-mas-01~0-0000000004",
    _GOLD,
    _USD,
    "10.0000",
    "GOLD-USDX@sg-mas-01",
    "dex.LP1@sg-mas-01",
    "2_highest_output",
    "split",
    "10.0000",
    "995.1204",
    [
        LaneView("book", "too_thin", PROBLEMS["too_thin"], None, None, None, None, None),
        LaneView("pool", "", "", "10.0000", "987.1580", "0.0300", "10.0000", "98.715800000000"),
        LaneView("split", "", "", "10.0000", "995.1204", "0.0170", "3.4000", "99.512040000000"),
        LaneView("rfq", "no_quote", PROBLEMS["no_quote"], None, None, None, None, None),
    ],
    1795415580000000,
)

WRITES = (
    Write(
        f"{BASE}/routes",
        TakeRoute,
        RouteView,
        "dex:trade",
        "Turn one asset into another by the best lane",
        example=TakeRoute("kestrel@sg-mas-01", _GOLD, _USD, "10.00", "990.00", 1795415640000000),
        reply_example=_VIEW,
        description="Book, pool, a split of both, or a firm quote to one of the account's own requests, whichever "
        "gives most; for `min_out` or more, not after `deadline_us`, in one step.",
    ),
)

QUERIES = (
    Query(
        f"{BASE}/routes/dry-run",
        queries.DryRunParams,
        RouteView,
        "dex:read",
        "What every lane would give now, which would be chosen, and by which rule",
        queries.dry_run,
        reply_example=msgspec.structs.replace(_VIEW, id=None, at_us=None),
    ),
    Query(
        f"{BASE}/routes/{{id:str}}",
        queries.RouteParams,
        RouteView,
        "dex:read",
        "One route that was taken",
        listing=queries.route,
        reply_example=_VIEW,
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/routes",
        HistoryParams,
        queries.Routes,
        "dex:read",
        "An account's routes, newest first",
        listing=queries.routes,
        reply_example=queries.Routes([_VIEW], None),
    ),
)

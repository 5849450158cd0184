"""The pools' HTTP routes, as data."""

from collections.abc import Mapping

import msgspec

from jilnode.module import Query, Write
from services.dex.pools import listings, queries
from services.dex.pools.intents import AddLiquidity, CreatePool, RemoveLiquidity, SetPoolStatus, Swap
from services.dex.pools.views import LiquidityView, PoolView, SwapView
from services.wallet.listings import HistoryParams

__all__ = ("QUERIES", "WRITES")

BASE = "/v1/dex"
_POOL = "dex.LP1@sg-mas-01"
_GOLD, _USD = "GOLD@sg-mas-01", "USDX@sg-mas-01"
_ACCOUNT = "sg-mas-01~0-0000000004"
_DEADLINE_US = 1795415640000000
_POOL_VIEW = PoolView(
    _POOL,
    _GOLD,
    _USD,
    30,
    "1000.0000",
    "100000.0000",
    "10000.0000",
    "100.000000000000",
    "31153781151208965793382412982435840000000",
    "3115378115120896579338241298243584000",
    1795415580000000,
    "",
)
_SWAP_VIEW = SwapView(
    "sg-mas-01~0-00000004d2-1",
    _POOL,
    _ACCOUNT,
    _GOLD,
    _USD,
    "1.0000",
    "99.6006",
    "0.0030",
    "99.600600000000",
    1795415580000000,
)
_LIQUIDITY_VIEW = LiquidityView(
    "sg-mas-01~0-00000004d1", _POOL, _ACCOUNT, "add", "10.0000", "1000.0000", "100.0000", 1795415580000000
)


class NoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``{}``."""


class HaltBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str


def _halt(parameters: Mapping[str, str], body: HaltBody) -> SetPoolStatus:
    return SetPoolStatus(parameters["pool"], body.reason or "halted by an operator")


def _resume(parameters: Mapping[str, str], body: NoBody) -> SetPoolStatus:
    return SetPoolStatus(parameters["pool"], "")


WRITES = (
    Write(
        f"{BASE}/pools",
        CreatePool,
        PoolView,
        "dex:operate",
        "Open a pool at this node, empty",
        example=CreatePool(_GOLD, _USD, 30),
        reply_example=_POOL_VIEW,
        description="One of a pair at a node. The pool goes by the name of the asset that its shares are.",
    ),
    Write(
        f"{BASE}/pools/{{pool:str}}/halt",
        HaltBody,
        PoolView,
        "dex:operate",
        "Stop a pool, until it is resumed",
        status=200,
        command=_halt,
        example=HaltBody("news pending"),
        reply_example=_POOL_VIEW,
        description="Liquidity can still be taken out.",
    ),
    Write(
        f"{BASE}/pools/{{pool:str}}/resume",
        NoBody,
        PoolView,
        "dex:operate",
        "Let a pool go on",
        status=200,
        command=_resume,
        example=NoBody(),
        reply_example=_POOL_VIEW,
    ),
    Write(
        f"{BASE}/swaps",
        Swap,
        SwapView,
        "dex:trade",
        "Swap with a pool",
        hot=True,
        example=Swap(_POOL, "kestrel@sg-mas-01", _GOLD, "1.00", "99.50", _DEADLINE_US),
        reply_example=_SWAP_VIEW,
        description="All of `amount_in`, for `min_out` or more, not after `deadline_us`. `421`: the pool is elsewhere.",
    ),
    Write(
        f"{BASE}/liquidity/add",
        AddLiquidity,
        LiquidityView,
        "dex:trade",
        "Put liquidity into a pool, for shares of it",
        example=AddLiquidity(_POOL, "kestrel@sg-mas-01", "10.00", "1000.00", "9.90", "990.00", _DEADLINE_US),
        reply_example=_LIQUIDITY_VIEW,
        description="No more than what the shares cost is taken. Shares are money of the wallet: they can be sent on.",
    ),
    Write(
        f"{BASE}/liquidity/remove",
        RemoveLiquidity,
        LiquidityView,
        "dex:trade",
        "Give shares of a pool back for their part of it",
        example=RemoveLiquidity(_POOL, "kestrel@sg-mas-01", "100.00", "9.90", "990.00", _DEADLINE_US),
        reply_example=msgspec.structs.replace(_LIQUIDITY_VIEW, side="remove"),
    ),
)

QUERIES = (
    Query(
        f"{BASE}/pools",
        queries.NoParams,
        queries.Pools,
        "dex:read",
        "All pools known here, at whatever node",
        queries.pools,
        reply_example=queries.Pools([_POOL_VIEW]),
    ),
    Query(
        f"{BASE}/pools/{{pool:str}}",
        queries.PoolParams,
        PoolView,
        "dex:read",
        "One pool: reserves, price, and what its prices have accumulated to",
        queries.pool,
        reply_example=_POOL_VIEW,
    ),
    Query(
        f"{BASE}/pools/{{pool:str}}/quote",
        queries.SwapQuoteParams,
        queries.SwapQuote,
        "dex:read",
        "What a swap would give, or what it would take",
        queries.quote,
        reply_example=queries.SwapQuote(_POOL, _GOLD, _USD, "1.0000", "99.6006", "0.0030", "99.600600000000"),
    ),
    Query(
        f"{BASE}/pools/{{pool:str}}/swaps",
        listings.PoolSwapsParams,
        listings.Swaps,
        "dex:read",
        "A pool's swaps, newest first",
        listing=listings.pool_swaps,
        reply_example=listings.Swaps([msgspec.structs.replace(_SWAP_VIEW, account=None)], None),
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/swaps",
        HistoryParams,
        listings.Swaps,
        "dex:read",
        "An account's swaps, newest first",
        listing=listings.account_swaps,
        reply_example=listings.Swaps([_SWAP_VIEW], None),
    ),
    Query(
        f"{BASE}/accounts/{{account:str}}/liquidity",
        HistoryParams,
        listings.LiquidityPage,
        "dex:read",
        "What an account put into pools and took out, newest first",
        listing=listings.account_liquidity,
        reply_example=listings.LiquidityPage([_LIQUIDITY_VIEW], None),
    ),
)

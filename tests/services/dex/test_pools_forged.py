"""A node that is not bound by the pools' rules writes events about its own pool: every other node refuses each, and is
not changed."""

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from jilnode.kernel.errors import Breach
from jilnode.module import Command
from services.dex.intents import CreateMarket
from services.dex.module import MODULE as DEX
from services.dex.pools.curve import fee_in
from services.dex.pools.intents import AddLiquidity, CreatePool, Swap
from services.dex.pools.rows import LIQUIDITY, POOLS, SWAPS, Liquidity, Pool, Swapped
from services.dex.router.intents import TakeRoute
from services.dex.router.rows import ROUTES, LaneQuote, Route
from services.wallet.intents import CreateAccount, CreateAsset, Issue
from services.wallet.module import MODULE as WALLET
from services.wallet.rows import (
    RETURNS,
    SHARES,
    SUPPLY,
    TRANSFERS,
    Return,
    Share,
    Supply,
    Transfer,
)
from tests.kit.node import START_US, FakeClock, TestNode, running
from tests.services.dex.kit import BASE, DEX_OPERATOR, QUOTE
from tests.services.dex.pool_kit import KEY, POOL
from tests.services.wallet.kit import rows
from tests.services.wallet.test_forged import GONE, Forge, _forge

ROGUE, HONEST = "sg-mas-01", "ch-zug-01"
TABLES = (*WALLET.tables, *DEX.tables)
MOVED, BACKED = "invariant.dex_pool_moved", "invariant.dex_pool_backed"
EXPLAINED, ROUTED = "invariant.wallet_explained", "invariant.dex_routed"

# It names who judges, as everybody does, and is not bound by it.
ROGUE_WALLET = replace(
    WALLET, invariants=tuple([replace(rule, check=lambda change: None) for rule in WALLET.invariants]), reactions=()
)
ROGUE_DEX = replace(
    DEX, commands=(*DEX.commands, Command(Forge, "dex.pool.forged", _forge, lambda rows: None)), invariants=()
)


EMPTY = {"base": BASE, "quote": QUOTE, "base_scale": 4, "quote_scale": 4, "share_scale": 4, "fee_bps": 30}


class Scene:
    """The rogue has a pool with 1,000,000 GOLD and 100,000,000 USDX in minor units, honestly, and a trader with twice
    that; the honest node knows."""

    def __init__(self, rogue: TestNode, honest: TestNode) -> None:
        self.rogue = rogue
        self.honest = honest
        self.trader = ""

    async def begin(self) -> None:
        for command in (CreateAsset("GOLD", 4), CreateAsset("USDX", 4), CreatePool(BASE, QUOTE)):
            await self.rogue.run(command, actor="o", scopes=DEX_OPERATOR)
        await self.rogue.run(CreateMarket(BASE, QUOTE, "0.01", "0.01"), actor="o", scopes=DEX_OPERATOR)
        self.trader = (await self.rogue.run(CreateAccount(), actor="t")).reply.id
        for asset in (BASE, QUOTE):
            await self.rogue.run(Issue(asset, self.trader, "30000"), actor="o", scopes=DEX_OPERATOR)
        await self.rogue.run(AddLiquidity(POOL, self.trader, "100", "10000", "1", "1", 1 << 62), actor="t")
        await self.honest.follow(self.rogue)

    @property
    def account(self) -> str:
        return self.trader.replace("~", "/")

    def share(self, account: str, asset: str, more: int, held: int = 0) -> tuple[Any, str, Any]:
        key = f"{account}/{asset}/{ROGUE}"
        before = rows(self.rogue, SHARES).get(key) or Share(account, asset)
        return SHARES, key, Share(account, asset, before.available + more, before.held + held)

    def pool(self, base: int = 0, quote: int = 0, shares: int = 0, **changes: Any) -> tuple[Any, str, Any]:
        row = rows(self.rogue, POOLS)[KEY]
        values = {
            "base_reserve": row.base_reserve + base,
            "quote_reserve": row.quote_reserve + quote,
            "shares": row.shares + shares,
            **changes,
        }
        return POOLS, KEY, msgspec.structs.replace(row, **values)

    def begun(self, **changes: Any) -> tuple[Any, str, Any]:
        """Another pool, empty."""
        return POOLS, f"{ROGUE}/dex.LP2", Pool(**{**EMPTY, **changes})

    def paid(self, number: int, debit: str, credit: str, asset: str, amount: int, **changes: Any) -> Any:
        values = {"kind": "trade", "of": f"{ROGUE}/act", **changes}
        if values["kind"] != "trade":
            values["of"] = ""
        return TRANSFERS, f"{ROGUE}/t{number}", Transfer(debit, credit, asset, amount, 4, START_US, **values)

    def swap(self, paid: int, out: int, *, act: bool = True, **changes: Any) -> list[Any]:
        """GOLD for USDX, everything as it should be but for the numbers."""
        row = Swapped(self.account, KEY, BASE, paid, 0, 4, QUOTE, out, 0, 4, START_US, fee_in(paid, 30))
        return [
            self.pool(paid, -out),
            self.share(KEY, BASE, paid),
            self.share(KEY, QUOTE, -out),
            self.share(self.account, BASE, -paid),
            self.share(self.account, QUOTE, out),
            *([(SWAPS, f"{ROGUE}/act", msgspec.structs.replace(row, **changes))] if act else []),
        ]

    def liquidity(self, sign: int, base: int, quote: int, shares: int, **changes: Any) -> list[Any]:
        kind, account = ("add" if sign > 0 else "remove"), self.account
        row = Liquidity(KEY, account, kind, base, quote, shares, (4, 4, 4), START_US)
        ends = (account, KEY) if sign > 0 else (KEY, account)
        supply = rows(self.rogue, SUPPLY)[KEY]
        made = (shares, 0) if sign > 0 else (0, shares)
        made_ends = ("", account, "issue") if sign > 0 else (account, "", "burn")
        return [
            self.pool(sign * base, sign * quote, sign * shares),
            self.share(KEY, BASE, sign * base),
            self.share(KEY, QUOTE, sign * quote),
            self.share(account, BASE, -sign * base),
            self.share(account, QUOTE, -sign * quote),
            self.share(account, POOL, sign * shares),
            (SUPPLY, KEY, Supply(supply.issued + made[0], supply.burned + made[1])),
            self.paid(1, *ends, BASE, base),
            self.paid(2, *ends, QUOTE, quote),
            self.paid(3, made_ends[0], made_ends[1], POOL, shares, kind=made_ends[2]),
            (LIQUIDITY, f"{ROGUE}/act", msgspec.structs.replace(row, **changes)),
        ]


@asynccontextmanager
async def scene() -> Any:
    clock = FakeClock()
    rogue = TestNode(ROGUE, [ROGUE_WALLET, ROGUE_DEX], clock=clock)
    honest = TestNode(HONEST, [WALLET, DEX], clock=clock)
    async with running(rogue, honest):
        made = Scene(rogue, honest)
        await made.begin()
        yield made


def everything(node: TestNode) -> dict[str, Any]:
    return {table.name: rows(node, table) for table in TABLES}


async def refused(made: Scene, forgery: list[Any], code: str) -> None:
    before = everything(made.honest)
    await made.rogue.run(Forge(tuple(forgery)))
    with pytest.raises(Breach) as breach:
        await made.honest.follow(made.rogue)
    assert breach.value.code == code, breach.value
    assert everything(made.honest) == before


HONEST_ACTS = {
    "a swap": lambda it: it.swap(10_000, 987_158),
    "liquidity in": lambda it: it.liquidity(1, 10_000, 1_000_000, 100_000),
    "liquidity out": lambda it: it.liquidity(-1, 10_000, 1_000_000, 100_000),
    "rounded liquidity in": lambda it: it.liquidity(1, 11, 1_010, 101),
    "rounded liquidity out": lambda it: it.liquidity(-1, 10, 1_010, 101),
}


@pytest.mark.parametrize("name", HONEST_ACTS)
async def test_what_the_forgeries_are_made_of_is_accepted_when_it_is_right(name):
    async with scene() as made:
        await made.rogue.run(Forge(tuple(HONEST_ACTS[name](made))))
        await made.honest.follow(made.rogue)
        assert everything(made.honest) == everything(made.rogue)


def without(rows_: list[Any], *tables: Any) -> list[Any]:
    return [row for row in rows_ if row[0] not in tables]


def with_row(rows_: list[Any], row: Any) -> list[Any]:
    return [row if (item[0], item[1]) == (row[0], row[1]) else item for item in rows_]


FORGERIES = {
    "gives a unit more than the product allows": (lambda it: it.swap(10_000, 987_159), MOVED),
    "gives a unit less": (lambda it: it.swap(10_000, 987_157), MOVED),
    "leaves the fee out": (lambda it: it.swap(10_000, 990_099), MOVED),
    "swaps for nothing": (lambda it: it.swap(10_000, -5), MOVED),
    "takes all of it for nothing much": (lambda it: it.swap(1, 100_000_000), MOVED),
    "swaps with no swap": (lambda it: it.swap(10_000, 987_158, act=False), MOVED),
    "swaps no money": (lambda it: without(it.swap(0, 0), SHARES), EXPLAINED),
    "swaps more than it says": (lambda it: it.swap(10_000, 987_158, amount=9_999), MOVED),
    "gives more than it says": (lambda it: it.swap(10_000, 987_158, back_amount=987_157), MOVED),
    "swaps the other way round": (lambda it: it.swap(10_000, 987_158, asset=QUOTE, back_asset=BASE), MOVED),
    "swaps another asset": (lambda it: it.swap(10_000, 987_158, asset=POOL), MOVED),
    "gives another asset": (lambda it: it.swap(10_000, 987_158, back_asset=POOL), MOVED),
    "swaps in other decimals": (lambda it: it.swap(10_000, 987_158, scale=5), MOVED),
    "gives in other decimals": (lambda it: it.swap(10_000, 987_158, back_scale=3), MOVED),
    "takes a fee of its trader": (lambda it: it.swap(10_000, 987_158, fee=1), MOVED),
    "takes a fee of itself": (lambda it: it.swap(10_000, 987_158, back_fee=1), MOVED),
    "says that it kept another fee": (lambda it: it.swap(10_000, 987_158, kept=29), MOVED),
    "swaps for somebody else": (lambda it: it.swap(10_000, 987_158, debit=f"{ROGUE}/x"), EXPLAINED),
    "swaps at another time": (lambda it: it.swap(10_000, 987_158, at_us=START_US - 1), MOVED),
    "swaps at another pool": (lambda it: it.swap(10_000, 987_158, credit=f"{ROGUE}/dex.LP9"), MOVED),
    "pays for a swap by a transfer too": (
        lambda it: [*it.swap(10_000, 987_158), it.paid(1, it.account, f"{ROGUE}/x", BASE, 5)],
        MOVED,
    ),
    "moves the reserves and no money": (
        lambda it: without(it.swap(10_000, 987_158), SHARES),
        BACKED,
    ),
    "moves money and not the reserves": (lambda it: without(it.swap(10_000, 987_158), POOLS), MOVED),
    "moves money with nothing of the pool's": (
        lambda it: [
            *without(it.swap(10_000, 987_158), POOLS, SWAPS),
            it.paid(1, it.account, KEY, BASE, 10_000),
            it.paid(2, KEY, it.account, QUOTE, 987_158),
        ],
        EXPLAINED,
    ),
    "pays its operator out of the pool": (
        lambda it: [
            it.share(KEY, QUOTE, -5),
            it.share(it.account, QUOTE, 5),
            it.paid(1, KEY, it.account, QUOTE, 5, kind="transfer"),
        ],
        EXPLAINED,
    ),
    "pays its operator out of the pool, and says that the pool changed": (
        lambda it: [
            it.pool(halted="for a while"),
            it.share(KEY, QUOTE, -5),
            it.share(it.account, QUOTE, 5),
            it.paid(1, KEY, it.account, QUOTE, 5, kind="transfer"),
        ],
        BACKED,
    ),
    "pays its operator out of the pool beside a swap": (
        lambda it: [
            *with_row(
                with_row(it.swap(10_000, 987_158), it.share(KEY, QUOTE, -987_163)),
                it.share(it.account, QUOTE, 987_163),
            ),
            it.paid(1, KEY, it.account, QUOTE, 5, kind="transfer"),
        ],
        BACKED,
    ),
    "lowers the reserves with what it pays its operator": (
        lambda it: [
            it.pool(quote=-5),
            it.share(KEY, QUOTE, -5),
            it.share(it.account, QUOTE, 5),
            it.paid(1, KEY, it.account, QUOTE, 5, kind="transfer"),
        ],
        MOVED,
    ),
    "takes a donation": (
        lambda it: [
            it.share(KEY, QUOTE, 5),
            it.share(it.account, QUOTE, -5),
            it.paid(1, it.account, KEY, QUOTE, 5, kind="transfer"),
        ],
        EXPLAINED,
    ),
    "holds what is the pool's": (
        lambda it: [
            it.pool(halted="held"),
            it.share(KEY, QUOTE, -5, 5),
        ],
        BACKED,
    ),
    "sends the pool's money away": (
        lambda it: [
            it.share(KEY, QUOTE, -5),
            (RETURNS, f"{ROGUE}/r", Return(f"{KEY}/{QUOTE}", 5, HONEST)),
        ],
        EXPLAINED,
    ),
    "lifts what was locked for ever": (
        lambda it: [
            it.pool(halted="lifted"),
            it.share(KEY, POOL, -1000),
            it.share(it.account, POOL, 1000),
            it.paid(1, KEY, it.account, POOL, 1000, kind="transfer"),
        ],
        BACKED,
    ),
    "makes shares for nobody's money": (
        lambda it: [
            it.share(it.account, POOL, 5),
            (SUPPLY, KEY, Supply(10_000_005)),
            it.paid(1, "", it.account, POOL, 5, kind="issue"),
        ],
        EXPLAINED,
    ),
    "makes shares for nobody's money, and says that the pool changed": (
        lambda it: [
            it.pool(halted="for a while"),
            it.share(it.account, POOL, 5),
            (SUPPLY, KEY, Supply(10_000_005)),
            it.paid(1, "", it.account, POOL, 5, kind="issue"),
        ],
        BACKED,
    ),
    "counts shares that nobody made": (lambda it: [it.pool(shares=5)], MOVED),
    "gives a share too many": (lambda it: it.liquidity(1, 10_000, 1_000_000, 100_001), MOVED),
    "gives a share too few": (lambda it: it.liquidity(1, 10_000, 1_000_000, 99_999), MOVED),
    "takes a unit too few for shares": (lambda it: it.liquidity(1, 9_999, 1_000_000, 100_000), MOVED),
    "takes a unit too many for shares": (lambda it: it.liquidity(1, 10_000, 1_000_001, 100_000), MOVED),
    "pays a unit too many for shares": (lambda it: it.liquidity(-1, 10_000, 1_000_001, 100_000), MOVED),
    "pays a unit too few for shares": (lambda it: it.liquidity(-1, 9_999, 1_000_000, 100_000), MOVED),
    "burns what is locked": (lambda it: it.liquidity(-1, 1_000_000, 100_000_000, 10_000_000), MOVED),
    "burns some of what is locked": (lambda it: it.liquidity(-1, 999_950, 99_995_000, 9_999_500), MOVED),
    "leaves out what it paid": (
        lambda it: [row for row in it.swap(10_000, 987_158) if row[1] != f"{KEY}/{QUOTE}/{ROGUE}"],
        BACKED,
    ),
    "puts in what it takes out": (lambda it: it.liquidity(-1, 10_000, 1_000_000, 100_000, kind="add"), MOVED),
    "gives the shares to somebody else": (
        lambda it: with_row(
            with_row(
                it.liquidity(1, 10_000, 1_000_000, 100_000),
                it.paid(3, "", f"{ROGUE}/x", POOL, 100_000, kind="issue"),
            ),
            it.share(f"{ROGUE}/x", POOL, 100_000),
        ),
        MOVED,
    ),
    "acts twice in one event": (
        lambda it: [
            *it.swap(10_000, 987_158),
            (SWAPS, f"{ROGUE}/again", Swapped(it.account, KEY, BASE, 1, 0, 4, QUOTE, 1, 0, 4, START_US, 0)),
        ],
        MOVED,
    ),
    "bends its price": (lambda it: [it.pool(base_cumulative="5")], MOVED),
    "bends its price in a swap": (
        lambda it: with_row(it.swap(10_000, 987_158), it.pool(10_000, -987_158, quote_cumulative="5")),
        MOVED,
    ),
    "changes its fee": (lambda it: [it.pool(fee_bps=0)], MOVED),
    "changes its assets": (lambda it: [(POOLS, KEY, msgspec.structs.replace(it.pool()[2], base=f"X@{ROGUE}"))], MOVED),
    "deletes its pool": (lambda it: [(POOLS, KEY, GONE)], MOVED),
    "begins a pool with something": (
        lambda it: [(POOLS, f"{ROGUE}/dex.LP2", msgspec.structs.replace(it.pool()[2], base_reserve=1))],
        MOVED,
    ),
    "begins a pool of absurd decimals": (lambda it: [it.begun(base_scale=20)], MOVED),
    "begins a pool of decimals below none": (lambda it: [it.begun(quote_scale=-1)], MOVED),
    "begins a pool whose shares have absurd decimals": (lambda it: [it.begun(share_scale=10)], MOVED),
    "puts liquidity in in other decimals": (
        lambda it: it.liquidity(1, 10_000, 1_000_000, 100_000, scales=(4, 4, 10**9)),
        MOVED,
    ),
    "deletes its share": (lambda it: [it.pool(halted="x"), (SHARES, f"{KEY}/{BASE}/{ROGUE}", GONE)], BACKED),
    "deletes its supply": (lambda it: [it.pool(halted="x"), (SUPPLY, KEY, GONE)], BACKED),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_event_is_refused_and_changes_nothing(name):
    async with scene() as made:
        forgery, code = FORGERIES[name]
        await refused(made, forgery(made), code)


async def test_nobody_pays_to_a_pool_of_another_node():
    """The rogue credits the honest node's pool at itself: that money would never be in the reserves."""
    async with scene() as made:
        theirs = f"{HONEST}/dex.LP1"
        forgery = [
            made.share(made.account, BASE, -5),
            (SHARES, f"{theirs}/{BASE}/{ROGUE}", Share(theirs, BASE, 5)),
            made.paid(1, made.account, theirs, BASE, 5, kind="transfer"),
        ]
        await refused(made, forgery, EXPLAINED)


async def test_beside_a_pool_of_its_own_the_rogue_pays_to_no_other_either():
    async with scene() as made:
        theirs = f"{HONEST}/dex.LP1"
        forgery = [
            made.pool(halted="meanwhile"),
            made.share(made.account, BASE, -5),
            (SHARES, f"{theirs}/{BASE}/{ROGUE}", Share(theirs, BASE, 5)),
            made.paid(1, made.account, theirs, BASE, 5, kind="transfer"),
        ]
        await refused(made, forgery, BACKED)


OFFER = LaneQuote("pool", "", 10_000, 987_158, 30, pool_in=10_000)
LANES = (LaneQuote("book", "too_thin"), OFFER, LaneQuote("split", "one_lane_is_best"))
BETTER = LaneQuote("book", "", 10_000, 987_159)
LESS = LaneQuote("split", "", 10_000, 1, 10_000, 100, 9_000, 10_000)


def route(made: Scene, **changes: Any) -> list[Any]:
    """The swap, and the route that led to it."""
    values = {"rule": "1_only_lane", "lane": "pool", "lanes": LANES, "amount_in": 10_000, "min_out": 987_158, **changes}
    values = {"account": made.account, "pool": KEY, "deadline_us": START_US, "at_us": START_US, **values}
    row = Route(**{"asset_in": BASE, "asset_out": QUOTE, "scale_in": 4, "scale_out": 4, "market": "", **values})
    return [*made.swap(10_000, 987_158), (ROUTES, f"{ROGUE}/route", row)]


ROUTE_CHANGES = {
    "in absurd decimals": {"scale_out": 10},
    "by another rule": {"rule": "2_highest_output"},
    "by a lane that can't be used": {"lane": "book"},
    "by a lane that gives less than another": {"lanes": (BETTER, *LANES[1:])},
    "by a lane that nobody knows": {"lane": "", "rule": "", "lanes": ()},
    "for less than was asked": {"min_out": 987_159},
    "for more than was sent": {"amount_in": 9_999},
    "after its deadline": {"deadline_us": START_US - 1},
    "at another time": {"at_us": START_US - 1},
    "by another pool": {"pool": f"{ROGUE}/dex.LP9"},
    "for somebody else": {"account": f"{ROGUE}/x"},
    "that offered more than it gave": {"lanes": (msgspec.structs.replace(OFFER, output=987_159),)},
    "that offered to take less": {"lanes": (msgspec.structs.replace(OFFER, spent=9_999),)},
    "with a part at the book that was not traded": {"lanes": (msgspec.structs.replace(OFFER, quantity=100),)},
    "by a quote that was not accepted": {"lanes": (msgspec.structs.replace(OFFER, accepted=f"{ROGUE}/q"),)},
    "without the part that was swapped": {"lanes": (msgspec.structs.replace(OFFER, pool_in=0),)},
    "by one of two lanes of one name": {"lanes": (LaneQuote("pool", "pool_empty"), OFFER)},
    **{
        f"beside a lane that {what}": {"rule": "2_highest_output", "lanes": (LaneQuote("book", "", *numbers), OFFER)}
        for what, numbers in {
            "takes nothing": (0, 1),
            "takes more than there is": (10_001, 1),
            "gives nothing": (1, 0),
            "has a fee below nothing": (1, 1, -1),
            "has a fee above what it takes": (1, 1, 2),
            "gives the pool less than nothing": (1, 1, 0, 0, 0, -1),
            "gives the pool more than it takes": (1, 1, 0, 0, 0, 2),
        }.items()
    },
}


@pytest.mark.parametrize("name", ROUTE_CHANGES)
async def test_a_route_can_t_be_taken(name):
    async with scene() as made:
        await refused(made, route(made, **ROUTE_CHANGES[name]), ROUTED)


async def test_a_route_is_taken_once_in_an_event():
    async with scene() as made:
        rows_ = route(made)
        await refused(made, [*rows_, (ROUTES, f"{ROGUE}/again", rows_[-1][2])], ROUTED)


@pytest.mark.parametrize(("beside", "rule"), [((), "1_only_lane"), ((LESS,), "2_highest_output")])
async def test_a_route_as_it_should_be_is_accepted(beside, rule):
    async with scene() as made:
        await made.rogue.run(Forge(tuple(route(made, lanes=(*beside, OFFER), rule=rule))))
        await made.honest.follow(made.rogue)
        assert everything(made.honest) == everything(made.rogue)


async def test_honest_acts_of_every_kind_are_accepted():
    async with scene() as made:
        late = 1 << 62
        await made.rogue.run(Swap(POOL, made.trader, QUOTE, "5", "0.01", late), actor="t")
        await made.rogue.run(TakeRoute(made.trader, BASE, QUOTE, "5", "0.01", late), actor="t")
        await made.honest.follow(made.rogue)
        assert everything(made.honest) == everything(made.rogue)

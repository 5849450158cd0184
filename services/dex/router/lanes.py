"""The lanes: the ways in which an exact input can become another asset at this node.

A lane is two functions. ``quote`` is what it would do, over rows as they stand: a handler's or a query's, so a dry run
and the real thing are the same code. ``take`` does it, on the route's floor. Another lane is another entry of
``LANES``.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from jilnode.kernel.state import Context, State, View
from jilnode.module import Rejected
from services.dex.commands.desk import Floor
from services.dex.pairs import check_pair, markets_between
from services.dex.pools.commands import exchange
from services.dex.pools.curve import BASIS_POINTS, fee_in
from services.dex.pools.quoting import (
    Sides,
    check_filled,
    check_open,
    output_of,
    own_pool_of_pair,
    sides_of,
)
from services.dex.pools.rows import POOLS, Pool
from services.dex.rfq.commands.acceptances import settle
from services.dex.rfq.rows import QUOTES
from services.dex.rfq.standing import best_offer
from services.dex.rfq.terms import legs
from services.dex.router.ladder import Ladder, ladder_of
from services.dex.router.rows import LaneQuote
from services.dex.rows import BUY, MARKETS, SELL, Order
from services.wallet.kinds import Reserved

__all__ = ("LANES", "Lane", "Request", "quotes_of", "request_for")


class Request(NamedTuple):
    """``market`` and ``pool`` are this node's of the pair, empty without one. ``account`` and ``group``, its beneficial
    owner, are empty where it is not said who asks."""

    asset_in: str
    asset_out: str
    amount: int
    market: str
    pool: str
    account: str
    group: str


class Lane(NamedTuple):
    name: str
    quote: Callable[[State | View, Context, Request], LaneQuote]
    take: Callable[[Floor, Request, LaneQuote], None]


def request_for(
    rows: State | View, context: Context, asset_in: str, asset_out: str, amount: int, account: str, group: str
) -> Request:
    """Of two markets of a pair it is the one whose base is ``asset_in``."""
    markets = markets_between(rows, context.source, asset_in, asset_out)
    pool = own_pool_of_pair(rows, context.source, asset_in, asset_out)
    return Request(asset_in, asset_out, amount, markets[0] if markets else "", pool, account, group)


def quotes_of(rows: State | View, context: Context, request: Request) -> list[LaneQuote]:
    """What every lane would do; one that can't says why."""
    found = []
    for lane in LANES:
        try:
            found.append(lane.quote(rows, context, request))
        except Rejected as rejected:
            found.append(LaneQuote(lane.name, rejected.code))
    return found


def _quote_book(rows: State | View, context: Context, request: Request) -> LaneQuote:
    """The book takes as many lots as the amount pays for. What is less than one more lot is not spent."""
    ladder = _ladder(rows, context, request)
    lots = ladder.affordable(request.amount)
    if lots == ladder.lots and (not lots or ladder.pays_for_more(lots, request.amount)):
        raise Rejected("too_thin", "the book, as far as one command walks it, can't take all of it")
    if not lots:
        raise Rejected("amount_too_small", "it does not pay for one lot")
    taking = ladder.taking(lots)
    ladder.check(taking)
    return LaneQuote("book", "", taking.spent, taking.output, taking.fee, taking.quantity, taking.limit)


def _take_book(floor: Floor, request: Request, quote: LaneQuote) -> None:
    market = floor.state[MARKETS].get(request.market)
    assert market is not None
    desk = floor.desk(request.market, market)
    order = Order(
        request.account,
        Reserved(request.asset_in, 0),
        request.market,
        BUY if request.asset_in == market.quote else SELL,
        quote.limit,
        quote.quantity,
        quote.quantity,
        desk.place(),
        floor.context.time_us,
        request.group,
        time_in_force="ioc",
        maker_bps=market.maker_bps,
    )
    desk.enter(floor.context.new_key(), order, rests=False, whole=True)


def _quote_pool(rows: State | View, context: Context, request: Request) -> LaneQuote:
    pool, sides = _pool(rows, request)
    output = output_of(pool, sides, request.amount)
    fee = fee_in(request.amount, pool.fee_bps)
    return LaneQuote("pool", "", request.amount, output, fee, pool_in=request.amount)


def _take_pool(floor: Floor, request: Request, quote: LaneQuote) -> None:
    exchange(floor.state, floor.context, floor.ledger, request.pool, request.account, request.asset_in, quote.pool_in)


def _quote_split(rows: State | View, context: Context, request: Request) -> LaneQuote:
    """So many lots at the book that one more would give less than what it costs gives at the pool; the rest to the
    pool."""
    ladder = _ladder(rows, context, request)
    pool, sides = _pool(rows, request)
    lots = _best_lots(ladder, pool, sides, request.amount)
    taking = ladder.taking(lots) if lots else None
    if taking is None or taking.spent == request.amount:
        raise Rejected("one_lane_is_best", "parting the amount gives no more")
    ladder.check(taking)
    pool_in = request.amount - taking.spent
    pool_out = output_of(pool, sides, pool_in)
    return LaneQuote(
        "split",
        "",
        request.amount,
        taking.output + pool_out,
        taking.fee + fee_in(pool_in, pool.fee_bps),
        taking.quantity,
        taking.limit,
        pool_in,
    )


def _take_split(floor: Floor, request: Request, quote: LaneQuote) -> None:
    _take_book(floor, request, quote)
    _take_pool(floor, request, quote)


def _quote_rfq(rows: State | View, context: Context, request: Request) -> LaneQuote:
    """A firm quote to one of the account's own requests, taken as it is: all of its quantity."""
    check_pair(rows, context.source, request.asset_in, request.asset_out, "/asset_out")
    offer = best_offer(rows, context, request.account, request.asset_in, request.asset_out, request.amount)
    if offer is None:
        raise Rejected("no_quote", "no quote to the account's requests can be accepted for so much")
    key, quote = offer
    pays, gets = legs(quote.terms, quote.price)
    return LaneQuote("rfq", "", pays.amount + pays.fee, gets.amount, pays.fee, accepted=key)


def _take_rfq(floor: Floor, request: Request, quote: LaneQuote) -> None:
    row = floor.state[QUOTES].get(quote.accepted)
    assert row is not None
    settle(floor.state, floor.context, floor.ledger, quote.accepted, row)


def _best_lots(ladder: Ladder, pool: Pool, sides: Sides, amount: int) -> int:
    """The output of n lots at the book and the rest at the pool, without roundings, is concave in n: the book's prices
    only get worse, and so does the pool's. So the first n at which one more lot gives no more is the best, and halving
    finds it in at most 64 steps."""
    low, high = 0, ladder.affordable(amount)
    while low < high:
        middle = (low + high) // 2
        if _exact(ladder, pool, sides, amount, middle + 1) > _exact(ladder, pool, sides, amount, middle):
            low = middle + 1
        else:
            high = middle
    return low


def _exact(ladder: Ladder, pool: Pool, sides: Sides, amount: int, lots: int) -> Fraction:
    paid, output = ladder.cost(lots)
    # The rest of the amount times 10,000, and what is left of it after the pool's fee times 10,000 once more.
    rest = amount * BASIS_POINTS - paid * (BASIS_POINTS + ladder.market.taker_bps)
    worth = rest * (BASIS_POINTS - pool.fee_bps)
    return output + Fraction(worth * sides.reserve_out, sides.reserve_in * BASIS_POINTS**2 + worth)


def _ladder(rows: State | View, context: Context, request: Request) -> Ladder:
    if not request.market:
        raise Rejected("no_market", "this node has no market of this pair")
    return ladder_of(rows, context, request.market, request.asset_in, request.amount, request.account, request.group)


def _pool(rows: State | View, request: Request) -> tuple[Pool, Sides]:
    pool = rows[POOLS].get(request.pool) if request.pool else None
    if pool is None:
        raise Rejected("no_pool", "this node has no pool of this pair")
    check_open(rows, request.pool, pool, swapping=True)
    check_filled(pool)
    return pool, sides_of(pool, request.asset_in)


LANES = (
    Lane("book", _quote_book, _take_book),
    Lane("pool", _quote_pool, _take_pool),
    Lane("split", _quote_split, _take_split),
    Lane("rfq", _quote_rfq, _take_rfq),
)
"""The simplest first, and last what ends a request: the order of rule 4."""

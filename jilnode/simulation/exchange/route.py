"""One route as its event tells it, judged by what this node's pools, books and live quotes would have given instead.

What they would have given is computed by the simulation's own formulas; of a book where each maker who would be met is
surely fit to pay. Of others only the node knows.
"""

from jilnode.simulation.exchange.book import ShadowBook, ceiling, notional
from jilnode.simulation.exchange.desk import legs
from jilnode.simulation.exchange.money import Moved
from jilnode.simulation.exchange.source import Source
from jilnode.simulation.finding import Finding
from services.dex.router.rows import Route

__all__ = ("best_elsewhere", "check_route")


def best_elsewhere(known: Source, route: Route, time_us: int, owner: str) -> int:
    """The most that a pool, a book, or a quote that could be accepted, gives for the amount; before the event is
    applied. ``owner``: whose the route's account is."""
    if known.halted(route.asset_in, route.asset_out):
        return 0
    pair = {route.asset_in, route.asset_out}
    found = [0]
    found += [
        pool.gives(route.asset_in, route.amount_in)
        for pool in known.pools.values()
        if {pool.row.base, pool.row.quote} == pair and pool.row.shares and not pool.row.halted
    ]
    for quote in known.desk.quotes.values():
        taker, maker = legs(quote)
        until_us = min(known.desk.requests[quote.request].accept_until_us, quote.valid_until_us)
        if (
            (quote.taker, taker.asset, maker.asset) == (route.account, route.asset_in, route.asset_out)
            and taker.amount + taker.fee <= route.amount_in
            and quote.shown
            and time_us < until_us
            and known.pays(quote.account)
        ):
            found.append(maker.amount)
    for book in known.books.values():
        if {book.terms.base, book.terms.quote} == pair:
            found.append(_taken(known, book, route, time_us, owner))
    return max(found)


def _taken(known: Source, book: ShadowBook, route: Route, time_us: int, owner: str) -> int:
    """What an order for as many lots as the amount pays for gets, lot by lot. 0 where the book ends before, or comes to
    somebody who may not be fit."""
    terms, buys = book.terms, route.asset_in == book.terms.quote
    paid = output = 0
    for key, price, remaining in book.shapes[-1][1]["book", "sell" if buys else "buy"]:
        order = book.orders[key]
        late = 0 < order.expires_us <= time_us
        if late or not known.pays(order.account) or order.account == route.account or order.group == owner:
            return 0
        turnover = notional(terms, price, terms.lot)
        pays, gets = (turnover, terms.lot) if buys else (terms.lot, turnover)
        for _ in range(remaining // terms.lot):
            if paid + pays + ceiling(paid + pays, terms.taker_bps) > route.amount_in:
                return output
            paid, output = paid + pays, output + gets
    return 0


def check_route(where: str, time_us: int, route: Route, elsewhere: int, expected: Moved) -> None:
    """``expected``: what the event's trades, swaps and settlements should move."""
    lane = next((lane for lane in route.lanes if lane.lane == route.lane and not lane.code), None)
    if lane is None:
        raise Finding(f"route: {where} takes a lane that it could not")
    if route.at_us != time_us or time_us > route.deadline_us or lane.output < route.min_out:
        raise Finding(f"route: {where} gives {lane.output} at {time_us}, and not {route.min_out} in time")
    spent = -expected.get(f"{route.account}/{route.asset_in}", 0)
    output = expected.get(f"{route.account}/{route.asset_out}", 0)
    if (spent, output) != (lane.spent, lane.output) or spent > route.amount_in:
        raise Finding(f"route: {where} moves {spent} for {output}, and says {lane.spent} for {lane.output}")
    best = max([elsewhere, *[other.output for other in route.lanes]])
    if output < best:
        raise Finding(f"route: {where} gives {output} by {route.lane}, and another lane {best}")

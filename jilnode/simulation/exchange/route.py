"""One route as its event tells it, judged by what this node's pools and live quotes would have given instead.

What they would have given is computed by the simulation's own formulas. What the book would have is not: an order's
maker may not be fit to pay, and only the node knows. That the book's makers are met in their order is checked with it.
"""

from jilnode.simulation.exchange.desk import legs
from jilnode.simulation.exchange.money import Moved
from jilnode.simulation.exchange.source import Source
from jilnode.simulation.finding import Finding
from services.dex.router.rows import Route

__all__ = ("best_elsewhere", "check_route")


def best_elsewhere(known: Source, route: Route, time_us: int) -> int:
    """The most that a pool, or a quote that could be accepted, gives for the amount; before the event is applied."""
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
    return max(found)


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

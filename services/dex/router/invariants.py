"""What must be true of every route that was taken: checked here before commit, and by every replica again."""

from jilnode.module import Change, Invariant
from services.dex.pools.rows import SWAPS
from services.dex.rfq.rows import SETTLEMENTS
from services.dex.router.rows import ROUTES, Route
from services.dex.router.rules import choose
from services.dex.rows import TRADES
from services.wallet.invariants import SCALE_MAX
from services.wallet.kinds import Exchange, sides

__all__ = ("INVARIANTS",)


def _routed(change: Change) -> str | None:
    """The rules lead to the lane that was taken, and it moved what it offered: no more than the account sent, no less
    than it asked for, in time, by the market, the pool and the quote that the lanes looked at."""
    routes = change.rows(ROUTES)
    if len(routes) > 1:
        return "more routes than one command may take"
    for key, before, route in routes:
        if before is not None or route is None:
            return f"route {key} is written once"
        problem = _route(change, route)
        if problem is not None:
            return f"route {key} {problem}"
    return None


def _route(change: Change, route: Route) -> str | None:
    problem = _offered(route)
    if problem is not None:
        return problem
    rule, chosen = choose(route.lanes)
    if chosen is None or (rule, chosen.lane) != (route.rule, route.lane):
        return "is not what the rules choose"
    if route.at_us != change.time_us or route.at_us > route.deadline_us:
        return "is taken after its deadline"
    if not 0 <= min(route.scale_in, route.scale_out) <= max(route.scale_in, route.scale_out) <= SCALE_MAX:
        return "is in no scale"
    if chosen.output < route.min_out:
        return "gives less than was asked for"
    spent, output = 0, 0
    for _, _, exchange in change.rows_of(Exchange):
        for payer, payee, asset, amount, fee in sides(exchange):
            if (payer, asset) == (route.account, route.asset_in):
                spent += amount + fee
            if (payee, asset) == (route.account, route.asset_out):
                output += amount
    if (spent, output) != (chosen.spent, chosen.output):
        return "moves something else than its lane offered"
    swaps = [(row.pool, row.account, row.amount_in) for _, _, row in change.rows(SWAPS)]
    if swaps != ([(route.pool, route.account, chosen.pool_in)] if chosen.pool_in else []):
        return "swaps something else than its lane offered"
    trades = [(row.market, row.quantity) for _, _, row in change.rows(TRADES)]
    if {market for market, _ in trades} - {route.market} or sum(part for _, part in trades) != chosen.quantity:
        return "trades something else than its lane offered"
    settled = [(row.quote, row.taker) for _, _, row in change.rows(SETTLEMENTS)]
    if settled != ([(chosen.accepted, route.account)] if chosen.accepted else []):
        return "accepts something else than its lane offered"
    return None


def _offered(route: Route) -> str | None:
    """Whoever is shown the route reads a price of every lane that could be used, not only of the one that was."""
    if len({quote.lane for quote in route.lanes}) != len(route.lanes):
        return "has two lanes of one name"
    for quote in route.lanes:
        if quote.code:
            continue
        if not 0 < quote.spent <= route.amount_in or quote.output <= 0:
            return "has a lane that takes more than there is, or nothing, or gives nothing"
        if not (0 <= quote.fee <= quote.spent and 0 <= quote.pool_in <= quote.spent):
            return "has a lane of which the parts are no parts"
    return None


INVARIANTS = (Invariant("dex_routed", range(1, 2), _routed, (ROUTES,)),)

"""Taking a route: every lane is asked, a rule chooses, and what it chose is done, in one event."""

from jilnode.kernel.state import Context, State
from jilnode.module import Action, Rejected
from services.dex.commands.desk import Floor
from services.dex.commands.orders import group_of
from services.dex.fields import sent_as
from services.dex.pools.commands import check_deadline, trader_of
from services.dex.rfq.commands.acceptances import acceptance
from services.dex.rfq.rows import QUOTES
from services.dex.rfq.standing import requests_here
from services.dex.router.intents import TakeRoute
from services.dex.router.lanes import LANES, Request, quotes_of, request_for
from services.dex.router.rows import ROUTES, Route
from services.dex.router.rules import choose
from services.wallet.amounts import parse_amount
from services.wallet.commands.accounts import account_of, asset_of

__all__ = ("review_route", "take_route")


@sent_as("/amount_in")
def take_route(state: State, context: Context, command: TakeRoute) -> None:
    account = trader_of(state, context, command.account)
    check_deadline(context, command.deadline_us)
    request, scale_in, scale_out = _asked(state, context, command)
    least = parse_amount(command.min_out, scale_out, "/min_out")
    quotes = quotes_of(state, context, request)
    rule, chosen = choose(quotes)
    if chosen is None:
        raise Rejected(
            "no_route",
            "no lane of this node can take it now",
            status=409,
            field="/asset_out",
            retry_after_s=5,
            extra={"lanes": {quote.lane: quote.code for quote in quotes}},
        )
    if chosen.output < least:
        raise Rejected("below_minimum", "the best lane gives less than min_out now", field="/min_out")
    key = context.new_key()
    floor = Floor(state, context)
    # All of the money must be here before it is parted, so that it is asked for once and by one name.
    purpose = ("route", command.asset_out, request.amount)
    floor.ledger.keep(account, floor.ledger.reserve(account, command.asset_in, chosen.spent, 0, purpose), 0)
    take = next(lane.take for lane in LANES if lane.name == chosen.lane)
    take(floor, request, chosen)
    state[ROUTES].insert(
        key,
        Route(
            account,
            command.asset_in,
            command.asset_out,
            scale_in,
            scale_out,
            request.amount,
            least,
            command.deadline_us,
            request.market,
            request.pool,
            tuple(quotes),
            rule,
            chosen.lane,
            context.time_us,
        ),
    )
    floor.finish()


def review_route(state: State, context: Context, command: TakeRoute) -> Action:
    """A swap, as the zones see it: which lane it takes is nothing to them. But where it accepts a quote, it is an
    acceptance, and the maker's zone is asked too."""
    key, account = account_of(state, command.account, "/account")
    if requests_here(state, context, key):
        request, _, _ = _asked(state, context, command)
        _, chosen = choose(quotes_of(state, context, request))
        quote = state[QUOTES].get(chosen.accepted) if chosen is not None and chosen.accepted else None
        if quote is not None:
            return acceptance(state, quote)
    return Action(
        "dex.swap",
        (account.zone,) if account.zone else (),
        {
            "account": command.account,
            "pool": "",
            "base": command.asset_in,
            "quote": command.asset_out,
            "asset_in": command.asset_in,
            "amount_in": command.amount_in,
            "min_out": command.min_out,
            "leverage": 1,
        },
    )


def _asked(state: State, context: Context, command: TakeRoute) -> tuple[Request, int, int]:
    """(what the lanes are asked, scale of ``asset_in``, of ``asset_out``). Raises ``Rejected``."""
    asset_in = asset_of(state, command.asset_in, "/asset_in")
    asset_out = asset_of(state, command.asset_out, "/asset_out")
    if command.asset_in == command.asset_out:
        raise Rejected("bad_pair", "a route leads to another asset", field="/asset_out", status=400)
    amount = parse_amount(command.amount_in, asset_in.scale, "/amount_in")
    account, row = account_of(state, command.account, "/account")
    group = group_of(state, context, account, row.subject)
    request = request_for(state, context, command.asset_in, command.asset_out, amount, account, group)
    return request, asset_in.scale, asset_out.scale

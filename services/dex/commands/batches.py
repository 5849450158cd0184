"""Orders that come together, each for itself, in one event: a batch, or a market maker's quotes in place of the old."""

from collections.abc import Mapping
from typing import Final

from jilnode.kernel.state import Context, State
from jilnode.module import Action, Rejected
from services.dex.commands.desk import Desk, Floor
from services.dex.commands.markets import market_of
from services.dex.commands.orders import facts_of, place_at, review_order
from services.dex.intents import MassQuote, PlaceOrder, PlaceOrders
from services.dex.rows import BATCHES, ORDERS, Batch, Order
from services.wallet.commands.accounts import account_of, check_owner
from services.wallet.commands.roaming import request_share
from services.wallet.intents import RequestShare

__all__ = ("ORDERS_MAX", "QUOTES_MAX", "mass_quote", "place_batch", "review_batch", "review_quotes")

ORDERS_MAX: Final = 100
QUOTES_MAX: Final = 50


def place_batch(state: State, context: Context, command: PlaceOrders) -> None:
    if not 1 <= len(command.orders) <= ORDERS_MAX:
        raise Rejected("bad_count", f"1 to {ORDERS_MAX} orders", field="/orders", status=400)
    _place_all(Floor(state, context), command.orders, "/orders", 0)


def mass_quote(state: State, context: Context, command: MassQuote) -> None:
    """None: the old quotes are taken back."""
    if len(command.quotes) > QUOTES_MAX:
        raise Rejected("bad_count", f"at most {QUOTES_MAX} quotes", field="/quotes", status=400)
    key, market = market_of(state, context, command.market)
    account, row = account_of(state, command.account, "/account")
    check_owner(context, row, "/account")
    floor = Floor(state, context)
    desk = floor.desk(key, market)
    old = _quotes(state, account, key)
    for order_key, order in old:
        desk.end(order_key, order, "quoted_again")
    floor.ledger.uncount_ended()
    orders = tuple(
        PlaceOrder(command.market, command.account, quote.side, quote.quantity, quote.price, "post_only")
        for quote in command.quotes
    )
    _place_all(floor, orders, "/quotes", len(old), shared=("/account", "/market"))


def review_batch(state: State, context: Context, command: PlaceOrders) -> Action:
    """One action for all: the zones of every account, and each order's facts."""
    zones: dict[str, None] = {}
    items: list[Mapping[str, object]] = []
    for order in command.orders:
        try:
            zone, facts = facts_of(state, context, order)
        except Rejected:
            # The handler refuses this one by itself, with its own field.
            continue
        if zone:
            zones[zone] = None
        items.append(facts)
    return Action("dex.orders", tuple(zones), {"items": items})


def review_quotes(state: State, context: Context, command: MassQuote) -> Action | None:
    """One action for all: the zones see each side's price and quantity. Taking quotes back asks nobody."""
    if not command.quotes:
        return None
    whole = PlaceOrder(command.market, command.account, "", "", "", "post_only")
    action = review_order(state, context, whole)
    quotes = [{"side": item.side, "price": item.price, "quantity": item.quantity} for item in command.quotes]
    return Action("dex.quotes", action.zones, {**action.facts, "quotes": quotes})


def _place_all(
    floor: Floor, orders: tuple[PlaceOrder, ...], field: str, withdrawn: int, shared: tuple[str, ...] = ()
) -> None:
    """An order that lacks money which lies elsewhere is refused as others are, and the money is asked for. ``shared``:
    the fields that were sent once for all of them."""
    state, context = floor.state, floor.context
    batch = context.new_key()
    keys = [context.new_key() for _ in orders]
    refused: list[tuple[int, str, str, str]] = []
    desks: dict[str, Desk] = {}
    for index, (key, order) in enumerate(zip(keys, orders, strict=True)):
        try:
            with state.savepoint():
                desk = desks.get(order.market)
                if desk is None:
                    desk = desks[order.market] = floor.desk(*market_of(state, context, order.market))
                place_at(desk, key, order, quoting=field == "/quotes")
        except Rejected as rejected:
            at = rejected.field or ""
            at = at if at in shared else f"{field}/{index}{at}"
            refused.append((index, rejected.code, rejected.detail, at))
            if isinstance(rejected.follow_up, RequestShare):
                request_share(state, context, rejected.follow_up)
    state[BATCHES].insert(batch, Batch(len(orders), withdrawn, tuple(refused)))
    floor.finish()


def _quotes(state: State, account: str, market: str) -> list[tuple[str, Order]]:
    found: list[tuple[str, Order]] = []
    for key in state[ORDERS].keys("quotes", f"{account} {market}"):
        order = state[ORDERS].get(key)
        assert order is not None
        found.append((key, order))
    return found

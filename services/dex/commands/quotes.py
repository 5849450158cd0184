"""A market maker's mass quote: all old quotes of one account and market go, the new ones come, in one event."""

from jilnode.kernel.state import Context, State
from jilnode.module import Action, Rejected
from services.dex.commands.desk import Desk
from services.dex.commands.markets import market_of
from services.dex.commands.orders import place_at, review_order
from services.dex.intents import MassQuote, PlaceOrder
from services.dex.rows import ORDERS, QUOTINGS, Order, Quoting
from services.wallet.commands.accounts import account_of, check_owner
from services.wallet.ledger import Ledger

__all__ = ("QUOTES_MAX", "mass_quote", "review_quotes")

QUOTES_MAX = 50


def mass_quote(state: State, context: Context, command: MassQuote) -> None:
    """Each quote for itself: one that is refused leaves the others. None: the quotes are taken back."""
    if len(command.quotes) > QUOTES_MAX:
        raise Rejected("bad_count", f"at most {QUOTES_MAX} quotes", field="/quotes", status=400)
    key, market = market_of(state, context, command.market)
    account, row = account_of(state, command.account, "/account")
    check_owner(context, row, "/account")
    ledger = Ledger(state, context)
    desk = Desk(state, context, key, market, ledger)
    quoting = context.new_key()
    old = _quotes(state, context, account, key)
    for order_key, order in old:
        desk.end(order_key, order, "quoted_again")
    refused: list[tuple[int, str, str, str]] = []
    for index, quote in enumerate(command.quotes):
        placed = PlaceOrder(command.market, command.account, quote.side, quote.quantity, quote.price, "post_only")
        try:
            with state.savepoint():
                place_at(desk, context.new_key(), placed, quoting=True)
        except Rejected as rejected:
            refused.append((index, rejected.code, rejected.detail, f"/quotes/{index}{rejected.field or ''}"))
    state[QUOTINGS].insert(quoting, Quoting(key, len(command.quotes), len(old), tuple(refused)))
    desk.finish()
    ledger.write()


def review_quotes(state: State, context: Context, command: MassQuote) -> Action:
    """One action for all: the zones see each side's price and quantity."""
    whole = PlaceOrder(command.market, command.account, "", "", "", "post_only")
    action = review_order(state, context, whole)
    quotes = [{"side": item.side, "price": item.price, "quantity": item.quantity} for item in command.quotes]
    return Action("dex.quotes", action.zones, {**action.facts, "quotes": quotes})


def _quotes(state: State, context: Context, account: str, market: str) -> list[tuple[str, Order]]:
    found: list[tuple[str, Order]] = []
    for key in state[ORDERS].keys("quotes", f"{account} {market}"):
        order = state[ORDERS].get(key)
        assert order is not None
        found.append((key, order))
    return found

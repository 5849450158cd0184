"""Orders: placed, cancelled, lowered, replaced, expired."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from jilnode.kernel.names import valid_key
from jilnode.kernel.state import Context, State, View
from jilnode.limits import INT64_MAX
from jilnode.module import Action, Rejected
from services.dex.commands.desk import Desk, Floor
from services.dex.commands.markets import market_of
from services.dex.fields import rename
from services.dex.intents import AmendOrder, CancelOrder, ExpireOrder, PlaceOrder, ReplaceOrder
from services.dex.matching import PREVENTIONS
from services.dex.prices import check_quantity, notional, parse_price
from services.dex.queues import account_at, name_of
from services.dex.rows import BUY, GROUPS, MARKETS, ORDERS, SELL, Book, Market, Order
from services.dex.states import HALTED, NORMAL, RESTRICTED, band_of, state_of
from services.wallet.amounts import BASIS_POINTS
from services.wallet.commands.accounts import account_of, check_owner, known_account
from services.wallet.commands.limits import DAY_US
from services.wallet.commands.shares import check_debit
from services.wallet.kinds import Reserved

__all__ = (
    "TIMES_OF_KIND",
    "amend",
    "cancel",
    "check_price",
    "expire",
    "facts_of",
    "group_of",
    "order_of",
    "place",
    "place_at",
    "replace",
    "review_order",
    "review_replacement",
)

KINDS: Final = ("limit", "market", "stop", "stop_limit", "post_only")
TIMES_IN_FORCE: Final = ("gtc", "ioc", "fok", "gtd")
RESTING_TIMES: Final = ("gtc", "gtd")
TIMES_OF_KIND: Final = dict.fromkeys(KINDS, RESTING_TIMES) | {"limit": TIMES_IN_FORCE, "market": ("ioc", "fok")}
MODES: Final = ("stop_on_failure", "allow_failure")
GOOD_TILL_DAYS_MAX: Final = 90
OPEN_ORDERS_MAX: Final = 10_000
"""Of one account, at this node."""
CLIENT_ID_CHARS_MAX: Final = 36


def place(state: State, context: Context, command: PlaceOrder) -> None:
    floor = Floor(state, context)
    place_at(floor.desk(*market_of(state, context, command.market)), context.new_key(), command)
    floor.finish()


def place_at(desk: Desk, key: str, command: PlaceOrder, *, quoting: bool = False) -> None:
    """Raises ``Rejected``, and has then changed nothing."""
    try:
        order = _order(desk, command, quoting)
        if order.stop:
            desk.wait(key, order)
            return
        desk.enter(
            key,
            order,
            takes=order.kind != "post_only",
            rests=order.time_in_force in RESTING_TIMES,
            whole=order.time_in_force == "fok",
        )
    except Rejected as rejected:
        rename(rejected, "/quantity")
        raise


def cancel(state: State, context: Context, command: CancelOrder) -> None:
    key, order = order_of(state, context, command.id)
    _at_one_desk(state, context, order, lambda desk: desk.end(key, order, "cancelled"))


def expire(state: State, context: Context, command: ExpireOrder) -> None:
    """The kernel's own, when ``expires_us`` has come."""
    order = state[ORDERS].get(command.key)
    assert order is not None
    _at_one_desk(state, context, order, lambda desk: desk.end(command.key, order, "expired"))


def amend(state: State, context: Context, command: AmendOrder) -> None:
    key, order = order_of(state, context, command.id)
    market = state[MARKETS].get(order.market)
    assert market is not None
    quantity = check_quantity(market, command.quantity)
    lowered = order.quantity - order.cancelled - quantity
    if not 0 < lowered < order.remaining:
        raise Rejected(
            "bad_quantity", "an amended quantity is less than it was, and more than is filled", field="/quantity"
        )
    if notional(market, max(order.price, order.stop), quantity) < market.min_notional:
        raise Rejected("bad_notional", "price times quantity is too little", field="/quantity")
    _at_one_desk(state, context, order, lambda desk: desk.lower(key, order, lowered))


def replace(state: State, context: Context, command: ReplaceOrder) -> None:
    if command.mode not in MODES:
        raise Rejected("bad_mode", "a mode is stop_on_failure or allow_failure", field="/mode", status=400)
    floor = Floor(state, context)
    with _of_order():
        key, market = market_of(state, context, command.order.market)
    desk = floor.desk(key, market)
    new = context.new_key()
    try:
        old, order = order_of(state, context, command.id)
        if order.market != key:
            raise Rejected("bad_market", "an order is replaced in its own market", field="/order/market", status=400)
        desk.end(old, order, "replaced")
        floor.ledger.uncount_ended()
    except Rejected as rejected:
        if command.mode != "allow_failure" or rejected.code != "unknown_order":
            raise
    with _of_order():
        place_at(desk, new, command.order)
    floor.finish()


def order_of(state: State, context: Context, reference: str) -> tuple[str, Order]:
    """The open order of that id, for its account's subject or an operator, at the node of its market."""
    key = reference.replace("~", "/")
    order = state[ORDERS].get(key) if valid_key(key) else None
    if order is None:
        raise Rejected("unknown_order", "no such open order is known here", status=404, field="/id")
    owner = state[ORDERS].owner(key)
    if owner != context.source:
        raise Rejected("misdirected", f"node {owner} owns this row", status=421, extra={"owner": owner})
    check_owner(context, known_account(state, order.account, "/id"), "/id")
    return key, order


def group_of(state: State | View, context: Context, account: str, subject: str) -> str:
    """The beneficial owner of an account."""
    group = state[GROUPS].get(f"{context.source}/{account}")
    return group.name if group is not None and group.name else subject


def check_price(market: Market, book: Book, price: int, field: str = "/price") -> None:
    """A price may be as far from the last one as the market's state allows. Raises ``Rejected``."""
    band = book.last * band_of(market, state_of(market, book)) // BASIS_POINTS
    if book.last and abs(price - book.last) > band:
        raise Rejected("price_out_of_band", "the price is too far from the last one", field=field)


def review_order(state: State, context: Context, command: PlaceOrder) -> Action:
    """What the zones judge, before the book sees the order: the node's, the account's, and those of both assets'
    facts. An order for a book elsewhere they do not see here."""
    zone, facts = facts_of(state, context, command)
    return Action("dex.order", (zone,) if zone else (), facts)


def facts_of(state: State, context: Context, command: PlaceOrder) -> tuple[str, dict[str, object]]:
    """(the account's zone, or empty; the order's facts). Raises ``Rejected``."""
    _, market = market_of(state, context, command.market)
    _, account = account_of(state, command.account, "/account")
    return account.zone, {
        "account": command.account,
        "market": command.market,
        "base": market.base,
        "quote": market.quote,
        "side": command.side,
        "kind": command.kind,
        "quantity": command.quantity,
        "price": command.price,
        "leverage": 1,
    }


def review_replacement(state: State, context: Context, command: ReplaceOrder) -> Action:
    with _of_order():
        return review_order(state, context, command.order)


@contextmanager
def _of_order() -> Iterator[None]:
    """What is wrong with the new order is wrong below ``/order``."""
    try:
        yield
    except Rejected as rejected:
        if rejected.field is not None:
            rejected.field = f"/order{rejected.field}"
        raise


def _at_one_desk(state: State, context: Context, order: Order, work: Callable[[Desk], None]) -> None:
    market = state[MARKETS].get(order.market)
    assert market is not None
    floor = Floor(state, context)
    work(floor.desk(order.market, market))
    floor.finish()


def _order(desk: Desk, command: PlaceOrder, quoting: bool) -> Order:
    """The order as it comes to the book. Raises ``Rejected`` for whatever is wrong with it."""
    state, context, market, book = desk.state, desk.context, desk.market, desk.now
    account, row = account_of(state, command.account, "/account")
    check_owner(context, row, "/account")
    check_debit(context, account, row)
    time_in_force = command.time_in_force or ("ioc" if command.kind == "market" else "gtc")
    _check_kind(command, time_in_force)
    _check_state(market, book, command.kind)
    quantity = check_quantity(market, command.quantity)
    stop = parse_price(market, command.stop, "/stop") if command.stop else 0
    price = _price(market, book, command, stop)
    # What need not name a price is worth what it is expected to cost.
    expected = price if command.price else stop or book.last
    if (
        notional(market, expected, quantity) < market.min_notional
        or notional(market, max(price, expected), quantity) > INT64_MAX
    ):
        raise Rejected("bad_notional", "price times quantity is too little or too much", field="/quantity")
    expires_us = _expires_us(context, command, time_in_force)
    client_id = command.client_id
    if client_id:
        if len(client_id) > CLIENT_ID_CHARS_MAX or not valid_key(client_id) or "/" in client_id:
            raise Rejected("bad_client_id", "1 to 36 of A-Z a-z 0-9 . _ ~ @ : -", field="/client_id", status=400)
        if state[ORDERS].count("by_name", name_of(desk.key, account, client_id)):
            raise Rejected("client_id_taken", "an open order has this name", status=409, field="/client_id")
    if state[ORDERS].count("at_node", account_at(desk.key, account)) >= OPEN_ORDERS_MAX:
        raise Rejected("too_many_orders", f"at most {OPEN_ORDERS_MAX} open orders", status=409, field="/account")
    return Order(
        account,
        Reserved(desk.gives(command.side), 0),
        desk.key,
        command.side,
        price,
        quantity,
        quantity,
        desk.place(),
        context.time_us,
        group_of(state, context, account, row.subject),
        command.kind,
        time_in_force,
        expires_us,
        stop,
        command.prevention,
        client_id,
        maker_bps=market.maker_bps,
        quoting=quoting,
        taker_bps=market.taker_bps if stop else 0,
    )


def _check_kind(command: PlaceOrder, time_in_force: str) -> None:
    if command.side not in (BUY, SELL):
        raise Rejected("bad_side", "a side is buy or sell", field="/side", status=400)
    if command.kind not in KINDS:
        raise Rejected("bad_kind", f"a kind is one of {', '.join(KINDS)}", field="/kind", status=400)
    if command.prevention not in PREVENTIONS:
        raise Rejected(
            "bad_prevention", f"prevention is one of {', '.join(PREVENTIONS)}", field="/prevention", status=400
        )
    allowed = TIMES_OF_KIND[command.kind]
    if time_in_force not in allowed:
        raise Rejected(
            "bad_time_in_force",
            f"the time in force of {command.kind} is one of {', '.join(allowed)}",
            field="/time_in_force",
            status=400,
        )
    if bool(command.stop) != command.kind.startswith("stop"):
        raise Rejected("bad_stop", "stop orders have a stop price, others have none", field="/stop", status=400)


def _check_state(market: Market, book: Book, kind: str) -> None:
    state = state_of(market, book)
    if state == HALTED:
        raise Rejected("market_halted", "the market takes no orders now", status=409, field="/market", retry_after_s=60)
    if state == RESTRICTED and kind not in ("limit", "post_only"):
        raise Rejected(
            "market_restricted", "the market takes limit orders only now", status=409, field="/kind", retry_after_s=60
        )


def _price(market: Market, book: Book, command: PlaceOrder, stop: int) -> int:
    """The limit; or, of an order that need not name one, the last price it may be filled at: the end of the band."""
    if command.price:
        price = parse_price(market, command.price)
        if stop:
            _check_protection(market, command, stop, price)
        else:
            check_price(market, book, price)
        return price
    if command.kind not in ("market", "stop"):
        raise Rejected("bad_amount", "a price is needed", field="/price", status=400)
    reference = stop or book.last
    if not reference:
        raise Rejected("no_reference", "nothing was traded yet: send the price that protects you", field="/price")
    band = reference * band_of(market, NORMAL if stop else state_of(market, book)) // BASIS_POINTS
    if command.side == BUY:
        return min(reference + band, INT64_MAX) // market.tick * market.tick
    return max(market.tick, -((band - reference) // market.tick) * market.tick)


def _check_protection(market: Market, command: PlaceOrder, stop: int, price: int) -> None:
    """The price of a stop order is judged by its stop: that is where the market will be."""
    band = stop * market.band_bps // BASIS_POINTS
    if abs(price - stop) > band:
        raise Rejected("price_out_of_band", "the price is too far from the stop", field="/price")


def _expires_us(context: Context, command: PlaceOrder, time_in_force: str) -> int:
    if time_in_force != "gtd":
        if command.expires_us:
            raise Rejected("bad_expiry", "only gtd orders expire", field="/expires_us", status=400)
        return 0
    if not context.time_us < command.expires_us <= context.time_us + GOOD_TILL_DAYS_MAX * DAY_US:
        raise Rejected(
            "bad_expiry", f"in the future, at most {GOOD_TILL_DAYS_MAX} days", field="/expires_us", status=400
        )
    return command.expires_us

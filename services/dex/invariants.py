"""What must be true of every event of a book: checked here before commit, and by every replica again.

Together with the wallet's: an order is funded while it is open; what was filled was paid, by both sides, at the maker's
price and within both limits, in the market's assets; nothing of an order is lost or filled twice; nobody trades with
themselves; who comes is placed behind who is there. A node writes of its own markets only: an order of its own in
another's book would stand in everybody's way there.

What they can't tell: whether the best maker was met, who of one event came first, whom an order is said to belong to,
and what a taker's fee should be.
"""

from typing import Any

from jilnode.module import Change, Invariant, RowChange
from services.dex.matching import MAKERS_MAX
from services.dex.prices import PRICE_SCALE_MAX, fee_on, rest_cost, wait_cost, worth
from services.dex.rows import (
    BOOKS,
    BUY,
    CANDLES,
    CLOSED,
    MARKETS,
    ORDERS,
    PLACES_PER_EVENT,
    SELL,
    TRADES,
    Book,
    Candle,
    Closed,
    Market,
    Order,
    Trade,
)
from services.wallet.invariants import SCALE_MAX

__all__ = ("INVARIANTS",)


def _listed(change: Change) -> str | None:
    """What a market is stays what it was, and its book is of the same; decimals are in bounds, so that nobody counts in
    absurd numbers."""
    markets = {}
    begun: set[str] = set()
    for key, before, after in change.rows(MARKETS):
        if after is None or (before is not None and _fixed(before) != _fixed(after)):
            return f"market {key} is deleted, or of something else than it was"
        if not 0 <= after.price_scale <= PRICE_SCALE_MAX or after.tick <= 0 or after.lot <= 0:
            return f"market {key} has decimals out of bounds, or no tick or lot"
        if before is None:
            begun.add(key)
        markets[key] = ((after.price_scale, after.base_scale, after.quote_scale), (after.base, after.quote))
    for key, before, after in change.rows(BOOKS):
        if after is None:
            return f"book {key} is deleted"
        was = markets.get(key) if before is None else (before.scales, before.assets)
        bounded = before is not None or 0 <= min(after.scales) <= max(after.scales) <= SCALE_MAX
        if was != (after.scales, after.assets) or not bounded:
            return f"book {key} is of other assets than its market, or of absurd decimals"
        begun.discard(key)
    if begun:
        return f"market {next(iter(begun))} has no book"
    return None


def _fixed(market: Market) -> tuple[object, ...]:
    return (
        market.base,
        market.quote,
        market.base_scale,
        market.quote_scale,
        market.price_scale,
        market.tick,
        market.lot,
    )


def _counted(change: Change) -> str | None:
    """B3: what an order was is filled, remaining, cancelled or prevented, in whatever form it stands. It never
    grows, and what it is never changes."""
    closed = {key: after for key, _, after in change.rows(CLOSED)}
    for key, before, after in change.rows(ORDERS):
        ended = closed.pop(key, None)
        if (after is None) != (ended is not None):
            return f"order {key} ends without saying how, or says so and goes on"
        problem = _order(before, after, ended)
        if problem is not None:
            return f"order {key} {problem}"
    for key, ended in closed.items():
        if ended is None:
            return f"the closed order {key} is deleted"
        problem = _order(None, None, ended)
        if problem is not None:
            return f"order {key} {problem}"
    return None


def _order(before: Order | None, after: Order | None, ended: Closed | None) -> str | None:
    now: Any = ended if after is None else after
    remaining = 0 if after is None else after.remaining
    parts = (now.filled, now.cancelled, now.prevented)
    if min(parts) < 0 or sum(parts) + remaining != now.quantity or now.quantity <= 0 or now.price <= 0:
        return "does not add up"
    if now.side not in (BUY, SELL):
        return "is on no side"
    if after is not None and (after.remaining <= 0 or after.time_in_force in ("ioc", "fok")):
        return "may not rest"
    if after is not None and (after.kind == "market" or (after.kind == "stop" and not after.stop)):
        return "may not rest"
    if before is None:
        return None
    if _identity(before) != _identity(now) or (after is not None and _terms(before) != _terms(after)):
        return "is changed"
    if before.filled > now.filled or before.cancelled > now.cancelled or before.prevented > now.prevented:
        return "takes back what became of it"
    # A stop order gets its place when it wakes.
    if after is not None and before.priority != after.priority and not (before.stop and not after.stop):
        return "changes its place"
    return None


def _identity(order: Any) -> tuple[object, ...]:
    return (
        order.market,
        order.account,
        order.side,
        order.price,
        order.quantity,
        order.kind,
        order.time_in_force,
        order.client_id,
        order.placed_us,
    )


def _terms(order: Order) -> tuple[object, ...]:
    return (
        order.group,
        order.prevention,
        order.expires_us,
        order.maker_bps,
        order.taker_bps,
        order.quoting,
    )


def _traded(change: Change) -> str | None:
    """B4, B5 and the money: each trade is at its maker's price and within its taker's limit, between two accounts, and
    paid in the market's assets (that it is paid, the wallet judges); what orders have filled is what was traded."""
    trades = sorted(change.rows(TRADES), key=_number)
    if len(trades) > MAKERS_MAX:
        return "more trades than one command may make"
    books = {key: after for key, _, after in change.rows(BOOKS)}
    filled: dict[str, int] = {}
    gave: dict[str, int] = {}
    seen = _orders(change)
    for key, before, trade in trades:
        if before is not None or trade is None:
            return f"trade {key} is written once"
        problem = _trade(trade, seen.get(trade.maker_order), seen.get(trade.taker_order))
        if problem is not None:
            return f"trade {key} {problem}"
        book = books.get(trade.market)
        quantity = trade.quantity
        if book is None or trade.turnover != worth(book.scales, trade.price, quantity):
            return f"trade {key} moves something else than price times quantity"
        if _gives(trade) != (book.assets, book.scales[1:]):
            return f"trade {key} is paid in something else than its market's assets"
        before, now = seen[trade.maker_order]
        terms = before if before is not None else now
        # One that came and ended in this event left its terms nowhere.
        if isinstance(terms, Order) and trade.back_fee != _maker_fee(trade, terms.maker_bps, before, gave):
            return f"trade {key} takes another fee than its maker came for"
        filled[trade.maker_order] = filled.get(trade.maker_order, 0) + quantity
        filled[trade.taker_order] = filled.get(trade.taker_order, 0) + quantity
    for key, (before, now) in seen.items():
        if now.filled - (0 if before is None else before.filled) != filled.pop(key, 0):
            return f"order {key} is filled with what nobody traded"
        if isinstance(now, Order) and now.given != gave.get(key, 0 if before is None else before.given):
            return f"order {key} gave something else than it traded"
    if filled:
        return f"order {next(iter(filled))} is traded and not in the event"
    return None


def _orders(change: Change) -> dict[str, tuple[Order | None, Any]]:
    """order -> (before, as it is now or as it ended)."""
    found: dict[str, tuple[Order | None, Any]] = {key: (None, after) for key, _, after in change.rows(CLOSED)}
    for key, before, after in change.rows(ORDERS):
        found[key] = (before, after if after is not None else found[key][1])
    return found


def _trade(trade: Trade, maker: tuple[Order | None, Any] | None, taker: tuple[Order | None, Any] | None) -> str | None:
    if maker is None or taker is None:
        return "is of no order of this event"
    made, took = maker[1], taker[1]
    debit, credit = trade.debit, trade.credit
    if (made.market, made.account, took.market, took.account) != (trade.market, credit, trade.market, debit):
        return "is of other orders"
    if took.side != trade.side or made.side == trade.side:
        return "has one side"
    if trade.price != made.price or (trade.price > took.price if trade.side == BUY else trade.price < took.price):
        return "is at a price that one of them did not offer"
    if debit == credit:
        return "is of one account with itself"
    return None


def _number(change: RowChange) -> int:
    trade = change[2]
    return 0 if trade is None else int(trade.number)


def _maker_fee(trade: Trade, bps: int, maker: Order | None, gave: dict[str, int]) -> int:
    """``maker``: as it was before the event; one that came in it had given nothing. ``gave``: what each maker gave in
    all, up to this trade."""
    before = gave.get(trade.maker_order, 0 if maker is None else maker.given)
    after = gave[trade.maker_order] = before + trade.back_amount
    return fee_on(after, bps) - fee_on(before, bps)


def _gives(trade: Trade) -> tuple[tuple[str, str], tuple[int, int]]:
    """The assets that were paid, base and quote, and their decimals."""
    if trade.side == BUY:
        return (trade.back_asset, trade.asset), (trade.back_scale, trade.scale)
    return (trade.asset, trade.back_asset), (trade.scale, trade.back_scale)


def _funded(change: Change) -> str | None:
    """B9: an order holds money while it is open, of the asset that its side gives: what it may still give, with the fee
    on it, to the unit. That it is set aside, and no longer than the order is there, the wallet judges."""
    books = {key: after for key, _, after in change.rows(BOOKS)}
    for key, _, after in change.rows(ORDERS):
        if after is None:
            continue
        book = books.get(after.market)
        if book is None:
            return f"the book of order {key} does not know"
        buys = after.side == BUY
        rest = worth(book.scales, after.price, after.remaining) if buys else after.remaining
        hold = wait_cost(after, rest) if after.stop else rest_cost(after, rest)
        if (after.reserved.asset, after.reserved.amount) != (book.assets[buys], hold):
            return f"order {key} holds something else than it may still give"
    return None


def _numbered(change: Change) -> str | None:
    """B11: the sequence of a book and the numbers of its trades have no gaps, and nothing happens to an order without
    its book's knowing. Who comes, or wakes, gets a place of this event (B2)."""
    prices: dict[str, dict[int, int]] = {}
    for key, _, trade in change.rows(TRADES):
        if prices.setdefault(trade.market, {}).setdefault(trade.number, trade.price) != trade.price:
            return f"trade {key} has the number of another"
    sequences: dict[str, int] = {}
    for key, before, after in change.rows(BOOKS):
        sequences[key] = after.sequence
        traded = prices.pop(key, {})
        problem = _book(before, after, traded)
        if problem is not None:
            return f"book {key} {problem}"
    if prices:
        return f"{next(iter(prices))} has trades and its book does not know"
    for key, before, after in change.rows(ORDERS):
        sequence = sequences.get((after or before).market)
        if sequence is None:
            return f"the book of order {key} does not know"
        comes = after is not None and (before is None or (before.stop and not after.stop))
        if comes and after.priority // PLACES_PER_EVENT != sequence:
            return f"order {key} comes and has another's place"
    for key, _, closed in change.rows(CLOSED):
        if closed is not None and closed.market not in sequences:
            return f"the book of order {key} does not know"
    return None


def _book(before: Book | None, after: Book, traded: dict[int, int]) -> str | None:
    """``traded``: number -> price."""
    if before is None:
        return "begins with a past" if after.sequence or after.trades or after.last or traded else None
    # The counts first: what a node says that it traded is as large as it likes, what it wrote is not.
    if after.sequence != before.sequence + 1 or after.trades - before.trades != len(traded):
        return "skips a number"
    if traded and (min(traded), max(traded)) != (before.trades + 1, after.trades):
        return "skips a number"
    if after.last != (traded[after.trades] if traded else before.last):
        return "has another last price than its last trade's"
    return None


def _charted(change: Change) -> str | None:
    """A candle is what the book had of its minute."""
    books = {key: before for key, before, _ in change.rows(BOOKS)}
    for key, before, candle in change.rows(CANDLES):
        if before is not None or candle is None:
            return f"candle {key} is written once"
        book = books.get(candle.market)
        if book is None or key != f"{candle.market}/{book.minute:010d}" or candle != _candle(candle.market, book):
            return f"candle {key} is not of its market's minute"
    return None


def _candle(market: str, book: Book) -> Candle:
    return Candle(market, book.open, book.high, book.low, book.last, book.volume, book.turnover, book.count)


INVARIANTS = (
    Invariant("dex_listed", range(1, 2), _listed, (MARKETS, BOOKS)),
    Invariant("dex_counted", range(1, 2), _counted, (ORDERS, CLOSED)),
    Invariant("dex_traded", range(1, 2), _traded, (ORDERS, CLOSED, TRADES)),
    Invariant("dex_funded", range(1, 2), _funded, (ORDERS,)),
    Invariant("dex_numbered", range(1, 2), _numbered, (BOOKS, ORDERS, CLOSED, TRADES)),
    Invariant("dex_charted", range(1, 2), _charted, (CANDLES,)),
)

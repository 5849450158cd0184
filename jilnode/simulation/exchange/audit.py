"""What must hold of every market, at its own node after each event and at every replica that has applied it."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jilnode.kernel.entry import Entry
from jilnode.kernel.rows import decode_row
from jilnode.kernel.state import View
from jilnode.kernel.table import Table
from jilnode.simulation.exchange.book import Event, ShadowBook, Shape, ceiling
from jilnode.simulation.exchange.disks import check_holds, check_money, check_trades
from jilnode.simulation.exchange.money import Money, Moved
from jilnode.simulation.finding import Finding, SectionRows
from services.dex.rows import BOOKS, CLOSED, GROUPS, MARKETS, ORDERS, TRADES, Order, Trade
from services.dex.views import BatchView, OrderView, ReplacedView
from services.wallet.rows import ACCOUNTS

if TYPE_CHECKING:
    from jilnode.simulation.world import SimulatedNode, World

__all__ = ("CARELESS", "ExchangeAudit", "told")

CARELESS = "careless-"
"""How the name of an order begins that may trade with others of its owner."""
WATCHED: dict[str, Table[Any]] = {
    table.name: table for table in (BOOKS, CLOSED, GROUPS, MARKETS, ORDERS, TRADES, ACCOUNTS)
}


class _Source:
    """What one node's own journal says."""

    def __init__(self) -> None:
        self.money = Money()
        self.books: dict[str, ShadowBook] = {}
        self.rows: dict[str, dict[str, Any]] = {name: {} for name in WATCHED}
        self.trades: list[tuple[int, str]] = []
        """(size of the journal, trade), in their order."""


class ExchangeAudit:
    """A book kept beside each market's own, from the entries of the one true journal."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._sources: dict[str, _Source] = {}
        self.books = 0
        """How many books of a running node were compared."""

    @property
    def trades(self) -> int:
        return sum(len(known.trades) for known in self._sources.values())

    # The one true journal

    def forget(self, source: str) -> None:
        self._sources.pop(source, None)

    def entry(self, entry: Entry, rows: SectionRows) -> None:
        known = self._sources.setdefault(entry.source, _Source())
        found: dict[str, dict[str, Any]] = {name: {} for name in WATCHED}
        for name, key, doc in rows:
            if name in found:
                found[name][key] = None if doc is None else decode_row(doc, WATCHED[name].row)
        moved = known.money.entry(entry, rows)
        for name in (ACCOUNTS.name, GROUPS.name):
            known.rows[name] |= found[name]
        for key, terms in found[MARKETS.name].items():
            if key in known.books:
                known.books[key].terms = terms
            else:
                known.books[key] = ShadowBook(key, terms, found[BOOKS.name].pop(key))
        if found[BOOKS.name]:
            self._event(entry, known, found, moved)
        elif found[ORDERS.name] or found[CLOSED.name] or found[TRADES.name]:
            raise Finding(f"sequence: {entry.source}/{entry.sequence} changes a book that does not count it (B11)")

    def _event(self, entry: Entry, known: _Source, found: dict[str, dict[str, Any]], moved: Moved) -> None:
        where = f"{entry.source}/{entry.sequence}"
        expected: Moved = {}
        for key, row in found[BOOKS.name].items():
            book = known.books[key]
            event = Event(
                where,
                {name: order for name, order in found[ORDERS.name].items() if _market(name, order, book) == key},
                {name: closed for name, closed in found[CLOSED.name].items() if closed.market == key},
                {name: trade for name, trade in found[TRADES.name].items() if trade.market == key},
            )
            before = book.orders
            for trade in event.trades.values():
                self._parties(known, book, event, trade, before)
            _pay(entry.source, book, event, before, expected)
            book.apply(event, row, entry.sequence + 1)
            known.trades += [(entry.sequence + 1, name) for name in event.trades]
            known.rows[TRADES.name] |= event.trades
            known.rows[CLOSED.name] |= event.closed
        for balance in moved.keys() | expected.keys():
            if moved.get(balance, 0) != expected.get(balance, 0):
                raise Finding(
                    f"paid: {where} moves {moved.get(balance, 0)} of {balance}, its trades {expected.get(balance, 0)}"
                )
        _funded(where, known)

    def _parties(self, known: _Source, book: ShadowBook, event: Event, trade: Trade, before: dict[str, Order]) -> None:
        """B5, and that nobody trades who is known here to be frozen."""
        owners = []
        for account, key in ((trade.maker, trade.maker_order), (trade.taker, trade.taker_order)):
            home = self._sources.get(account.partition("/")[0], known)
            row: Any = home.rows[ACCOUNTS.name].get(account)
            if home is known and row.status != "active":
                raise Finding(f"traded: {event.where} trades for {account}, which is {row.status}")
            order = before.get(key) or event.orders.get(key)
            group = known.rows[GROUPS.name].get(f"{book.key.partition('/')[0]}/{account}")
            # Whose an order is, is settled when it comes.
            owners.append(order.group if order is not None else (group and group.name) or row.subject)
        named: Any = event.closed.get(trade.taker_order) or event.orders.get(trade.taker_order)
        if trade.maker == trade.taker or (owners[0] == owners[1] and not named.client_id.startswith(CARELESS)):
            raise Finding(f"traded: {event.where} lets {owners[0]} trade with themselves (B5)")

    # Every node

    def node(self, node: "SimulatedNode") -> None:
        """The book that a node's indexes show is the owner's, level by level and order by order, as of the entry that
        it has applied."""
        view = View(node.engine.caches, {})
        for source, known in self._sources.items():
            state = node.engine.sources.get(source)
            size = 0 if state is None else state.size
            for key, book in known.books.items():
                _, wanted = book.shapes[bisect_right(book.shapes, size, key=_size) - 1]
                shown = _shown(view, key, wanted)
                self.books += 1
                if shown != wanted:
                    raise Finding(
                        f"book: {node.source} shows {key} after {size} entries as {shown}, and not as {wanted}"
                    )

    def agreement(self) -> None:
        """Every node has the trades of everybody, as far as it has applied them, and no others."""
        for node in self._world.nodes:
            table = node.disk.tables.get(TRADES.name)
            if table is None:
                continue
            there: dict[str, set[str]] = {}
            for key, row in table.rows.items():
                there.setdefault(row.owner, set()).add(key)
            for source, known in self._sources.items():
                _, size = node.disk.heads.get(source, (0, 0))
                wanted = {key for _, key in known.trades[: bisect_right(known.trades, size, key=_size)]}
                if there.get(source, set()) != wanted:
                    raise Finding(f"trades: {node.source} has other trades of {source} than {source} at {size}")

    def settled(self, replies: Sequence[tuple[str, Any]]) -> None:
        """Everybody has everything: every node's own disk is added up. ``replies``: (node, what it acknowledged)."""
        self.agreement()
        for node in self._world.nodes:
            check_money(node)
            for source, known in self._sources.items():
                check_trades(node, source, known.rows[TRADES.name])
                orders = {key for book in known.books.values() for key in book.orders}
                check_holds(node, source, orders)
        for source, reply in replies:
            for order in told(reply):
                self._kept(self._sources[source], source, order)

    def _kept(self, known: _Source, source: str, reply: Any) -> None:
        """What a client was told of an order is still so, or more of it is done."""
        key = reply.id.replace("~", "/")
        ended = known.rows[CLOSED.name].get(key)
        order: Any = ended or known.books[_key(reply.market)].orders.get(key)
        if order is None or (ended is None and reply.closed_us is not None) or order.placed_us != reply.placed_us:
            raise Finding(f"lost: {source} acknowledged order {key}, {reply.status}")
        for fill in reply.fills:
            trade = known.rows[TRADES.name].get(fill.trade.replace("~", "/"))
            if trade is None or trade.number != fill.number or key not in (trade.maker_order, trade.taker_order):
                raise Finding(f"lost: {source} acknowledged trade {fill.number} of {reply.market}")


def told(reply: Any) -> list[OrderView]:
    """The orders that an answer tells of."""
    if isinstance(reply, OrderView):
        return [reply]
    if isinstance(reply, ReplacedView):
        return [reply.order] if reply.replaced is None else [reply.order, reply.replaced]
    if isinstance(reply, BatchView):
        return [item.order for item in reply.items if item.order is not None]
    return []


def _funded(where: str, known: _Source) -> None:
    """B9: what is reserved is what open orders may still give, and nothing else is."""
    orders = {key: (book, order) for book in known.books.values() for key, order in book.orders.items()}
    reserved = known.money.reserved
    for key in reserved.keys() ^ orders.keys():
        raise Finding(f"holds: {where} leaves {key} " + ("open with no hold (B9)" if key in orders else "held (B9)"))
    for key, (book, order) in orders.items():
        row = reserved[key]
        if (row.account, row.asset, row.amount) != (order.account, book.give(order.side), book.hold(order)):
            raise Finding(f"holds: {where} leaves {row.amount} held for {key}, not {book.hold(order)} (B9)")


def _pay(source: str, book: ShadowBook, event: Event, before: dict[str, Order], expected: Moved) -> None:
    """Adds what the event's trades should move, each fee computed on all that its order gave so far."""
    gave: dict[tuple[str, bool], int] = {}
    for trade in sorted(event.trades.values(), key=lambda trade: trade.number):
        buys = trade.side == "buy"
        taker, maker = (trade.turnover, trade.quantity) if buys else (trade.quantity, trade.turnover)
        taker_asset, maker_asset = book.give(trade.side), book.give("sell" if buys else "buy")
        for key, payer, payee, asset, amount, fee, takes in (
            (trade.taker_order, trade.taker, trade.maker, taker_asset, taker, trade.taker_fee, True),
            (trade.maker_order, trade.maker, trade.taker, maker_asset, maker, trade.maker_fee, False),
        ):
            order = before.get(key)
            if takes:
                bps = order.taker_bps if order is not None else book.terms.taker_bps
                start = gave.get((key, True), 0)
            else:
                bps = order.maker_bps if order is not None else book.terms.maker_bps
                start = gave.get((key, False), 0 if order is None else order.given)
            gave[key, takes] = start + amount
            if fee != ceiling(start + amount, bps) - ceiling(start, bps):
                raise Finding(f"paid: {event.where}, trade {trade.number} of {book.key}, takes a fee of {fee}")
            for account, change in ((payer, -amount - fee), (payee, amount), (f"{source}/fees", fee)):
                balance = f"{account}/{asset}"
                expected[balance] = expected.get(balance, 0) + change


def _shown(view: View, key: str, wanted: Shape) -> Shape:
    """The book as a reader of that node gets it, its levels summed by the index that depth is read from."""
    found: Shape = {}
    for name, side in wanted:
        places = []
        for order_key in view[ORDERS].ordered(name, (key, side)):
            order = view[ORDERS].get(order_key)
            assert order is not None
            places.append((order_key, order.stop or order.price, order.remaining))
        found[name, side] = tuple(places)
        levels: dict[int, int] = {}
        for _, price, remaining in places if name == "book" else ():
            levels[price] = levels.get(price, 0) + remaining
        for price, remaining in levels.items():
            if view[ORDERS].total("depth", (key, side, price)) != remaining:
                raise Finding(f"book: the level {price} of {key} is not the sum of its orders")
    return found


def _market(key: str, order: Order | None, book: ShadowBook) -> str:
    if order is not None:
        return order.market
    return book.key if key in book.orders else ""


def _key(market: str) -> str:
    symbol, _, node = market.partition("@")
    return f"{node}/{symbol}"


def _size(item: tuple[int, Any]) -> int:
    return item[0]

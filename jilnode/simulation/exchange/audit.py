"""What must hold of every market, desk and pool, at its own node after each event and at every replica that has applied
it."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jilnode.kernel.codec import decode_row
from jilnode.kernel.entry import Entry
from jilnode.kernel.state import View
from jilnode.kernel.system import TICKS
from jilnode.kernel.table import Table
from jilnode.simulation.exchange.answers import check_answer
from jilnode.simulation.exchange.book import Event, ShadowBook, Shape
from jilnode.simulation.exchange.desk import DeskEvent, DeskShape
from jilnode.simulation.exchange.disks import check_holds, check_money, check_pools, check_written
from jilnode.simulation.exchange.money import Moved
from jilnode.simulation.exchange.pool import Act, ShadowPool
from jilnode.simulation.exchange.route import best_elsewhere, check_route
from jilnode.simulation.exchange.source import ACTING, KEPT, WATCHED, WRITTEN, Source
from jilnode.simulation.finding import Finding, SectionRows
from services.dex.pools.rows import LIQUIDITY, POOLS, REMOVE, SWAPS, Liquidity
from services.dex.rfq.rows import ENDED_QUOTES, ENDED_REQUESTS, QUOTES, REQUESTS, SETTLEMENTS, Quote
from services.dex.router.rows import ROUTES
from services.dex.rows import BOOKS, CLOSED, GROUPS, MARKETS, ORDERS, TRADES, Order, Trade
from services.wallet.rows import ACCOUNTS

if TYPE_CHECKING:
    from jilnode.simulation.world import SimulatedNode, World

__all__ = ("CARELESS", "ExchangeAudit")

CARELESS = "careless-"
"""How the name of an order begins that may trade with others of its owner."""

Found = dict[str, dict[str, Any]]
"""table -> its rows in one entry, by their keys; None where they are deleted."""


class ExchangeAudit:
    """A second account of each market, desk and pool, kept from the entries of the one true journal."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._sources: dict[str, Source] = {}
        self.books = 0
        """How many books of a running node were compared."""

    def count(self, *tables: str) -> int:
        """How many rows of tables that are written once there are, everywhere."""
        return sum(len(known.rows[table]) for known in self._sources.values() for table in tables)

    # The one true journal

    def forget(self, source: str) -> None:
        self._sources.pop(source, None)

    def entry(self, entry: Entry, time_us: int, rows: SectionRows) -> None:
        known = self._sources.setdefault(entry.source, Source(entry.source))
        where, size = f"{entry.source}/{entry.sequence}", entry.sequence + 1
        found: Found = {name: {} for name in WATCHED}
        for name, key, doc in rows:
            if name in found:
                found[name][key] = None if doc is None else decode_row(doc, WATCHED[name].row)
            elif name == TICKS.name:
                known.desk.check_timely(where, time_us)
        moved = known.money.entry(entry, rows)
        for name in (ACCOUNTS.name, GROUPS.name):
            known.rows[name] |= found[name]
        for key, terms in found[MARKETS.name].items():
            if key in known.books:
                known.books[key].terms = terms
            else:
                known.books[key] = ShadowBook(key, terms, found[BOOKS.name].pop(key))
        if any(found[name] for name in ACTING):
            expected: Moved = {}
            routes = [
                (route, best_elsewhere(known, route, time_us, self._owner(known, route.account)))
                for route in found[ROUTES.name].values()
            ]
            self._books(where, size, known, found, expected)
            self._desk(DeskEvent(where, time_us, *[found[table.name] for table in _DESK]), size, known, expected)
            self._pools(where, size, known, found, expected)
            for route, elsewhere in routes:
                check_route(where, time_us, route, elsewhere, expected)
            for balance in moved.keys() | expected.keys():
                change, should = moved.get(balance, 0), expected.get(balance, 0)
                if change != should:
                    raise Finding(f"paid: {where} moves {change} of {balance}, and should {should}")
            known.check_funded(where)
        elif any(found[table.name] for table in _COUNTED):
            raise Finding(f"sequence: {where} changes a book, desk or pool that does not count it (B11)")
        for name in KEPT:
            known.rows[name] |= found[name]
        known.written += [(size, table.name, key) for table in WRITTEN for key in found[table.name]]
        for pool in known.pools.values():
            pool.check_backed(where, known.money)

    def _books(self, where: str, size: int, known: Source, found: Found, expected: Moved) -> None:
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
                self._traders(known, book, event, trade, before)
            book.pay(known.name, event, expected)
            book.apply(event, row, size)

    def _traders(self, known: Source, book: ShadowBook, event: Event, trade: Trade, before: dict[str, Order]) -> None:
        """B5, and that nobody trades who is known here to be frozen."""
        owners = []
        for account, key in ((trade.maker, trade.maker_order), (trade.taker, trade.taker_order)):
            self._check_active(known, event.where, account)
            order = before.get(key) or event.orders.get(key)
            # Whose an order is, is settled when it comes.
            owners.append(self._owner(known, account) if order is None else order.group)
        named: Any = event.closed.get(trade.taker_order) or event.orders.get(trade.taker_order)
        if trade.maker == trade.taker or (owners[0] == owners[1] and not named.client_id.startswith(CARELESS)):
            raise Finding(f"traded: {event.where} lets {owners[0]} trade with themselves (B5)")

    def _desk(self, event: DeskEvent, size: int, known: Source, expected: Moved) -> None:
        if event.empty:
            return
        before = known.desk.quotes
        known.desk.apply(event, size, expected)
        for key, quote in event.quotes.items():
            if quote is not None and key not in before:
                self._quoted(known, event.where, quote)
        for settlement in event.settlements.values():
            self._quoted(known, event.where, before[settlement.quote])
            self._check_active(known, event.where, settlement.taker)

    def _quoted(self, known: Source, where: str, quote: Quote) -> None:
        """At its beginning, and when it is accepted."""
        self._check_active(known, where, quote.account)
        owners = [self._owner(known, account) for account in (quote.account, quote.taker)]
        if owners[0] == owners[1]:
            raise Finding(f"traded: {where} lets {owners[0]} quote themselves")
        if known.halted(quote.terms.base, quote.terms.quote):
            raise Finding(f"traded: {where} quotes or settles a pair that is halted")

    def _pools(self, where: str, size: int, known: Source, found: Found, expected: Moved) -> None:
        acts: dict[str, list[Act]] = {}
        for act in (*found[SWAPS.name].values(), *found[LIQUIDITY.name].values()):
            acts.setdefault(act.pool, []).append(act)
            self._check_active(known, where, act.account)
        for key, row in found[POOLS.name].items():
            pool = known.pools.get(key)
            done = acts.pop(key, [])
            if pool is None:
                known.pools[key] = ShadowPool(key, row, size)
                continue
            if len(done) > 1:
                raise Finding(f"pool: {where} acts twice on {key}")
            leaves = [act for act in done if isinstance(act, Liquidity) and act.kind == REMOVE]
            if done and not leaves and known.halted(row.base, row.quote):
                raise Finding(f"pool: {where} acts on {key}, whose pair is halted")
            pool.apply(where, row, done[0] if done else None, size, expected)
        if acts:
            raise Finding(f"pool: {where} acts on {sorted(acts)}, which do not change")

    def _owner(self, known: Source, account: str) -> str:
        """Whose an account is, to this node."""
        group = known.rows[GROUPS.name].get(f"{known.name}/{account}")
        return str((group and group.name) or self._account(known, account).subject)

    def _check_active(self, known: Source, where: str, account: str) -> None:
        """Nobody acts for an account that is known here to be frozen."""
        row = self._account(known, account)
        if account.startswith(f"{known.name}/") and row.status != "active":
            raise Finding(f"traded: {where} acts for {account}, which is {row.status}")

    def _account(self, known: Source, account: str) -> Any:
        return self._sources.get(account.partition("/")[0], known).rows[ACCOUNTS.name].get(account)

    # Every node

    def node(self, node: "SimulatedNode") -> None:
        """The books, desks and pools that a node's readers get from its indexes are their owners', place by place, as
        of the entry that it has applied."""
        view = View(node.engine.caches, {})
        for source, known in self._sources.items():
            state = node.engine.sources.get(source)
            size = 0 if state is None else state.size
            for key, book in known.books.items():
                wanted = _as_of(book.shapes, size)
                self.books += 1
                _compare(node, key, size, _shown(view, key, wanted), wanted)
            requests = _as_of(known.desk.shapes, size)
            _compare(node, f"{source}'s desk", size, _desk_shown(view, source), requests)
            for key, pool in known.pools.items():
                _compare(node, key, size, view[POOLS].get(key), _as_of(pool.shapes, size))

    def agreement(self) -> None:
        """Every node has what everybody traded, settled and swapped, as far as it has heard, and nothing else."""
        for node in self._world.nodes:
            there: dict[str, set[tuple[str, str]]] = {}
            for table in WRITTEN:
                for key, row in node.disk.tables[table.name].rows.items() if table.name in node.disk.tables else ():
                    there.setdefault(row.owner, set()).add((table.name, key))
            for source, known in self._sources.items():
                _, size = node.disk.heads.get(source, (0, 0))
                written = known.written[: bisect_right(known.written, size, key=lambda item: item[0])]
                if there.get(source, set()) != {(name, key) for _, name, key in written}:
                    raise Finding(f"written: {node.source} has other trades of {source} than {source} at {size}")

    def settled(self, answers: Sequence[tuple[str, Any, Any]]) -> None:
        """Everybody has everything, and has had time for what was due: every node's own disk is added up. ``answers``:
        (node, command, reply) of what it acknowledged."""
        self.agreement()
        for node in self._world.nodes:
            if node.source in self._sources:
                self._sources[node.source].desk.check_timely(node.source, node.engine.now_us())
            check_money(node)
            check_pools(node)
            for source, known in self._sources.items():
                for table in WRITTEN:
                    check_written(node, source, table, known.rows[table.name])
                check_holds(node, source, known.keepers().keys())
        for source, command, reply in answers:
            check_answer(self._sources[source], command, reply)


_DESK: tuple[Table[Any], ...] = (REQUESTS, ENDED_REQUESTS, QUOTES, ENDED_QUOTES, SETTLEMENTS)
_COUNTED: tuple[Table[Any], ...] = (ORDERS, CLOSED, ENDED_REQUESTS, ENDED_QUOTES, *WRITTEN)


def _compare(node: "SimulatedNode", key: str, size: int, shown: Any, wanted: Any) -> None:
    if shown != wanted:
        raise Finding(f"book: {node.source} shows {key} after {size} entries as {shown}, and not as {wanted}")


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


def _desk_shown(view: View, source: str) -> DeskShape:
    """The node's requests and live quotes as their readers get them, best first."""
    found: DeskShape = {}
    for key, request in view[REQUESTS].all():
        if key.startswith(f"{source}/"):
            quotes = [(name, view[QUOTES].get(name)) for name in view[QUOTES].ordered("best", key)]
            # An index may name a quote that is no more.
            shown = [(name, 0, False) if row is None else (name, row.price, row.shown) for name, row in quotes]
            found[key] = (request.state, tuple(shown))
    return found


def _market(key: str, order: Order | None, book: ShadowBook) -> str:
    if order is not None:
        return order.market
    return book.key if key in book.orders else ""


def _as_of(shapes: Sequence[tuple[int, Any]], size: int) -> Any:
    """``shapes``: (size of the journal, what there was from then on), rising. None before the first."""
    index = bisect_right(shapes, size, key=lambda item: item[0])
    return shapes[index - 1][1] if index else None

"""What one node's own journal says of its exchange."""

from typing import Any

from jilnode.kernel.table import Table
from jilnode.simulation.exchange.book import ShadowBook
from jilnode.simulation.exchange.desk import ShadowDesk
from jilnode.simulation.exchange.money import Hold, Money
from jilnode.simulation.exchange.pool import ShadowPool
from jilnode.simulation.finding import Finding
from services.dex.pools.rows import LIQUIDITY, POOLS, SWAPS
from services.dex.rfq.rows import ENDED_QUOTES, ENDED_REQUESTS, QUOTES, REQUESTS, SETTLEMENTS
from services.dex.router.rows import ROUTES
from services.dex.rows import BOOKS, CLOSED, GROUPS, MARKETS, ORDERS, TRADES
from services.wallet.rows import ACCOUNTS

__all__ = ("ACTING", "KEPT", "WATCHED", "WRITTEN", "Source")

WRITTEN: tuple[Table[Any], ...] = (TRADES, SETTLEMENTS, SWAPS, LIQUIDITY, ROUTES)
"""What was done, once and for ever: everybody has all of it, as far as they have heard."""
_PEOPLE: tuple[Table[Any], ...] = (ACCOUNTS, GROUPS)
_MOVING: tuple[Table[Any], ...] = (BOOKS, REQUESTS, QUOTES, POOLS)
_OTHERS: tuple[Table[Any], ...] = (MARKETS, ORDERS, CLOSED, ENDED_REQUESTS, ENDED_QUOTES)
KEPT = tuple(table.name for table in (*_PEOPLE, CLOSED, *WRITTEN))
ACTING = tuple(table.name for table in _MOVING)
"""One of these is in every event by which the exchange moves money, and in none by which somebody else does."""
WATCHED: dict[str, Table[Any]] = {table.name: table for table in (*_PEOPLE, *_MOVING, *_OTHERS, *WRITTEN)}


class Source:
    def __init__(self, name: str) -> None:
        self.name = name
        self.money = Money(name)
        self.books: dict[str, ShadowBook] = {}
        self.desk = ShadowDesk()
        self.pools: dict[str, ShadowPool] = {}
        self.rows: dict[str, dict[str, Any]] = {name: {} for name in KEPT}
        self.written: list[tuple[int, str, str]] = []
        """(size of the journal, table, key) of what is written once, in its order."""

    def halted(self, one: str, other: str) -> bool:
        """Whether an operator has halted a market of the two assets here."""
        pair = {one, other}
        return any(book.terms.halted and {book.terms.base, book.terms.quote} == pair for book in self.books.values())

    def pays(self, account: str) -> bool:
        """Whether the account is surely fit to pay here: one that is at home here, and not frozen."""
        row = self.rows[ACCOUNTS.name].get(account) if account.startswith(f"{self.name}/") else None
        return row is not None and row.status == "active"

    def keepers(self) -> dict[str, Hold]:
        """What should be reserved, by the keys of open orders and live quotes."""
        found = self.desk.holds()
        for book in self.books.values():
            found |= book.holds()
        return found

    def check_funded(self, where: str) -> None:
        """B9, Q2: what is reserved is what open orders and live quotes may still give, and nothing else is."""
        wanted, reserved = self.keepers(), self.money.reserved
        for key in reserved.keys() ^ wanted.keys():
            what = "live with no hold" if key in wanted else "held"
            raise Finding(f"holds: {where} leaves {key} {what} (B9, Q2)")
        for key, hold in wanted.items():
            if reserved[key] != hold:
                raise Finding(f"holds: {where} leaves {reserved[key]} for {key}, not {hold} (B9, Q2)")

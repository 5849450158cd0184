"""The money of every node, added up from the bytes of its entries alone."""

from typing import Any, NamedTuple

from jilnode.kernel.codec import decode_row
from jilnode.kernel.entry import Entry
from jilnode.kernel.table import Table
from jilnode.simulation.finding import Finding, SectionRows
from services.dex.rfq.rows import QUOTES
from services.dex.rows import ORDERS
from services.wallet.rows import CLAIMS, RECEIPTS, RETURNS, SHARES, SUPPLY, TRANSITS

__all__ = ("HOLDING", "Hold", "Money", "Moved", "hold_of")

HOLDING: dict[str, Table[Any]] = {table.name: table for table in (ORDERS, QUOTES)}
"""The tables whose rows hold money."""

Moved = dict[str, int]
"""``<account>/<asset>`` -> what the entry added to this node's share of it."""


class Hold(NamedTuple):
    """What is reserved of an account, for one order or quote."""

    account: str
    asset: str
    amount: int


class Money:
    """What one source has: its shares, and what it has reserved."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.reserved: dict[str, Hold] = {}
        """By the keys of the rows for which it is."""
        self._shares: dict[str, Any] = {}
        self._supply: dict[str, Any] = {}
        self._held: dict[str, int] = {}

    def entry(self, entry: Entry, rows: SectionRows) -> Moved:
        """Conservation: what shares gain is issued, or arrives, or another share of the entry loses it; and a share
        holds what is reserved of it."""
        moved: Moved = {}
        totals: dict[str, int] = {}
        touched: set[str] = set()
        for name, key, doc in rows:
            if name == SHARES.name:
                balance = key.rpartition("/")[0]
                touched.add(balance)
                moved[balance] = self._share(key, doc)
                asset = balance.rpartition("/")[2]
                totals[asset] = totals.get(asset, 0) + moved[balance]
            elif name in HOLDING:
                touched |= self._holding(HOLDING[name], key, doc)
            elif name == SUPPLY.name and doc is not None:
                issuer, _, code = key.partition("/")
                before, after = self._supply.get(key), decode_row(doc, SUPPLY.row)
                self._supply[key] = after
                change = after.issued - after.burned - (0 if before is None else before.issued - before.burned)
                totals[f"{code}@{issuer}"] = totals.get(f"{code}@{issuer}", 0) - change
            elif doc is not None and name in (TRANSITS.name, RETURNS.name, CLAIMS.name, RECEIPTS.name):
                sent = decode_row(doc, TRANSITS.row if name == TRANSITS.name else CLAIMS.row)
                asset = sent.balance.rpartition("/")[2]
                gone = sent.amount if name in (TRANSITS.name, RETURNS.name) else -sent.amount
                totals[asset] = totals.get(asset, 0) + gone
        for asset, amount in totals.items():
            if amount:
                raise Finding(f"conservation: {entry.source}/{entry.sequence} made {amount} of {asset}")
        for balance in touched:
            share = self.share(balance)
            if (0 if share is None else share.held) != self._held.get(balance, 0):
                raise Finding(f"holds: {entry.source}/{entry.sequence} holds of {balance} what nothing reserves")
        return moved

    def share(self, balance: str) -> Any:
        """This node's share row of ``<account>/<asset>``; None where there is none."""
        return self._shares.get(f"{balance}/{self._source}")

    def supply(self, key: str) -> int:
        """All that there is of the asset ``<issuer>/<code>``."""
        row = self._supply.get(key)
        return 0 if row is None else int(row.issued - row.burned)

    def _share(self, key: str, doc: bytes | None) -> int:
        before, after = self._shares.get(key), None if doc is None else decode_row(doc, SHARES.row)
        if after is not None and min(after.available, after.held, after.bound) < 0:
            raise Finding(f"share {key} is below zero")
        self._shares[key] = after
        return _total(after) - _total(before)

    def _holding(self, table: Table[Any], key: str, doc: bytes | None) -> set[str]:
        before, after = self.reserved.get(key), None if doc is None else hold_of(decode_row(doc, table.row))
        touched = set()
        for hold, sign in ((before, -1), (after, 1)):
            if hold is not None:
                balance = f"{hold.account}/{hold.asset}"
                touched.add(balance)
                self._held[balance] = self._held.get(balance, 0) + sign * hold.amount
        if after is None:
            self.reserved.pop(key, None)
        else:
            self.reserved[key] = after
        return touched


def hold_of(row: Any) -> Hold:
    return Hold(row.account, row.reserved.asset, row.reserved.amount)


def _total(share: Any) -> int:
    return 0 if share is None else int(share.available + share.held + share.bound)

"""What lies on a node's disk when everybody has heard everything: trades and money, row by row."""

from collections.abc import Set
from typing import TYPE_CHECKING, Any

from jilnode.kernel.entry import decode_section
from jilnode.kernel.rows import decode_row
from jilnode.kernel.table import Table
from jilnode.simulation.finding import Finding
from services.dex.rows import TRADES
from services.wallet.rows import CLAIMS, RECEIPTS, RESERVATIONS, RETURNS, SHARES, SUPPLY, TRANSITS

if TYPE_CHECKING:
    from jilnode.simulation.world import SimulatedNode

__all__ = ("check_holds", "check_money", "check_trades")


def check_trades(node: "SimulatedNode", source: str, trades: dict[str, Any]) -> None:
    """Each trade of ``source`` is there as it was written there."""
    for key, trade in trades.items():
        row = node.disk.tables[TRADES.name].rows[key]
        entry = node.disk.entries[(row.owner, row.epoch)][row.sequence]
        found = [
            doc for name, there, doc in decode_section(entry.sections["rows"]) if (name, there) == (TRADES.name, key)
        ]
        if [decode_row(doc or b"null", TRADES.row) for doc in found] != [trade]:
            raise Finding(f"trades: {node.source} has another trade {key} than {source}")


def check_holds(node: "SimulatedNode", source: str, orders: Set[str]) -> None:
    """What the shares of ``source`` hold is reserved, for orders that are open."""
    held: dict[str, int] = {}
    for key, row in _rows(node, RESERVATIONS, source):
        share = f"{row.account}/{row.asset}/{source}"
        held[share] = held.get(share, 0) + row.amount
        if key not in orders:
            raise Finding(f"holds: {node.source} has {row.amount} reserved for no order, {key} (B9)")
    for key, row in _rows(node, SHARES, source):
        if row.held != held.get(key, 0):
            raise Finding(f"holds: {node.source} has other holds of {key} than reservations (B9)")


def check_money(node: "SimulatedNode") -> None:
    """Of each asset: shares, and what is under way, are what was issued and not burned."""
    totals: dict[str, int] = {}

    def add(asset: str, amount: int) -> None:
        totals[asset] = totals.get(asset, 0) + amount

    for _, row in _rows(node, SHARES):
        add(row.asset, row.available + row.held + row.bound)
    for table, sign in ((TRANSITS, 1), (RETURNS, 1), (CLAIMS, -1), (RECEIPTS, -1)):
        for _, row in _rows(node, table):
            add(row.balance.rpartition("/")[2], sign * row.amount)
    for key, row in _rows(node, SUPPLY):
        issuer, _, code = key.partition("/")
        add(f"{code}@{issuer}", row.burned - row.issued)
    for asset, amount in totals.items():
        if amount:
            raise Finding(f"conservation: {node.source} has {amount} of {asset} that nobody issued")


def _rows(node: "SimulatedNode", table: Table[Any], owner: str = "") -> list[tuple[str, Any]]:
    return [
        (key, decode_row(row.doc, table.row))
        for key, row in node.disk.tables[table.name].rows.items()
        if owner in ("", row.owner)
    ]

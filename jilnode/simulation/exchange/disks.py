"""What lies on a node's disk when everybody has heard everything: trades, pools and money, row by row."""

from collections.abc import Set
from typing import TYPE_CHECKING, Any

from jilnode.kernel.codec import decode_row, decode_section
from jilnode.kernel.table import Table
from jilnode.simulation.exchange.money import HOLDING, hold_of
from jilnode.simulation.finding import Finding
from services.dex.pools.rows import POOLS
from services.wallet.rows import CLAIMS, RECEIPTS, RETURNS, SHARES, SUPPLY, TRANSITS

if TYPE_CHECKING:
    from jilnode.simulation.world import SimulatedNode

__all__ = ("check_holds", "check_money", "check_pools", "check_written")


def check_written(node: "SimulatedNode", source: str, table: Table[Any], rows: dict[str, Any]) -> None:
    """Each of ``rows``, which are written once, is there as ``source`` wrote it."""
    for key, wanted in rows.items():
        row = node.disk.tables[table.name].rows[key]
        entry = node.disk.entries[(row.owner, row.epoch)][row.sequence]
        found = [
            doc for name, there, doc in decode_section(entry.sections["rows"]) if (name, there) == (table.name, key)
        ]
        if [decode_row(doc or b"null", table.row) for doc in found] != [wanted]:
            raise Finding(f"written: {node.source} has another {table.name} {key} than {source}")


def check_holds(node: "SimulatedNode", source: str, keepers: Set[str]) -> None:
    """What the shares of ``source`` hold is reserved, for orders that are open and quotes that are live."""
    held: dict[str, int] = {}
    for table in HOLDING.values():
        for key, row in _rows(node, table, source):
            hold = hold_of(row)
            share = f"{hold.account}/{hold.asset}/{source}"
            held[share] = held.get(share, 0) + hold.amount
            if key not in keepers:
                raise Finding(f"holds: {node.source} has {hold.amount} reserved for nothing, {key} (B9, Q2)")
    for key, row in _rows(node, SHARES, source):
        if row.held != held.get(key, 0):
            raise Finding(f"holds: {node.source} has other holds of {key} than orders and quotes (B9, Q2)")


def check_pools(node: "SimulatedNode") -> None:
    """M6: of a pool's account there is what the pool says, at its node, and nothing anywhere else; its shares are what
    was issued and not burned."""
    supplies = dict(_rows(node, SUPPLY))
    shares = dict(_rows(node, SHARES))
    for key, pool in _rows(node, POOLS):
        source = key.partition("/")[0]
        for asset, reserve in ((pool.base, pool.base_reserve), (pool.quote, pool.quote_reserve)):
            found = {name: row.available for name, row in shares.items() if (row.account, row.asset) == (key, asset)}
            if found != ({f"{key}/{asset}/{source}": reserve} if reserve else {}):
                raise Finding(f"backed: {node.source} has {found} of {asset} for {key}, and not {reserve} (M6)")
        if supplies[key].issued - supplies[key].burned != pool.shares:
            raise Finding(f"backed: {node.source} has shares of {key} that its pool does not know (M6)")


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

"""What must always hold (design section 9), checked by code that shares as little as it can with what it checks."""

import json
from typing import TYPE_CHECKING

from jilnode.events.record import SEAL_KIND
from jilnode.kernel.codec import decode_header, decode_record, decode_section, parse_time
from jilnode.kernel.digest import MODULUS, row_mark
from jilnode.kernel.entry import Entry
from jilnode.simulation.finding import Finding, SectionRows
from jilnode.stores.memory_disk import MemoryDisk

if TYPE_CHECKING:
    from jilnode.simulation.exchange.audit import ExchangeAudit
    from jilnode.simulation.world import SimulatedNode, World

__all__ = ("Checks",)

EXPECTED_ALARM = "invariant conserved "
"""What ``Mint``, a bug on purpose, makes a node say."""


class Checks:
    """``history`` is the one true journal of every source, as it was first seen durable anywhere. ``exchange`` checks
    what it says of markets, where there are any."""

    def __init__(self, world: "World", exchange: "ExchangeAudit | None") -> None:
        self._world = world
        self._exchange = exchange
        self.history: dict[tuple[str, int, int], Entry] = {}
        self._pots: dict[str, int] = {}
        self._seen: dict[tuple[MemoryDisk, str, int], int] = {}
        self._times: dict[str, str] = {}

    def node(self, node: "SimulatedNode") -> None:
        """Everything that is new on one node's disk; what sources wrote themselves is looked at first."""
        for other in self._world.nodes:
            self.own(other)
        for (source, epoch), size in self._new_sizes(node):
            self._log(node, source, epoch, size)
        if node.alive and node.kernel is not None:
            for alarm in node.engine.alarms:
                if not alarm.startswith(EXPECTED_ALARM):
                    raise Finding(f"alarm at {node.source}: {alarm}")
            assert node.loop is not None
            if node.loop.errors:
                raise Finding(f"a task of {node.source} failed: {node.loop.errors[0]}")
            if self._exchange is not None and not node.engine.dirty:
                self._exchange.node(node)

    def own(self, node: "SimulatedNode") -> None:
        """What a node wrote itself: from here it is the truth that others are compared with."""
        for (source, epoch), size in self._new_sizes(node):
            if source == node.source:
                self._log(node, source, epoch, size)

    def _log(self, node: "SimulatedNode", source: str, epoch: int, size: int) -> None:
        log = node.disk.entries[(source, epoch)]
        for sequence in range(self._seen.get((node.disk, source, epoch), 0), size):
            entry = log.get(sequence)
            if entry is None:
                raise Finding(f"gap: {node.source} lacks {source}/{epoch}/{sequence}")
            self._entry(node, entry)
        self._seen[(node.disk, source, epoch)] = size

    def _new_sizes(self, node: "SimulatedNode") -> list[tuple[tuple[str, int], int]]:
        return [
            (log, len(entries))
            for log, entries in node.disk.entries.items()
            if len(entries) != self._seen.get((node.disk, *log), 0)
        ]

    def _entry(self, node: "SimulatedNode", entry: Entry) -> None:
        where = (entry.source, entry.epoch, entry.sequence)
        known = self.history.get(where)
        if known is not None:
            if known.header != entry.header:
                raise Finding(f"fork: {where} at {node.source} is another entry than the one seen before")
            return
        if entry.source != node.source:
            raise Finding(f"forged: {where} was seen at {node.source} before its own source had it")
        self.history[where] = entry
        header = decode_header(entry.header)
        if header.timestamp < self._times.get(entry.source, ""):
            raise Finding(f"time runs backwards at {where}")
        self._times[entry.source] = header.timestamp
        rows = decode_section(entry.sections["rows"]) if entry.sections else []
        self._rows(entry, rows)
        if self._exchange is not None:
            self._exchange.entry(entry, parse_time(header.timestamp), rows)

    def _rows(self, entry: Entry, rows: SectionRows) -> None:
        """Conservation and ownership, from the bytes alone."""
        moved: dict[str, int] = {}
        for name, key, doc in rows:
            if name == "ledger.pot":
                if not key.endswith("/" + entry.source):
                    raise Finding(f"ownership: {entry.source} wrote {name} {key}")
                amount = 0 if doc is None else json.loads(doc)["amount"]
                if amount < 0:
                    raise Finding(f"{key} is below zero")
                moved[key] = moved.get(key, 0) + amount - self._pots.get(key, 0)
                self._pots[key] = amount
            elif name == "ledger.note" and doc is not None:
                note = json.loads(doc)
                moved[note["pot"]] = moved.get(note["pot"], 0) - note["amount"]
        if any(moved.values()):
            raise Finding(f"conservation: {entry.source}/{entry.sequence} moved {moved} without notes")

    def restored(self, node: "SimulatedNode") -> int:
        """The node's disk is replaced by an older copy: what nobody else was told is lost, as the README says. Returns
        the sequence from which on that is so."""
        self.own(node)
        told = [
            record for record in self._world.network.lanes.get(f"sim/{node.source}", ()) if record.kind != SEAL_KIND
        ]
        first_lost = 1 + max((decode_record(record.value).sequence for record in told), default=-1)
        self._pots = {key: amount for key, amount in self._pots.items() if not key.endswith("/" + node.source)}
        self._times.pop(node.source, None)
        if self._exchange is not None:
            self._exchange.forget(node.source)
        kept = [entry for entry in self.history.values() if entry.source == node.source and entry.sequence < first_lost]
        self.history = {where: entry for where, entry in self.history.items() if where[0] != node.source}
        for entry in kept:
            self._entry(node, entry)
        return first_lost

    def agreement(self) -> None:
        """Nodes that applied the same have the same; and nobody honest is suspended."""
        states: dict[tuple[str, int, int], tuple[int, bytes, str]] = {}
        for node in self._world.nodes:
            if node.kernel is None or node.kernel.writer.recovering or node.disk.source is None:
                continue
            for source, state in node.engine.sources.items():
                if state.status == "suspended":
                    raise Finding(f"{node.source} suspended the honest {source}: {state.code} {state.detail}")

        for node in self._world.nodes:
            for source, digest in self._digests(node).items():
                epoch, size = node.disk.heads[source]
                found = states.setdefault((source, epoch, size), (digest, b"", node.source))
                if found[0] != digest:
                    raise Finding(f"divergence: {node.source} and {found[2]} differ in the rows of {source} at {size}")
        if self._exchange is not None:
            self._exchange.agreement()

    def _digests(self, node: "SimulatedNode") -> dict[str, int]:
        """Every source's digest, summed anew from the rows on the node's disk."""
        found: dict[str, int] = dict.fromkeys(node.disk.heads, 0)
        for table in self._world.registry.tables.values():
            if table.local or table.name not in node.disk.tables:
                continue
            for key, row in node.disk.tables[table.name].rows.items():
                doc = node.disk.document(table, row) or b""
                mark = row_mark(table.name, key, row.owner, row.epoch, row.sequence, doc)
                found[row.owner] = (found.get(row.owner, 0) + mark) % MODULUS
        return found

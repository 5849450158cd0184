"""The auditor: an empty follower of everybody, in memory, that believes nothing it can check."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from jilnode.events.bus import Record
from jilnode.events.feed import Feed
from jilnode.events.record import read_record
from jilnode.kernel.apply import apply, needed
from jilnode.kernel.codec import decode_header, section_hash
from jilnode.kernel.engine import Engine
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import Breach, CommitFailed, Missing, Parked
from jilnode.kernel.ports import RowWrite, Wanted
from jilnode.kernel.registry import Registry
from jilnode.kernel.seal import SealKey
from jilnode.kernel.table import Table
from jilnode.kernel.tree import leaf_hash
from jilnode.kernel.verify import Group, verify
from jilnode.limits import GIBIBYTE, INT64_MAX
from jilnode.module import Module
from jilnode.stores.memory import MemoryStore
from jilnode.stores.memory_disk import MemoryDisk
from jilnode.system_clock import SystemClock, SystemEntropy
from jilnode.zone import ZoneBoard

__all__ = ("Auditor",)

READER = "jil-auditor"


class Auditor:
    """``take`` each record, in the order of each source; then ``finish``. Both return the first finding, or None.

    Sources wait for each other's entries (causes) as replicas do; whoever still waits at the end rests on what is not
    there.
    """

    def __init__(self, network: str, modules: Sequence[Module], trusted: Mapping[str, str] | None) -> None:
        self._network = network
        self._trusted: dict[str, str] = dict(trusted or {})
        self._take_genesis = trusted is None
        self._engine = Engine(
            network=network,
            source=READER,
            zone="",
            key=SealKey.from_seed(hashlib.sha256(READER.encode()).digest()),
            registry=Registry(modules),
            zones=ZoneBoard("", (), development=False),
            clock=SystemClock(),
            entropy=SystemEntropy(),
            cache_bytes=GIBIBYTE,
            # Who proves a journal has asked for all of it.
            resident_bytes=INT64_MAX,
        )
        self._disk = MemoryDisk()
        self._store = MemoryStore(self._disk)
        self._feeds: dict[str, Feed] = {}
        self._waits: dict[str, str] = {}
        """Source -> why what comes next of it could not be applied."""
        self._opened = False
        self._seals = 0
        self._compared = 0

    async def take(self, record: Record) -> str | None:
        if not self._opened:
            await self._store.open(READER, tuple(self._engine.registry.tables.values()))
            self._opened = True
        feed = self._feeds.setdefault(record.source, Feed(record.source))
        try:
            item = read_record(record)
            if isinstance(item, Seal):
                feed.seals.append(item)
                self._seals += 1
                await self._advance(feed)
            elif item is not None:
                _check_sections(item)
                if item.sequence == 0 and self._take_genesis:
                    self._trusted.setdefault(item.source, leaf_hash(item.header).hex())
                feed.entries.append(item)
        except Breach as breach:
            return f"{record.source}: {breach}"
        return None

    async def finish(self) -> str | None:
        moved = True
        while moved:
            moved = False
            for feed in self._feeds.values():
                try:
                    moved = await self._advance(feed) or moved
                except Breach as breach:
                    return f"{feed.source}: {breach}"
        for feed in self._feeds.values():
            if feed.entries:
                place = f"{feed.source}/{feed.entries[0].epoch}/{feed.entries[0].sequence}"
                return f"{place}: {self._waits.get(feed.source, 'no seal covers it')}"
            known = self._engine.sources.get(feed.source)
            for seal in feed.seals:
                if known is None or (seal.epoch, seal.size) > (known.epoch, known.size):
                    return f"{seal.source}/{seal.epoch}/{seal.size - 1}: it is sealed, and not there"
        for name, state in sorted(self._engine.sources.items()):
            if state.drift:
                return f"{name}: a tick's digest is not that of its rows"
        return None if self._engine.sources else "there is no journal in it"

    @property
    def heads(self) -> dict[str, tuple[int, int]]:
        """source -> (epoch, size) that was proven."""
        return {name: (state.epoch, state.size) for name, state in self._engine.sources.items() if state.size}

    @property
    def tables(self) -> tuple[Table[Any], ...]:
        """Those whose rows the journal tells; what only one node keeps is in no journal."""
        return tuple([table for table in self._engine.registry.tables.values() if not table.local])

    async def compare(
        self, stored: AsyncIterator[tuple[Table[Any], RowWrite]], moved: Callable[[], Awaitable[bool]]
    ) -> str | None:
        """After ``finish``: whether a database's tables hold exactly the rows that its journal tells. ``stored`` comes
        table by table, in key order. Its node may go on writing: what is newer than what was proven is left out."""
        expected = {table.name: dict(sorted(self._disk.tables[table.name].rows.items())) for table in self.tables}
        async for table, row in stored:
            told = expected[table.name].pop(row.key, None)
            owner = self._engine.sources.get(row.owner)
            if owner is not None and (row.epoch, row.sequence) >= (owner.epoch, owner.size):
                continue
            if told is None:
                return f"{table.name} {row.key}: it is in the table, and in no journal"
            if table.write_once:
                told = told._replace(doc=b"")
            if told != row:
                return f"{table.name} {row.key}: the table has another row than the journal"
            self._compared += 1
        missing = [f"{name} {key}" for name, rows in expected.items() for key in rows]
        if missing and not await moved():
            return f"{missing[0]}: it is in the journal, and not in the table"
        return None

    async def _advance(self, feed: Feed) -> bool:
        """Applies what is sealed, one commit of the source at a time, so that a finding names the right entry."""
        moved = False
        for group in feed.groups(merged=False):
            try:
                await self._apply(group)
            except Parked as parked:
                self._waits[feed.source] = parked.detail
                return moved
            self._waits.pop(feed.source, None)
            feed.drop(len(group.entries))
            moved = True
        return moved

    async def _apply(self, group: Group) -> None:
        engine = self._engine
        first = group.entries[0]
        try:
            known = engine.sources.get(group.source)
            verified = verify(group, known, self._network, self._trusted, engine.registry)
            wanted = Wanted()
            needed(engine, verified, wanted, careful=True)
            if wanted:
                engine.provide(await self._store.load(wanted))
            while True:
                try:
                    apply(engine, verified, careful=True)
                    break
                except Missing as missing:
                    assert isinstance(missing.want, Wanted)
                    engine.provide(await self._store.load(missing.want))
            await self._store.commit(engine.seal(0))
            engine.confirm()
        except (Breach, CommitFailed) as error:
            code, detail = (error.code, error.detail) if isinstance(error, Breach) else ("rewritten", str(error))
            place = f"entry {first.epoch}/{first.sequence} to {group.seal.size - 1}"
            raise Breach(code, f"{place}: {detail}") from None

    def summary(self) -> list[str]:
        lines = []
        for name, state in sorted(self._engine.sources.items()):
            lines.append(
                f"{name}: {state.size} entries of epoch {state.epoch}, root {state.frontier.root().hex()}, "
                f"digest {state.digest:064x}"
            )
        lines.append(f"proven: {self._seals} seals, every section, owner, invariant and tick digest")
        if self._compared:
            lines.append(f"proven: {self._compared} rows of the database are those of the journal")
        return lines


def _check_sections(entry: Entry) -> None:
    """Looks at the entry alone, so that a finding names it and not only the seal that it falls under."""
    place = f"entry {entry.epoch}/{entry.sequence}"
    try:
        sections = decode_header(entry.header).sections
    except msgspec.MsgspecError as error:
        raise Breach("unreadable", f"{place}: its header is none: {error}") from None
    for name, data in entry.sections.items():
        if name not in sections or sections[name].hash != section_hash(data):
            raise Breach("bad_section", f"{place}: section {name} is not the one that the header hashed")

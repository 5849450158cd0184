"""The relay: this node's journal, copied to the bus in order, at least once.

It resumes by asking the journal: its stored position is a hint, sending again is harmless, and nothing is ever
reordered. While the bus is down it waits; what it has not sent is in the journal anyway, however long that takes. A
node that ran alone and is given a bus later publishes from the first entry.
"""

import asyncio
import logging
from collections.abc import Callable

from jilnode.events.bus import Bus, BusDown, Record
from jilnode.events.record import record_of_entry, record_of_seal
from jilnode.kernel.engine import Engine
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import CommitFailed
from jilnode.kernel.ports import Store
from jilnode.kernel.system import MARKS, Mark
from jilnode.kernel.writer import Writer
from jilnode.limits import RELAY_BATCH_BYTES, RELAY_BATCH_ENTRIES

__all__ = ("RELAY_MARK", "Relay")

logger = logging.getLogger("jilnode.relay")

RELAY_MARK = "relay"
POSITION_INTERVAL_US = 1_000_000
RETRY_PAUSE_S = 0.5
RETRY_PAUSE_MAX_S = 10.0


class Relay:
    """``run`` publishes until it is cancelled. ``sent`` is (epoch, size) up to which the bus has this node's
    journal."""

    def __init__(self, writer: Writer, store: Store, bus: Bus) -> None:
        self._writer = writer
        self._engine: Engine = writer.engine
        self._store = store
        self._bus = bus
        self._source = writer.engine.source
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._fresh: list[tuple[list[Entry], list[Seal]]] = []
        self._fresh_count = 0
        self._stored_us = 0
        self.sent: tuple[int, int] = (0, 0)
        self.down_since_us: int | None = None
        self.down_reason = ""
        writer.listeners.append(self._committed)

    def _committed(self, entries: list[Entry], seals: list[Seal]) -> None:
        """Fed from memory after each commit; when the feed overflows, the journal is read instead."""
        own = [entry for entry in entries if entry.source == self._source]
        if not own:
            return
        if self._fresh_count + len(own) <= 2 * RELAY_BATCH_ENTRIES:
            self._fresh.append((own, [seal for seal in seals if seal.source == self._source]))
            self._fresh_count += len(own)
        self._wake.set()

    @property
    def lag(self) -> int:
        """Entries of this node that the bus does not have."""
        own = self._engine.sources.get(self._source)
        if own is None:
            return 0
        return own.size - self.sent[1] if own.epoch == self.sent[0] else own.size

    async def run(self) -> None:
        self.sent = self._stored_position()
        pause_s = RETRY_PAUSE_S
        while True:
            batch = await self._next()
            if batch is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            records, sent = batch
            try:
                await self._bus.publish(self._source, records)
            except BusDown as error:
                self.down_reason = str(error)
                if self.down_since_us is None:
                    self.down_since_us = self._engine.clock.monotonic_us()
                    logger.warning("the bus is down; the journal waits", extra={"fields": {"detail": str(error)}})
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_PAUSE_MAX_S)
                continue
            pause_s, self.down_since_us, self.down_reason = RETRY_PAUSE_S, None, ""
            self.sent = sent
            self._drained.set()
            await self._store_position()

    async def flush(self) -> None:
        """Returns when the bus has everything that is committed now."""
        while self.lag:
            self._drained.clear()
            await self._drained.wait()

    def _stored_position(self) -> tuple[int, int]:
        image = self._engine.caches[MARKS].get(RELAY_MARK)
        if image is None or not isinstance(image.row, Mark):
            return (0, 0)
        epoch, size = image.row.value.split("/")
        return int(epoch), int(size)

    async def _next(self) -> tuple[list[Record], tuple[int, int]] | None:
        """The next records to send, ended by a seal, and where sending then stands."""
        while self._fresh:
            entries, seals = self._fresh.pop(0)
            self._fresh_count -= len(entries)
            if seals and (entries[0].epoch, entries[0].sequence) == self.sent:
                return self._records(entries, seals)
            if (entries[0].epoch, entries[0].sequence) > self.sent:
                break
        return await self._from_journal()

    def _records(self, entries: list[Entry], seals: list[Seal]) -> tuple[list[Record], tuple[int, int]]:
        """Several commits in one message where they wait already, as long as they follow each other."""
        while (
            self._fresh
            and len(entries) < RELAY_BATCH_ENTRIES
            and (self._fresh[0][0][0].epoch, self._fresh[0][0][0].sequence) == (seals[-1].epoch, seals[-1].size)
        ):
            more, more_seals = self._fresh.pop(0)
            self._fresh_count -= len(more)
            entries, seals = entries + more, seals + more_seals
        records: list[Record] = []
        index = 0
        for seal in seals:
            while index < len(entries) and entries[index].sequence < seal.size:
                records.append(record_of_entry(entries[index]))
                index += 1
            records.append(record_of_seal(seal))
        return records, (seals[-1].epoch, seals[-1].size)

    async def _from_journal(self) -> tuple[list[Record], tuple[int, int]] | None:
        own = self._engine.sources.get(self._source)
        if own is None:
            return None
        epoch, size = self.sent
        seals = await self._store.seals(self._source, epoch, size, RELAY_BATCH_ENTRIES)
        if not seals:
            if epoch < own.epoch:
                self.sent = (epoch + 1, 0)
                return await self._from_journal()
            return None
        taken: list[Seal] = []
        entries: list[Entry] = []
        total = 0
        for seal in seals:
            part = await self._store.journal(self._source, epoch, size, seal.size - size)
            total += sum([entry.size for entry in part])
            if taken and (total > RELAY_BATCH_BYTES or len(entries) + len(part) > RELAY_BATCH_ENTRIES):
                break
            entries += part
            taken.append(seal)
            size = seal.size
        return self._records(entries, taken)

    async def _store_position(self) -> None:
        """Once a second at most: sending again after a crash is harmless."""
        now_us = self._engine.clock.monotonic_us()
        if now_us - self._stored_us < POSITION_INTERVAL_US:
            return
        self._stored_us = now_us
        value = f"{self.sent[0]}/{self.sent[1]}"
        write: Callable[[Engine], None] = lambda engine: engine.state[MARKS].put(RELAY_MARK, Mark(value))  # noqa: E731
        try:
            await self._writer.write_local(write)
        except CommitFailed:
            logger.info("the relay's position was not stored; it will be later")

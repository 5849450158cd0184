"""One node's kernel: engine, writer and store, started in the one order that is safe.

Open the database (which takes the writer's lock), load what is resident, verify the tail of this node's own log against
its seal, begin a journal where there is none. Writing starts only with ``allow_writes``: who may confirm the tail is
the caller's knowledge.
"""

import asyncio
from typing import Any

from jilnode.kernel.codec import decode_header, section_hash
from jilnode.kernel.engine import COMMIT_MARK, Engine
from jilnode.kernel.entry import SECTION_NAMES
from jilnode.kernel.errors import Breach, WrongDatabase
from jilnode.kernel.image import Image
from jilnode.kernel.milestones import genesis
from jilnode.kernel.ports import Store
from jilnode.kernel.seal import origin_of, parse_seal, verify_seal
from jilnode.kernel.sources import SourceState
from jilnode.kernel.system import HEADS, MARKS, REFUSED_KEYS, Head, Mark
from jilnode.kernel.tree import leaf_hash, node_hash
from jilnode.kernel.writer import Writer

__all__ = ("Kernel",)

TAIL_ENTRIES = 1024
"""How much of its own log a node re-hashes at start: the perfect subtrees at the right edge up to this size."""


class Kernel:
    def __init__(self, engine: Engine, store: Store) -> None:
        self.engine = engine
        self.store = store
        self.writer = Writer(engine, store)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises ``WrongDatabase`` and ``LockLost``. The node reads; it writes after ``allow_writes``."""
        engine = self.engine
        await self.store.open(engine.source, tuple(engine.registry.tables.values()))
        for table, cache in engine.caches.items():
            if table.resident:
                cache.load_all(await self.store.resident(table))
            else:
                for queue in cache.deadlines.values():
                    moments = await self.store.deadlines(table, queue.spec.field, engine.source)
                    for key, moment in moments.items():
                        queue.set(key, moment)
        for source, image in engine.caches[HEADS].images.items():
            assert image is not None and isinstance(image.row, Head)
            engine.sources[source] = SourceState.of_row(source, image.row)
        mark = engine.caches[MARKS].get(COMMIT_MARK)
        engine.commit_number = _number(mark)
        engine.keys.load_refused(await self.store.deadlines(REFUSED_KEYS, "at_us", engine.source))
        obligations = self.writer.chores.obligations
        for reaction in obligations.reactions:
            found = await self.store.open_obligations(reaction, engine.source, obligations.wanted)
            obligations.fill(reaction, found, engine.now_us())
        if engine.source in engine.sources:
            await self._verify_tail()

    async def begin_journal(self) -> None:
        """Entry 0, where this database has none of this node. Committed before ``run``."""
        engine = self.engine
        if engine.source in engine.sources:
            return
        genesis(engine, engine.now_us())
        await self.store.commit(engine.seal(engine.now_us()))
        engine.confirm()

    async def begin_epoch(self) -> None:
        """A new epoch after this one, by an operator's word: what may have been lost behind the tail stays lost."""
        engine = self.engine
        own = engine.own
        genesis(engine, engine.now_us(), (own.epoch, own.size, own.frontier.root().hex()))
        await self.store.commit(engine.seal(engine.now_us()))
        engine.confirm()

    def run(self) -> "asyncio.Task[None]":
        """Starts the writer's task, which applies what others wrote; this node's own commands wait for
        ``allow_writes``."""
        self._task = asyncio.get_running_loop().create_task(self.writer.run())
        return self._task

    def head(self, source: str) -> tuple[int, int]:
        """(epoch, size) of what is applied of a source."""
        state = self.engine.sources.get(source)
        return (0, 0) if state is None else (state.epoch, state.size)

    def allow_writes(self) -> None:
        self.writer.allow()

    def forbid_writes(self, reason: str) -> None:
        self.writer.forbid(reason)

    async def close(self) -> None:
        """Decides what waits, then lets the database go."""
        if self._task is not None:
            self.writer.stop()
            await asyncio.wait([self._task])
        await self.store.close()

    async def _verify_tail(self) -> None:
        """This node's own newest entries, hashed again, must be the right edge of the tree that its last seal signs."""
        engine = self.engine
        own = engine.own
        heads = await self.store.heads()
        if heads.get(engine.source) != (own.epoch, own.size):
            raise WrongDatabase(
                f"the journal ends at {heads.get(engine.source)}, the head says {(own.epoch, own.size)}: "
                "the database was changed by hand or restored in part; restore it whole"
            )
        seals = await self.store.seals(engine.source, own.epoch, own.size - 1, 1)
        try:
            if not seals:
                raise Breach("bad_seal", f"no seal covers the {own.size} entries")
            checkpoint = parse_seal(seals[0].note)
            verify_seal(checkpoint, origin_of(engine.network, engine.source, own.epoch), [own.public_key])
            if (checkpoint.size, checkpoint.root) != (own.size, own.frontier.root()):
                raise Breach("bad_seal", "the seal is of another state")
            if own.public_key != engine.key.public_key:
                raise Breach("bad_seal", "this node's key is not the one that sealed the journal")
            await self._rehash(own)
        except Breach as breach:
            raise WrongDatabase(f"this node's own journal does not verify: {breach}") from None

    async def _rehash(self, own: SourceState) -> None:
        """The frontier's subtrees up to ``TAIL_ENTRIES`` leaves lie at the right edge: rebuilt from the entries, they
        must agree."""
        sizes = [1 << bit for bit in reversed(range(own.size.bit_length())) if own.size >> bit & 1]
        start = own.size
        for size, wanted in reversed(list(zip(sizes, own.frontier.hashes, strict=True))):
            start -= size
            if size > TAIL_ENTRIES:
                return
            entries = await self.store.journal(own.source, own.epoch, start, size)
            leaves = [leaf_hash(entry.header) for entry in entries]
            while len(leaves) > 1:
                leaves = [node_hash(leaves[i], leaves[i + 1]) for i in range(0, len(leaves), 2)]
            if leaves != [wanted]:
                raise Breach("bad_seal", f"entries {start} to {start + size - 1} are not the ones that were sealed")
            for entry in entries:
                sections = decode_header(entry.header).sections
                for name in SECTION_NAMES:
                    if name in entry.sections and section_hash(entry.sections[name]) != sections[name].hash:
                        raise Breach("bad_section", f"section {name} of entry {entry.sequence} was changed")


def _number(mark: Image | None) -> int:
    if mark is None:
        return 0
    row: Any = mark.row
    assert isinstance(row, Mark)
    return int(row.value)

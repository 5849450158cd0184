"""What comes under numbers that are taken: the same again, an invention, or a fork. Only a signature can tell."""

from collections import OrderedDict
from typing import NamedTuple

from jilnode.kernel.engine import Engine
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import Unproven
from jilnode.kernel.ports import Store
from jilnode.kernel.seal import is_signed, origin_of, parse_seal, verify_seal
from jilnode.kernel.tree import Frontier, leaf_hash
from jilnode.kernel.writer import Writer

__all__ = ("Duplicates", "Fork")

OWN_HEADERS_KEPT = 10_000
LEAVES_PER_PAGE = 1000
EXAMINE_PAUSE_US = 60_000_000
"""A whole journal is hashed at most so often for one source: what asks for it may be anybody's invention."""


class Fork(NamedTuple):
    """``here``: the signed note that the other one contradicts; empty when it is this node that did not write."""

    here: bytes
    detail: str


class Duplicates:
    """Compares with what is stored. A source is *doubted* once something came of it that does not fit: then its seals
    are held against the tree itself, whatever their size."""

    def __init__(self, writer: Writer, store: Store, network: str) -> None:
        self._writer = writer
        self._engine: Engine = writer.engine
        self._store = store
        self._network = network
        self._doubted: set[str] = set()
        self._examined_us: dict[str, int] = {}
        self._recent: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        """Headers that this node wrote lately: their echo comes back from the bus and must be the same."""
        writer.listeners.append(self._remember_own)

    def _remember_own(self, entries: list[Entry], seals: list[Seal]) -> None:
        for entry in entries:
            if entry.source == self._engine.source:
                self._recent[(entry.epoch, entry.sequence)] = entry.header
        while len(self._recent) > OWN_HEADERS_KEPT:
            self._recent.popitem(last=False)

    def doubt(self, source: str) -> None:
        self._doubted.add(source)

    def signed(self, seal: Seal, public_key: bytes) -> bool:
        """Whether that key made it."""
        return is_signed(seal.note, origin_of(self._network, seal.source, seal.epoch), public_key)

    async def entry(self, entry: Entry) -> Unproven | None:
        """An entry whose number is applied. What is not the same is somebody's invention until a seal says
        otherwise."""
        where = (entry.epoch, entry.sequence)
        if entry.source == self._engine.source and self._recent.get(where) == entry.header:
            return None
        here = await self._store.journal(entry.source, entry.epoch, entry.sequence, 1)
        if not here or here[0].header == entry.header:
            return None
        self.doubt(entry.source)
        return Unproven("fork", f"another entry {where} of {entry.source}, not sealed")

    async def seal(self, seal: Seal) -> Fork | None:
        """Two trees under one key are a fork, and the two signed notes are the proof of it. Raises ``Breach`` for a
        seal that is not the source's."""
        known = self._engine.sources.get(seal.source)
        if known is None or not known.size:
            return None
        if (seal.epoch, seal.size) > (known.epoch, known.size):
            if seal.source == self._engine.source and self._writer.writable and self.signed(seal, known.public_key):
                return Fork(b"", f"{seal.source} has a seal of size {seal.size} that this node did not make")
            return None
        stored = await self._store.seals(seal.source, seal.epoch, seal.size - 1, 1)
        if not stored or stored[0].note == seal.note:
            return None
        if stored[0].size != seal.size and (seal.source not in self._doubted or seal.epoch != known.epoch):
            return None
        there = parse_seal(seal.note)
        verify_seal(there, origin_of(self._network, seal.source, seal.epoch), [known.public_key])
        if stored[0].size == seal.size:
            root: bytes | None = parse_seal(stored[0].note).root
        else:
            root = await self._root(seal)
        if root is None or root == there.root:
            return None
        return Fork(stored[0].note.encode(), f"two histories of {seal.source} at size {seal.size}")

    async def _root(self, seal: Seal) -> bytes | None:
        """Of the entries that are here, at the seal's size: that of no seal here, since commits may share one."""
        now_us = self._engine.clock.monotonic_us()
        last_us = self._examined_us.get(seal.source)
        if last_us is not None and now_us - last_us < EXAMINE_PAUSE_US:
            return None
        self._examined_us[seal.source] = now_us
        self._doubted.discard(seal.source)
        frontier = Frontier()
        while frontier.size < seal.size:
            limit = min(LEAVES_PER_PAGE, seal.size - frontier.size)
            for entry in await self._store.journal(seal.source, seal.epoch, frontier.size, limit):
                frontier.append(leaf_hash(entry.header))
        return frontier.root()

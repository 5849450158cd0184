"""One source's records that are not applied yet, in order, and where reading must resume so that none is lost."""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, product

from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.system import ROTATION_EVENT, TICK_EVENT
from jilnode.kernel.tree import leaf_hash
from jilnode.kernel.verify import Group
from jilnode.limits import (
    FEED_ALTERNATIVES_MAX,
    FEED_BYTES_MAX,
    FEED_REFUSED_MAX,
    FEED_SEALS_MAX,
    FEED_VARIANTS_MAX,
    REPLICATOR_QUEUE_MAX,
    WRITER_BATCH_BYTES_MAX,
)

__all__ = ("Feed",)

_ROTATION, _TICK = (f'"type":"{event}"'.encode() for event in (ROTATION_EVENT, TICK_EVENT))
"""As they stand in a header that nobody has decoded."""


@dataclass(slots=True)
class Feed:
    """``entries`` are consecutive; ``seals`` cover them. ``held_at`` is the receipt that brought the first of them.

    Anybody may send entries in the source's name, so all of it has a bound. What is let go comes again: a seal that the
    source signed tells that it is missing.
    """

    source: str
    entries: list[Entry] = field(default_factory=list)
    seals: list[Seal] = field(default_factory=list)
    held_at: int | None = None
    alternatives: dict[int, list[Entry]] = field(default_factory=dict)
    """Other entries under the number of one that waits, the newest first. Until a seal decides, nobody knows which is
    the source's own."""
    crowded: set[int] = field(default_factory=set)
    """Numbers under which more came than is kept."""
    refused: set[bytes] = field(default_factory=set)
    """Leaf hashes of what is not the source's own, by what it signed: they take no place again."""
    size: int = 0
    """Bytes of all entries here."""
    overflowing: bool = False
    """Whether the next one had no room."""

    @property
    def full(self) -> bool:
        return self.overflowing or len(self.entries) >= REPLICATOR_QUEUE_MAX

    def next_sequence(self, size: int) -> int:
        """Of the entry that belongs next, after what is known and what waits here."""
        return self.entries[-1].sequence + 1 if self.entries else size

    def groups(self, merged: bool) -> list[Group]:
        """What is sealed, cut at every seal; or merged up to the newest seal of each run, whose root covers all before
        it, while that makes no more than a commit may hold."""
        found: list[Group] = []
        start = end = size = 0
        for index, seal in enumerate(self.seals):
            while end < len(self.entries) and _covers(seal, self.entries[end]):
                size += self.entries[end].size
                end += 1
            if end == start:
                continue
            if self.entries[end - 1].sequence + 1 != seal.size:
                # Some of what it covers is still on its way.
                break
            following = self.seals[index + 1] if index + 1 < len(self.seals) else None
            if merged and following is not None and self._merges(seal, following, end, size):
                continue
            found.append(Group(self.source, self.entries[start:end], seal))
            start, size = end, 0
        return found

    def _merges(self, seal: Seal, following: Seal, end: int, size: int) -> bool:
        """Whether what the next seal covers is here, and may be of one group with the ``size`` bytes before ``end``."""
        more = self.entries[end : end + following.size - seal.size]
        return (
            following.epoch == seal.epoch
            and len(more) == following.size - seal.size
            and not _must_end(self.entries[end - 1])
            and size + sum([entry.size for entry in more]) <= WRITER_BATCH_BYTES_MAX
        )

    # What comes

    def append(self, entry: Entry) -> bool:
        """The next one. False: there is no room for it."""
        if not self._has_room(entry):
            self.overflowing = True
            return False
        self.entries.append(entry)
        self.size += entry.size
        return True

    def offer(self, entry: Entry) -> None:
        """Another entry under a number that waits already. A source sends its seal just after its entries, so the
        newest goes first."""
        index = entry.sequence - self.entries[0].sequence
        newest = self.entries[index]
        if entry == newest:
            return
        others = self.alternatives.get(entry.sequence, [])
        if entry in others:
            others.remove(entry)
            self.size -= entry.size
        if self._has_room(entry):
            others = self.alternatives.setdefault(entry.sequence, [])
            others.insert(0, newest)
            self.size += entry.size
        else:
            self._let_go(newest)
            self.size += entry.size
        self.entries[index] = entry
        if len(others) > FEED_ALTERNATIVES_MAX:
            self._let_go(others.pop())

    def _has_room(self, entry: Entry) -> bool:
        """Made where there is none: what is nearer to be applied goes before what is farther, the newest before
        others."""
        wanted = FEED_BYTES_MAX - entry.size
        if self.size > wanted:
            for others in self.alternatives.values():
                for other in others:
                    self._let_go(other)
            self.alternatives.clear()
        while self.size > wanted and self.entries and self.entries[-1].sequence > entry.sequence:
            self.size -= self.entries.pop().size
            self.overflowing = False
        return self.size <= wanted

    def _let_go(self, entry: Entry) -> None:
        self.size -= entry.size
        self.crowded.add(entry.sequence)

    def add_seal(self, seal: Seal) -> None:
        if seal not in self.seals:
            insort(self.seals, seal, key=lambda item: (item.epoch, item.size))
        if len(self.seals) > FEED_SEALS_MAX:
            # The newest tells that what is let go is missing.
            del self.seals[-2]

    def may_change_key(self, seal: Seal) -> bool:
        """Whether a new key may begin before the seal: with what waits here, as far as its text tells."""
        return any(entry.sequence < seal.size and _rotates(entry) for entry in self._candidates())

    def _candidates(self) -> list[Entry]:
        return [*self.entries, *[entry for others in self.alternatives.values() for entry in others]]

    # What a seal decides

    def variants(self, group: Group) -> Iterator[Group]:
        """The group with other entries in place of some, a bounded number of them: first with every entry that came as
        number 2, 3, ... under its own, as somebody's flood after the source leaves them."""
        choices = [[entry, *self.alternatives.get(entry.sequence, ())] for entry in group.entries]
        for place in range(1, max(map(len, choices), default=0)):
            yield Group(group.source, [those[min(place, len(those) - 1)] for those in choices], group.seal)
        if any(len(those) > 1 for those in choices):
            for chosen in islice(product(*choices), 1, FEED_VARIANTS_MAX):
                yield Group(group.source, list(chosen), group.seal)

    def choose(self, group: Group) -> None:
        """A seal has decided: these are the source's own."""
        for index, entry in enumerate(group.entries):
            if entry != self.entries[index]:
                others = self.alternatives[entry.sequence]
                others[others.index(entry)] = self.entries[index]
                self.entries[index] = entry

    def refuse(self, group: Group) -> bool:
        """The source signed the group's seal, and none of these fits it. Whether others came, which were let go: they
        have their turn when they come again."""
        crowded = [entry for entry in group.entries if entry.sequence in self.crowded]
        if not crowded or len(self.refused) > FEED_REFUSED_MAX:
            return False
        for entry in crowded:
            for other in (entry, *self.alternatives.get(entry.sequence, ())):
                self.refused.add(leaf_hash(other.header))
        return True

    def is_refused(self, entry: Entry) -> bool:
        return bool(self.refused) and leaf_hash(entry.header) in self.refused

    def forget_seal(self, seal: Seal) -> None:
        self.seals.remove(seal)

    def drop(self, count: int) -> None:
        """The first ``count`` entries are applied, and so are the seals that cover nothing else."""
        last = self.entries[count - 1]
        for entry in self.entries[:count]:
            self.size -= entry.size + sum([other.size for other in self.alternatives.pop(entry.sequence, ())])
        del self.entries[:count]
        self.crowded = {number for number in self.crowded if number > last.sequence}
        self.refused.clear()
        self.overflowing = False
        self.seals = [seal for seal in self.seals if (seal.epoch, seal.size) > (last.epoch, last.sequence + 1)]

    def clear(self) -> None:
        """All but what was refused: the rest comes again."""
        self.entries.clear()
        self.seals.clear()
        self.alternatives.clear()
        self.crowded.clear()
        self.size = 0
        self.overflowing = False
        self.held_at = None


def _covers(seal: Seal, entry: Entry) -> bool:
    return entry.epoch == seal.epoch and entry.sequence < seal.size


def _rotates(entry: Entry) -> bool:
    return _ROTATION in entry.header


def _must_end(entry: Entry) -> bool:
    """Ticks and key rotations are looked at before they are verified, so only their header's text is compared."""
    return _rotates(entry) or _TICK in entry.header

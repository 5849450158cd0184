"""One source's records that are not applied yet, in order, and where reading must resume so that none is lost."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, product

from jilnode.kernel.apply import Group
from jilnode.kernel.entry import Entry, Seal
from jilnode.limits import REPLICATOR_QUEUE_MAX

__all__ = ("Feed",)

ALTERNATIVES_MAX = 4
VARIANTS_MAX = 256


@dataclass(slots=True)
class Feed:
    """``entries`` are consecutive; ``seals`` cover them. ``held_at`` is the receipt that brought the first of them."""

    source: str
    entries: list[Entry] = field(default_factory=list)
    seals: list[Seal] = field(default_factory=list)
    held_at: int | None = None
    alternatives: dict[tuple[int, int], list[Entry]] = field(default_factory=dict)
    """Other entries under the number of one that waits. Until a seal decides, nobody knows which is the source's
    own."""

    @property
    def full(self) -> bool:
        return len(self.entries) >= REPLICATOR_QUEUE_MAX

    def next_position(self, epoch: int, size: int) -> tuple[int, int]:
        """(epoch, sequence) of the entry that belongs next, after what is known and what waits here."""
        if self.entries:
            last = self.entries[-1]
            return last.epoch, last.sequence + 1
        return epoch, size

    def groups(self, merged: bool) -> list[Group]:
        """What is sealed, cut at every seal; or merged up to the newest seal of each run, whose root covers all before
        it."""
        found: list[Group] = []
        start = end = 0
        for index, seal in enumerate(self.seals):
            while end < len(self.entries) and _covers(seal, self.entries[end]):
                end += 1
            if end == start:
                continue
            if self.entries[end - 1].sequence + 1 != seal.size:
                # Some of what it covers is still on its way.
                break
            following = self.seals[index + 1] if index + 1 < len(self.seals) else None
            more = following is not None and following.epoch == seal.epoch and not _must_end(self.entries[end - 1])
            if merged and more:
                continue
            found.append(Group(self.source, self.entries[start:end], seal))
            start = end
        return found

    def offer(self, entry: Entry) -> None:
        """Another entry under a number that waits already."""
        others = self.alternatives.setdefault((entry.epoch, entry.sequence), [])
        if entry not in others and len(others) < ALTERNATIVES_MAX:
            others.append(entry)

    def variants(self, group: Group) -> Iterator[Group]:
        """The group with other entries in place of some, a bounded number of them: first with every entry that came as
        number 2, 3, ... under its own, as somebody's flood ahead of the source leaves them."""
        choices = [[entry, *self.alternatives.get((entry.epoch, entry.sequence), ())] for entry in group.entries]
        for place in range(1, max(map(len, choices), default=0)):
            yield Group(group.source, [those[min(place, len(those) - 1)] for those in choices], group.seal)
        for chosen in islice(product(*choices), 1, VARIANTS_MAX):
            yield Group(group.source, list(chosen), group.seal)

    def choose(self, group: Group) -> None:
        """A seal has decided: these are the source's own."""
        self.entries[: len(group.entries)] = group.entries

    def forget_seal(self, seal: Seal) -> None:
        self.seals.remove(seal)

    def drop(self, count: int) -> None:
        """The first ``count`` entries are applied, and so are the seals that cover nothing else."""
        last = self.entries[count - 1]
        for entry in self.entries[:count]:
            self.alternatives.pop((entry.epoch, entry.sequence), None)
        del self.entries[:count]
        self.seals = [seal for seal in self.seals if (seal.epoch, seal.size) > (last.epoch, last.sequence + 1)]

    def clear(self) -> None:
        self.entries.clear()
        self.seals.clear()
        self.alternatives.clear()
        self.held_at = None


def _covers(seal: Seal, entry: Entry) -> bool:
    return entry.epoch == seal.epoch and entry.sequence < seal.size


def _must_end(entry: Entry) -> bool:
    """Ticks and key rotations are looked at before they are verified, so only their header's text is compared."""
    return b'"type":"kernel.tick.recorded"' in entry.header or b'"type":"kernel.key.rotated"' in entry.header

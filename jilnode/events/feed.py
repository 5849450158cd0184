"""One source's records that are not applied yet, in order, and where reading must resume so that none is lost."""

from dataclasses import dataclass, field

from jilnode.kernel.apply import Group
from jilnode.kernel.entry import Entry, Seal
from jilnode.limits import REPLICATOR_QUEUE_MAX

__all__ = ("Feed",)


@dataclass(slots=True)
class Feed:
    """``entries`` are consecutive; ``seals`` cover them. ``held_at`` is the receipt that brought the first of them."""

    source: str
    entries: list[Entry] = field(default_factory=list)
    seals: list[Seal] = field(default_factory=list)
    held_at: int | None = None
    raw: list[tuple[str, bytes]] = field(default_factory=list)
    """Everything that came since the source was suspended: (kind, value)."""

    @property
    def full(self) -> bool:
        return len(self.entries) > REPLICATOR_QUEUE_MAX

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
        start = 0
        for index, seal in enumerate(self.seals):
            end = start
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

    def drop(self, count: int) -> None:
        """The first ``count`` entries are applied, and so are the seals that cover nothing else."""
        last = self.entries[count - 1]
        del self.entries[:count]
        self.seals = [seal for seal in self.seals if (seal.epoch, seal.size) > (last.epoch, last.sequence + 1)]

    def clear(self) -> None:
        self.entries.clear()
        self.seals.clear()
        self.held_at = None


def _covers(seal: Seal, entry: Entry) -> bool:
    return entry.epoch == seal.epoch and entry.sequence < seal.size


def _must_end(entry: Entry) -> bool:
    """Ticks and key rotations are looked at before they are verified, so only their header's text is compared."""
    return b'"type":"kernel.tick.recorded"' in entry.header or b'"type":"kernel.key.rotated"' in entry.header

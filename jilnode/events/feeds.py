"""What waits of all sources: each has a feed for its epoch, and one for the epoch that may follow."""

from collections.abc import Iterator

from jilnode.events.bus import Record
from jilnode.events.duplicates import Duplicates
from jilnode.events.feed import Feed
from jilnode.events.record import unread_record
from jilnode.kernel.engine import Engine
from jilnode.kernel.entry import Seal
from jilnode.limits import FEED_SEALS_MAX

__all__ = ("Feeds", "Place")

Place = tuple[int, int]
"""(epoch, sequence)."""


class Feeds:
    """An entry of the next epoch may be anybody's invention, so it is not waited for, nor does it stand in the way of
    what the source still writes in this one."""

    def __init__(self, engine: Engine, duplicates: Duplicates) -> None:
        self._engine = engine
        self._duplicates = duplicates
        self._feeds: dict[tuple[str, int], Feed] = {}
        self._suspected: set[str] = set()
        """Sources in whose name somebody else has sent seals: from then on each is looked at before it is kept."""
        self._first_keys: dict[str, bytes] = {}
        """Of sources that have not begun here, and whose genesis came."""

    def __iter__(self) -> Iterator[Feed]:
        return iter(list(self._feeds.values()))

    def __len__(self) -> int:
        return len(self._feeds)

    def head(self, source: str) -> Place:
        """After what is applied of it."""
        known = self._engine.sources.get(source)
        return (0, 0) if known is None else (known.epoch, known.size)

    def at(self, source: str, epoch: int) -> Feed | None:
        """None for an epoch that is not the source's, and can't be its next."""
        feed = self._feeds.get((source, epoch))
        if feed is None and epoch - self.head(source)[0] in (0, 1):
            feed = self._feeds[(source, epoch)] = Feed(source)
        return feed

    def of(self, source: str) -> list[Feed]:
        """In the order of their epochs."""
        return [self._feeds[key] for key in sorted([key for key in self._feeds if key[0] == source])]

    def ready(self) -> list[str]:
        """Sources of which something is sealed."""
        return sorted({feed.source for feed in self if feed.seals and feed.entries})

    def held(self, source: str) -> list[Record]:
        found: list[Record] = []
        for feed in self.of(source):
            found += [*map(unread_record, feed.entries), *map(unread_record, feed.seals)]
        return found

    def forget(self, source: str) -> None:
        """What waits of it comes again, or is kept elsewhere."""
        for feed in self.of(source):
            feed.clear()

    def forget_overtaken(self, source: str) -> None:
        """What came of this node itself under numbers that it has written since: others invented it."""
        head = self.head(source)
        for feed in self.of(source):
            if feed.entries and (feed.entries[0].epoch, feed.entries[0].sequence) < head:
                feed.clear()

    def end_epochs(self, source: str) -> None:
        """What waits of an epoch that has ended is nobody's."""
        epoch = self.head(source)[0]
        for key in [key for key in self._feeds if key[0] == source and key[1] < epoch]:
            del self._feeds[key]

    # Seals

    def signed(self, seal: Seal) -> bool:
        """Whether the source's own key made it."""
        key = self._key(seal.source)
        return key is not None and self._duplicates.signed(seal, key)

    def begins(self, source: str, key: bytes) -> None:
        """Its genesis came: the one that the trust file names."""
        self._first_keys[source] = key

    def _key(self, source: str) -> bytes | None:
        known = self._engine.sources.get(source)
        return self._first_keys.get(source) if known is None else known.public_key

    def add_seal(self, seal: Seal, receipt: int) -> None:
        feed = self.at(seal.source, seal.epoch)
        if feed is None or self._key(seal.source) is None:
            # Nobody's, or before the genesis that it comes after.
            return
        crowded = len(feed.seals) >= FEED_SEALS_MAX
        if crowded and seal.source not in self._suspected:
            self.suspect(seal.source)
            crowded = len(feed.seals) >= FEED_SEALS_MAX
        if seal.source in self._suspected and not self.signed(seal) and (crowded or not feed.may_change_key(seal)):
            return
        feed.add_seal(seal)
        if feed.held_at is None and feed.entries and self.signed(seal):
            feed.held_at = receipt

    def suspect(self, source: str) -> None:
        """Of the seals that wait, those stay that may be the source's own."""
        self._suspected.add(source)
        for feed in self.of(source):
            feed.seals = [seal for seal in feed.seals if self.signed(seal) or feed.may_change_key(seal)]

    def let_go(self) -> list[str]:
        """Sources that signed a seal over what is not here, where nothing waits to be applied before it. In a lane that
        keeps order that was here before its seal, and made room for others, or for inventions."""
        return [
            feed.source for feed in self if feed.seals and not feed.groups(False) and any(map(self.signed, feed.seals))
        ]

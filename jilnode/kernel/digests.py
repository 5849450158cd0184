"""The running state digest of every source, kept up with the rows of the batch in flight."""

from collections.abc import Mapping
from typing import Any

from jilnode.kernel.cache import TableCache
from jilnode.kernel.digest import mark_of, prefixed, written_by
from jilnode.kernel.image import Image
from jilnode.kernel.sources import SourceState
from jilnode.kernel.table import Table

__all__ = ("Digests",)


class Digests:
    """``sources`` is the engine's own mapping; whoever folds has made copies for ``abandon`` already."""

    def __init__(self, caches: Mapping[Table[Any], TableCache], sources: Mapping[str, SourceState]) -> None:
        self._caches = [(table.name, cache) for table, cache in caches.items() if not table.local]
        self._sources = sources
        self._counted: dict[tuple[TableCache, str], Image | None] = {}
        """The images that were counted within this batch already."""
        self._place = ("", 0, 0)
        self._written = b""
        """What the rows of the entry at that place share: they come one after the other."""

    def fold(self, *, last_of_batch: bool = False) -> None:
        """Brings every source's digest up to the rows as they are now; called again, it counts only what changed
        since."""
        counted = self._counted
        deltas: dict[str, int] = {}
        for name, cache in self._caches:
            if not cache.before:
                continue
            images, table = cache.images, prefixed(name)
            for key, before in cache.before.items():
                last = counted.get((cache, key), before) if counted else before
                image = images[key]
                if image is last:
                    continue
                if last is not None:
                    deltas[last.owner] = deltas.get(last.owner, 0) - self._mark(table, key, last)
                if image is not None:
                    deltas[image.owner] = deltas.get(image.owner, 0) + self._mark(table, key, image)
        for owner, delta in deltas.items():
            self._sources[owner].add_digest(delta)
        if not last_of_batch:
            for _, cache in self._caches:
                for key in cache.before:
                    counted[(cache, key)] = cache.images[key]

    def begin_batch(self) -> None:
        self._counted.clear()

    def _mark(self, table: bytes, key: str, image: Image) -> int:
        """The row's summand. Kept with the image: what is counted in is counted out again when the row changes."""
        mark = image.mark
        if not mark:
            place = (image.owner, image.epoch, image.sequence)
            if place != self._place:
                self._place, self._written = place, written_by(*place)
            mark = image.mark = mark_of(table, key, self._written, image.doc)
        return mark

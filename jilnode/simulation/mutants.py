"""Deliberately broken rules. A simulation that does not find them would not find the real thing either.

Each is a context manager that breaks one rule of the running program. ``hostile`` ones need a liar on the bus to show.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from jilnode.events.replicator import Replicator
from jilnode.kernel import apply, outcomes, verify
from jilnode.kernel.cache import TableCache
from jilnode.kernel.codec import decode_row
from jilnode.kernel.engine import Engine
from jilnode.kernel.image import Image
from jilnode.kernel.keys import KnownKeys
from jilnode.kernel.registry import Registry
from jilnode.kernel.seal import parse_seal
from jilnode.kernel.state import TableAccess

__all__ = ("HOSTILE", "MUTANTS")


@contextmanager
def no_ownership() -> Iterator[None]:
    """Anybody may change any row, here and at replicas."""

    def put(self: TableAccess[Any], key: str, row: Any) -> None:
        self._write(key, self._get(key), row)

    def apply_row(engine: Any, table: Any, header: Any, key: str, doc: bytes | None, careful: bool) -> Any:
        cache = engine.caches[table]
        before = cache.images.get(key) if table.write_once else cache.get(key)
        after = None
        if doc is not None:
            after = Image(decode_row(doc, table.row), header.source_id, header.epoch, header.sequence, doc)
        engine.state.log.append((cache, key, before))
        cache.set(key, before, after)
        return key, None if before is None else before.row, None if after is None else after.row

    with patch.object(TableAccess, "put", put), patch.object(apply, "_apply_row", apply_row):
        yield


def no_conservation() -> AbstractContextManager[Any]:
    """No invariant is checked."""
    return patch.object(Registry, "checks", lambda self, schema, tables: ())


def no_duplicate_filter() -> AbstractContextManager[Any]:
    """An Idempotency-Key that was used is not noticed."""
    return patch.object(KnownKeys, "answer", lambda self, submission: None)


def no_undo() -> AbstractContextManager[Any]:
    """A batch that was lost leaves its rows in memory."""
    return patch.object(TableCache, "undo_batch", lambda self: self.before.clear())


def no_seal_check() -> AbstractContextManager[Any]:
    """Whatever is signed by anybody is believed, and need not cover what it says."""

    def any_seal(note: str) -> Any:
        parsed: Any = parse_seal(note)
        parsed.root = _Anything()
        return parsed

    return _both(
        patch.object(verify, "verify_seal", lambda *arguments: None),
        patch.object(verify, "parse_seal", any_seal),
    )


def forgotten_refusals() -> AbstractContextManager[Any]:
    """A final refusal is not remembered."""
    return patch.object(KnownKeys, "refuse", lambda self, submission, rejected, time_us: None)


def time_backwards() -> AbstractContextManager[Any]:
    """Context time is the wall clock, whatever was committed."""
    return patch.object(Engine, "now_us", lambda self: self.clock.wall_us())


def answers_before_commit() -> AbstractContextManager[Any]:
    """A lost commit is told as a success."""
    return patch.object(outcomes, "stands", lambda outcome, own: True)


def positions_too_early() -> AbstractContextManager[Any]:
    """A receipt's position is stored although some of it waits, and what waits is forgotten with the process."""
    original = Replicator.store_positions

    async def store(self: Replicator, *, now: bool = False) -> None:
        for feed in self._feeds:
            feed.held_at = None
        await original(self, now=True)

    return _both(
        patch.object(Replicator, "store_positions", store),
        patch.object(Replicator, "_redelivered", lambda self, lane, source: True),
    )


class _Anything:
    """Equal to everything: the root that a seal need not have."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


@contextmanager
def _both(one: AbstractContextManager[Any], two: AbstractContextManager[Any]) -> Iterator[None]:
    with one, two:
        yield


MUTANTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "ownership": no_ownership,
    "conservation": no_conservation,
    "duplicate filter": no_duplicate_filter,
    "undo": no_undo,
    "seal": no_seal_check,
    "refusals": forgotten_refusals,
    "time": time_backwards,
    "answer": answers_before_commit,
    "position": positions_too_early,
}
HOSTILE = frozenset({"seal"})

"""What the HTTP side needs from the rest of the node, and nothing more."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from jilnode.kernel.command import Submission
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.image import Image
from jilnode.kernel.table import Table

__all__ = ("AnswerView", "CommitListener", "EventFeed", "Position", "Readiness", "Reason", "Ticks", "WriterPort")

T = TypeVar("T")

CommitListener = Callable[[list[Entry], list[Seal]], None]

Position = tuple[str, int, int]
"""(source, epoch, sequence) of an entry."""


class AnswerView(Protocol):
    """The writer's answer to one command, after its commit."""

    @property
    def status(self) -> int: ...

    @property
    def reply(self) -> Any: ...

    @property
    def source(self) -> str: ...

    @property
    def epoch(self) -> int: ...

    @property
    def sequence(self) -> int: ...

    @property
    def replayed(self) -> bool: ...


class WriterPort(Protocol):
    """The kernel's writer. ``submit_nowait`` raises ``Rejected`` at once when the queue is full."""

    def submit_nowait(self, submission: Submission) -> asyncio.Future[Any]: ...

    @property
    def read_us(self) -> int:
        """The time of who reads now (microseconds): whatever is committed from now on is of this time or later."""

    async def query(self, read: Callable[[Any], T]) -> T:
        """Runs ``read(view)`` over committed state; may run it again from the start."""

    async def image(self, table: Table[Any], key: str) -> Image | None: ...

    @property
    def listeners(self) -> list[CommitListener]:
        """Called right after each commit, before its callers are answered, with its entries: own and applied ones."""

    def view(self) -> Any:
        """Committed state as it is now. Reading what is not in memory raises ``Missing``."""


Ticks = Callable[[], Mapping[str, int]]
"""source -> the time of its last tick (microseconds): how fresh what is known of it is."""


class EventFeed(Protocol):
    """Entries in the order in which this node made or applied them."""

    async def after(self, position: Position | None, limit: int) -> list[Entry]:
        """The next entries after ``position`` (None = from the first). Raises ``LookupError`` when this node has
        no such entry.
        """

    def subscribe(self) -> asyncio.Queue[Entry | None]:
        """A bounded queue of entries from now on. None says that the queue ran over, or that the feed is closing:
        read on from the journal with ``after``."""

    def unsubscribe(self, queue: asyncio.Queue[Entry | None]) -> None: ...


class Reason(msgspec.Struct, frozen=True):
    """Something that is not as it should be. A ``blocking`` one makes the node not ready."""

    code: str
    detail: str
    blocking: bool = True


Readiness = Callable[[], Sequence[Reason]]

"""Commands: one imperative Struct, one handler, one event.

A handler is a plain synchronous function ``handler(state, context, command)``. It reads and changes rows through
``state`` (``state[TABLE].get/put/insert/delete``), takes time, ids and actor from ``context``, and raises
``Rejected``. It never reads a clock, a random source, the environment or the network. Whatever it changed becomes one
event; ``reply`` computes the answer from that event's rows alone, so that the same answer can be given again years
later, by any node that has the event.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from jilnode.kernel.entry_rows import EntryRows
from jilnode.kernel.review import Action
from jilnode.kernel.state import Context, State
from jilnode.kernel.table import Table

__all__ = ("Command", "Submission", "Touch")

Touch = tuple[Table[Any], str]


@dataclass(frozen=True, eq=False)
class Command:
    """``event`` is the past-tense type of the entry (``wallet.transfer.posted``), its first part the module's name.

    ``touches(command)`` names keys that the handler will need, so that a batch is loaded with one query a table.
    ``review(state, context, command)`` returns the action that the zones judge, or None for actions no zone reviews.
    ``reply(rows)`` builds the answer from the entry's rows. ``status`` is the HTTP status of success.
    """

    type: type[msgspec.Struct]
    event: str
    handler: Callable[[State, Context, Any], None]
    reply: Callable[[EntryRows], Any]
    touches: Callable[[Any], Iterable[Touch]] | None = None
    review: Callable[[State, Context, Any], Action | None] | None = None
    status: int = 201


class Submission(msgspec.Struct):
    """One command on its way to the writer."""

    command: msgspec.Struct
    actor: str
    scopes: frozenset[str] = frozenset()
    key_hash: bytes | None = None
    body_hash: bytes | None = None
    traceparent: str | None = None
    expected_etag: Mapping[Touch, tuple[str, int, int]] | None = None
    """``If-Match``: the images that these rows must still have."""
    session: str = ""
    """The node at which the caller's session was opened, so where this key may have been used; empty: here."""

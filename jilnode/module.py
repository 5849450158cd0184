"""The service-module contract: the page that a module's author reads.

What is declared is described where it is defined, each in a screen or two: tables, whose key is whose, and indexes in
``jilnode/kernel/table.py``; beside it commands in ``command.py``, reactions in ``reaction.py``, invariants in
``invariants.py``, and the rows that a reply or a feed gets in ``entry_rows.py``.

A module is data and pure functions: tables, commands, invariants, reactions and routes. It owns no state beside its
rows, writes no SQL, emits nothing by hand, and imports only this file, ``jilnode.zone``, ``jilnode.kernel`` types, and
other modules' public commands and rows. It is found by the entry-point group ``jilnode.services``.

What a handler is given (``jilnode/kernel/state.py``)::

    def post(state: State, context: Context, command: PostTransfer) -> None:
        share = state[SHARES].get(key)              # the row, or None
        state[SHARES].put(key, new_share)           # insert or replace; refused unless this node owns the row
        state[TRANSFERS].insert(key, transfer)      # a key made by context.new_key(): known to be new, no look-up
        state[SHARES].delete(key)
        state[SHARES].owner(key)                    # the owner's source id, or None
        state[TRANSITS].rest_on(key)                # the row, and its entry becomes a cause of this event
        state[PENDING].keys("by_account", value)    # equality index: sorted tuple of keys
        state[ORDERS].count("at_node", value)       # how many, of a resident table
        state[ORDERS].ordered("book", bucket)       # ordered index: iterator over keys, best first
        state[SHARES].total("by_asset", group)      # sum index: int
        state.need([(SHARES, key), ...])            # all of them in memory at once, before many are asked for
        with state.savepoint(): ...                 # a Rejected inside undoes what was done inside, and goes on up
        context.time_us, context.actor, context.scopes, context.source, context.new_key()

What a query is given: ``view[TABLE].get(key)``, ``.image(key)``, ``.keys``, ``.ordered``, ``.total``, ``view.need``: as
above, committed state only. Both run synchronously and may be run again from the start: no side effects.

What a live feed is made of: ``snapshot(view, key)``, and ``delta(view, key, changes)`` after each commit that touched
its tables, with ``changes[n].changes(TABLE)``: the rows that an entry wrote, and None for those that it deleted. Who
subscribes gets a snapshot, then every delta, over server-sent events or a WebSocket.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, NamedTuple

import msgspec

from jilnode.kernel.command import Command, Submission, Touch
from jilnode.kernel.entry_rows import EntryRows
from jilnode.kernel.errors import Rejected
from jilnode.kernel.invariants import Change, Invariant, RowChange
from jilnode.kernel.reaction import Reaction
from jilnode.kernel.review import Action, Verdict
from jilnode.kernel.rows import Local, Owned
from jilnode.kernel.table import (
    CreatedBy,
    DeadlineIndex,
    DerivedFrom,
    EndsWithOwner,
    EqualityIndex,
    OrderedIndex,
    SumIndex,
    Table,
)

__all__ = (
    "Action",
    "Change",
    "Command",
    "CreatedBy",
    "DeadlineIndex",
    "DerivedFrom",
    "EndsWithOwner",
    "EntryRows",
    "EqualityIndex",
    "Feed",
    "Frame",
    "Invariant",
    "Local",
    "Module",
    "OrderedIndex",
    "Owned",
    "Owner",
    "Query",
    "QueryContext",
    "Reaction",
    "Rejected",
    "RowChange",
    "Submission",
    "SumIndex",
    "Table",
    "Touch",
    "Verdict",
    "Write",
    "installed_modules",
)


class QueryContext(msgspec.Struct, frozen=True):
    """Who asks, and when: whatever is committed from then on is of ``time_us`` (microseconds) or later. ``heads`` tells
    how fresh each other source is: source -> time of its last tick (microseconds). ``kinds``: type -> the tables whose
    rows are of it, whichever module's, for each type that an invariant judges."""

    actor: str
    scopes: frozenset[str]
    source: str
    time_us: int
    heads: Mapping[str, int] = {}
    kinds: Mapping[type, tuple[Table[Any], ...]] = {}


@dataclass(frozen=True, eq=False)
class Write:
    """A route that runs a command. ``body`` is what the client sends; ``command(path parameters, body)`` makes the
    command (the body itself when None). ``reply`` is the type of the answer. ``scope`` is what the token must carry.
    ``hot`` routes are answered on the connection itself. ``split`` cuts a batch into bodies that each become one
    command; ``join`` makes one answer of theirs."""

    path: str
    body: type[Any]
    reply: type[Any]
    scope: str
    summary: str
    method: str = "POST"
    status: int = 201
    command: Callable[[Mapping[str, str], Any], msgspec.Struct] | None = None
    hot: bool = False
    split: Callable[[Any], list[Any]] | None = None
    join: Callable[[list[Any]], Any] | None = None
    example: Any = None
    reply_example: Any = None
    description: str = ""


@dataclass(frozen=True, eq=False)
class Query:
    """A route that reads. ``params`` is a Struct of path and query parameters (validated by type). Either ``read(view,
    context, params)`` (committed rows, synchronous, may be run again) or ``listing(reader, context, params)`` (async;
    ``reader.page(tables, any_of, after=, limit=, descending=)`` and ``reader.get(table, keys)`` read beside the
    writer, each call as of one moment).
    ``etag(params)`` names the row whose image is the ETag. ``example`` is a ``params``."""

    path: str
    params: type[Any]
    reply: type[Any]
    scope: str
    summary: str
    read: Callable[[Any, QueryContext, Any], Any] | None = None
    listing: Callable[[Any, QueryContext, Any], Awaitable[Any]] | None = None
    etag: Callable[[Any], Touch] | None = None
    example: Any = None
    reply_example: Any = None
    description: str = ""


class Frame(NamedTuple):
    """What a feed sends: ``event`` says what it is (``snapshot``, ``delta``), ``data`` is of the feed's ``message``
    type. The HTTP side gives it an id."""

    event: str
    data: Any


@dataclass(frozen=True, eq=False)
class Feed:
    """A route that follows state as it changes, for as long as the client listens.

    ``key(context, params)`` names a channel, by all that its frames depend on (put the actor in when they are the
    actor's own). Subscribers with equal keys share one channel: each frame is made and encoded once. ``check(view,
    context, params)`` raises ``Rejected`` before anything is sent; it is not asked again, so what it found out holds as
    long as the token. ``snapshot(view, key)`` is the first frame: committed state, synchronous, may be run again.

    ``delta(view, key, changes)`` is called for each commit, of this node or applied, that touched one of ``tables``: at
    once, so that ``view`` is the state after that very commit, and with those entries that did. None: the channel's
    state did not change. The writer waits for it, so it must be quick, and it reads only resident tables: a row that is
    not in memory, as any failure, ends the channel's streams (``failed``), and clients begin again with a snapshot.
    ``concerns(changes)`` names the channels that need be asked, where rows tell that (an actor's own orders).

    ``on_close(context, params)`` is a command, or None, that is submitted as the subscriber when their stream has
    ended, whatever ended it. A node that is killed can't do it: what must not stay has a deadline too.
    """

    path: str
    params: type[Any]
    message: Any
    scope: str
    summary: str
    tables: tuple[Table[Any], ...]
    key: Callable[[QueryContext, Any], Hashable]
    snapshot: Callable[[Any, Any], Frame]
    delta: Callable[[Any, Any, Sequence[EntryRows]], Frame | None]
    check: Callable[[Any, QueryContext, Any], None] | None = None
    concerns: Callable[[Sequence[EntryRows]], Iterable[Hashable]] | None = None
    on_close: Callable[[QueryContext, Any], msgspec.Struct | None] | None = None
    example: Any = None
    description: str = ""


Owner = str | Touch
"""A subject; or a row that is theirs, whose own subjects those are."""


@dataclass(frozen=True, eq=False)
class Module:
    """``version`` is the schema version that entries carry: raise it when invariants or rows change meaning."""

    name: str
    version: int
    tables: tuple[Table[Any], ...] = ()
    commands: tuple[Command, ...] = ()
    invariants: tuple[Invariant, ...] = ()
    reactions: tuple[Reaction, ...] = ()
    writes: tuple[Write, ...] = ()
    queries: tuple[Query, ...] = ()
    feeds: tuple[Feed, ...] = ()
    subject_of: Mapping[str, Callable[[str, Any], tuple[Owner, ...]]] = field(default_factory=dict)
    """table name -> who may see a row of it in the live stream."""
    sealed: Mapping[str, Callable[[str, Any], bool]] = field(default_factory=dict)
    """table name -> whether nobody but they may see a row of it there, auditors neither; nor what else an event holds
    under the row's key, as its end."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Stable problem code -> title, for every code that this module raises."""
    requires: tuple[str, ...] = ()


def installed_modules() -> list[Module]:
    """Every module whose package is installed, all or nothing, in the order of what they require.

    Raises ``LookupError`` for a duplicate name, a name that is reserved (``kernel``, ``jil``) or a missing requirement.
    """
    found: dict[str, Module] = {}
    for entry_point in sorted(entry_points(group="jilnode.services"), key=lambda point: point.name):
        module = entry_point.load()
        if module.name in found or module.name in ("kernel", "jil"):
            raise LookupError(f"service module {module.name!r} is there twice, or its name is reserved")
        found[module.name] = module
    ordered: list[Module] = []

    def place(module: Module, path: tuple[str, ...]) -> None:
        if module in ordered:
            return
        for name in module.requires:
            if name not in found or name in path:
                raise LookupError(f"service module {module.name!r} requires {name!r}: missing, or in a circle")
            place(found[name], (*path, module.name))
        ordered.append(module)

    for module in found.values():
        place(module, ())
    return ordered

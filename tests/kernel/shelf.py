"""A module of one table that stays in memory whole, where rows are put, made longer or shorter, and taken away; and of
one whose rows are written once."""

import msgspec

from jilnode.kernel.state import Context, State
from jilnode.module import Command, CreatedBy, Module, Owned, Rejected, Table

__all__ = ("MODULE", "SHELF", "Label", "Put", "Swap", "Take")


class Jar(Owned, frozen=True):
    text: str


class Stuck(Owned, frozen=True):
    text: str


class Put(msgspec.Struct, frozen=True):
    name: str
    text: str = ""


class Take(msgspec.Struct, frozen=True):
    name: str


class Swap(msgspec.Struct, frozen=True):
    """Takes one and puts another, and then changes its mind about the text, again and again."""

    old: str
    new: str
    text: str = ""
    refused: bool = False


class Label(msgspec.Struct, frozen=True):
    """Puts one, and says so under the same name, once."""

    name: str
    text: str = ""


SHELF = Table("shelf.jar", Jar, CreatedBy(), resident=True)
LABELS = Table("shelf.label", Stuck, CreatedBy(), write_once=True)


def _put(state: State, context: Context, command: Put) -> None:
    state[SHELF].put(f"{context.source}/{command.name}", Jar(command.text))


def _take(state: State, context: Context, command: Take) -> None:
    state[SHELF].delete(f"{context.source}/{command.name}")


def _swap(state: State, context: Context, command: Swap) -> None:
    _take(state, context, Take(command.old))
    for length in range(len(command.text) + 1):
        _put(state, context, Put(command.new, command.text[:length]))
    if command.refused:
        raise Rejected("refused", "as was asked for")


def _label(state: State, context: Context, command: Label) -> None:
    _put(state, context, Put(command.name, command.text))
    state[LABELS].insert(f"{context.source}/{command.name}", Stuck(command.name))


MODULE = Module(
    "shelf",
    1,
    tables=(SHELF, LABELS),
    commands=tuple(
        Command(kind, event, handler, lambda rows: [key for key, _ in rows.changes(SHELF)])
        for kind, event, handler in (
            (Put, "shelf.jar.put", _put),
            (Take, "shelf.jar.taken", _take),
            (Swap, "shelf.jar.swapped", _swap),
            (Label, "shelf.jar.labelled", _label),
        )
    ),
)

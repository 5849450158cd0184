"""What is installed, looked up by name: built once at start from the modules' declarations, and constant after."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from jilnode.kernel.command import Command
from jilnode.kernel.invariants import Invariant
from jilnode.kernel.names import valid_event, valid_module
from jilnode.kernel.reaction import Reaction
from jilnode.kernel.system import COMMANDS, KERNEL_VERSION, TABLES
from jilnode.kernel.table import Table

__all__ = ("ModuleLike", "Registry", "tables_of_kinds")

_KINDS_MAX = 4096
"""So many kinds of entries (schema and tables) are remembered: a source can make up as many as it likes."""


class ModuleLike(Protocol):
    """The kernel's view of ``jilnode.module.Module``."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def tables(self) -> tuple[Table[Any], ...]: ...
    @property
    def commands(self) -> tuple[Command, ...]: ...
    @property
    def invariants(self) -> tuple[Invariant, ...]: ...
    @property
    def reactions(self) -> tuple[Reaction, ...]: ...


def tables_of_kinds(
    tables: Iterable[Table[Any]], invariants: Iterable[Iterable[Invariant]]
) -> dict[type, tuple[Table[Any], ...]]:
    """type -> the tables whose rows are of it, whichever module's, by name; for each type that an invariant judges."""
    ordered = sorted(tables, key=lambda table: table.name)
    kinds = {invariant.kind for rules in invariants for invariant in rules if invariant.kind is not None}
    return {kind: tuple([table for table in ordered if issubclass(table.row, kind)]) for kind in kinds}


class Registry:
    """Raises ``ValueError`` for a name that is there twice, outside its module, or not of its form."""

    def __init__(self, modules: Iterable[ModuleLike]) -> None:
        self.versions: dict[str, int] = {"kernel": KERNEL_VERSION}
        self.tables: dict[str, Table[Any]] = {table.name: table for table in TABLES}
        self.commands: dict[type[msgspec.Struct], Command] = {command.type: command for command in COMMANDS}
        self.events: dict[str, Command] = {command.event: command for command in COMMANDS}
        self.invariants: dict[str, tuple[Invariant, ...]] = {"kernel": ()}
        self.reactions: list[Reaction] = []
        for module in modules:
            if module.name in self.versions:
                raise ValueError(f"module {module.name} is there twice")
            if not valid_module(module.name):
                raise ValueError(f"no name of a module: {module.name!r}")
            self.versions[module.name] = module.version
            self.invariants[module.name] = module.invariants
            self.reactions += module.reactions
            for table in module.tables:
                if table.name in self.tables or table.module != module.name:
                    raise ValueError(f"table {table.name} is there twice or not of module {module.name}")
                self.tables[table.name] = table
            for command in module.commands:
                if command.type in self.commands or command.event in self.events:
                    raise ValueError(f"command {command.event} is there twice")
                if not command.event.startswith(module.name + ".") or not valid_event(command.event):
                    raise ValueError(f"event {command.event} is not of module {module.name}, or no name of an event")
                self.commands[command.type] = command
                self.events[command.event] = command
        kinds = tables_of_kinds(self.tables.values(), self.invariants.values())
        self.kinds: dict[type, tuple[str, ...]] = {
            kind: tuple([table.name for table in tables]) for kind, tables in kinds.items()
        }
        self.judges: dict[str, frozenset[str]] = {
            name: frozenset((table.module,)) for name, table in self.tables.items()
        }
        """table -> the modules that judge its rows: its own, and those that judge a type of which they are."""
        for name, invariants in self.invariants.items():
            for kind in {invariant.kind for invariant in invariants if invariant.kind is not None}:
                for table_name in self.kinds[kind]:
                    self.judges[table_name] |= {name}
        self._schemas: dict[frozenset[str], dict[str, int]] = {}
        self._own_checks: dict[tuple[str, ...], tuple[dict[str, int], tuple[Invariant, ...]]] = {}
        self._checks = lru_cache(maxsize=_KINDS_MAX)(self._invariants_of)

    def schema(self, modules: frozenset[str]) -> dict[str, int]:
        """module -> version, for an entry that these modules judge."""
        found = self._schemas.get(modules)
        if found is None:
            found = self._schemas[modules] = {name: self.versions[name] for name in sorted(modules)}
        return found

    def own_checks(self, tables: tuple[str, ...]) -> tuple[dict[str, int], tuple[Invariant, ...]]:
        """(schema, invariants) of an entry of ours that changes these tables."""
        found = self._own_checks.get(tables)
        if found is None:
            schema = self.schema(frozenset().union(*[self.judges[name] for name in tables]))
            found = self._own_checks[tables] = (schema, self.checks(schema, tables))
        return found

    def checks(self, schema: Mapping[str, int], tables: tuple[str, ...]) -> tuple[Invariant, ...]:
        """The invariants by which an entry of this schema is judged that changes these tables."""
        return self._checks(tuple(schema.items()), tables)

    def _invariants_of(self, schema: tuple[tuple[str, int], ...], tables: tuple[str, ...]) -> tuple[Invariant, ...]:
        changed = set(tables)
        return tuple(
            invariant
            for name, version in schema
            for invariant in self.invariants.get(name, ())
            if version in invariant.versions and not changed.isdisjoint(self._judged_by(invariant, changed))
        )

    def _judged_by(self, invariant: Invariant, changed: set[str]) -> set[str]:
        if not invariant.tables and invariant.kind is None:
            return changed
        kind = () if invariant.kind is None else self.kinds[invariant.kind]
        return {*[table.name for table in invariant.tables], *kind}

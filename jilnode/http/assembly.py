"""What a module's routes must be, checked before the node serves anything."""

from collections.abc import Iterable
from typing import Any

import msgspec

from jilnode.http.parameters import path_names
from jilnode.kernel.table import Table
from jilnode.module import Feed, Module, Query, Write

__all__ = ("AssemblyError", "check_modules", "resource_of")

_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class AssemblyError(Exception):
    """A module's declaration can't be served. The message says which, and why."""


def check_modules(modules: Iterable[Module]) -> None:
    """Raises ``AssemblyError``."""
    taken: set[tuple[str, str]] = set()
    modules = list(modules)
    tables = {table for module in modules for table in module.tables}
    for module in modules:
        routes: list[Write | Query | Feed] = [*module.writes, *module.queries, *module.feeds]
        for route in routes:
            method = route.method if isinstance(route, Write) else "GET"
            place = f"module {module.name}, {method} {route.path}"
            if (method, route.path) in taken:
                raise AssemblyError(f"{place}: declared twice")
            taken.add((method, route.path))
            if not route.path.startswith("/v1/"):
                raise AssemblyError(f"{place}: a path begins with /v1/")
            if not route.scope or any(character in route.scope for character in ' "\\'):
                raise AssemblyError(f"{place}: every route needs a scope, of one word")
            if isinstance(route, Feed):
                _check_feed(place, route, tables)
                continue
            if isinstance(route, Query):
                _check_query(place, route)
                continue
            if route.hot and (route.split is not None or path_names(route.path) or resource_of(module, route)):
                raise AssemblyError(f"{place}: a hot route is one command, with no path parameters and no ETag")
            _check_write(place, route)


def resource_of(module: Module, write: Write) -> Query | None:
    """The query at the same path, or at what the path is an action on (``/accounts/{account}/freeze``), if it names
    the row that its ETag is of."""
    parent = write.path.rpartition("/")[0]
    places = (write.path, parent) if parent.endswith("}") else (write.path,)
    for query in module.queries:
        if query.path in places and query.etag is not None:
            return query
    return None


def _check_write(place: str, write: Write) -> None:
    if write.method not in _METHODS:
        raise AssemblyError(f"{place}: not a method that writes")
    if (write.split is None) != (write.join is None):
        raise AssemblyError(f"{place}: split and join go together")
    names = path_names(write.path)
    if names and write.command is None:
        raise AssemblyError(f"{place}: path parameters {names} go nowhere without a command function")
    info = msgspec.inspect.type_info(write.body)
    if not isinstance(info, msgspec.inspect.StructType | msgspec.inspect.UnionType):
        raise AssemblyError(f"{place}: the body must be a Struct")
    for lax in _lax_structs(info, set()):
        raise AssemblyError(f"{place}: {lax.__name__} must have forbid_unknown_fields=True")


def _check_query(place: str, query: Query) -> None:
    if (query.read is None) == (query.listing is None):
        raise AssemblyError(f"{place}: either read or listing")
    _check_params(place, query)


def _check_feed(place: str, feed: Feed, tables: set[Table[Any]]) -> None:
    if "after" in _check_params(place, feed):
        raise AssemblyError(f"{place}: the parameter `after` is taken: it is where a stream resumes")
    if not feed.tables:
        raise AssemblyError(f"{place}: a feed of no table never moves")
    for table in feed.tables:
        if table not in tables:
            raise AssemblyError(f"{place}: no module has the table {table.name}")
        if table.local:
            raise AssemblyError(f"{place}: rows of {table.name} are in no entry, so nothing tells when they change")


def _check_params(place: str, route: Query | Feed) -> set[str]:
    """The names of the parameters."""
    info = msgspec.inspect.type_info(route.params)
    if not isinstance(info, msgspec.inspect.StructType):
        raise AssemblyError(f"{place}: the parameters must be a Struct")
    names = {field.encode_name for field in info.fields}
    missing = set(path_names(route.path)) - names
    if missing:
        raise AssemblyError(f"{place}: {sorted(missing)} not in {route.params.__name__}")
    return names


def _lax_structs(kind: Any, seen: set[type[Any]]) -> Iterable[type[Any]]:
    """Structs that would take unknown fields, wherever they stand in the body."""
    if isinstance(kind, msgspec.inspect.StructType):
        if kind.cls in seen:
            return
        seen.add(kind.cls)
        if not kind.forbid_unknown_fields:
            yield kind.cls
        for field in kind.fields:
            yield from _lax_structs(field.type, seen)
    for name in ("item_type", "key_type", "value_type", "type"):
        inner = getattr(kind, name, None)
        if isinstance(inner, msgspec.inspect.Type):
            yield from _lax_structs(inner, seen)
    for name in ("types", "item_types"):
        for inner in getattr(kind, name, None) or ():
            yield from _lax_structs(inner, seen)

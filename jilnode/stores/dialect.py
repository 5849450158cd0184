"""What SQLite and PostgreSQL spell differently. Queries are written once, with ``$1`` for parameters."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import msgspec

__all__ = ("POSTGRESQL", "SQLITE", "Dialect", "Kind", "numbered")

Kind = Literal["text", "integer"]


@dataclass(frozen=True)
class Dialect:
    """``text`` compares bytewise in both. ``pack`` makes one parameter of a list."""

    name: str
    text: str
    integer: str
    blob: str
    json: str
    pack: Callable[[Sequence[Any]], Any]
    among: Callable[[str, int, Kind], str]
    """(column, parameter number, kind): a condition that the column is one of the packed list."""
    entries_wanted: str
    """A from-clause ``w(source, epoch, sequence)`` over the arguments of ``pack_entries``."""
    pack_entries: Callable[[Sequence[tuple[str, int, int]]], tuple[Any, ...]]
    short_rows: str = ""
    """What follows the definition of a table whose rows are short."""

    def type_of(self, kind: Kind) -> str:
        return self.text if kind == "text" else self.integer


_PARAMETER = re.compile(r"\$(\d+)")


@lru_cache(maxsize=1024)
def numbered(sql: str) -> str:
    """``$1`` as SQLite writes it: ``?1``."""
    return _PARAMETER.sub(r"?\1", sql)


def _json_text(values: Sequence[Any]) -> str:
    return msgspec.json.encode(values).decode()


def _columns(entries: Sequence[tuple[str, int, int]]) -> tuple[Any, ...]:
    return tuple(list(column) for column in zip(*entries, strict=True)) or ([], [], [])


SQLITE = Dialect(
    name="sqlite",
    text="text",
    integer="integer",
    blob="blob",
    json="text",
    pack=_json_text,
    among=lambda column, number, kind: f"{column} in (select value from json_each(${number}))",  # noqa: S608
    entries_wanted=(
        "(select json_extract(value, '$[0]') as source, json_extract(value, '$[1]') as epoch,"
        " json_extract(value, '$[2]') as sequence from json_each($1)) w"
    ),
    pack_entries=lambda entries: (_json_text(entries),),
    short_rows=" without rowid",
)

POSTGRESQL = Dialect(
    name="postgresql",
    text='text collate "C"',
    integer="bigint",
    blob="bytea",
    json="json",
    pack=list,
    among=lambda column, number, kind: f"{column} = any(${number}::{'text' if kind == 'text' else 'bigint'}[])",
    entries_wanted="unnest($1::text[], $2::bigint[], $3::bigint[]) w(source, epoch, sequence)",
    pack_entries=_columns,
)

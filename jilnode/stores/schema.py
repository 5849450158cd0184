"""Brings a database to this program's schema: migrations, whose database it is, and the module tables' shapes."""

import time
from collections.abc import Mapping
from typing import Any

from jilnode.kernel.errors import WrongDatabase
from jilnode.kernel.table import Table
from jilnode.stores.dialect import Dialect
from jilnode.stores.migrations import MIGRATIONS, SCHEMA_VERSION
from jilnode.stores.queries import Queries
from jilnode.stores.session import WriterSession
from jilnode.stores.shape import Column, Shape

__all__ = ("check_source", "check_version", "prepare_schema")

# ruff: noqa: S608 (every name in these statements comes from a checked Shape)

_BACKFILL_ROWS = 1000


async def prepare_schema(
    session: WriterSession, dialect: Dialect, source: str, shapes: Mapping[Table[Any], Shape]
) -> None:
    """To be run inside one transaction. Raises ``WrongDatabase`` before anything has changed."""
    await session.fetch(
        f"create table if not exists migration (version {dialect.integer} not null primary key,"
        f" change {dialect.text} not null, reason {dialect.text} not null, applied_at_us {dialect.integer} not null)"
    )
    ((version,),) = await session.fetch("select coalesce(max(version), 0) from migration")
    check_version(version)
    if version > 0:
        for (owner,) in await session.fetch("select source from meta"):
            check_source(owner, source)
    for migration in MIGRATIONS[version:]:
        for statement in migration.statements:
            await session.fetch(statement.format(text=dialect.text, integer=dialect.integer, blob=dialect.blob))
        await session.fetch(
            "insert into migration (version, change, reason, applied_at_us) values ($1, $2, $3, $4)",
            migration.version,
            migration.change,
            migration.reason,
            time.time_ns() // 1000,
        )
    await session.fetch(
        "insert into meta (one, source, sessions) values (1, $1, 0) on conflict (one) do nothing", source
    )
    declared = {record[0]: record[1] for record in await session.fetch("select name, declared from shape")}
    for shape in shapes.values():
        recorded = declared.get(shape.table.name)
        if recorded != shape.record():
            await _reshape(session, dialect, shape, recorded, shapes)


def check_version(version: int) -> None:
    if version > SCHEMA_VERSION:
        raise WrongDatabase(
            f"the database has schema version {version}, and this program knows versions up to {SCHEMA_VERSION}:"
            " it was written by a newer jilnode. Run that version, or restore a backup from before the upgrade"
        )


def check_source(owner: str, source: str) -> None:
    if owner != source:
        raise WrongDatabase(
            f"the database belongs to node {owner}, and this is node {source}. Set JIL_NODE_ID={owner},"
            " or give this node a database (JIL_DATABASE_URL) or a data directory (JIL_DATA_DIR) of its own"
        )


async def _reshape(
    session: WriterSession,
    dialect: Dialect,
    shape: Shape,
    recorded: str | None,
    shapes: Mapping[Table[Any], Shape],
) -> None:
    """Creates a table, or adds and drops columns so that it is as declared now."""
    if recorded is None:
        await session.fetch(shape.create_table(dialect))
        added: list[Column] = list(shape.columns)
    else:
        changes = shape.changes(recorded)
        if changes is None:
            raise WrongDatabase(
                f"table {shape.table.name} was declared otherwise (write_once, section), and its documents"
                " can't be moved by themselves. Run the version of the module that wrote it,"
                " or give the table another name"
            )
        dropped, added = changes
        for name in dropped:
            await session.fetch(f"drop index if exists {shape.index_name(name)}")
            await session.fetch(f"alter table {shape.sql_name} drop column {name}")
        for column in added:
            await session.fetch(f"alter table {shape.sql_name} add column {column.name} {dialect.type_of(column.kind)}")
        if added:
            await _backfill(session, Queries(session, dialect, shapes), shape, added)
    for statement in shape.create_indexes(added):
        await session.fetch(statement)
    await session.fetch(
        "insert into shape (name, declared) values ($1, $2)"
        " on conflict (name) do update set declared = excluded.declared",
        shape.table.name,
        shape.record(),
    )


async def _backfill(session: WriterSession, queries: Queries, shape: Shape, added: list[Column]) -> None:
    """Fills new columns from the documents."""
    assignments = ", ".join([f"{column.name} = ${number}" for number, column in enumerate(added, start=2)])
    statement = f"update {shape.sql_name} set {assignments} where key = $1"
    after: str | None = None
    while True:
        page = await queries.page([shape.table], (), after=after, limit=_BACKFILL_ROWS, descending=False)
        await session.run_many(
            statement, [(key, *[getattr(image.row, column.field) for column in added]) for key, image in page.items]
        )
        if not page.more:
            return
        after = page.items[-1][0]

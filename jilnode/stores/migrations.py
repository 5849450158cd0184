"""The kernel's own tables, as numbered migrations. Module tables follow their declarations instead (``schema.py``).

A migration that has been released is never changed: add the next one. ``{text}``, ``{integer}`` and ``{blob}`` become
the dialect's types.
"""

from typing import NamedTuple

__all__ = ("MIGRATIONS", "SCHEMA_VERSION", "Migration")


class Migration(NamedTuple):
    version: int
    change: str
    reason: str
    statements: tuple[str, ...]


MIGRATIONS = (
    Migration(
        version=1,
        change="journal, seal, meta, shape",
        reason="The journal is outbox, inbox and audit trail; a seal covers each commit; meta says whose they are.",
        statements=(
            # At most one row. `sessions` counts writers: taking the lock is itself a durable write.
            "create table meta (one {integer} not null primary key check (one = 1), source {text} not null,"
            " sessions {integer} not null)",
            "create table journal (source {text} not null, epoch {integer} not null, sequence {integer} not null,"
            " header {text} not null, rows {text}, memo {text}, key_hash {blob},"
            " primary key (source, epoch, sequence))",
            "create index journal_key_hash on journal (key_hash) where key_hash is not null",
            "create table seal (source {text} not null, epoch {integer} not null, size {integer} not null,"
            " note {text} not null, primary key (source, epoch, size))",
            "create table shape (name {text} not null primary key, declared {text} not null)",
        ),
    ),
)

SCHEMA_VERSION = MIGRATIONS[-1].version

assert [migration.version for migration in MIGRATIONS] == list(range(1, SCHEMA_VERSION + 1))

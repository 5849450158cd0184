"""Tables and commits for the tests of stores."""

from collections.abc import Iterable
from typing import Any, Literal

from jilnode.kernel.codec import encode_row, encode_section
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.ports import Commit, RowWrite
from jilnode.kernel.rows import Local, Owned
from jilnode.kernel.table import DeadlineIndex, EqualityIndex, SumIndex, Table

SOURCE = "node-a"
Row = Owned | Local


class Share(Owned, frozen=True):
    account: str
    amount: int
    text: str = ""
    expires: int | None = None
    state: Literal["open", "shut"] | None = None


class Transfer(Owned, frozen=True):
    debit: str
    credit: str
    amount: int = 0


class Payment(Owned, frozen=True):
    debit: str
    credit: str


class Request(Owned, frozen=True):
    to: str


class Answer(Owned, frozen=True):
    yes: bool = True


class Note(Owned, frozen=True):
    text: str


class Secret(Local, frozen=True):
    text: str


SHARES = Table(
    "test.share",
    Share,
    searchable=("account", "amount", "expires", "state"),
    indexes=(
        EqualityIndex("by_account", "account"),
        SumIndex("total", "account", "amount"),
        DeadlineIndex("expiry", "expires", lambda key, row: None),
    ),
)
TRANSFERS = Table("test.transfer", Transfer, write_once=True, searchable=("debit", "credit"))
PAYMENTS = Table("test.payment", Payment, searchable=("debit", "credit"))
NOTES = Table("test.note", Note, write_once=True, section="memo")
REQUESTS = Table("test.request", Request, searchable=("to",), indexes=(EqualityIndex("by_to", "to"),))
ANSWERS = Table("test.answer", Answer)
SECRETS = Table("test.secret", Secret)

TABLES: tuple[Table[Any], ...] = (SHARES, TRANSFERS, PAYMENTS, NOTES, REQUESTS, ANSWERS, SECRETS)


def row_write(table: Table[Any], key: str, row: Row, sequence: int, source: str = SOURCE, epoch: int = 0) -> RowWrite:
    columns = tuple([getattr(row, field) for field in table.searchable])
    return RowWrite(key, source, epoch, sequence, encode_row(row), columns)


def commit_of(
    sequence: int,
    rows: Iterable[tuple[Table[Any], str, Row | None]] = (),
    *,
    source: str = SOURCE,
    epoch: int = 0,
    key_hash: bytes | None = None,
) -> Commit:
    """One entry at ``sequence`` and its seal, with ``rows`` (table, key, row or None to delete)."""
    commit = Commit(seals=[Seal(source, epoch, sequence + 1, f"seal {sequence + 1} — {source}\n")])
    sections: dict[str, list[tuple[str, str, bytes | None]]] = {"rows": []}
    for table, key, row in rows:
        if row is None:
            commit.deletes.setdefault(table, []).append(key)
        else:
            written = commit.inserts if table.write_once else commit.writes
            written.setdefault(table, []).append(row_write(table, key, row, sequence, source, epoch))
        sections.setdefault(table.section, []).append((table.name, key, None if row is None else encode_row(row)))
    encoded = {name: encode_section(b"salt" * 8, sorted(data)) for name, data in sections.items()}
    header = f'{{"source_id":"{source}","sequence":{sequence},"type":"naïve"}}'.encode()
    commit.entries.append(Entry(source, epoch, sequence, header, encoded, key_hash))
    return commit

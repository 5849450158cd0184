"""Every question a store is asked, over any session: the writer's own, or one of those beside it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.image import Image
from jilnode.kernel.ports import Loaded, Page, RowWrite, Wanted
from jilnode.kernel.reaction import Reaction
from jilnode.kernel.table import Table
from jilnode.stores.dialect import Dialect
from jilnode.stores.pages import page_end
from jilnode.stores.readback import EntryKey, entry_of, image_of, images_from_journal
from jilnode.stores.session import Record, Session
from jilnode.stores.shape import Shape

__all__ = ("Queries",)

# ruff: noqa: S608 (every name in these statements comes from a checked Shape)

_ENTRY = "j.source, j.epoch, j.sequence, j.header, j.rows, j.memo, j.key_hash"

# From one source to the next by the primary key: the journal itself is never scanned.
_HEADS = """
with recursive known(source) as (
    select min(source) from journal
    union all
    select (select min(source) from journal where source > known.source) from known where known.source is not null)
select source,
    (select epoch from journal j where j.source = known.source order by epoch desc, sequence desc limit 1),
    (select sequence from journal j where j.source = known.source order by epoch desc, sequence desc limit 1)
from known where source is not null"""


class Queries:
    """``shapes`` may be filled later: it is the store's own mapping."""

    def __init__(self, session: Session, dialect: Dialect, shapes: Mapping[Table[Any], Shape]) -> None:
        self._session = session
        self._dialect = dialect
        self._shapes = shapes

    # What the writer needs

    async def load(self, wanted: Wanted) -> Loaded:
        loaded = Loaded()
        for table, keys in wanted.rows.items():
            if keys:
                found = await self.get(table, keys)
                loaded.rows[table] = {key: found.get(key) for key in keys}
        await self._load_buckets(wanted.buckets, loaded)
        await self._load_sums(wanted.sums, loaded)
        if wanted.commands:
            loaded.commands = dict.fromkeys(wanted.commands)
            for place, entry in await self._by_commands(wanted.commands):
                loaded.commands[place] = entry
        if wanted.entries:
            loaded.entries = dict.fromkeys(wanted.entries)
            for entry in await self._entries(wanted.entries):
                loaded.entries[entry.source, entry.epoch, entry.sequence] = entry
        return loaded

    async def _load_buckets(self, buckets: Iterable[tuple[Table[Any], str, str | int]], loaded: Loaded) -> None:
        values: dict[tuple[Table[Any], str], list[str | int]] = {}
        for table, field, value in buckets:
            loaded.buckets[table, field, value] = {}
            values.setdefault((table, field), []).append(value)
        for (table, field), wanted in values.items():
            shape = self._shapes[table]
            column = shape.by_field[field]
            records = await self._session.fetch(
                f"select {_columns(shape)}, t.{column.name} from {shape.sql_name} t"
                f" where {self._dialect.among(f't.{column.name}', 1, column.kind)}",
                self._dialect.pack(wanted),
            )
            images = await self._images(table, records)
            for record in records:
                if record[0] in images:
                    loaded.buckets[table, field, record[-1]][record[0]] = images[record[0]]

    async def _load_sums(self, sums: Iterable[tuple[Table[Any], str, str | int, str]], loaded: Loaded) -> None:
        values: dict[tuple[Table[Any], str, str], list[str | int]] = {}
        for table, group, value, amount in sums:
            loaded.sums[table, group, value, amount] = 0
            values.setdefault((table, group, amount), []).append(value)
        for (table, group, amount), wanted in values.items():
            shape = self._shapes[table]
            by, summed = shape.by_field[group], shape.by_field[amount].name
            # In two halves: SQLite's sum() overflows at 64 bits.
            records = await self._session.fetch(
                f"select {by.name}, sum({summed} >> 32), sum({summed} & 4294967295) from {shape.sql_name}"
                f" where {self._dialect.among(by.name, 1, by.kind)} and {summed} is not null group by {by.name}",
                self._dialect.pack(wanted),
            )
            for value, high, low in records:
                loaded.sums[table, group, value, amount] = (int(high) << 32) + int(low)

    async def resident(self, table: Table[Any]) -> dict[str, Image]:
        shape = self._shapes[table]
        return await self._images(table, await self._session.fetch(f"select {_columns(shape)} from {shape.sql_name} t"))

    async def deadlines(self, table: Table[Any], column: str, owner: str) -> dict[str, int]:
        shape = self._shapes[table]
        name = shape.by_field[column].name
        records = await self._session.fetch(
            f"select key, {name} from {shape.sql_name} where {name} > 0 and owner = $1", owner
        )
        return {record[0]: record[1] for record in records}

    async def open_obligations(self, reaction: Reaction, to: str, limit: int) -> list[tuple[str, str]]:
        shape, answers = self._shapes[reaction.table], self._shapes[reaction.answer]
        records = await self._session.fetch(
            "select key, owner from (select t.key, t.owner, row_number() over (partition by t.owner order by t.key)"
            f" as place from {shape.sql_name} t where t.{shape.by_field[reaction.to_field].name} = $1"
            f" and not exists (select 1 from {answers.sql_name} a where a.key = t.key)) o"
            " where place <= $2 order by key",
            to,
            limit,
        )
        return [(key, owner) for key, owner in records]

    # Reads beside the writer

    async def get(self, table: Table[Any], keys: Collection[str]) -> dict[str, Image]:
        if not keys:
            return {}
        shape = self._shapes[table]
        records = await self._session.fetch(
            f"select {_columns(shape)} from {shape.sql_name} t where {self._dialect.among('t.key', 1, 'text')}",
            self._dialect.pack(list(keys)),
        )
        return await self._images(table, records)

    async def page(
        self,
        tables: Sequence[Table[Any]],
        any_of: Sequence[tuple[str, str | int]],
        *,
        after: str | None,
        limit: int,
        descending: bool,
    ) -> Page:
        while True:
            records = await self._page_records(tables, any_of, after, limit + 1, descending)
            end = page_end([record[0] for record in records], limit)
            images: dict[tuple[str, int], Image] = {}
            for number, table in enumerate(tables):
                located = [record for record in records[:end] if record[-1] == number]
                for key, image in (await self._images(table, located)).items():
                    images[key, number] = image
            places = [(record[0], record[-1]) for record in records[:end]]
            items = [(place[0], images[place]) for place in places if place in images]
            if items or end == len(records):
                return Page(items, end < len(records))
            # All of them were erased: a page that names no key could not be continued.
            after = records[end - 1][0]

    async def _page_records(
        self,
        tables: Sequence[Table[Any]],
        any_of: Sequence[tuple[str, str | int]],
        after: str | None,
        limit: int,
        descending: bool,
    ) -> Sequence[Record]:
        """Of each table at most ``limit``, with the table's number as the last column. One statement sees one
        moment."""
        arguments: list[object] = [limit, *[value for _, value in any_of], *([] if after is None else [after])]
        order = "order by key desc" if descending else "order by key"
        beyond = "" if after is None else f"key {'<' if descending else '>'} ${len(arguments)}"
        selects = [
            _page_of(self._shapes[table], self._dialect.json, number, [field for field, _ in any_of], beyond, order)
            for number, table in enumerate(tables)
        ]
        return await self._session.fetch(f"{' union all '.join(selects)} {order}", *arguments)

    async def tables(self) -> set[str]:
        """The names of the tables that the database has."""
        return {name for (name,) in await self._session.fetch("select name from shape")}

    async def stored(self, table: Table[Any], after: str, limit: int) -> list[RowWrite]:
        """A page of a table as it stands in the database, in key order. Write-once rows have no document there."""
        shape = self._shapes[table]
        columns = [*(["doc"] if shape.document else []), *[column.name for column in shape.columns]]
        records = await self._session.fetch(
            f"select {', '.join(('key', 'owner', 'epoch', 'sequence', *columns))} from {shape.sql_name}"
            " where key > $1 order by key limit $2",
            after,
            limit,
        )
        found: list[RowWrite] = []
        for key, owner, epoch, sequence, *rest in records:
            doc = rest.pop(0).encode() if shape.document else b""
            found.append(RowWrite(key, owner, epoch, sequence, doc, tuple(rest)))
        return found

    async def journal(self, source: str, epoch: int, start: int, limit: int) -> list[Entry]:
        records = await self._session.fetch(
            f"select {_ENTRY} from journal j where source = $1 and epoch = $2"
            " and sequence >= $3 and sequence < $4 order by sequence",
            source,
            epoch,
            start,
            start + limit,
        )
        return [entry_of(*record) for record in records]

    async def seals(self, source: str, epoch: int, after_size: int, limit: int) -> list[Seal]:
        records = await self._session.fetch(
            "select source, epoch, size, note from seal where source = $1 and epoch = $2 and size > $3"
            " order by size limit $4",
            source,
            epoch,
            after_size,
            limit,
        )
        return [Seal(*record) for record in records]

    async def heads(self) -> dict[str, tuple[int, int]]:
        records = await self._session.fetch(_HEADS)
        return {source: (epoch, sequence + 1) for source, epoch, sequence in records}

    async def _by_commands(self, places: Collection[tuple[str, bytes]]) -> list[tuple[tuple[str, bytes], Entry]]:
        """Each source's first entry with the key. Anybody may copy a key, any number of times, so the entries
        themselves are read last, and only those."""
        # Filled up to a power of two, so that there are few statements to prepare.
        hashes = list({key_hash for _, key_hash in places})
        hashes += hashes[-1:] * ((1 << (len(hashes) - 1).bit_length()) - len(hashes))
        marks = ", ".join([f"${number + 1}" for number in range(len(hashes))])
        records = await self._session.fetch(
            f"select source, epoch, sequence, key_hash from journal where key_hash in ({marks})", *hashes
        )
        # Chosen here: asked for a source or an order, PostgreSQL may walk the whole journal.
        first: dict[tuple[str, bytes], EntryKey] = {}
        for source, epoch, sequence, key_hash in sorted(records, key=_entry_key):
            place = (source, bytes(key_hash))
            if place in places:
                first.setdefault(place, (source, epoch, sequence))
        if not first:
            return []
        entries = {
            (entry.source, entry.epoch, entry.sequence): entry for entry in await self._entries(list(first.values()))
        }
        return [(place, entries[key]) for place, key in first.items()]

    async def _entries(self, keys: Collection[EntryKey]) -> list[Entry]:
        records = await self._session.fetch(
            f"select {_ENTRY} from {self._dialect.entries_wanted} join journal j"
            " on j.source = w.source and j.epoch = w.epoch and j.sequence = w.sequence",
            *self._dialect.pack_entries(list(keys)),
        )
        return [entry_of(*record) for record in records]

    async def _images(self, table: Table[Any], records: Sequence[Record]) -> dict[str, Image]:
        if self._shapes[table].document:
            return {
                key: image_of(table, owner, epoch, sequence, doc.encode())
                for key, owner, epoch, sequence, doc, *_ in records
            }
        located = [(record[0], record[1], record[2], record[3]) for record in records]
        if not located:
            return {}
        sections = await self._sections(table.section, {place[1:] for place in located})
        return images_from_journal(table, located, sections)

    async def _sections(self, section: str, keys: Collection[EntryKey]) -> dict[EntryKey, bytes]:
        records = await self._session.fetch(
            f"select j.source, j.epoch, j.sequence, j.{section} from {self._dialect.entries_wanted} join journal j"
            f" on j.source = w.source and j.epoch = w.epoch and j.sequence = w.sequence where j.{section} is not null",
            *self._dialect.pack_entries(list(keys)),
        )
        return {(source, epoch, sequence): text.encode() for source, epoch, sequence, text in records}


_entry_key = itemgetter(0, 1, 2)


def _columns(shape: Shape) -> str:
    return "t.key, t.owner, t.epoch, t.sequence, t.doc" if shape.document else "t.key, t.owner, t.epoch, t.sequence"


def _page_of(shape: Shape, json: str, number: int, fields: Sequence[str], beyond: str, order: str) -> str:
    """A select of at most ``$1`` rows in which one of ``fields`` is ``$2``, the next ``$3`` and so on."""
    doc = "doc" if shape.document else f"cast(null as {json}) as doc"
    columns = f"key, owner, epoch, sequence, {doc}, {number} as number"
    where = beyond
    if fields:
        # Each column's own index gives its keys in order; the union drops what is in several.
        branches = [
            f"select key from (select key from {shape.sql_name} where {shape.by_field[field].name} = ${place}"
            f"{beyond and f' and {beyond}'} {order} limit $1) f{place}"
            for place, field in enumerate(fields, 2)
        ]
        where = f"key in ({' union '.join(branches)})"
    select = f"select {columns} from {shape.sql_name} {where and f'where {where}'} {order} limit $1"
    return f"select key, owner, epoch, sequence, doc, number from ({select}) t{number}"

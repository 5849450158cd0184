"""A hostile peer: each lie is refused with its own code, nothing of it is applied, and everybody else goes on."""

import asyncio
import hashlib
from collections.abc import Callable

import msgspec
import pytest

from jilnode.kernel.codec import decode_header, decode_section, encode_header, encode_section, section_hash
from jilnode.kernel.entry import CommandReference, Entry, Header, Outcome, Seal, SectionReference
from jilnode.kernel.errors import Breach, CommitRefused, Parked, Unproven
from jilnode.kernel.seal import SealKey, make_seal, origin_of
from jilnode.kernel.tree import leaf_hash
from jilnode.kernel.verify import Group, verify
from jilnode.limits import EVENT_BYTES_MAX, HEADER_BYTES_MAX
from jilnode.module import Command, Module, Owned, Table
from jilnode.simulation.ledger import MODULE, POTS, Ask, Fill, Move
from tests.kit.node import TestNode, running

Rows = list[tuple[str, str, bytes | None]]


class Liar:
    """Holds a real node's key, so that its lies are sealed: what is left to refuse them are the rules themselves."""

    def __init__(self, node: TestNode, key: SealKey | None = None) -> None:
        self.node = node
        self.key = key or node.key

    async def group(
        self,
        change: Callable[[Rows], Rows] = lambda rows: rows,
        head: Callable[[Header], Header] = lambda header: header,
        *,
        raw_section: Callable[[bytes], bytes] = lambda data: data,
        raw_header: Callable[[bytes], bytes] = lambda data: data,
    ) -> Group:
        """The node's newest entry, told otherwise, and sealed as if it were the truth."""
        state = self.node.engine.own
        (entry,) = await self.node.store.journal(self.node.source, 0, state.size - 1, 1)
        rows = change(decode_section(entry.sections["rows"]))
        section = raw_section(encode_section(b"s" * 32, rows))
        header = decode_header(entry.header)
        header = msgspec.structs.replace(
            header, sections={"rows": SectionReference(section_hash(section), len(section))}
        )
        data = raw_header(encode_header(head(header)))
        forged = Entry(entry.source, entry.epoch, entry.sequence, data, {"rows": section})
        return Group(entry.source, [forged], await self.seal([forged]))

    async def seal(self, entries: list[Entry]) -> Seal:
        """Over everything honest before ``entries``, and them."""
        frontier = type(self.node.engine.own.frontier)()
        for entry in await self.node.store.journal(self.node.source, 0, 0, entries[0].sequence):
            frontier.append(leaf_hash(entry.header))
        for entry in entries:
            frontier.append(leaf_hash(entry.header))
        origin = origin_of("dev", self.node.source, 0)
        return Seal(self.node.source, 0, frontier.size, make_seal(origin, frontier.size, frontier.root(), [self.key]))


@pytest.fixture
async def nodes():
    """Two nodes that agree but for the newest entry of the first, and a third that everybody follows."""
    one, two, three = (TestNode(name, [MODULE]) for name in ("ch-zug-01", "sg-mas-01", "gb-lon-01"))
    async with running(one, two, three):
        await one.run(Fill("a", 5))
        await three.run(Fill("c", 1))
        await two.follow(one)
        await two.follow(three)
        await one.run(Fill("a", 7))
        yield one, two, three


def replace_text(old: bytes, new: bytes) -> Callable[[Rows], Rows]:
    return lambda rows: [(table, key, doc and doc.replace(old, new)) for table, key, doc in rows]


def add_row(table: str, key: str, doc: bytes | None) -> Callable[[Rows], Rows]:
    return lambda rows: sorted([*rows, (table, key, doc)], key=lambda row: row[:2])


def set_header(**fields: object) -> Callable[[Header], Header]:
    return lambda header: msgspec.structs.replace(header, **fields)


def identity(**fields: str) -> bytes:
    """The row of the first node's genesis, but for ``fields``."""
    public_key = TestNode("ch-zug-01").key.public_key.hex()
    return msgspec.json.encode({"network": "dev", "zone": "XX_DEV", "public_key": public_key} | fields)


LIES = {
    "minting": ("invariant.conserved", {"change": replace_text(b'"amount":12', b'"amount":13')}),
    "foreign row": ("foreign_row", {"change": add_row("ledger.pot", "c/gb-lon-01", b'{"amount":1}')}),
    "row under another's key": ("foreign_row", {"change": add_row("ledger.pot", "x/sg-mas-01", b'{"amount":0}')}),
    "key that is none": ("foreign_row", {"change": add_row("ledger.pot", "x y/ch-zug-01", b'{"amount":0}')}),
    "local row": (
        "foreign_row",
        {
            "change": add_row("kernel.head", "ch-zug-01", b"{}"),
            "head": set_header(schema={"kernel": 1, "ledger": 1}),
        },
    ),
    "row of no table": ("bad_row", {"change": add_row("ledger.nothing", "ch-zug-01/1", b"{}")}),
    "row of the wrong shape": ("bad_row", {"change": add_row("ledger.pot", "x/ch-zug-01", b'{"amount":"many"}')}),
    "deleting what was not there": ("bad_row", {"change": add_row("ledger.pot", "x/ch-zug-01", None)}),
    "answer nobody asked for": ("foreign_row", {"change": add_row("ledger.reply", "gb-lon-01/0-1", b'{"number":2}')}),
    "text too long to be searched": (
        "bad_row",
        {"change": add_row("ledger.note", "ch-zug-01/1", b'{"pot":"%b","amount":0}' % (b"a" * 513))},
    ),
    "NUL in a document": (
        "bad_section",
        {"change": add_row("ledger.bid", "ch-zug-01/1", b'{"market":"a\\u0000","price":1}')},
    ),
    "lone surrogate": (
        "bad_section",
        {"change": add_row("ledger.bid", "ch-zug-01/1", b'{"market":"\\ud800","price":1}')},
    ),
    "number beyond 64 bits": (
        "bad_section",
        {"change": add_row("ledger.bid", "ch-zug-01/1", b'{"market":"a","price":1,"x":9223372036854775808}')},
    ),
    "not UTF-8": (
        "bad_section",
        {
            "change": add_row("ledger.bid", "ch-zug-01/1", b'{"market":"a","price":1,"x":"~~"}'),
            "raw_section": lambda data: data.replace(b"~~", b"\xff\xfe"),
        },
    ),
    "unsorted rows": ("bad_section", {"change": lambda rows: rows[::-1]}),
    "section that is no JSON": ("bad_section", {"raw_section": lambda data: data[:-1]}),
    "oversized section": (
        "oversized",
        {"change": add_row("ledger.bid", "ch-zug-01/1", b'{"market":"%b","price":1}' % (b"a" * EVENT_BYTES_MAX))},
    ),
    "another network": ("forged_source", {"head": set_header(network="mainnet")}),
    "another's name": ("forged_source", {"head": set_header(source_id="gb-lon-01")}),
    "replayed number": ("replayed", {"head": set_header(sequence=1)}),
    "gap": ("gap", {"head": set_header(sequence=99)}),
    "topic of another module": ("bad_header", {"head": set_header(topic="jil.wallet")}),
    "schema left out": ("bad_header", {"head": set_header(schema={})}),
    "schema of a version before the first": (
        "bad_header",
        {"change": replace_text(b'"amount":12', b'"amount":13'), "head": set_header(schema={"ledger": 0})},
    ),
    "schema of a version below none": (
        "bad_header",
        {"change": replace_text(b'"amount":12', b'"amount":13'), "head": set_header(schema={"ledger": -1})},
    ),
    "time that is none": ("bad_header", {"head": set_header(timestamp="2026")}),
    "time with a sign": ("bad_header", {"head": set_header(timestamp="2026-11-23T06:33:00.+1_345Z")}),
    "time in another form": ("bad_header", {"head": set_header(timestamp="2026-11-23t06:33:00.000000Z")}),
    "time in other digits": (
        "bad_header",
        {"head": set_header(timestamp="202\N{ARABIC-INDIC DIGIT SIX}-11-23T06:33:00.000000Z")},
    ),
    "time before the entry before": ("bad_header", {"head": set_header(timestamp="2026-11-23T06:32:59.999999Z")}),
    "type with line breaks": (
        "bad_header",
        {
            "head": set_header(
                type="ledger.a\n\nid: gb-lon-01/0/99\nevent: wallet.transfer.posted\ndata: {}\n\nevent: x"
            )
        },
    ),
    "type with quotes": ("bad_header", {"head": set_header(type='ledger.a","id":"gb-lon-01/0/99","event":"ledger.b')}),
    "type that is a module's name": ("bad_header", {"head": set_header(type="ledger")}),
    "type without an end": ("bad_header", {"head": set_header(type="ledger.a" + "b" * 121)}),
    "event id that is none": ("bad_header", {"head": set_header(event_id="x\n")}),
    "event id of another version": (
        "bad_header",
        {"head": set_header(event_id="01a2071b-9d60-4000-9e54-55107f7211a8")},
    ),
    "actor that is none": ("bad_header", {"head": set_header(actor="a\nb")}),
    "actor without an end": ("bad_header", {"head": set_header(actor="a" * 257)}),
    "trace that is none": ("bad_header", {"head": set_header(traceparent="\n")}),
    "trace of zeros": ("bad_header", {"head": set_header(traceparent=f"00-{'0' * 32}-{'0' * 16}-00")}),
    "outcome that is none": ("bad_header", {"head": set_header(outcome=Outcome("perhaps", "00" * 32))}),
    "outcome without a hash": ("bad_header", {"head": set_header(outcome=Outcome("approved", "AB" * 32))}),
    "key hash that is none": ("bad_header", {"head": set_header(command=CommandReference("00", "00" * 32, 201))}),
    "body hash that is none": ("bad_header", {"head": set_header(command=CommandReference("00" * 32, "", 201))}),
    "status that is none": ("bad_header", {"head": set_header(command=CommandReference("00" * 32, "00" * 32, 7))}),
    "module that is none": ("bad_header", {"head": set_header(schema={"ledger": 1, "x\n": 1})}),
    "cause before the first": ("bad_header", {"head": set_header(cause=(("gb-lon-01", 0, -1, "00" * 32),))}),
    "genesis in the middle": (
        "bad_genesis",
        {
            "change": lambda rows: [("kernel.source", "ch-zug-01", identity(zone="CH_FINMA"))],
            "head": set_header(type="kernel.genesis", topic="jil.kernel", schema={"kernel": 1}),
        },
    ),
    "rotation to another zone": (
        "bad_row",
        {
            "change": lambda rows: [("kernel.source", "ch-zug-01", identity(zone="CH_FINMA"))],
            "head": set_header(type="kernel.key.rotated", topic="jil.kernel", schema={"kernel": 1}),
        },
    ),
    "rotation to another network": (
        "bad_row",
        {
            "change": lambda rows: [("kernel.source", "ch-zug-01", identity(network="mainnet"))],
            "head": set_header(type="kernel.key.rotated", topic="jil.kernel", schema={"kernel": 1}),
        },
    ),
    "header that is no JSON": ("bad_header", {"raw_header": lambda data: data[:-1]}),
    "oversized header": ("oversized", {"head": set_header(actor="a" * HEADER_BYTES_MAX)}),
    "more addresses than its own": (
        "foreign_row",
        {
            "change": add_row("kernel.address", "more/ch-zug-01", b'{"url":"http://a"}'),
            "head": set_header(schema={"kernel": 1, "ledger": 1}),
        },
    ),
    "rewriting its own identity": (
        "foreign_row",
        {
            "change": add_row("kernel.source", "ch-zug-01", b'{"network":"dev","zone":"XX_DEV","public_key":"00"}'),
            "head": set_header(schema={"kernel": 1, "ledger": 1}),
        },
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_sealed_lie_is_refused_with_its_own_code(nodes, lie):
    one, two, three = nodes
    code, told = LIES[lie]
    before = two.engine.sources[one.source].copy()
    with pytest.raises(Breach) as breach:
        await two.apply(await Liar(one).group(**told))
    assert breach.value.code == code
    assert not isinstance(breach.value, Unproven), "what its source signed is proof"
    after = two.engine.sources[one.source]
    assert (after.size, after.digest, after.frontier.root()) == (before.size, before.digest, before.frontier.root())
    assert await two.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 5
    await three.run(Fill("c", 2))
    await two.follow(three)
    assert await two.writer.query(lambda view: view[POTS].get("c/gb-lon-01").amount) == 3
    await two.follow(one)
    assert await two.writer.query(lambda view: view[POTS].get("a/ch-zug-01").amount) == 12


async def test_every_flipped_bit_of_an_entry_is_noticed(nodes):
    one, two, _ = nodes
    (group,) = await one.groups(one.source, two.engine.sources[one.source].size)
    (entry,) = group.entries
    for part in ("header", "rows"):
        data = entry.header if part == "header" else entry.sections["rows"]
        for position in range(0, len(data), 7):
            flipped = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
            changed = Entry(
                entry.source,
                entry.epoch,
                entry.sequence,
                flipped if part == "header" else entry.header,
                {"rows": flipped if part == "rows" else entry.sections["rows"]},
            )
            with pytest.raises(Unproven):
                await two.apply(Group(group.source, [changed], group.seal))


async def test_another_key_seals_nothing(nodes):
    one, two, _ = nodes
    thief = SealKey.from_seed(hashlib.sha256(b"thief").digest())
    with pytest.raises(Unproven, match="bad_seal"):
        await two.apply(await Liar(one, thief).group())


async def test_a_truncated_group_and_a_seal_of_more_are_refused(nodes):
    one, two, _ = nodes
    await one.run(Move("a", "b", 1))
    await one.run(Move("a", "b", 1))
    groups = await one.groups(one.source, two.engine.sources[one.source].size)
    entries = [entry for group in groups for entry in group.entries]
    with pytest.raises(Breach, match="bad_seal"):
        await two.apply(Group(one.source, entries[:-1], groups[-1].seal))
    with pytest.raises(Unproven, match="bad_seal"):
        await two.apply(Group(one.source, [entries[0], entries[2], entries[1]], groups[-1].seal))
    await two.apply(Group(one.source, entries, groups[-1].seal))


async def test_who_is_not_in_the_trust_file_waits(nodes):
    _, two, _ = nodes
    stranger = TestNode("us-nyc-01", [MODULE])
    async with running(stranger):
        with pytest.raises(Parked, match="untrusted"):
            await two.apply((await stranger.groups(stranger.source))[0])
        two.trusted["us-nyc-01"] = "00" * 32
        with pytest.raises(Breach, match="bad_genesis"):
            await two.apply((await stranger.groups(stranger.source))[0])


async def test_a_reply_that_does_not_answer_its_question_is_refused(nodes):
    one, two, _ = nodes
    await two.follow(one)
    await two.run(Ask("ch-zug-01", 4))
    await one.follow(two)
    await one.run(Fill("z", 1))
    found = await one.groups(one.source, two.engine.sources[one.source].size)
    answered = next(
        group for group in found if b"ledger.reply" in group.entries[-1].sections["rows"] or len(group.entries) > 1
    )
    entry = next(entry for entry in answered.entries if b"ledger.reply" in entry.sections["rows"])
    section = entry.sections["rows"].replace(b'"number":8', b'"number":9')
    header = decode_header(entry.header)
    header = msgspec.structs.replace(header, sections={"rows": SectionReference(section_hash(section), len(section))})
    forged = Entry(entry.source, entry.epoch, entry.sequence, encode_header(header), {"rows": section})
    for group in [group for group in found if group.entries[-1].sequence < entry.sequence]:
        await two.apply(group)
    before = [item for item in answered.entries if item.sequence < entry.sequence]
    with pytest.raises(Breach, match=r"invariant\.answered"):
        await two.apply(Group(one.source, [*before, forged], await Liar(one).seal([*before, forged])))


async def test_who_rests_on_another_entry_than_is_here_is_not_accused(nodes):
    """A third node may have told each of us another one."""
    one, two, three = nodes
    await one.follow(three)
    await three.run(Ask("ch-zug-01", 4))
    await one.follow(three)
    await two.apply(await Liar(three).group(replace_text(b'"number":4', b'"number":5')))
    await one.run(Fill("z", 1))
    with pytest.raises(Parked) as parked:
        await two.follow(one)
    assert parked.value.code == "cause_disputed"
    assert three.source in parked.value.detail
    assert two.engine.sources[one.source].status == "following"


class Line(Owned):
    text: str


class Log(msgspec.Struct):
    text: str


LINES = Table("log.line", Line, write_once=True)
LOG = Module(
    "log",
    1,
    tables=(LINES,),
    commands=(
        Command(
            Log,
            "log.line.written",
            lambda state, context, command: state[LINES].insert(context.new_key(), Line(command.text)),
            lambda rows: rows.one(LINES)[0],
        ),
    ),
)


async def test_a_row_written_twice_fails_one_commit_and_then_only_its_source():
    """Keys of write-once rows are not looked up: the database refuses the whole batch. After that they are, one group
    at a time, until the one is found; what the batch held besides is done."""
    one, two, three = (TestNode(name, [LOG], cache_bytes=0) for name in ("ch-zug-01", "sg-mas-01", "gb-lon-01"))
    async with running(one, two, three):
        first = (await one.run(Log("first"))).reply
        await three.run(Log("honest"))
        await two.follow(one)
        await two.follow(three)
        await three.run(Log("honest too"))
        await one.run(Log("second"))
        lie = await Liar(one).group(lambda rows: [(table, first, doc) for table, _, doc in rows])
        (honest,) = await three.groups(three.source, two.engine.sources[three.source].size)
        known = two.engine.sources
        applying = [
            two.writer.apply(verify(group, known[group.source], "dev", two.trusted, two.engine.registry))
            for group in (lie, honest)
        ]
        outcomes = await asyncio.gather(*applying, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [CommitRefused, CommitRefused]
        again = [
            two.writer.apply(verify(group, known[group.source], "dev", two.trusted, two.engine.registry))
            for group in (lie, honest)
        ]
        refused, done = await asyncio.gather(*again, return_exceptions=True)
        assert (refused.code, done) == ("rewritten", None)
        assert (await two.run(Log("mine"))).status == 201

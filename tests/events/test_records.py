"""The one strict step between the bus and everything else: what anybody may have sent is a value of its form, or a dead
letter; and nobody else stops for it."""

from base64 import b64encode
from types import SimpleNamespace

import pytest

from jilnode.audit import Auditor
from jilnode.events.bus import Record
from jilnode.events.kafka import _record
from jilnode.events.record import ENTRY_KIND, SEAL_KIND, read_record, record_of_seal
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import Breach
from jilnode.limits import ORDINAL_MAX
from jilnode.simulation.ledger import Fill
from jilnode.stores.sqlite import SqliteStore
from tests.events.networks import MemoryNetwork
from tests.events.test_convergence import ONE, TWO
from tests.events.test_lies import suspended_by_its_own_lie
from tests.kernel.test_hostile import Liar
from tests.kit.follower import converged
from tests.kit.wait import eventually

KIND = "ledger.pot.filled"
BEYOND = b"9" * 20


@pytest.fixture
def network() -> MemoryNetwork:
    """It carries what no honest client of a broker could send."""
    return MemoryNetwork()


def entry(source: bytes = ONE.encode(), epoch: bytes = b"0", sequence: bytes = b"0", **more: bytes) -> bytes:
    command = more.get("command", b"")
    sections = more.get("sections", b"{}")
    return b'{"header":{"source_id":"%b","epoch":%b,"sequence":%b%b},"sections":%b}' % (
        source,
        epoch,
        sequence,
        command,
        sections,
    )


def note(origin: str = f"jil/dev/{ONE}/0", size: str = "1", name: str = "x") -> bytes:
    """Nobody's signature under it."""
    blob = b64encode(bytes(68)).decode()
    return f"{origin}\n{size}\n{b64encode(bytes(32)).decode()}\n\n\N{EM DASH} {name} {blob}\n".encode()


PILLS = {
    "nothing": Record(KIND, ONE, b""),
    "deep section": Record(KIND, ONE, entry(sections=b'{"rows":%b%b}' % (b"[" * 900, b"]" * 900))),
    "deepest section": Record(KIND, ONE, entry(sections=b'{"rows":%b%b}' % (b"[" * 90_000, b"]" * 90_000))),
    "not UTF-8": Record(KIND, ONE, entry(sections=b'{"rows":"\xff"}')),
    "epoch below 0": Record(KIND, ONE, entry(epoch=b"-" + BEYOND)),
    "epoch beyond 53 bits": Record(KIND, ONE, entry(epoch=b"%d" % (ORDINAL_MAX + 1))),
    "sequence below 0": Record(KIND, ONE, entry(sequence=b"-1")),
    "sequence beyond 64 bits": Record(KIND, ONE, entry(sequence=BEYOND)),
    "source with NUL": Record(KIND, "a\0b", entry(source=b"a\\u0000b")),
    "source that is none": Record(KIND, "CH ZUG", entry(source=b"CH ZUG")),
    "source with a line break": Record(KIND, ONE + "\n", entry(source=ONE.encode() + b"\\n")),
    "another's source": Record(KIND, TWO, entry()),
    "key hash that is none": Record(KIND, ONE, entry(command=b',"command":{"key_hash":"00 00"}')),
    "kind that is none": Record("a\0b", ONE, entry()),
    "seal of an epoch of 5,000 digits": Record(SEAL_KIND, ONE, note(f"jil/dev/{ONE}/" + "9" * 5000)),
    "seal of an epoch beyond 53 bits": Record(SEAL_KIND, ONE, note(f"jil/dev/{ONE}/{ORDINAL_MAX + 1}")),
    "seal of an epoch in other digits": Record(SEAL_KIND, ONE, note(f"jil/dev/{ONE}/\N{ARABIC-INDIC DIGIT THREE}")),
    "seal of an epoch told otherwise": Record(SEAL_KIND, ONE, note(f"jil/dev/{ONE}/00")),
    "seal of a size of 5,000 digits": Record(SEAL_KIND, ONE, note(size="9" * 5000)),
    "seal of a size beyond 53 bits": Record(SEAL_KIND, ONE, note(size=str(ORDINAL_MAX + 1))),
    "seal with NUL in its origin": Record(SEAL_KIND, ONE, note(f"jil/d\0v/{ONE}/0")),
    "seal with NUL in a signature line": Record(SEAL_KIND, ONE, note(name="a\0b")),
    "seal with a carriage return": Record(SEAL_KIND, ONE, note(name="a\rb")),
    "seal not in UTF-8": Record(SEAL_KIND, ONE, b"\xff"),
    "another's seal": Record(SEAL_KIND, TWO, note()),
}


@pytest.mark.parametrize("pill", PILLS)
async def test_what_is_not_of_its_form_is_unreadable_and_an_auditor_says_so(pill):
    with pytest.raises(Breach) as breach:
        read_record(PILLS[pill])
    assert breach.value.code in ("unreadable", "bad_seal", "forged_source")
    assert "\0" not in breach.value.detail
    finding = await Auditor("dev", [], None).take(PILLS[pill])
    assert finding is not None
    assert breach.value.code in finding


def test_what_is_of_its_form_is_read():
    read = read_record(Record(KIND, ONE, entry(epoch=b"1", sequence=b"%d" % ORDINAL_MAX)))
    assert isinstance(read, Entry)
    assert (read.source, read.epoch, read.sequence) == (ONE, 1, ORDINAL_MAX)
    assert read_record(Record(ENTRY_KIND, ONE, entry())) == read_record(Record(KIND, ONE, entry()))
    assert read_record(Record(SEAL_KIND, ONE, note(size="7"))) == Seal(ONE, 0, 7, note(size="7").decode())
    assert read_record(Record("jil.cosignature", ONE, b"\xff")) is None


def test_a_kafka_record_without_a_type_ends_among_the_dead_letters():
    for headers in ((), (("ce_type", None),), (("ce_type", b"\xff\0"),)):
        record = _record(SimpleNamespace(headers=headers, key=ONE.encode(), value=entry()))
        assert record.value == entry()
        with pytest.raises(Breach, match="unreadable"):
            read_record(record)


async def test_nobody_stops_for_what_can_t_be_read(fleet, network):
    one, two = await fleet.join(ONE, TWO)
    network.broker.append([*PILLS.values()])
    await eventually(lambda: two.replicator.dead_letters == len(PILLS))
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))
    assert one.node.writer.writable


async def test_a_database_is_asked_for_no_number_that_it_does_not_take(tmp_path):
    """An old epoch may have ended anywhere."""
    store = SqliteStore(tmp_path / "node.db")
    await store.open(ONE, ())
    assert await store.journal(ONE, ORDINAL_MAX, ORDINAL_MAX, 1_000) == []
    assert await store.seals(ONE, ORDINAL_MAX, ORDINAL_MAX, 1_000) == []
    await store.close()


async def test_a_header_that_is_none_suspends_whoever_signed_it(fleet, network):
    one, two = await fleet.join(ONE, TWO)
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))
    one.stop_relay()
    size = one.node.engine.own.size
    header = b'{"source_id":"%b","epoch":0,"sequence":%d}' % (ONE.encode(), size)
    lie = Entry(ONE, 0, size, header, {})
    seal = await Liar(one.node).seal([lie])
    network.broker.append([Record(KIND, ONE, b'{"header":%b,"sections":{}}' % header), record_of_seal(seal)])
    await eventually(lambda: two.node.engine.sources[ONE].code == "bad_header")
    assert two.node.engine.sources[ONE].status == "suspended"
    # What was kept of it is looked at again.
    await two.replicator.release(ONE)
    assert two.node.engine.sources[ONE].code == "bad_header"


async def test_what_can_t_be_read_is_not_kept_of_a_source_that_is_set_aside(fleet, network):
    _, two, three = await suspended_by_its_own_lie(fleet, network.bus())
    letters = three.replicator.dead_letters
    mine = [record for record in PILLS.values() if record.source == ONE]
    network.broker.append(mine)
    await eventually(lambda: three.replicator.dead_letters == letters + len(mine))
    await two.node.run(Fill("b", 1))
    await eventually(lambda: converged(two.node, three.node))


async def test_a_record_that_makes_the_reader_fail_is_an_alarm_and_a_dead_letter(fleet, network, monkeypatch):
    one, two = await fleet.join(ONE, TWO)

    def failing(record: Record):
        if record.value == b"bad":
            raise RuntimeError("a bug")
        return read_record(record)

    monkeypatch.setattr("jilnode.events.replicator.read_record", failing)
    network.broker.append([Record(KIND, ONE, b"bad")])
    await eventually(lambda: two.replicator.dead_letters == 1)
    assert [alarm.partition(":")[0] for alarm in two.node.engine.alarms] == ["unreadable"]
    await one.node.run(Fill("a", 5))
    await eventually(lambda: converged(one.node, two.node))

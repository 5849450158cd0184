"""The live stream: who sees what, resuming, overflow, and its end."""

import asyncio
import contextlib
import dataclasses
import json
import timeit
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from jilnode.http.auth import Principal
from jilnode.http.events_stream import EventStream, filter_of, position_of
from jilnode.http.frames import StreamFrame
from jilnode.http.ports import Position
from jilnode.http.streams import Streams
from jilnode.http.visible import Filter, Seer
from jilnode.http.wires import EventStreamWire
from jilnode.kernel.codec import encode_row, encode_section
from jilnode.kernel.errors import Rejected
from jilnode.kernel.image import Image
from jilnode.kernel.table import Table
from jilnode.limits import STREAM_PIECE_BYTES, STREAM_READ_ENTRIES
from tests.http.kit import MODULE, NOTES, SOURCE, FakeFeed, FakeWriter, Note, app_of, bearer, client_of, entry_of

FAR = 4e9
KESTREL = Principal("kestrel", frozenset({"events"}), FAR)
AUDITOR = Principal("auditor", frozenset({"events", "audit"}), FAR)


class Reader:
    """A client of the stream without a server: takes what is sent, or refuses to."""

    def __init__(self) -> None:
        self.text = b""
        self.pieces: list[int] = []
        self.ended = False
        self.taking = asyncio.Event()
        self.taking.set()
        self.gone = asyncio.Event()
        self._changed = asyncio.Event()
        self.wire = EventStreamWire(self.receive, self.send)

    async def send(self, message: Any) -> None:
        await self.taking.wait()
        if message["type"] == "http.response.body":
            self.text += message["body"]
            self.pieces.append(len(message["body"]))
            self.ended = not message["more_body"]
        self._changed.set()

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def until(self, text: str) -> None:
        async with asyncio.timeout(5):
            while text.encode() not in self.text:
                self._changed.clear()
                await self._changed.wait()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line[6:]) for line in self.text.decode().splitlines() if line.startswith("data: ")]

    def numbers(self) -> list[int]:
        return [event["sequence"] for event in self.events() if "sequence" in event]


def stream_of(feed: FakeFeed, streams: Streams) -> EventStream:
    return EventStream(streams, feed, Seer([MODULE], FakeWriter().image))


@contextlib.asynccontextmanager
async def following(
    feed: FakeFeed,
    principal: Principal = KESTREL,
    wanted: Filter = Filter(),  # noqa: B008 - an immutable value
    start: Position | None = None,
    live: bool = True,
    **options: Any,
) -> AsyncIterator[tuple[Reader, EventStream]]:
    stream = options.pop("stream", None) or stream_of(feed, Streams(**options))
    reader = Reader()
    task = asyncio.create_task(stream.serve(reader.wire, principal, wanted, start, live))
    if live:
        await reader.until("heartbeat")
    yield reader, stream
    reader.gone.set()
    reader.taking.set()
    async with asyncio.timeout(5):
        await task


async def test_a_subject_sees_only_what_is_theirs() -> None:
    feed = FakeFeed()
    async with following(feed) as (mine, stream), following(feed, AUDITOR, stream=stream) as (audit, _):
        feed.add("heron", "secret")
        feed.add("kestrel", "mine")
        await mine.until("mine")
        await audit.until("mine")
        assert mine.numbers() == [1]
        assert b"secret" not in mine.text
        (event,) = mine.events()
        assert event["rows"] == [
            {"table": "notes.note", "key": f"{SOURCE}/1", "doc": {"holder": "kestrel", "text": "mine"}}
        ]
        assert (event["actor"], "header" in event) == ("kestrel", False)
        assert b"id: ch-zug-01/0/1\nevent: notes.note.posted\n" in mine.text
        assert audit.numbers() == [0, 1]
        assert audit.events()[0]["header"]["actor"] == "heron"
    assert feed.queues == []


async def test_what_is_sealed_is_its_subjects_alone_and_so_is_what_goes_by_its_key() -> None:
    """A row that this node can't read may be sealed, so it is."""
    module = dataclasses.replace(MODULE, sealed={"notes.note": lambda key, row: row.text == "sealed"})
    seer = Seer([module], FakeWriter().image)

    async def seen(rows: list[tuple[str, str, bytes | None]], principal: Principal) -> list[str]:
        entry = msgspec.structs.replace(entry_of(0, "heron", ""), sections={"rows": encode_section(b"salt", rows)})
        frame = seer.frame(await seer.opened(entry), principal, Filter())
        return [] if frame is None else [row["table"] for row in json.loads(frame.data)["rows"]]

    sealed, opened = [encode_row(Note("kestrel", text)) for text in ("sealed", "opened")]
    beside: list[tuple[str, str, bytes | None]] = [("other.held", "k", b"{}"), ("other.held", "l", b"{}")]
    for doc, audited, mine in (
        (sealed, ["other.held"], ["notes.note"]),
        (opened, ["notes.note", "other.held", "other.held"], ["notes.note"]),
        (b'{"holder":7}', ["other.held"], []),
        (None, ["notes.note", "other.held", "other.held"], []),
    ):
        rows = [("notes.note", "k", doc), *beside]
        assert (await seen(rows, AUDITOR), await seen(rows, KESTREL)) == (audited, mine)


async def test_resuming_has_no_gap_and_no_double() -> None:
    feed = FakeFeed()
    for number in range(1200):
        feed.add("kestrel", f"t{number}")
    original = feed.after

    async def after(position: Position | None, limit: int) -> Any:
        if feed.queues:
            feed.add("kestrel", f"t{len(feed.journal)}: in the queue and in the journal")
        page = await original(position, limit)
        if len(page) < limit and not feed.queues:
            feed.add("kestrel", f"t{len(feed.journal)}: after the last page, before the queue")
        return page

    feed.after = after  # type: ignore[method-assign]
    async with following(feed, start=(SOURCE, 0, 99), live=False) as (reader, _):
        await reader.until("in the queue")
        feed.add("kestrel", "the end")
        await reader.until("the end")
        assert reader.numbers() == list(range(100, 1203))


async def test_from_the_start_and_filters() -> None:
    feed = FakeFeed()
    feed.add("kestrel", "a")
    feed.add("kestrel", "b", kind="notes.note.changed")
    feed.add("kestrel", "c", kind="other.thing.done")
    for wanted, numbers in (
        (filter_of("notes.*", "", ""), [0, 1]),
        (filter_of("notes.note.changed,other.thing.done", "", ""), [1, 2]),
        (filter_of("", "sg-mas-01", ""), []),
        (filter_of("", "", "notes.note"), [0, 1, 2]),
        (filter_of("", "", "notes.other"), []),
    ):
        async with following(feed, wanted=wanted, live=False) as (reader, _):
            # It follows when it has read the journal to its end.
            await feed.followed.wait()
            feed.followed.clear()
            assert reader.numbers() == numbers


async def test_a_slow_client_is_dropped_and_others_go_on() -> None:
    feed = FakeFeed()
    async with following(feed, queue_max=4) as (slow, stream), following(feed, stream=stream) as (quick, _):
        slow.taking.clear()
        for number in range(20):
            feed.add("kestrel", f"t{number}.")
            await quick.until(f"t{number}.")
        slow.taking.set()
        await slow.until("event: overflow")
        assert slow.ended
        assert quick.numbers() == list(range(20))
        assert not quick.ended


async def test_a_client_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jilnode.http.wires.SEND_TIMEOUT_S", 0.01)
    feed = FakeFeed()
    streams = Streams()
    reader = Reader()
    task = asyncio.create_task(stream_of(feed, streams).serve(reader.wire, KESTREL, Filter(), None, True))
    await reader.until("heartbeat")
    reader.taking.clear()
    feed.add("kestrel", "a")
    async with asyncio.timeout(5):
        await task
    assert streams.count == 0


class Counting(Seer):
    """Counts what is made for clients."""

    made = 0

    def frame(self, *asked: Any) -> StreamFrame | None:
        self.made += 1
        return super().frame(*asked)


@pytest.mark.parametrize("live", [True, False])
async def test_who_does_not_read_holds_no_more_than_a_piece(live: bool) -> None:
    """However much waits for it, and however large each of it is."""
    feed, seer = FakeFeed(), Counting([MODULE], FakeWriter().image)
    stream = EventStream(Streams(), feed, seer)
    large = "x" * (STREAM_PIECE_BYTES // 4)
    if live:
        async with following(feed, stream=stream) as (slow, _), following(feed, stream=stream) as (quick, _):
            slow.taking.clear()
            for number in range(40):
                feed.add("kestrel", f"{large}t{number}.")
                await quick.until(f"t{number}.")
            # One is on its way since the first came; the others wait.
            assert seer.made == 40 + 1
            slow.pieces.clear()
            slow.taking.set()
            await slow.until("t39.")
    else:
        for number in range(STREAM_READ_ENTRIES * 2 + 1):
            feed.add("kestrel", f"{large}t{number}.")
        async with following(feed, stream=stream, live=False) as (slow, _):
            await slow.until(f"t{STREAM_READ_ENTRIES * 2}.")
    assert max(slow.pieces) < STREAM_PIECE_BYTES * 2
    assert slow.numbers() == list(range(len(feed.journal)))


async def test_a_piece_that_is_on_its_way_does_not_keep_a_stream_from_its_end() -> None:
    feed = FakeFeed()
    for number in range(STREAM_READ_ENTRIES - 1):
        feed.add("kestrel", "x" * STREAM_PIECE_BYTES + f"t{number}.")
    streams, reader = Streams(), Reader()

    async def send(message: Any) -> None:
        await reader.send(message)
        if len(reader.pieces) == 3:
            streams.close()

    async with asyncio.timeout(5):
        wire = EventStreamWire(reader.receive, send)
        await stream_of(feed, streams).serve(wire, KESTREL, Filter(), None, False)
    assert reader.text.endswith(b"event: closing\ndata: {}\n\n")
    assert len(reader.pieces) == 4


async def test_when_the_feed_runs_over_everybody_resumes() -> None:
    feed = FakeFeed()
    async with following(feed) as (reader, _):
        feed.queues[0].put_nowait(None)
        await reader.until("event: overflow")


async def test_a_look_up_that_fails_ends_the_streams_of_now_and_not_those_that_come() -> None:
    feed = FakeFeed()
    away = True

    async def image(table: Table[Any], key: str) -> Image | None:
        if away:
            raise ConnectionError("the database is away")
        return None

    # Whose a note is stands in another row, so each look needs the database.
    module = dataclasses.replace(MODULE, subject_of={"notes.note": lambda key, row: ((NOTES, key), row.holder)})
    stream = EventStream(Streams(), feed, Seer([module], image))
    async with following(feed, stream=stream) as (one, _), following(feed, AUDITOR, stream=stream) as (two, _):
        feed.add("kestrel", "unseen")
        for reader in (one, two):
            await reader.until("event: failed")
            assert (reader.ended, reader.numbers()) == (True, [])
        away = False
        async with following(feed, stream=stream) as (resumed, _):
            feed.add("kestrel", "seen")
            await resumed.until("seen")
            assert resumed.numbers() == [1]


async def test_a_client_that_leaves_before_the_stream_has_begun_is_no_failure() -> None:
    async def gone(message: Any) -> None:
        raise OSError("the client has left")

    streams = Streams()
    wire = EventStreamWire(Reader().receive, gone)
    await stream_of(FakeFeed(), streams).serve(wire, KESTREL, Filter(), None, True)
    assert streams.count == 0


async def test_heartbeats_and_the_end_of_a_token() -> None:
    now = [0.0]
    feed = FakeFeed()
    principal = Principal("kestrel", frozenset({"events"}), 10)
    async with following(feed, principal, heartbeat_s=0.01, clock=lambda: now[0]) as (reader, _):
        await reader.until(": heartbeat\n\n: heartbeat\n\n: heartbeat\n\n")
        now[0] = 10
        await reader.until("event: token_expired")


async def test_closing() -> None:
    feed = FakeFeed()
    streams = Streams()
    async with following(feed, stream=stream_of(feed, streams)) as (reader, stream):
        streams.close()
        await reader.until("event: closing")
        with pytest.raises(Rejected, match="stream_full"):
            await stream.serve(reader.wire, KESTREL, Filter(), None, True)


async def test_clients_are_bounded() -> None:
    feed = FakeFeed()
    async with following(feed, clients_max=1) as (reader, stream):
        with pytest.raises(Rejected, match="stream_full"):
            await stream.serve(reader.wire, KESTREL, Filter(), None, True)


async def test_nobody_takes_all_streams() -> None:
    streams = Streams(subject_clients_max=1)
    with streams.admit(KESTREL):
        with pytest.raises(Rejected, match="too_many_streams"), streams.admit(KESTREL):
            pass
        with streams.admit(Principal("other", frozenset({"events"}), 10)):
            assert streams.count == 2
    with streams.admit(KESTREL):
        pass


async def test_what_the_address_refuses() -> None:
    feed = FakeFeed()
    feed.add("kestrel", "a")
    async with client_of(app_of(events=feed)) as client:
        assert (await client.get("/v1/events")).status_code == 401
        assert (await client.get("/v1/events", headers=bearer(scopes="notes.read"))).status_code == 403
        bad = await client.get("/v1/events", headers={**bearer(), "Last-Event-ID": "x"})
        assert (bad.status_code, bad.json()["field"]) == (400, "/Last-Event-ID")
        gone = await client.get("/v1/events?after=ch-zug-01/0/77", headers=bearer())
        assert (gone.status_code, gone.json()["code"]) == (410, "position_gone")
        assert (await client.get("/v1/events?kind=x", headers=bearer())).status_code == 400


async def test_what_a_filter_names_costs_an_entry_nothing() -> None:
    """Each of many streams may name as many types as fit into an address, and each entry is held against all."""
    feed = FakeFeed()
    opened = await Seer([MODULE], FakeWriter().image).opened(feed.add("kestrel", "a"))
    for many, taken in (
        ("", False),
        ("notes.note.*,", True),
        ("notes.note.posted,", True),
        ("notes.note.post,", False),
    ):
        wanted = filter_of(many + ",".join(f"a{number:x}.*" for number in range(2800)), "", "")
        assert wanted.takes(opened) == taken
        best_s = min(timeit.repeat(lambda wanted=wanted: wanted.takes(opened), number=100, repeat=5)) / 100
        assert best_s < 10e-6, "naming them one after the other would cost 200 us"


def test_positions() -> None:
    assert position_of("ch-zug-01/0/12") == ("ch-zug-01", 0, 12)
    for text in ("", "ch-zug-01/0", "ch-zug-01/0/-1", "CH/0/1", "a/b/c/d", "ch-zug-01/0/" + "9" * 30):
        with pytest.raises(Rejected):
            position_of(text)


def test_a_message_is_one_object_whatever_its_parts_are_called() -> None:
    frame = StreamFrame('a","id":"b', 'c","event":"d', b'{"n":1}')
    assert msgspec.json.decode(frame.as_message) == {"id": 'a","id":"b', "event": 'c","event":"d', "data": {"n": 1}}

"""A small module with every kind of route, a writer that keeps it in memory, and an app over both."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from litestar.testing import AsyncTestClient

from jilnode.http.app import AppParts, NodeApp, build_app
from jilnode.http.auth import Authenticator
from jilnode.http.development import DEVELOPMENT_ISSUER, development_ring, development_token
from jilnode.http.ports import CommitListener, Position, Reason
from jilnode.http.server import HttpServer
from jilnode.kernel.codec import encode_header, encode_row, encode_section, format_time
from jilnode.kernel.command import Submission, Touch
from jilnode.kernel.entry import Entry, Header
from jilnode.kernel.errors import Rejected
from jilnode.kernel.image import Image
from jilnode.kernel.rows import Owned
from jilnode.kernel.table import Table
from jilnode.module import Module, Query, QueryContext, Write

SOURCE = "ch-zug-01"
AUDIENCE = "jil"
KEY = Ed25519PrivateKey.generate()


class Note(Owned):
    holder: str
    text: str


NOTES = Table("notes.note", Note, searchable=("holder",))


class PostNote(msgspec.Struct, forbid_unknown_fields=True):
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    weight: Annotated[int, msgspec.Meta(ge=0)] = 0


class PostNotes(msgspec.Struct, forbid_unknown_fields=True):
    notes: Annotated[list[PostNote], msgspec.Meta(min_length=1, max_length=10)]


class ChangeNote(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class ChangeNoteAt(msgspec.Struct):
    note: str
    text: str


class NoteReply(msgspec.Struct):
    note: str
    text: str


class NotesReply(msgspec.Struct):
    notes: list[NoteReply]


class NoteParameters(msgspec.Struct):
    note: str


class NotesParameters(msgspec.Struct):
    holder: str | None = None
    limit: int = 50


def _split(body: PostNotes) -> list[PostNotes]:
    return [PostNotes(body.notes[start : start + 2]) for start in range(0, len(body.notes), 2)]


def _join(replies: list[NotesReply]) -> NotesReply:
    return NotesReply([note for reply in replies for note in reply.notes])


def _read(view: Any, context: QueryContext, params: NoteParameters) -> NoteReply:
    note = view[NOTES].get(params.note)
    if note is None:
        raise Rejected("note_unknown", "There is no such note.", status=404)
    return NoteReply(params.note, note.text)


async def _list(reader: "FakeReader", context: QueryContext, params: NotesParameters) -> NotesReply:
    return NotesReply([NoteReply(key, row.text) for key, row in reader.rows(params.holder)][: params.limit])


MODULE = Module(
    name="notes",
    version=1,
    tables=(NOTES,),
    writes=(
        Write("/v1/notes", PostNote, NoteReply, "notes.write", "Post a note", hot=True, example=PostNote("hello")),
        Write("/v1/notes/batch", PostNotes, NotesReply, "notes.write", "Post notes", split=_split, join=_join),
        Write(
            "/v1/notes/{note}",
            ChangeNote,
            NoteReply,
            "notes.write",
            "Change a note",
            method="PUT",
            status=200,
            command=lambda path, body: ChangeNoteAt(path["note"], body.text),
        ),
    ),
    queries=(
        Query("/v1/notes", NotesParameters, NotesReply, "notes.read", "List notes", listing=_list),
        Query(
            "/v1/notes/{note}",
            NoteParameters,
            NoteReply,
            "notes.read",
            "Read a note",
            read=_read,
            etag=lambda params: (NOTES, params.note),
        ),
    ),
    subject_of={"notes.note": lambda key, row: (row.holder,)},
    problems={"note_unknown": "There is no such note"},
)


@dataclass
class Answer:
    status: int
    reply: Any
    source: str
    epoch: int
    sequence: int
    replayed: bool = False


class _TableView:
    def __init__(self, images: Mapping[str, Image]) -> None:
        self._images = images

    def get(self, key: str) -> Any:
        image = self._images.get(key)
        return None if image is None else image.row

    def image(self, key: str) -> Image | None:
        return self._images.get(key)


@dataclass
class FakeWriter:
    """Decides at once. ``refusal`` makes every submission fail, ``at_once`` before it is queued."""

    refusal: Exception | None = None
    at_once: bool = False
    submissions: list[Submission] = field(default_factory=list)
    images: dict[str, Image] = field(default_factory=dict)
    answers: dict[bytes, tuple[bytes | None, Answer]] = field(default_factory=dict)
    sequence: int = 0
    listeners: list[CommitListener] = field(default_factory=list)
    read_us: int = 0

    def submit_nowait(self, submission: Submission) -> "asyncio.Future[Answer]":
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.submissions.append(submission)
        if self.refusal is not None and self.at_once:
            raise self.refusal
        try:
            if self.refusal is not None:
                raise self.refusal
            future.set_result(self._decide(submission))
        except Exception as error:
            future.set_exception(error)
        return future

    async def query(self, read: Callable[[Any], Any]) -> Any:
        return read(self.view())

    def view(self) -> Any:
        return {NOTES: _TableView(self.images)}

    async def image(self, table: Table[Any], key: str) -> Image | None:
        return self.images.get(key)

    def _decide(self, submission: Submission) -> Answer:
        assert submission.key_hash is not None
        known = self.answers.get(submission.key_hash)
        if known is not None:
            if known[0] != submission.body_hash:
                raise Rejected("idempotency_key_reused", "The key was used for another body.", status=409)
            before = known[1]
            return Answer(before.status, before.reply, before.source, before.epoch, before.sequence, replayed=True)
        for touch, etag in (submission.expected_etag or {}).items():
            self._expect(touch, etag)
        self.sequence += 1
        command = submission.command
        status, reply = 201, None
        if isinstance(command, PostNote):
            reply = self._put(f"{SOURCE}/{self.sequence}", submission.actor, command.text)
        elif isinstance(command, PostNotes):
            notes = [
                self._put(f"{SOURCE}/{self.sequence}-{number}", submission.actor, note.text)
                for number, note in enumerate(command.notes)
            ]
            reply = NotesReply(notes)
        elif isinstance(command, ChangeNoteAt):
            status, reply = 200, self._put(command.note, submission.actor, command.text)
        answer = Answer(status, reply, SOURCE, 0, self.sequence)
        self.answers[submission.key_hash] = (submission.body_hash, answer)
        return answer

    def _expect(self, touch: Touch, etag: tuple[str, int, int]) -> None:
        image = self.images.get(touch[1])
        if image is None or (image.owner, image.epoch, image.sequence) != etag:
            raise Rejected("precondition_failed", "It has changed.", status=412)

    def _put(self, key: str, holder: str, text: str) -> NoteReply:
        row = Note(holder, text)
        self.images[key] = Image(row, SOURCE, 0, self.sequence, encode_row(row))
        return NoteReply(key, text)


class FakeReader:
    def __init__(self, writer: FakeWriter) -> None:
        self._writer = writer

    def rows(self, holder: str | None) -> list[tuple[str, Any]]:
        images: Iterable[tuple[str, Any]] = sorted(self._writer.images.items())
        return [(key, image.row) for key, image in images if holder is None or image.row.holder == holder]


class FakeFeed:
    """A journal of one source, and the queues of those who follow it."""

    def __init__(self) -> None:
        self.journal: list[Entry] = []
        self.queues: list[asyncio.Queue[Entry | None]] = []
        self.followed = asyncio.Event()

    def add(self, holder: str, text: str, kind: str = "notes.note.posted", publish: bool = True) -> Entry:
        entry = entry_of(len(self.journal), holder, text, kind)
        self.journal.append(entry)
        if publish:
            for queue in self.queues:
                queue.put_nowait(entry)
        return entry

    async def after(self, position: Position | None, limit: int) -> list[Entry]:
        start = 0
        if position is not None:
            start = (
                [(entry.source, entry.epoch, entry.sequence) for entry in self.journal].index(position) + 1
                if (position in [(entry.source, entry.epoch, entry.sequence) for entry in self.journal])
                else -1
            )
        if start < 0:
            raise LookupError(position)
        return self.journal[start : start + limit]

    def subscribe(self) -> "asyncio.Queue[Entry | None]":
        queue: asyncio.Queue[Entry | None] = asyncio.Queue(10_000)
        self.queues.append(queue)
        self.followed.set()
        return queue

    def unsubscribe(self, queue: "asyncio.Queue[Entry | None]") -> None:
        self.queues.remove(queue)


def entry_of(sequence: int, holder: str, text: str, kind: str = "notes.note.posted") -> Entry:
    header = Header(
        event_id=f"{sequence:032x}",
        network="dev",
        source_id=SOURCE,
        epoch=0,
        sequence=sequence,
        topic="jil.notes",
        type=kind,
        timestamp=format_time(1_700_000_000_000_000 + sequence),
        actor=holder,
    )
    rows = encode_section(b"salt", [("notes.note", f"{SOURCE}/{sequence}", encode_row(Note(holder, text)))])
    return Entry(SOURCE, 0, sequence, encode_header(header), {"rows": rows})


def token(subject: str = "kestrel", scopes: str = "notes.read notes.write events", lifetime_s: int = 600) -> str:
    return development_token(KEY, subject=subject, scopes=scopes.split(), audience=AUDIENCE, lifetime_s=lifetime_s)


def bearer(**options: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(**options)}"}


def authenticator(**options: Any) -> Authenticator:
    return Authenticator(development_ring(KEY), issuer=DEVELOPMENT_ISSUER, audience=AUDIENCE, **options)


def app_of(writer: FakeWriter | None = None, **options: Any) -> NodeApp:
    writer = writer or FakeWriter()
    options.setdefault("rate_limiter", None)
    options.setdefault("ticks", lambda: {"sg-mas-01": 1})
    options.setdefault("authenticator", authenticator())
    options.setdefault("readiness", lambda: [Reason("bus_down", "no broker answers", blocking=False)])
    return build_app(AppParts(source=SOURCE, modules=(MODULE,), writer=writer, reader=FakeReader(writer), **options))


def client_of(app: NodeApp) -> AsyncTestClient[NodeApp]:
    """Asks the app itself, behind the framework's router."""
    return AsyncTestClient(app, raise_server_exceptions=False)


@asynccontextmanager
async def served_client(app: NodeApp) -> AsyncIterator[httpx.AsyncClient]:
    """Asks the real server over a socket; it answers hot routes without asking the app."""
    server = HttpServer(app, "127.0.0.1", 0, drain_s=2)
    ready, done = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        # In one task from start to end, as the framework wants it; a fixture is torn down in another.
        await server.start()
        ready.set()
        await done.wait()
        await server.stop()

    serving = asyncio.create_task(serve())
    await ready.wait()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
            yield client
    finally:
        done.set()
        await serving


def either_client(app: NodeApp, *, hot: bool) -> "AbstractAsyncContextManager[httpx.AsyncClient]":
    return served_client(app) if hot else client_of(app)

"""The app over the kernel's own writer, with nothing faked but time: what only the two together can show."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx

from jilnode.http.app import AppParts, build_app
from jilnode.kernel.command import Command
from jilnode.kernel.entry_rows import EntryRows
from jilnode.module import Rejected
from jilnode.stores.memory import MemoryStore
from tests.http.kit import (
    MODULE,
    NOTES,
    ChangeNoteAt,
    Note,
    NoteReply,
    NotesReply,
    PostNote,
    PostNotes,
    authenticator,
    bearer,
)
from tests.kit.node import TestNode, running


def _post(state: Any, context: Any, command: PostNote) -> None:
    if command.text == "refuse":
        raise Rejected("note_unknown", "Refused.", status=422)
    state[NOTES].insert(context.new_key(), Note(context.actor, command.text))


def _post_many(state: Any, context: Any, command: PostNotes) -> None:
    for note in command.notes:
        _post(state, context, note)


def _change(state: Any, context: Any, command: ChangeNoteAt) -> None:
    note = state[NOTES].get(command.note)
    if note is None:
        raise Rejected("note_unknown", "There is no such note.", status=404)
    state[NOTES].put(command.note, Note(note.holder, command.text))


def _one(rows: EntryRows) -> NoteReply:
    key, note = rows.one(NOTES)
    return NoteReply(key, note.text)


def _many(rows: EntryRows) -> NotesReply:
    return NotesReply([NoteReply(key, note.text) for key, note in rows.rows(NOTES)])


REAL = replace(
    MODULE,
    commands=(
        Command(PostNote, "notes.note.posted", _post, _one),
        Command(PostNotes, "notes.notes.posted", _post_many, _many),
        Command(ChangeNoteAt, "notes.note.changed", _change, _one, status=200),
    ),
)


@asynccontextmanager
async def served(node: TestNode) -> AsyncIterator[httpx.AsyncClient]:
    async with running(node):
        parts = AppParts(
            source=node.source,
            modules=(REAL,),
            writer=node.writer,
            reader=node.store,
            authenticator=authenticator(),
            readiness=list,
            ticks=lambda: {source: state.tick_us for source, state in node.engine.sources.items()},
            rate_limiter=None,
        )
        # Not the framework's client: that runs the app in a thread of its own, and the writer is in this loop.
        transport = httpx.ASGITransport(build_app(parts), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            yield client


def headers(key: str, **more: str) -> dict[str, str]:
    return {**bearer(), "Idempotency-Key": key, **more}


async def test_the_same_answer_after_a_restart() -> None:
    node = TestNode(modules=[REAL])
    async with served(node) as client:
        first = await client.post("/v1/notes", json={"text": "a"}, headers=headers("k"))
        refused = await client.post("/v1/notes", json={"text": "refuse"}, headers=headers("r"))
        assert (first.status_code, refused.status_code) == (201, 422)
        assert "idempotency-replayed" not in refused.headers
        assert first.headers["jil-entry"] == "ch-zug-01/0/1"
    async with served(TestNode(modules=[REAL], store=MemoryStore(node.disk))) as client:
        again = await client.post("/v1/notes", json={"text": "a"}, headers=headers("k"))
        assert (again.status_code, again.content, again.headers["jil-entry"]) == (201, first.content, "ch-zug-01/0/1")
        assert again.headers["idempotency-replayed"] == "true"
        other = await client.post("/v1/notes", json={"text": "b"}, headers=headers("k"))
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
        still = await client.post("/v1/notes", json={"text": "refuse"}, headers=headers("r"))
        assert still.json() | {"trace_id": ""} == refused.json() | {"trace_id": ""}
        assert (still.status_code, still.headers["idempotency-replayed"]) == (422, "true")


async def test_many_at_once_and_a_batch() -> None:
    async with served(TestNode(modules=[REAL])) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/notes", json={"text": f"t{n}"}, headers=headers(f"k{n % 25}")) for n in range(50))
        )
        assert sorted({answer.status_code for answer in answers}) == [201, 409]
        assert len({answer.headers["jil-entry"] for answer in answers if answer.status_code == 201}) == 25
        batch = {"notes": [{"text": str(number)} for number in range(5)]}
        first = await client.post("/v1/notes/batch", json=batch, headers=headers("b"))
        assert [note["text"] for note in first.json()["notes"]] == ["0", "1", "2", "3", "4"]
        again = await client.post("/v1/notes/batch", json=batch, headers=headers("b"))
        assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")


async def test_etags() -> None:
    async with served(TestNode(modules=[REAL])) as client:
        key = (await client.post("/v1/notes", json={"text": "a"}, headers=headers("k"))).json()["note"]
        path = "/v1/notes/" + key.replace("/", "%2F")
        read = await client.get(path, headers=bearer())
        assert (read.json()["text"], read.headers["etag"]) == ("a", '"ch-zug-01:0:1"')
        changed = await client.put(
            path, json={"text": "b"}, headers=headers("k2", **{"If-Match": read.headers["etag"]})
        )
        assert changed.status_code == 200
        assert changed.headers["etag"] == f'"{changed.headers["jil-entry"].replace("/", ":")}"'
        assert changed.headers["etag"] != read.headers["etag"]
        stale = await client.put(path, json={"text": "c"}, headers=headers("k3", **{"If-Match": read.headers["etag"]}))
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
        same = await client.get(path, headers={**bearer(), "If-None-Match": changed.headers["etag"]})
        assert same.status_code == 304


async def test_a_node_that_does_not_write() -> None:
    node = TestNode(modules=[REAL])
    async with served(node) as client:
        node.kernel.forbid_writes("the tail is not known")
        answer = await client.post("/v1/notes", json={"text": "a"}, headers=headers("k"))
        assert (answer.status_code, answer.json()["code"]) == (503, "not_writable")
        assert int(answer.headers["retry-after"]) >= 1

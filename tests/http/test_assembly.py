"""Declarations that can't be served are refused before anything is."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from litestar import get

from jilnode.http.assembly import AssemblyError, check_modules
from jilnode.module import Feed, Local, Module, Query, Table, Write
from tests.http.board import BOARD_FEED, OTHERS
from tests.http.kit import MODULE, NOTES, NoteParameters, NoteReply, PostNote, app_of, bearer, client_of

WRITE = Write("/v1/x", PostNote, NoteReply, "x", "X")
QUERY = Query("/v1/x", NoteParameters, NoteReply, "x", "X", read=lambda *_: None)
FEED: Any = replace(BOARD_FEED, path="/v1/x/{board}", tables=(NOTES,))


class Private(Local):
    text: str


PRIVATE = Table("notes.private", Private)


class Resumed(msgspec.Struct):
    board: str
    after: str


class Lax(msgspec.Struct):
    text: str


class Holder(msgspec.Struct, forbid_unknown_fields=True):
    inner: dict[str, list[Lax | None]]


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        (replace(WRITE, scope=""), "needs a scope"),
        (replace(WRITE, scope="a b"), "needs a scope"),
        (replace(WRITE, path="x"), "begins with /v1/"),
        (replace(WRITE, method="GET"), "not a method that writes"),
        (replace(WRITE, split=lambda body: [body]), "split and join"),
        (replace(WRITE, path="/v1/{note}", hot=True), "no path parameters"),
        (replace(WRITE, path="/v1/{note}"), "go nowhere"),
        (replace(WRITE, body=dict[str, str]), "must be a Struct"),
        (replace(WRITE, body=Lax), "Lax must have forbid_unknown_fields"),
        (replace(WRITE, body=Holder), "Lax must have forbid_unknown_fields"),
        (replace(QUERY, read=None), "either read or listing"),
        (replace(QUERY, path="/v1/{other}"), "not in NoteParameters"),
        (replace(QUERY, params=dict[str, str]), "must be a Struct"),
        (replace(FEED, scope=""), "needs a scope"),
        (replace(FEED, path="/v1/{other}"), "not in BoardParameters"),
        (replace(FEED, params=dict[str, str]), "must be a Struct"),
        (replace(FEED, params=Resumed), "`after` is taken"),
        (replace(FEED, tables=()), "never moves"),
        (replace(FEED, tables=(NOTES, OTHERS)), "no module has the table board.other"),
        (replace(FEED, tables=(PRIVATE,)), "in no entry"),
    ],
)
def test_refused(route: Any, reason: str) -> None:
    kinds = {Write: "writes", Query: "queries", Feed: "feeds"}
    routes: dict[str, Any] = {kinds[type(route)]: (route,)}
    with pytest.raises(AssemblyError, match=reason):
        check_modules([Module("m", 1, tables=(NOTES, PRIVATE), **routes)])


def test_twice() -> None:
    with pytest.raises(AssemblyError, match="declared twice"):
        check_modules([MODULE, MODULE])
    both = Module("m", 1, tables=(NOTES,), queries=(replace(QUERY, path="/v1/x/{note}"),))
    feed = replace(FEED, path="/v1/x/{note}", params=NoteParameters)
    with pytest.raises(AssemblyError, match="declared twice"):
        check_modules([replace(both, feeds=(feed,))])
    check_modules([both, Module("n", 1, feeds=(FEED,))])


async def test_a_handler_without_access_is_closed() -> None:
    """Deny by default, even for a route that somebody adds past the declarations."""

    @get("/forgotten")
    async def forgotten() -> str:
        return "secret"

    app = app_of()
    app.register(forgotten)
    async with client_of(app) as client:
        answer = await client.get("/forgotten", headers=bearer())
    assert (answer.status_code, "secret" in answer.text) == (405, False)

"""Lists come to an end and leave nothing out, whatever keys a node gives its rows."""

from typing import Any

import pytest

from jilnode.kernel.errors import Rejected
from jilnode.module import QueryContext
from services.dex.rfq import listings
from services.dex.rfq.intents import OpenRequest
from services.dex.rfq.queries import IdParams
from services.dex.rfq.rows import REQUESTS
from tests.kit.node import running
from tests.services.dex.kit import BASE, QUOTE
from tests.services.dex.test_forged import ROGUE, Rows, Scene, Twist, scenery
from tests.services.wallet.kit import rows

KEYS = [f"{ROGUE}/{name}" for name in ("a", "a/1", "a~", "a~1", "a~1/~", "a~~1", "~", "~/a~")]


async def wrote_requests(scene: Scene) -> Any:
    """The rogue opens a request, and the same again under every key. Returns who asks the honest node."""
    until_us = scene.rogue.engine.now_us() + 30_000_000

    def repeat(state: Any, context: Any) -> None:
        made = Rows(state)
        row = made.row(REQUESTS)
        for key in KEYS:
            made.write(REQUESTS, key, row)

    opening = OpenRequest(scene.taker, BASE, QUOTE, "buy", "1", until_us)
    await scene.rogue.run(Twist(opening, repeat), actor="t")
    await scene.honest.follow(scene.rogue)
    assert set(KEYS) < set(rows(scene.honest, REQUESTS))
    return QueryContext("x", frozenset(), scene.honest.source, scene.honest.engine.now_us())


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
async def test_a_list_goes_on_behind_any_key(limit):
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        context = await wrote_requests(scene)
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            params = listings.RequestsParams(after=cursor, limit=limit)
            page = await listings.requests(scene.honest.store, context, params)
            found += [item.id for item in page.items]
            assert len(found) <= len(KEYS) + 1
            cursor = page.next
        assert found == [key.replace("/", "~") for key in sorted(rows(scene.honest, REQUESTS))]


async def test_an_id_finds_the_row_without_a_tilde_in_its_key_or_none():
    """Of two rows with one id, which only a node that is not bound by our rules makes, and of its own rows only."""
    exchange, scene = scenery()
    async with running(*exchange.nodes):
        await scene.begin(exchange)
        context = await wrote_requests(scene)
        found = await listings.request(scene.honest.store, context, IdParams(f"{ROGUE}~a~1"))
        assert found.id == f"{ROGUE}~a~1"
        for key in (f"{ROGUE}~a~", f"{ROGUE}~~", f"{ROGUE}~a~~1"):
            with pytest.raises(Rejected, match="bad_id"):
                await listings.request(scene.honest.store, context, IdParams(key))

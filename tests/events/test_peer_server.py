"""What a node answers its peers: to whom it follows, and about what may be."""

import time

import httpx
import pytest
from litestar import Litestar

from jilnode.events.peer_server import PeerServer
from jilnode.events.peer_token import make_token
from jilnode.kernel.errors import Rejected
from jilnode.simulation.ledger import MODULE
from jilnode.stores.sqlite import SqliteStore
from tests.events.networks import _refused
from tests.events.test_convergence import ONE, TWO
from tests.kit.node import TestNode, running


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ({}, 200),
        ({"epoch": 7, "start": 2**53 - 1}, 200),
        ({"source": "nobody-here"}, 200),
        ({"epoch": 10**20}, 400),
        ({"start": 2**63 - 1}, 400),
        ({"start": -1}, 400),
        ({"source": "a\0b"}, 400),
    ],
)
async def test_a_place_that_no_journal_has_is_refused(tmp_path, place, status):
    one, two = TestNode(ONE, [MODULE]), TestNode(TWO, [MODULE], store=SqliteStore(tmp_path / "node.db"))
    async with running(one, two):
        await two.follow(one)
        app = Litestar(
            PeerServer(two.writer, two.store).handlers(),
            exception_handlers={Rejected: _refused},
            openapi_config=None,
            logging_config=None,
        )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {make_token(one.key, ONE, TWO, int(time.time()))}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://two") as client:
            asked = {"source": TWO, "epoch": 0, "start": 0, **place}
            answer = await client.get("/v1/peer/journal", params=asked, headers=headers)
        assert answer.status_code == status

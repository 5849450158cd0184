from collections.abc import AsyncIterator

import pytest
from litestar.testing import AsyncTestClient

from jilnode.http.app import NodeApp
from tests.http.kit import FakeWriter, app_of, client_of


@pytest.fixture
def writer() -> FakeWriter:
    return FakeWriter()


@pytest.fixture(params=["fast", "routed"])
async def client(request: pytest.FixtureRequest, writer: FakeWriter) -> AsyncIterator[AsyncTestClient[NodeApp]]:
    """Every test of a write runs on both ways."""
    async with client_of(app_of(writer, fast_path=request.param == "fast")) as opened:
        yield opened


@pytest.fixture
async def routed(writer: FakeWriter) -> AsyncIterator[AsyncTestClient[NodeApp]]:
    async with client_of(app_of(writer)) as opened:
        yield opened

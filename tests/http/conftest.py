from collections.abc import AsyncIterator

import httpx
import pytest

from tests.http.kit import FakeWriter, app_of, client_of, either_client


@pytest.fixture
def writer() -> FakeWriter:
    return FakeWriter()


@pytest.fixture(params=["hot", "routed"])
async def client(request: pytest.FixtureRequest, writer: FakeWriter) -> AsyncIterator[httpx.AsyncClient]:
    """Every test of a write runs on both ways."""
    async with either_client(app_of(writer), hot=request.param == "hot") as opened:
        yield opened


@pytest.fixture
async def routed(writer: FakeWriter) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(writer)) as opened:
        yield opened

from collections.abc import AsyncIterator
from typing import Any

import pytest

from jilnode.kernel.ports import Store
from jilnode.kernel.table import Table
from tests.stores.backends import Backend, Opener
from tests.stores.tables import SOURCE, TABLES


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens a store, and closes it when the test has ended."""
    stores: list[Store] = []

    async def open_store(store: Store, source: str = SOURCE, tables: tuple[Table[Any], ...] = TABLES) -> Store:
        stores.append(store)
        await store.open(source, tables)
        return store

    yield open_store
    for store in stores:
        await store.close()


@pytest.fixture
async def store(backend: Backend, opened: Opener) -> Store:
    return await opened(backend.store())

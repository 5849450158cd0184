"""The server's side of the peer bus: this node's journals, over HTTP, to nodes that prove who they are.

``/v1/peer/genesis`` is public: it holds a public key and nothing else. Everything else is for sources that this node
follows.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from jilnode.events.export import write_lines
from jilnode.events.peer_token import token_issuer, verify_token
from jilnode.events.record import records_of
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.errors import Rejected
from jilnode.kernel.names import valid_source
from jilnode.kernel.ports import Store
from jilnode.kernel.sources import SUSPENDED
from jilnode.kernel.writer import Writer
from jilnode.limits import ORDINAL_MAX, PEER_PAGE_BYTES, PEER_PAGE_ENTRIES, PEER_READ_ENTRIES

__all__ = ("PeerServer",)

WAIT_MS_MAX = 10_000
LINES = "application/jsonl"
JSON = "application/json"
_PUBLIC = {"access": ""}
"""No user's token is asked for: nodes have their own, checked here."""


class PeerServer:
    def __init__(self, writer: Writer, store: Store) -> None:
        self._writer = writer
        self._engine = writer.engine
        self._store = store
        self._written = asyncio.Event()
        self._closing = False
        writer.listeners.append(self._committed)

    def close(self) -> None:
        """Ends the long polls: this node's shutdown waits for nobody's next question."""
        self._closing = True
        self._written.set()

    def _committed(self, entries: list[Entry], seals: list[Seal]) -> None:
        self._written.set()
        self._written = asyncio.Event()

    def handlers(self) -> Sequence[HTTPRouteHandler]:
        @get("/v1/peer/genesis", opt=_PUBLIC, include_in_schema=False, media_type=LINES)
        async def genesis() -> Response[bytes]:
            own = self._engine.sources.get(self._engine.source)
            if own is None:
                raise Rejected("not_writable", "this node's journal is not here yet", status=503, retry_after_s=1)
            return Response(await self._lines(self._engine.source, own.epoch, 0, 1), media_type=LINES)

        @get("/v1/peer/heads", opt=_PUBLIC, include_in_schema=False, media_type=JSON)
        async def heads(request: Request[Any, Any, Any]) -> Response[bytes]:
            self._check(request)
            found = {name: (s.epoch, s.size) for name, s in self._engine.sources.items() if s.status != SUSPENDED}
            return Response(msgspec.json.encode(found), media_type=JSON)

        @get("/v1/peer/journal", opt=_PUBLIC, include_in_schema=False, media_type=LINES)
        async def journal(
            request: Request[Any, Any, Any],
            source: FromQuery[str],
            epoch: FromQuery[int],
            start: FromQuery[int],
            wait_ms: FromQuery[int] = 0,
        ) -> Response[bytes]:
            self._check(request)
            _check_place(source, epoch, start)
            if not self._has(source, epoch, start) and wait_ms > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(wait_ms, WAIT_MS_MAX) / 1000):
                        while not self._has(source, epoch, start) and not self._closing:
                            await self._written.wait()
            return Response(await self._lines(source, epoch, start, PEER_PAGE_ENTRIES), media_type=LINES)

        return [genesis, heads, journal]

    def _has(self, source: str, epoch: int, start: int) -> bool:
        state = self._engine.sources.get(source)
        return state is not None and (state.epoch, state.size) > (epoch, start)

    async def _lines(self, source: str, epoch: int, start: int, limit: int) -> bytes:
        """Whole commits: entries from ``start`` up to a seal; the next epoch's when this one has ended."""
        state = self._engine.sources.get(source)
        seals = await self._store.seals(source, epoch, start, limit)
        if not seals and state is not None and state.epoch > epoch:
            epoch, start = epoch + 1, 0
            seals = await self._store.seals(source, epoch, 0, limit)
        if not seals:
            return b""
        wanted = [seal for seal in seals if seal.size <= start + limit] or seals[:1]
        entries, taken = await self._page(source, epoch, start, wanted)
        return b"".join(write_lines(records_of(entries, taken)))

    async def _page(
        self, source: str, epoch: int, start: int, wanted: Sequence[Seal]
    ) -> tuple[list[Entry], list[Seal]]:
        """As many of the commits as fit, the first in any case."""
        entries: list[Entry] = []
        taken: list[Seal] = []
        size = 0
        async for entry in self._read(source, epoch, start, wanted[-1].size):
            size += entry.size
            if taken and size > PEER_PAGE_BYTES:
                break
            entries.append(entry)
            if entry.sequence + 1 == wanted[len(taken)].size:
                taken.append(wanted[len(taken)])
        return entries[: taken[-1].size - start] if taken else [], taken

    async def _read(self, source: str, epoch: int, start: int, end: int) -> AsyncIterator[Entry]:
        """A few at a time: nobody knows before how large they are."""
        while start < end:
            entries = await self._store.journal(source, epoch, start, min(PEER_READ_ENTRIES, end - start))
            if not entries:
                return
            for entry in entries:
                yield entry
            start += len(entries)

    def _check(self, request: Request[Any, Any, Any]) -> None:
        """Raises ``Rejected`` unless the caller proves to be a source that is followed here."""
        if self._closing:
            raise Rejected("not_writable", "this node is shutting down", status=503, retry_after_s=1)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        issuer = token_issuer(token) if scheme.lower() == "bearer" else None
        state = None if issuer is None else self._engine.sources.get(issuer)
        if issuer is None or state is None or state.status == SUSPENDED or not state.public_key:
            raise Rejected("token_invalid", "only nodes that this node follows may read its journals", status=401)
        if not verify_token(token, state.public_key, issuer, self._engine.source):
            raise Rejected("token_invalid", "the token is not by that node's key", status=401)


def _check_place(source: str, epoch: int, start: int) -> None:
    """Raises ``Rejected`` for what a database would refuse: it is no place in any journal."""
    if not (valid_source(source) and 0 <= epoch <= ORDINAL_MAX and 0 <= start <= ORDINAL_MAX):
        raise Rejected("bad_request", "no place in a journal", status=400)

"""A live feed's address: a client joins its channel, and gets what it missed, or a snapshot, and then every delta."""

import asyncio
import logging
from typing import Any

import msgspec
from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send

from jilnode.http.auth import Principal
from jilnode.http.channels import Channel, Channels
from jilnode.http.contexts import Contexts
from jilnode.http.frames import StreamFrame
from jilnode.http.gate import Admitted
from jilnode.http.parameters import ParameterReader
from jilnode.http.ports import WriterPort
from jilnode.http.streams import StreamClient, Streams
from jilnode.http.wires import Wire, wire_of
from jilnode.kernel.command import Submission
from jilnode.kernel.errors import Rejected
from jilnode.module import Feed, QueryContext

__all__ = ("FeedRoute",)

_log = logging.getLogger(__name__)

CLOSE_TRIES_MAX = 10


class FeedRoute:
    """Made once for each ``Feed``."""

    def __init__(
        self, feed: Feed, channels: Channels, streams: Streams, writer: WriterPort, contexts: Contexts
    ) -> None:
        self.feed = feed
        self._channels = channels
        self._streams = streams
        self._writer = writer
        self._contexts = contexts
        # The feed's own parameters, and where to resume.
        self._reader = ParameterReader(
            msgspec.defstruct(feed.params.__name__, [("after", str, "")], bases=(feed.params,))
        )

    async def answer(self, request: Request[Any, Any, Any], admitted: Admitted, values: dict[str, str]) -> ASGIApp:
        """Raises ``Rejected``."""
        params = self._reader.read(values, request.scope["query_string"])
        principal = admitted.principal
        assert principal is not None
        position = admitted.headers.get(b"last-event-id", b"").decode("latin-1") or params.after

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await self.serve(wire_of(scope, receive, send), principal, params, position)

        return application

    async def serve(self, wire: Wire, principal: Principal, params: Any, position: str) -> None:
        """Raises ``Rejected`` before anything is sent."""
        feed = self.feed
        context = self._contexts.of(principal)
        key = feed.key(context, params)

        def join(view: Any) -> tuple[Channel, list[StreamFrame]]:
            if feed.check is not None:
                feed.check(view, context, params)
            channel = self._channels.open(feed, key)
            frames = channel.after(position)
            if frames is None:
                frames = [channel.snapshot(view)]
            # Last, for what is above may be run again; and here, so that no commit comes between.
            channel.clients.add(client)
            return channel, frames

        joined = False
        try:
            with self._streams.admit(principal) as client:
                channel, frames = await self._writer.query(join)
                joined = True
                try:
                    await self._follow(wire, client, frames)
                finally:
                    self._channels.leave(channel, client)
        finally:
            if joined:
                await self._closed(principal, context, params)

    async def _follow(self, wire: Wire, client: StreamClient[StreamFrame], frames: list[StreamFrame]) -> None:
        async with client.over(wire):
            await client.send(wire, frames)
            async for batch in client.batches():
                if not batch:
                    await wire.send([])
                await client.send(wire, batch)

    async def _closed(self, principal: Principal, context: QueryContext, params: Any) -> None:
        """Submits what is due when the stream has ended; again, while the node says that it is not final."""
        command = None if self.feed.on_close is None else self.feed.on_close(context, params)
        if command is None:
            return
        submission = Submission(command, principal.subject, principal.scopes)
        for _ in range(CLOSE_TRIES_MAX):
            try:
                await self._writer.submit_nowait(submission)
                return
            except Rejected as rejected:
                refusal = rejected
                if rejected.final:
                    break
                await asyncio.sleep(rejected.retry_after_s or 1)
        fields = {"feed": self.feed.path, "code": refusal.code}
        _log.error("what was due when a stream ended was refused", extra={"fields": fields})

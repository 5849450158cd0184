"""A hot write: from a request's bytes to its reply without the framework, and without a task of its own.

The steps are those of ``WriteRoute``; ``tests/http/test_writes.py`` compares the answers of both ways byte for byte.
"""

import asyncio
import time
from functools import partial
from typing import Any, Protocol

from jilnode.http import trace
from jilnode.http.gate import Gate, RouteMeter
from jilnode.http.metrics import Counter
from jilnode.http.rate_limit import RateLimiter
from jilnode.http.reply import Headers, Reply
from jilnode.http.write_route import Asked, WriteRoute
from jilnode.kernel.errors import Rejected

__all__ = ("Exchange", "HotRoute")

_NO_PARAMETERS: dict[str, str] = {}


class Exchange(Protocol):
    """A request that came in whole, and the way back. Header names are in lower case."""

    peer: str
    headers: Headers
    by_name: dict[bytes, bytes]
    body: bytes

    def send(self, reply: Reply) -> None: ...


class HotRoute:
    """``method`` and ``target`` are as they stand in the request line."""

    def __init__(
        self, gate: Gate, route: WriteRoute, meter: RouteMeter, limiter: RateLimiter | None, limited: Counter
    ) -> None:
        self.method = route.write.method.encode()
        self.target = route.write.path.encode()
        self._gate = gate
        self._route = route
        self._meter = meter
        self._limiter = limiter
        self._limited = limited
        self._forwarding: set[asyncio.Task[None]] = set()

    def serve(self, exchange: Exchange) -> None:
        """``exchange.send`` is called once, now or later; only the end of the loop leaves it uncalled."""
        started = time.perf_counter()
        route = self._route
        headers = exchange.by_name
        try:
            if self._limiter is not None:
                self._limit(self._limiter, exchange)
            principal = self._gate.authenticator.principal(headers.get(b"authorization"), route.scope)
            asked = Asked(route.write.path, b"", exchange.body)
            future = route.submit(route.submission(asked, principal, headers, _NO_PARAMETERS))
        except Exception as error:
            self._refuse(exchange, started, error)
        else:
            future.add_done_callback(partial(self._decided, exchange, started))

    def _limit(self, limiter: RateLimiter, exchange: Exchange) -> None:
        try:
            limiter.take(self._gate.addresses.client(exchange.peer, exchange.headers))
        except Rejected:
            self._limited.add()
            raise

    def _decided(self, exchange: Exchange, started: float, future: "asyncio.Future[Any]") -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._send(exchange, started, self._route.reply(future.result()))
        else:
            self._refuse(exchange, started, error)

    def _refuse(self, exchange: Exchange, started: float, error: BaseException) -> None:
        if isinstance(error, Rejected) and (address := self._gate.owner_address(error, exchange.by_name)) is not None:
            task = asyncio.get_running_loop().create_task(self._forward(exchange, started, error, address))
            self._forwarding.add(task)
            task.add_done_callback(self._forwarding.discard)
            return
        self._send(exchange, started, self._gate.book.reply_to(error, trace.trace_id_of(exchange.headers)))

    async def _forward(self, exchange: Exchange, started: float, rejected: Rejected, address: str) -> None:
        client = self._gate.addresses.client(exchange.peer, exchange.headers)
        method = self.method.decode()
        try:
            reply = await self._gate.forward(
                rejected, address, method, self.target, exchange.by_name, exchange.body, client
            )
        except Exception as error:
            reply = self._gate.book.reply_to(error, trace.trace_id_of(exchange.headers))
        self._send(exchange, started, reply)

    def _send(self, exchange: Exchange, started: float, reply: Reply) -> None:
        exchange.send(reply)
        self._meter.observe(reply.status, time.perf_counter() - started)

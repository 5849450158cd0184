"""uvicorn in our own loop. Signals are the main program's; time-outs, sizes and numbers of connections are
bounded here.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import uvicorn

from jilnode.http.app import NodeApp
from jilnode.http.clients import OpenConnections
from jilnode.http.protocol import Bounds, bounded_protocol
from jilnode.http.socket_protocol import socket_protocol
from jilnode.http.streams import HEARTBEAT_S
from jilnode.limits import SOCKET_MESSAGE_BYTES_MAX

__all__ = ("HttpServer",)

SWEEP_INTERVAL_S = 1.0
PONG_TIMEOUT_S = 20.0
UNACKNOWLEDGED_MS = 30_000
"""A client that acknowledges nothing for this long is gone. The system's own default is fifteen minutes, and somebody's
orders may wait to be cancelled."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leaves them alone: uvicorn would take them, and raise them again when it is done."""
        yield


class HttpServer:
    """``start`` returns when requests are taken; ``stop`` when the last one is answered.

    The loop should be uvloop's. The main program calls ``gc.freeze`` after start: it is worth 40 ms of the slowest
    requests.
    """

    def __init__(
        self,
        app: NodeApp,
        host: str,
        port: int,
        *,
        certificate_file: str | None = None,
        key_file: str | None = None,
        bounds: Bounds | None = None,
        drain_s: float = 10,
    ) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._bounds = bounds or Bounds()
        if app.parts.rate_limiter is None:
            # Addresses are not told apart here.
            self._bounds = replace(self._bounds, client_connections=self._bounds.connections)
        self._config = uvicorn.Config(
            app,
            # Handed over as a bound socket: uvicorn ends the process when it can't bind.
            http=bounded_protocol(self._bounds, app.parts.metrics, app.hot_routes, OpenConnections(app.addresses)),
            ws=socket_protocol(self._bounds.header_s, app.book),
            ws_max_size=SOCKET_MESSAGE_BYTES_MAX,
            ws_ping_interval=HEARTBEAT_S,
            ws_ping_timeout=PONG_TIMEOUT_S,
            # Frames are small and many: compressing each for each client costs more than it saves.
            ws_per_message_deflate=False,
            # The app's background work is entered in ``start``, so that its failure is an exception there.
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            backlog=2048,
            timeout_keep_alive=int(self._bounds.idle_s),
            timeout_graceful_shutdown=int(drain_s),
            ssl_certfile=certificate_file,
            ssl_keyfile=key_file,
        )
        self._server = _Server(self._config)
        self._stack = AsyncExitStack()
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The real one, where 0 was asked for."""
        return self._port

    async def start(self) -> None:
        """Raises ``OSError`` when the address can't be had, ``ssl.SSLError`` for a bad certificate."""
        self._config.load()
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform == "linux":
                # Connections inherit it.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
            listener.bind((self._host, self._port))
        except OSError:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        await self._stack.enter_async_context(self._app.lifespan())
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="http server")
        while not self._server.started:
            if self._serving.done():
                await self._stack.aclose()
                self._serving.result()
                raise RuntimeError("the HTTP server ended while it started")
            await asyncio.sleep(0.001)
        await self._stack.enter_async_context(self._sweeping())

    async def stop(self) -> None:
        """Streams first, for they never end by themselves; then no new connections; then what is being
        answered.
        """
        if self._serving is None:
            return
        self._app.streams.close()
        self._server.should_exit = True
        await self._serving
        await self._stack.aclose()
        self._serving = None

    @contextlib.asynccontextmanager
    async def _sweeping(self) -> AsyncGenerator[None, None]:
        task = asyncio.create_task(self._sweep(), name="slow clients")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _sweep(self) -> None:
        """One look a second at every connection costs less than a timer for every request."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            connections: list[Any] = list(self._server.server_state.connections)
            for connection in connections:
                connection.check(loop.time())

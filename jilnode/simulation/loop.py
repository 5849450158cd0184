"""One node's event loop, driven from outside one callback at a time: what makes a fleet deterministic.

It has what tasks, futures, events and time-outs need, and nothing else. A crash is that the loop is never stepped
again: nothing of the node runs on, no ``finally`` either.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

__all__ = ("NodeLoop",)


class NodeLoop(asyncio.AbstractEventLoop):
    """``now`` gives seconds. ``errors`` collects what a task raised and nobody asked for."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self.dead = False
        self.errors: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []
        """All that were ever started: a dead node's tasks must not be collected, or their ``finally`` blocks would
        run."""

    # What asyncio asks of a loop

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now() + delay, callback, *args, context=context)

    def time(self) -> float:
        return self._now()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name)
        # A dead node's tasks end where they were; nobody needs to hear of it.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # What the scheduler does

    @property
    def ready(self) -> bool:
        return bool(self._ready)

    def next_timer(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def wake_due(self) -> None:
        now = self._now()
        while (when := self.next_timer()) is not None and when <= now:
            self._ready.append(heapq.heappop(self._timers)[2])

    def step(self) -> None:
        """Runs one callback."""
        handle = self._ready.popleft()
        if not handle.cancelled():
            self.enter(handle._run)

    def enter(self, work: Callable[[], Any]) -> Any:
        """Runs ``work`` as if it were a callback of this loop."""
        asyncio._set_running_loop(self)
        try:
            return work()
        finally:
            asyncio._set_running_loop(None)

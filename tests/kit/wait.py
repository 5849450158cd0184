"""Waiting for something to become true: polling with a deadline, never a guessed sleep."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_INTERVAL = 0.02


class _Polling:
    def __init__(self, timeout: float, not_yet: type[Exception]) -> None:
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._not_yet = not_yet

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Swallow a `not_yet`, until the deadline."""
        try:
            yield
        except self._not_yet as problem:
            self.failed(problem)

    def failed(self, last: object) -> None:
        if time.monotonic() > self._deadline:
            cause = last if isinstance(last, Exception) else None
            raise AssertionError(f"not within {self._timeout} s; last: {last!r}") from cause


async def eventually(
    check: Callable[[], T | Awaitable[T]],
    timeout: float = 10.0,  # noqa: ASYNC109 (a deadline for the last attempt's start; cancels nothing)
    *,
    not_yet: type[Exception] = AssertionError,
) -> T:
    """Call `check`, which may be a coroutine function, until its answer is true, and return that.

    A `not_yet` exception counts as a false answer.
    """
    polling = _Polling(timeout, not_yet)
    while True:
        with polling.attempt():
            found = check()
            answer = await found if inspect.isawaitable(found) else found
            if answer:
                return answer
            polling.failed(answer)
        await asyncio.sleep(_INTERVAL)


def wait_until(check: Callable[[], T], timeout: float = 10.0, *, not_yet: type[Exception] = AssertionError) -> T:
    """`eventually` where no event loop runs."""
    polling = _Polling(timeout, not_yet)
    while True:
        with polling.attempt():
            answer = check()
            if answer:
                return answer
            polling.failed(answer)
        time.sleep(_INTERVAL)

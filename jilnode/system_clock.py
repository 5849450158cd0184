"""The real clock and the real entropy, behind the kernel's ports."""

import os
import time

__all__ = ("SystemClock", "SystemEntropy")

BUFFER_BYTES = 8192
# time.monotonic stands still while a machine sleeps: on waking, the wall clock would seem to have been set. Elsewhere
# than on Linux this one goes on.
_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return time.clock_gettime_ns(_ELAPSED) // 1000


class SystemEntropy:
    """``os.urandom``, read in larger pieces: one call a salt would cost more than the hash."""

    def __init__(self) -> None:
        self._buffer = b""
        self._used = 0

    def bytes(self, count: int) -> bytes:
        if self._used + count > len(self._buffer):
            self._buffer = os.urandom(max(BUFFER_BYTES, count))
            self._used = 0
        start = self._used
        self._used += count
        return self._buffer[start : self._used]

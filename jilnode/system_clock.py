"""The real clock and the real entropy, behind the kernel's ports."""

import os
import time

__all__ = ("SystemClock", "SystemEntropy")

BUFFER_BYTES = 8192


class SystemClock:
    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000


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

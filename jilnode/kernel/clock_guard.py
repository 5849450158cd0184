"""Notices when the wall clock was set: wall and monotonic clock have parted."""

import logging

from jilnode.kernel.ports import Clock
from jilnode.limits import CLOCK_STEP_S

__all__ = ("ClockGuard",)

logger = logging.getLogger("jilnode.writer")


class ClockGuard:
    """``stepped`` stays true until the clocks agree again or somebody confirms the time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.stepped = False
        self._known_offset_us = self._offset_us()

    def _offset_us(self) -> int:
        return self._clock.wall_us() - self._clock.monotonic_us()

    def check(self) -> None:
        offset_us = self._offset_us()
        if abs(offset_us - self._known_offset_us) > CLOCK_STEP_S * 1_000_000:
            if not self.stepped:
                self.stepped = True
                logger.error("wall and monotonic clock have parted; writing stops until they agree or a new start")
        else:
            # A clock that is slewed drifts slowly; only a step is a step.
            self._known_offset_us = offset_us
            self.stepped = False

    def confirm(self) -> None:
        """An operator's or a peer's word that the wall clock is right now."""
        self._known_offset_us = self._offset_us()
        self.stepped = False

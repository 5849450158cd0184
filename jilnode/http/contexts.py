"""What a query or a feed may know beside the rows."""

from collections.abc import Callable

from jilnode.http.auth import Principal
from jilnode.http.ports import Ticks
from jilnode.module import QueryContext

__all__ = ("Contexts",)


class Contexts:
    """Makes the context of each request."""

    def __init__(self, source: str, clock_us: Callable[[], int], ticks: Ticks) -> None:
        self._source = source
        self._clock_us = clock_us
        self._ticks = ticks

    def of(self, principal: Principal) -> QueryContext:
        return QueryContext(
            actor=principal.subject,
            scopes=principal.scopes,
            source=self._source,
            time_us=self._clock_us(),
            heads=self._ticks(),
        )

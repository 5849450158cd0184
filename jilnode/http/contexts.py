"""What a query or a feed may know beside the rows."""

from jilnode.http.auth import Principal
from jilnode.http.ports import Ticks, WriterPort
from jilnode.module import QueryContext

__all__ = ("Contexts",)


class Contexts:
    """Makes the context of each request."""

    def __init__(self, source: str, writer: WriterPort, ticks: Ticks) -> None:
        self._source = source
        self._writer = writer
        self._ticks = ticks

    def of(self, principal: Principal) -> QueryContext:
        return QueryContext(
            actor=principal.subject,
            scopes=principal.scopes,
            source=self._source,
            time_us=self._writer.read_us,
            heads=self._ticks(),
        )

"""What a query or a feed may know beside the rows."""

from collections.abc import Sequence

from jilnode.http.auth import Principal
from jilnode.http.ports import Ticks, WriterPort
from jilnode.kernel.registry import tables_of_kinds
from jilnode.module import Module, QueryContext

__all__ = ("Contexts",)


class Contexts:
    """Makes the context of each request."""

    def __init__(self, source: str, modules: Sequence[Module], writer: WriterPort, ticks: Ticks) -> None:
        self._source = source
        self._writer = writer
        self._ticks = ticks
        self._kinds = tables_of_kinds(
            [table for module in modules for table in module.tables], [module.invariants for module in modules]
        )

    def of(self, principal: Principal) -> QueryContext:
        return QueryContext(
            actor=principal.subject,
            scopes=principal.scopes,
            source=self._source,
            time_us=self._writer.read_us,
            heads=self._ticks(),
            kinds=self._kinds,
        )

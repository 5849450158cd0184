"""W3C trace context: who asked for what, across nodes and in the log."""

import re
import secrets
from collections.abc import Iterable

from jilnode.kernel.names import TRACEPARENT_PATTERN

__all__ = ("accepted", "new_trace_id", "trace_id_of")

_TRACEPARENT = re.compile(TRACEPARENT_PATTERN.encode())


def accepted(traceparent: bytes | None) -> str | None:
    """The header's value when it is valid. Anything else is ignored, as the standard says.

    A request without one gets none for its entry: there is no trace to join, and the entry is 70 bytes shorter.
    """
    if traceparent is None or _TRACEPARENT.fullmatch(traceparent) is None:
        return None
    return traceparent.decode("ascii")


def new_trace_id() -> str:
    return secrets.token_hex(16)


def trace_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The trace id that came with the request, or a new one."""
    for name, value in headers:
        if name == b"traceparent" and (match := _TRACEPARENT.fullmatch(value)) is not None:
            return match.group(1).decode("ascii")
    return new_trace_id()

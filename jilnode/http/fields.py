"""Header fields that a request has once, or not at all."""

import re

from jilnode.http.reply import Headers

__all__ = ("fault_of", "is_host")

_ONCE = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"if-match",
        b"jil-session",
        b"last-event-id",
    }
)
"""Of two that differ, a proxy on the way may go by the one, and this node by the other."""
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


def is_host(value: bytes) -> bool:
    """As RFC 3986 spells it: a name or an address, and perhaps a port."""
    return _HOST.fullmatch(value) is not None


def fault_of(headers: Headers, version: str) -> str:
    """What is wrong with them, as they came; empty = nothing. Host must be there (RFC 9112, 3.2), but in HTTP/1.0."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in _ONCE:
            continue
        if name in found and (name == b"host" or found[name] != value):
            return f"{name.decode().title()} is there twice."
        found[name] = value
    host = found.get(b"host")
    if host is None:
        return "Host is missing." if version == "1.1" else ""
    return "" if is_host(host) else "Host is not one."

"""The header of another source's entry: what each of its fields may say. Whoever shows, stores or counts one relies on
that."""

import re
from typing import Final

import msgspec

from jilnode.kernel.codec import decode_header, guard_values, parse_time
from jilnode.kernel.entry import Entry, Header
from jilnode.kernel.errors import Breach, Rejected
from jilnode.kernel.names import HASH_PATTERN, TRACEPARENT_PATTERN, valid_event, valid_key, valid_module
from jilnode.limits import CAUSES_PER_ENTRY_MAX, HEADER_BYTES_MAX

__all__ = ("check_fields", "read_header", "time_of")

_EVENT_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_HASH: Final = re.compile(HASH_PATTERN)
_TRACEPARENT: Final = re.compile(TRACEPARENT_PATTERN)
_OUTCOMES: Final = ("approved", "refused")


def read_header(entry: Entry) -> Header:
    """Decoded. Raises ``Breach``: ``oversized``, ``bad_header``."""
    if len(entry.header) > HEADER_BYTES_MAX:
        raise Breach("oversized", f"a header of {len(entry.header)} bytes")
    try:
        entry.header.decode()
        header = decode_header(entry.header)
        guard_values(entry.header)
        if entry.header.strip() != entry.header:
            raise ValueError("white space around it")
    except (msgspec.MsgspecError, ValueError, Rejected) as error:
        raise Breach("bad_header", f"unreadable header: {error}") from None
    return header


def check_fields(header: Header) -> None:
    """Those that say the same wherever the entry stands. Raises ``Breach``: ``oversized``, ``bad_header``. A newer
    program may have other forms, so it is asked after ``min_reader``."""
    kind = header.type
    module = kind.partition(".")[0]
    if not valid_event(kind) or header.topic != f"jil.{module}" or module == "jil":
        raise Breach("bad_header", f"type {kind!r:.100} on topic {header.topic!r:.100}")
    _check("event_id", header.event_id, _EVENT_ID)
    if header.actor is not None and not valid_key(header.actor):
        raise Breach("bad_header", f"actor {header.actor!r:.100}")
    if header.cause is not None and len(header.cause) > CAUSES_PER_ENTRY_MAX:
        raise Breach("oversized", f"{len(header.cause)} causes")
    outcome = header.outcome
    if outcome is not None:
        if outcome.class_ not in _OUTCOMES:
            raise Breach("bad_header", f"outcome {outcome.class_!r:.100}")
        _check("decision", outcome.decision, _HASH)
    command = header.command
    if command is not None:
        _check("key_hash", command.key_hash, _HASH)
        _check("body_hash", command.body_hash, _HASH)
        if not 100 <= command.status <= 599:
            raise Breach("bad_header", f"status {command.status}")
    for name in header.schema:
        if not valid_module(name):
            raise Breach("bad_header", f"module {name!r:.100}")
    if header.traceparent is not None:
        _check("traceparent", header.traceparent, _TRACEPARENT)


def time_of(header: Header) -> int:
    """Microseconds. Raises ``Breach``: ``bad_header``."""
    try:
        return parse_time(header.timestamp)
    except ValueError as error:
        raise Breach("bad_header", str(error)) from None


def _check(field: str, text: str, form: "re.Pattern[str]") -> None:
    if form.fullmatch(text) is None:
        raise Breach("bad_header", f"{field} {text!r:.100}")

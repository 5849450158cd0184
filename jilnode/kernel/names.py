"""The names things go by: one NewType for each kind of id, and the grammar of what may be a name.

Grammar (design section 6, wire format): a node id is lower case; a row key is UTF-8 parts ``[A-Za-z0-9._~@:-]{1,64}``
joined by ``/``, at most 256 bytes, compared bytewise; an event's type is lower-case parts joined by dots.
"""

import re
from functools import lru_cache
from typing import Final, NewType

SourceId = NewType("SourceId", str)
"""Who owns rows and writes a journal: a node (``sg-mas-01``) or, later, a quorum (``quorum.bridge``)."""

Epoch = NewType("Epoch", int)
Sequence = NewType("Sequence", int)
RowKey = NewType("RowKey", str)
TableName = NewType("TableName", str)
Actor = NewType("Actor", str)
"""A pseudonym: never a name, an e-mail address or a token."""

Microseconds = NewType("Microseconds", int)
"""A moment: microseconds since 1970-01-01T00:00:00Z."""

KEY_BYTES_MAX: Final = 256
PART_CHARS_MAX: Final = 64
_PART: Final = f"[A-Za-z0-9._~@:-]{{1,{PART_CHARS_MAX}}}"
_KEY: Final = re.compile(f"{_PART}(?:/{_PART})*")
SOURCE_PATTERN: Final = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_SOURCE: Final = re.compile(SOURCE_PATTERN)
EVENT_CHARS_MAX: Final = 128
MODULE_PATTERN: Final = "[a-z][a-z0-9_]*"
HASH_PATTERN: Final = "[0-9a-f]{64}"
_MODULE: Final = re.compile(MODULE_PATTERN)
_EVENT: Final = re.compile(rf"{MODULE_PATTERN}(?:\.[a-z0-9_]+)+")
TRACEPARENT_PATTERN: Final = r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
"""W3C trace context. The group is the trace id."""


def valid_new_key(key: str) -> bool:
    """The same as ``valid_key`` for a key that was hardly asked about before: nothing is remembered."""
    return len(key) <= KEY_BYTES_MAX and _KEY.fullmatch(key) is not None


_remembered: Final = lru_cache(maxsize=16_384)(valid_new_key)


def valid_key(key: str) -> bool:
    """Whether it may be the key of a row. What is too long for one is not remembered: callers choose it."""
    return len(key) <= KEY_BYTES_MAX and _remembered(key)


def valid_module(name: str) -> bool:
    return _MODULE.fullmatch(name) is not None


def _fits_event(name: str) -> bool:
    return _EVENT.fullmatch(name) is not None


_remembered_events: Final = lru_cache(maxsize=1024)(_fits_event)


def valid_event(name: str) -> bool:
    """Whether it may be the type of an event: dotted, lower case, its first part the module's name. As with keys, what
    is too long is not remembered."""
    return len(name) <= EVENT_CHARS_MAX and _remembered_events(name)


def nth_key(first: str, number: int) -> str:
    """The key of number ``number`` (from 1) of those that were made after ``first`` in one event. They sort as they
    were made: before two digits stands ``g``, before three ``h``, so that ``-f`` comes before ``-g10``."""
    return f"{first}{_ENDINGS[number] if number < len(_ENDINGS) else _ending(number)}"


def _ending(number: int) -> str:
    digits = f"{number:x}"
    return f"-{digits}" if number < 16 else f"-{chr(ord('e') + len(digits))}{digits}"


_ENDINGS: Final = tuple(map(_ending, range(1024)))
"""An event of many rows asks for hundreds of them."""


def valid_source(name: str) -> bool:
    return _SOURCE.fullmatch(name) is not None


def source_id(text: str) -> SourceId:
    """``text`` lowered and checked. Raises ``ValueError`` when it is no source id."""
    lowered = text.strip().lower()
    if not valid_source(lowered):
        raise ValueError(f"not a node id: {text!r} (3 to 63 of a-z 0-9 . -, no dot or hyphen at the ends)")
    return SourceId(lowered)

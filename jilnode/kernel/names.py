"""The names things go by: one NewType for each kind of id, and the grammar of what may be a name.

Grammar (design section 6, wire format): a node id is lower case; a row key is UTF-8 parts ``[A-Za-z0-9._~@:-]{1,64}``
joined by ``/``, at most 256 bytes, compared bytewise.
"""

import re
from functools import lru_cache
from typing import NewType

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

KEY_BYTES_MAX = 256
PART_CHARS_MAX = 64
_PART = f"[A-Za-z0-9._~@:-]{{1,{PART_CHARS_MAX}}}"
_KEY = re.compile(f"{_PART}(?:/{_PART})*")
_SOURCE = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def valid_new_key(key: str) -> bool:
    """The same as ``valid_key`` for a key that was hardly asked about before: nothing is remembered."""
    return len(key) <= KEY_BYTES_MAX and _KEY.fullmatch(key) is not None


_remembered = lru_cache(maxsize=16_384)(valid_new_key)


def valid_key(key: str) -> bool:
    """Whether it may be the key of a row. What is too long for one is not remembered: callers choose it."""
    return len(key) <= KEY_BYTES_MAX and _remembered(key)


def nth_key(first: str, number: int) -> str:
    """The key of number ``number`` (from 1) of those that were made after ``first`` in one event. They sort as they
    were made: before two digits stands ``g``, before three ``h``, so that ``-f`` comes before ``-g10``."""
    return f"{first}{_ENDINGS[number] if number < len(_ENDINGS) else _ending(number)}"


def _ending(number: int) -> str:
    digits = f"{number:x}"
    return f"-{digits}" if number < 16 else f"-{chr(ord('e') + len(digits))}{digits}"


_ENDINGS = tuple(map(_ending, range(1024)))
"""An event of many rows asks for hundreds of them."""


def source_id(text: str) -> SourceId:
    """``text`` lowered and checked. Raises ``ValueError`` when it is no source id."""
    lowered = text.strip().lower()
    if _SOURCE.fullmatch(lowered) is None:
        raise ValueError(f"not a node id: {text!r} (3 to 63 of a-z 0-9 . -, no dot or hyphen at the ends)")
    return SourceId(lowered)

"""The state digest: a drift alarm between honest nodes, not a proof.

Sum modulo 2^256 over a source's rows of SHA-256 over the length-prefixed (8 bytes, big endian) table, key, owner,
epoch, sequence (decimal text) and doc. A sum, so that a changed row costs one subtraction and one addition, whatever
the number of rows.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Final

__all__ = ("MODULUS", "mark_of", "prefixed", "row_mark", "written_by")

MODULUS: Final = 1 << 256
_LENGTHS: Final = tuple(length.to_bytes(8, "big") for length in range(8192))


@lru_cache(maxsize=4096)
def prefixed(text: str) -> bytes:
    """``text`` behind its length. For what recurs: table names, owners, epochs."""
    data = text.encode()
    return _LENGTHS[len(data)] + data


def written_by(owner: str, epoch: int, sequence: int) -> bytes:
    """What the rows of one entry share."""
    number = b"%d" % sequence
    return b"".join((prefixed(owner), prefixed(str(epoch)), _LENGTHS[len(number)], number))


def mark_of(table: bytes, key: str, entry: bytes, doc: bytes) -> int:
    """``row_mark`` of a table's ``prefixed`` name and what its entry's rows share (``written_by``)."""
    key_bytes = key.encode()
    length = len(doc)
    lengths = _LENGTHS
    data = b"".join(
        (
            table,
            lengths[len(key_bytes)],
            key_bytes,
            entry,
            lengths[length] if length < 8192 else length.to_bytes(8, "big"),
            doc,
        )
    )
    return int.from_bytes(sha256(data).digest(), "big")


def row_mark(table: str, key: str, owner: str, epoch: int, sequence: int, doc: bytes) -> int:
    return mark_of(prefixed(table), key, written_by(owner, epoch, sequence), doc)

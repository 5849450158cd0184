"""The state digest: a drift alarm between honest nodes, not a proof.

Sum modulo 2^256 over a source's rows of SHA-256 over the length-prefixed (8 bytes, big endian) table, key, owner,
epoch, sequence (decimal text) and doc. A sum, so that a changed row costs one subtraction and one addition, whatever
the number of rows.
"""

from hashlib import sha256

__all__ = ("MODULUS", "row_mark")

MODULUS = 1 << 256


def row_mark(table: str, key: str, owner: str, epoch: int, sequence: int, doc: bytes) -> int:
    parts = (table.encode(), key.encode(), owner.encode(), b"%d" % epoch, b"%d" % sequence, doc)
    return int.from_bytes(sha256(b"".join([len(part).to_bytes(8, "big") + part for part in parts])).digest(), "big")

"""Seals: a signed checkpoint for every commit (C2SP ``tlog-checkpoint`` and ``signed-note``, Ed25519).

    jil/<network>/<source>/<epoch>      origin, and the name of the key
    <size>                              entries covered
    <root, base64>
                                        (an empty line)
    — <name> <base64(key id, 4 bytes + signature)>

Key id = first four bytes of SHA-256(name, newline, 0x01, public key). A commit that rotates the key carries two
signature lines.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jilnode.kernel.errors import Breach
from jilnode.limits import FEED_SEALS_MAX, ORDINAL_MAX

__all__ = ("Checkpoint", "SealKey", "is_signed", "make_seal", "origin_of", "parse_seal", "verify_seal")

_ED25519 = b"\x01"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
"""What C2SP forbids in a note, and what not every database takes."""


def origin_of(network: str, source: str, epoch: int) -> str:
    return f"jil/{network}/{source}/{epoch}"


def key_id(name: str, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


class SealKey:
    """A source's signing key. Its private half never leaves this object."""

    __slots__ = ("_private", "public_key")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_key = private.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> "SealKey":
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"SealKey(public_key={self.public_key.hex()})"


class Checkpoint:
    """A parsed seal; its signatures are not verified yet."""

    __slots__ = ("origin", "root", "signatures", "size", "text")

    def __init__(self, origin: str, size: int, root: bytes, text: bytes, signatures: list[tuple[str, bytes]]) -> None:
        self.origin = origin
        self.size = size
        self.root = root
        self.text = text
        self.signatures = signatures


def make_seal(origin: str, size: int, root: bytes, keys: Sequence[SealKey]) -> str:
    text = f"{origin}\n{size}\n{b64encode(root).decode()}\n"
    message = text.encode()
    lines = [
        f"\N{EM DASH} {origin} {b64encode(key_id(origin, key.public_key) + key.sign(message)).decode()}\n"
        for key in keys
    ]
    return f"{text}\n{''.join(lines)}"


def parse_seal(note: str) -> Checkpoint:
    """Raises ``Breach('bad_seal')`` when the note is not of the one accepted form."""
    try:
        text, _, tail = note.partition("\n\n")
        origin, size_text, root_text = text.split("\n")
        size, root = int(size_text), b64decode(root_text, validate=True)
        if str(size) != size_text or not 0 <= size <= ORDINAL_MAX or len(root) != 32 or not tail.endswith("\n"):
            raise ValueError("not canonical")
        if _CONTROL.search(note) is not None:
            raise ValueError("it holds a control character")
        signatures = []
        for line in tail[:-1].split("\n"):
            dash, name, blob = line.split(" ")
            if dash != "\N{EM DASH}":
                raise ValueError("no signature line")
            signatures.append((name, b64decode(blob, validate=True)))
    except ValueError as error:
        raise Breach("bad_seal", f"not a signed checkpoint: {error}") from None
    return Checkpoint(origin, size, root, f"{text}\n".encode(), signatures)


def verify_seal(checkpoint: Checkpoint, origin: str, public_keys: Sequence[bytes]) -> None:
    """Each of ``public_keys`` must have signed. Unknown signature lines are ignored, as C2SP asks.

    Raises ``Breach('bad_seal')``.
    """
    if checkpoint.origin != origin:
        raise Breach("bad_seal", f"origin {checkpoint.origin!r} is not {origin!r}")
    for public_key in public_keys:
        wanted = key_id(origin, public_key)
        blobs = [blob for name, blob in checkpoint.signatures if name == origin and blob[:4] == wanted]
        if not any(_verifies(public_key, blob[4:], checkpoint.text) for blob in blobs):
            raise Breach("bad_seal", f"no valid signature by key {wanted.hex()} of {origin}")


def is_signed(note: str, origin: str, public_key: bytes) -> bool:
    """Whether the key made this seal."""
    try:
        verify_seal(parse_seal(note), origin, [public_key])
    except Breach:
        return False
    return True


@lru_cache(maxsize=2 * FEED_SEALS_MAX)
def _verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True

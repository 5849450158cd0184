"""A node's own key and whom it believes: files, read once at start."""

import os
import stat
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from jilnode.kernel.seal import SealKey

__all__ = ("IdentityError", "load_identity", "load_trust")


class IdentityError(Exception):
    """The key or the trust file can't be used. The message says why."""


def load_identity(path: Path, *, make: bool) -> SealKey:
    """The node's sealing key. ``make``: create it, readable by its owner only, where there is none."""
    if not path.exists():
        if not make:
            raise IdentityError(f"there is no key in {path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        private = Ed25519PrivateKey.generate()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.flush()
            os.fsync(file.fileno())
        return SealKey(private)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise IdentityError(f"{path.name} may be read by others than its owner: chmod 600 it")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        raise IdentityError(f"{path.name} is not a private key in PEM without a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"{path.name} is not an Ed25519 key")
    return SealKey(key)


def load_trust(path: Path | None) -> dict[str, str]:
    """Source id to the leaf hash of its genesis entry, in hex."""
    if path is None:
        return {}
    try:
        trust = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError) as error:
        raise IdentityError(f"{path.name} is no trust file: {error}") from None
    for source, digest in trust.items():
        if len(digest) != 64 or any(character not in "0123456789abcdef" for character in digest):
            raise IdentityError(f"{path.name}: {source} needs the 64 hex digits of its genesis hash")
    return trust

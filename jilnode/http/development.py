"""Dev mode: the node makes its own key and hands out tokens. Never in a network that anybody relies on."""

import os
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from jilnode.http.keys import KeyRing, VerificationKey

__all__ = ("DEVELOPMENT_ISSUER", "development_key", "development_ring", "development_token")

DEVELOPMENT_ISSUER = "jilnode-development"
_KEY_ID = "development"


def development_key(path: Path) -> Ed25519PrivateKey:
    """The key in ``path``; made there, readable by its owner only, when there is none. So tokens outlive a restart."""
    if path.exists():
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path.name} is not an Ed25519 key")
        return key
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def development_ring(key: Ed25519PrivateKey) -> KeyRing:
    return KeyRing(keys={_KEY_ID: VerificationKey("EdDSA", key.public_key())})


def development_token(
    key: Ed25519PrivateKey,
    *,
    subject: str,
    scopes: list[str],
    audience: str,
    lifetime_s: int = 86_400,
) -> str:
    now = int(time.time())
    claims = {
        "iss": DEVELOPMENT_ISSUER,
        "aud": audience,
        "sub": subject,
        "iat": now,
        "exp": now + lifetime_s,
        "scope": " ".join(scopes),
    }
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": _KEY_ID})

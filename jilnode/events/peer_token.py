"""How one node proves to another who it is: a short-lived EdDSA JWT by the very key that seals its journal."""

from base64 import urlsafe_b64encode

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from jilnode.kernel.seal import SealKey

__all__ = ("make_token", "token_issuer", "verify_token")

LIFETIME_S = 60
PURPOSE = "jil-peer"


def make_token(key: SealKey, source: str, audience: str, now_s: int) -> str:
    claims = {"iss": source, "aud": audience, "sub": PURPOSE, "iat": now_s, "exp": now_s + LIFETIME_S}
    parts = [_base64(msgspec.json.encode(part)) for part in ({"alg": "EdDSA", "typ": "JWT"}, claims)]
    message = b".".join(parts)
    return b".".join((message, _base64(key.sign(message)))).decode()


def token_issuer(token: str) -> str | None:
    """Who the token says that it is from; not verified."""
    try:
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except jwt.InvalidTokenError:
        return None
    return issuer if isinstance(issuer, str) else None


def verify_token(token: str, public_key: bytes, source: str, audience: str) -> bool:
    try:
        jwt.decode(
            token,
            Ed25519PublicKey.from_public_bytes(public_key),
            algorithms=["EdDSA"],
            issuer=source,
            audience=audience,
            subject=PURPOSE,
            leeway=5,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
    except jwt.InvalidTokenError:
        return False
    return True


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")

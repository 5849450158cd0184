"""Who is asking: bearer tokens (JWT, EdDSA or ES256), scopes, and the cache that makes a known token cost one
look-up.
"""

import time
from collections.abc import Callable
from hashlib import sha256

import jwt

from jilnode.http.keys import KeyRing, VerificationKey
from jilnode.http.problems import HttpRejected
from jilnode.kernel.errors import Rejected
from jilnode.kernel.names import valid_key

__all__ = ("PUBLIC", "Authenticator", "Principal")

PUBLIC = ""
"""The access of a route that needs no token. Every other route names its scope."""

TOKENS_CACHED_MAX = 10_000
LEEWAY_S = 30
_CHALLENGE = b'Bearer realm="jilnode"'


class Principal:
    """A verified token. ``subject`` is a pseudonym: it goes into events."""

    __slots__ = ("expires_at", "key_prefix", "scopes", "subject")

    def __init__(self, subject: str, scopes: frozenset[str], expires_at: float) -> None:
        self.subject = subject
        self.scopes = scopes
        self.expires_at = expires_at
        # The part of every key hash that is the same for this subject.
        self.key_prefix = sha256(subject.encode() + b"\x00")


class Authenticator:
    """Deny by default: what is not verified is refused."""

    def __init__(
        self,
        ring: KeyRing,
        *,
        issuer: str,
        audience: str,
        clock: Callable[[], float] = time.time,
        leeway_s: int = LEEWAY_S,
    ) -> None:
        self.ring = ring
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._leeway_s = leeway_s
        self._generation = ring.generation
        self._known: dict[bytes, Principal] = {}

    def principal(self, authorization: bytes | None, scope: str) -> Principal:
        """Raises ``Rejected`` (401, 403, 503)."""
        if authorization is None:
            raise HttpRejected(
                "token_missing", "Send Authorization: Bearer <token>.", status=401, headers=_challenge(b"")
            )
        known = self._known.get(authorization)
        if known is None or known.expires_at <= self._clock() or self._generation != self.ring.generation:
            known = self._verified(authorization)
        if scope not in known.scopes:
            raise HttpRejected(
                "insufficient_scope",
                f"This needs the scope {scope}.",
                status=403,
                headers=_challenge(b', error="insufficient_scope", scope="%b"' % scope.encode()),
            )
        return known

    def _verified(self, authorization: bytes) -> Principal:
        if self._generation != self.ring.generation:
            # A key was withdrawn or replaced: what it signed is judged anew.
            self._generation = self.ring.generation
            self._known.clear()
        self._known.pop(authorization, None)
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise _refused("token_invalid", "The scheme must be Bearer.")
        try:
            text = token.decode("ascii")
            header = jwt.get_unverified_header(text)
            found = self._key(header.get("kid"))
            claims = jwt.decode(
                text,
                found.key,
                algorithms=[found.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise _refused("token_expired", "Get a new token.") from error
        except (jwt.PyJWTError, ValueError) as error:
            # The class says what is wrong (audience, signature, ...); the message could quote the token.
            raise _refused("token_invalid", f"{type(error).__name__.removesuffix('Error')}.") from error
        subject = claims["sub"]
        if not isinstance(subject, str) or not valid_key(subject):
            raise _refused("token_invalid", "The subject must be a pseudonym of A-Z a-z 0-9 . _ ~ @ : - and /.")
        scopes = claims.get("scope", "")
        if not isinstance(scopes, str):
            raise _refused("token_invalid", "The scope claim must be text.")
        principal = Principal(subject, frozenset(scopes.split()), float(claims["exp"]) + self._leeway_s)
        if len(self._known) >= TOKENS_CACHED_MAX:
            del self._known[next(iter(self._known))]
        self._known[authorization] = principal
        return principal

    def _key(self, key_id: object) -> VerificationKey:
        keys = self.ring.keys
        if not keys:
            raise Rejected("authentication_unavailable", "Try again soon.", status=503, retry_after_s=5)
        if key_id is None and len(keys) == 1:
            return next(iter(keys.values()))
        found = keys.get(key_id) if isinstance(key_id, str) else None
        if found is None:
            self.ring.ask()
            raise _refused("token_invalid", "The key that signed it is not known here.")
        return found


def _refused(code: str, detail: str) -> HttpRejected:
    return HttpRejected(code, detail, status=401, headers=_challenge(b', error="invalid_token"'))


def _challenge(reason: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"www-authenticate", _CHALLENGE + reason)]

"""The keys that tokens are checked with: a JWKS from a file or an address, read again in the background.

Never on a request's path: a token of an unknown key asks for an early reading and is refused meanwhile.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import jwt
import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ("KeyRing", "VerificationKey", "keys_from_file", "keys_from_url", "parse_keys")

_log = logging.getLogger(__name__)

JWKS_BYTES_MAX = 256 * 1024
KEYS_MAX = 100
FETCH_TIMEOUT_S = 5.0
_ALGORITHMS = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256"}

Load = Callable[[], Awaitable[bytes]]


class VerificationKey(NamedTuple):
    algorithm: str
    key: Any


def parse_keys(document: bytes) -> dict[str, VerificationKey]:
    """Key id -> key, for every Ed25519 and P-256 signing key. Raises ``ValueError`` when there is none."""
    found: dict[str, VerificationKey] = {}
    members = msgspec.json.decode(document).get("keys", [])
    for member in members[:KEYS_MAX]:
        algorithm = _ALGORITHMS.get((member.get("kty"), member.get("crv")))
        if algorithm is None or member.get("use", "sig") != "sig" or member.get("alg", algorithm) != algorithm:
            continue
        if "d" in member:
            raise ValueError("the key set holds a private key: it must hold public ones only")
        found[member.get("kid", "")] = VerificationKey(algorithm, jwt.PyJWK(member, algorithm=algorithm).key)
    if not found:
        raise ValueError("the key set holds no Ed25519 or P-256 signing key")
    return found


def keys_from_file(path: Path) -> Load:
    async def load() -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    return load


def keys_from_url(url: str) -> Load:
    """``https`` only, but on this machine. Raises ``ValueError``."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError(f"the key set's address must be https: {parts.scheme}://{parts.hostname}")

    async def load() -> bytes:
        body = b""
        async with (
            httpx.AsyncClient(timeout=FETCH_TIMEOUT_S, follow_redirects=False) as client,
            asyncio.timeout(FETCH_TIMEOUT_S * 2),
            client.stream("GET", url) as response,
        ):
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > JWKS_BYTES_MAX:
                    raise ValueError("the key set is too large")
        return body

    return load


class KeyRing:
    """Keys by id. Kept when a reading fails, but not for ever: a key that was withdrawn must stop to count."""

    def __init__(
        self,
        load: Load | None = None,
        *,
        keys: Mapping[str, VerificationKey] | None = None,
        refresh_s: float = 300,
        retry_s: float = 15,
        kept_s: float = 86_400,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys: Mapping[str, VerificationKey] = keys or {}
        self.problem: str | None = None
        """Why the last reading failed."""
        self.generation = 0
        self._load = load
        self._refresh_s = refresh_s
        self._retry_s = retry_s
        self._kept_s = kept_s
        self._clock = clock
        self._read_at = clock()
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """A token names a key that is not here: read early, at most once in ``retry_s``."""
        self._asked.set()

    async def refresh(self) -> None:
        if self._load is None:
            return
        try:
            keys = parse_keys(await self._load())
        except Exception as error:
            self.problem = type(error).__name__
            _log.warning("token keys not read", extra={"fields": {"error": self.problem}})
            if self.keys and self._clock() - self._read_at > self._kept_s:
                self.keys = {}
                self.generation += 1
            return
        self.problem = None
        self._read_at = self._clock()
        if set(keys) != set(self.keys) or any(
            _public_bytes(keys[name]) != _public_bytes(self.keys[name]) for name in keys
        ):
            self.keys = keys
            self.generation += 1

    async def run(self) -> None:
        """Until cancelled."""
        while self._load is not None:
            await asyncio.sleep(self._retry_s)
            wait_s = self._retry_s if self.problem else self._refresh_s
            try:
                async with asyncio.timeout(max(0.0, wait_s - self._retry_s)):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            await self.refresh()


def _public_bytes(key: VerificationKey) -> bytes:
    encoded: bytes = key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded

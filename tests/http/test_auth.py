"""Tokens: what is refused, what is cached, where keys come from."""

import time
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from jilnode.http.auth import Authenticator
from jilnode.http.development import DEVELOPMENT_ISSUER, development_key, development_ring, development_token
from jilnode.http.keys import KeyRing, keys_from_file, keys_from_url, parse_keys
from jilnode.kernel.errors import Rejected
from tests.http.kit import AUDIENCE, KEY, app_of, authenticator, bearer, client_of, token

ISSUER = DEVELOPMENT_ISSUER
OTHER = Ed25519PrivateKey.generate()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    found = {"iss": ISSUER, "aud": AUDIENCE, "sub": "kestrel", "exp": now + 600, "scope": "a b", **changes}
    return {name: value for name, value in found.items() if value is not None}


def signed(key: Any = KEY, algorithm: str = "EdDSA", kid: str | None = "development", **changes: Any) -> bytes:
    headers = {} if kid is None else {"kid": kid}
    return b"Bearer " + jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers).encode()


def unsigned() -> bytes:
    return b"Bearer " + jwt.encode(claims(), None, algorithm="none", headers={"kid": "development"}).encode()


def symmetric() -> bytes:
    """The old trick: the public key as an HMAC secret."""
    secret = "x" * 64
    return b"Bearer " + jwt.encode(claims(), secret, algorithm="HS256", headers={"kid": "development"}).encode()


REFUSED: dict[str, tuple[Any, str]] = {
    "expired": (lambda: signed(exp=int(time.time()) - 60), "token_expired"),
    "not yet": (lambda: signed(nbf=int(time.time()) + 300), "token_invalid"),
    "issued later": (lambda: signed(iat=int(time.time()) + 300), "token_invalid"),
    "audience": (lambda: signed(aud="other"), "token_invalid"),
    "no audience": (lambda: signed(aud=None), "token_invalid"),
    "issuer": (lambda: signed(iss="other"), "token_invalid"),
    "no expiry": (lambda: signed(exp=None), "token_invalid"),
    "no subject": (lambda: signed(sub=None), "token_invalid"),
    "subject": (lambda: signed(sub="Jane Doe"), "token_invalid"),
    "subject with NUL": (lambda: signed(sub="a\x00b"), "token_invalid"),
    "scope": (lambda: signed(scope=["a"]), "token_invalid"),
    "wrong key": (lambda: signed(key=OTHER), "token_invalid"),
    "unknown key": (lambda: signed(kid="other"), "token_invalid"),
    "none": (unsigned, "token_invalid"),
    "symmetric": (symmetric, "token_invalid"),
    "scheme": (lambda: b"Basic abc", "token_invalid"),
    "empty": (lambda: b"", "token_invalid"),
    "rubbish": (lambda: b"Bearer a.b.c", "token_invalid"),
    "bytes": (lambda: b"Bearer \xff\xfe", "token_invalid"),
    "changed": (lambda: signed()[:-8] + b"AAAAAAAA", "token_invalid"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    make, code = REFUSED[case]
    header = make()
    with pytest.raises(Rejected) as refused:
        authenticator().principal(header, "a")
    assert (refused.value.status, refused.value.code) == (401, code)
    assert header.decode("latin-1")[7:27] not in refused.value.detail or not header[7:]


@pytest.mark.parametrize("case", ["kid", "no kid", "leeway"])
def test_accepted(case: str) -> None:
    header = {
        "kid": signed,
        "no kid": lambda: signed(kid=None),
        "leeway": lambda: signed(exp=int(time.time()) - 10),
    }[case]()
    principal = authenticator().principal(header, "b")
    assert (principal.subject, principal.scopes) == ("kestrel", {"a", "b"})


async def test_challenges() -> None:
    async with client_of(app_of()) as client:
        missing = await client.get("/v1/notes")
        assert (missing.status_code, missing.headers["www-authenticate"]) == (401, 'Bearer realm="jilnode"')
        wrong = await client.get("/v1/notes", headers=bearer(scopes="notes.write"))
        assert (wrong.status_code, wrong.json()["code"]) == (403, "insufficient_scope")
        assert wrong.headers["www-authenticate"].endswith('error="insufficient_scope", scope="notes.read"')


def test_a_known_token_is_checked_once_and_forgotten_when_it_expires() -> None:
    now = [time.time()]
    auth = authenticator(clock=lambda: now[0])
    header = b"Bearer " + token().encode()
    first = auth.principal(header, "notes.read")
    assert auth.principal(header, "notes.read") is first
    now[0] = first.expires_at
    assert auth.principal(header, "notes.read") is not first


def test_a_withdrawn_key_stops_to_count() -> None:
    ring = development_ring(KEY)
    auth = Authenticator(ring, issuer=ISSUER, audience=AUDIENCE)
    header = signed()
    auth.principal(header, "a")
    ring.keys = {"development": ring.keys["development"]._replace(key=OTHER.public_key())}
    ring.generation += 1
    with pytest.raises(Rejected):
        auth.principal(header, "a")


def test_without_keys_nothing_is_known() -> None:
    auth = Authenticator(KeyRing(), issuer=ISSUER, audience=AUDIENCE)
    with pytest.raises(Rejected) as refused:
        auth.principal(signed(), "a")
    assert (refused.value.status, refused.value.code) == (503, "authentication_unavailable")


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jilnode.http.auth.TOKENS_CACHED_MAX", 3)
    auth = authenticator()
    for number in range(5):
        auth.principal(signed(jti=str(number)), "a")
    assert len(auth._known) == 3


def key_set(*keys: tuple[str, Any]) -> bytes:
    members = []
    for kid, key in keys:
        algorithm = OKPAlgorithm if isinstance(key, Ed25519PrivateKey) else ECAlgorithm
        members.append({**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"})
    return msgspec.json.encode({"keys": members})


async def test_keys_from_a_file_are_read_again(tmp_path: Path) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(("one", KEY), ("two", curve)))
    ring = KeyRing(keys_from_file(path))
    await ring.refresh()
    auth = Authenticator(ring, issuer=ISSUER, audience=AUDIENCE)
    assert auth.principal(signed(kid="one"), "a").subject == "kestrel"
    assert auth.principal(signed(curve, "ES256", "two"), "a").subject == "kestrel"
    with pytest.raises(Rejected):
        auth.principal(signed(curve, "ES256", "one"), "a")

    path.write_bytes(key_set(("one", OTHER)))
    await ring.refresh()
    with pytest.raises(Rejected):
        auth.principal(signed(kid="one"), "a")
    assert auth.principal(signed(OTHER, kid="one"), "a").subject == "kestrel"


async def test_keys_outlive_a_failed_reading_but_not_for_ever() -> None:
    now = [0.0]
    documents = [key_set(("one", KEY)), b"{}", b"nonsense"]

    async def load() -> bytes:
        return documents.pop(0)

    ring = KeyRing(load, clock=lambda: now[0], kept_s=100)
    await ring.refresh()
    assert (set(ring.keys), ring.problem) == ({"one"}, None)
    now[0] = 50
    await ring.refresh()
    assert (set(ring.keys), ring.problem) == ({"one"}, "ValueError")
    now[0] = 101
    await ring.refresh()
    assert set(ring.keys) == set()


def test_key_sets_that_are_refused() -> None:
    private = OKPAlgorithm.to_jwk(KEY, as_dict=True)
    with pytest.raises(ValueError, match="private key"):
        parse_keys(msgspec.json.encode({"keys": [private]}))
    weak = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(ValueError, match="no Ed25519"):
        parse_keys(msgspec.json.encode({"keys": [jwt.algorithms.RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True)]}))
    with pytest.raises(ValueError, match="https"):
        keys_from_url("http://example.com/jwks")


def test_the_development_key_outlives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "data" / "token-key.pem"
    first = development_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    text = development_token(first, subject="kestrel", scopes=["a"], audience=AUDIENCE)
    auth = Authenticator(development_ring(development_key(path)), issuer=ISSUER, audience=AUDIENCE)
    assert auth.principal(f"Bearer {text}".encode(), "a").subject == "kestrel"

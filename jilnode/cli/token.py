"""Make a token with this node's development key. Refused outside network dev."""

import argparse
import sys

from jilnode.http.development import development_key, development_token
from jilnode.settings import Settings, load_settings

__all__ = ("ALL_SCOPES", "add_arguments", "make_development_token", "run")

ALL_SCOPES = ("wallet:read", "wallet:transfer", "wallet:issue", "wallet:operate", "audit", "events:read")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subject", default="demo", help="the pseudonym that the token speaks for")
    parser.add_argument("--scope", action="append", help="may be given several times; default: all")
    parser.add_argument("--ttl-s", type=int, default=86_400)


def make_development_token(settings: Settings, subject: str, scopes: list[str], ttl_s: int) -> str:
    key = development_key(settings.data_dir / "development.pem")
    return development_token(key, subject=subject, scopes=scopes, audience=settings.jwt_audience, lifetime_s=ttl_s)


def run(options: argparse.Namespace) -> int:
    settings = load_settings()
    if not settings.development:
        print("tokens are made by the issuer that JIL_JWT_ISSUER names; here only in network dev", file=sys.stderr)
        return 1
    print(make_development_token(settings, options.subject, options.scope or list(ALL_SCOPES), options.ttl_s))
    return 0

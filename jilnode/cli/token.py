"""Make a token with this node's development key. Refused outside network dev."""

import argparse
import sys

from jilnode.cli.arguments import whole_number
from jilnode.http.development import development_token
from jilnode.http.node_routes import METRICS_SCOPE
from jilnode.http.stream_route import STREAM_SCOPE
from jilnode.http.visible import AUDIT_SCOPE
from jilnode.kernel.names import valid_key
from jilnode.module import installed_modules
from jilnode.parts import own_development_key
from jilnode.settings import Settings, load_settings
from jilnode.source_routes import READ_SCOPE, RELEASE_SCOPE

__all__ = ("add_arguments", "all_scopes", "make_development_token", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--subject", type=_pseudonym, default="demo", help="the pseudonym that the token speaks for (default: demo)"
    )
    parser.add_argument("--scope", action="append", help="may be given several times (default: all of them)")
    parser.add_argument(
        "--ttl", type=whole_number(1), default=86_400, metavar="SECONDS", help="how long it counts (default: a day)"
    )


def _pseudonym(text: str) -> str:
    if not valid_key(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no pseudonym of A-Z a-z 0-9 . _ ~ @ : - and /")
    return text


def all_scopes() -> list[str]:
    """Everything that a route of this node may ask for."""
    found = {STREAM_SCOPE, AUDIT_SCOPE, METRICS_SCOPE, READ_SCOPE, RELEASE_SCOPE}
    for module in installed_modules():
        found.update(write.scope for write in module.writes)
        found.update(query.scope for query in module.queries)
    return sorted(found)


def make_development_token(settings: Settings, subject: str, scopes: list[str], ttl_s: int) -> str:
    key = own_development_key(settings)
    return development_token(key, subject=subject, scopes=scopes, audience=settings.jwt_audience, lifetime_s=ttl_s)


def run(options: argparse.Namespace) -> int:
    settings = load_settings()
    if not settings.development:
        print(
            "jilnode: this network's tokens come from JIL_JWT_ISSUER; only network dev makes its own", file=sys.stderr
        )
        return 1
    print(make_development_token(settings, options.subject, options.scope or all_scopes(), options.ttl))
    return 0

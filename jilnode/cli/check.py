"""Say whether the configuration is complete, and what is missing. ``--list`` shows every setting."""

import argparse
import sys

from jilnode.identity import load_trust
from jilnode.module import installed_modules
from jilnode.preflight import faults
from jilnode.settings import Settings, SettingsError, describe, load_settings
from jilnode.zone import installed_zones

__all__ = ("add_arguments", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="every setting: its type, what it is, its default")


def run(options: argparse.Namespace) -> int:
    if options.list:
        _print_table()
        return 0
    settings = load_settings()
    if problems := faults(settings):
        raise SettingsError(problems)
    trusted = load_trust(settings.trust_file)
    missing = settings.missing()
    if settings.jurisdiction not in {zone.code for zone in installed_zones()}:
        missing.append(f"a rule pack for {settings.jurisdiction}: every action that is reviewed will be refused")
    if not settings.development and not settings.identity_path.exists():
        missing.append(f"JIL_IDENTITY_KEY_FILE: there is no key in {settings.identity_path}")
    for name, text in _summary(settings, sorted(trusted)):
        print(f"{name:<10} {text}")
    for text in missing:
        print(f"missing: {text}", file=sys.stderr)
    return 1 if missing else 0


def _summary(settings: Settings, trusted: list[str]) -> list[tuple[str, str]]:
    others = settings.redpanda_seeds or settings.peers
    return [
        ("node", f"{settings.node_id} in {settings.region}, zone {settings.jurisdiction}, network {settings.network}"),
        ("listens", f"{settings.http_host}:{settings.http_port}"),
        ("store", "PostgreSQL" if settings.database_url else f"SQLite, {settings.database_path}"),
        ("follows", ", ".join(others) or "nobody: this node runs alone"),
        ("believes", ", ".join(trusted) or "nobody but itself"),
        ("modules", ", ".join(f"{module.name} {module.version}" for module in installed_modules())),
    ]


def _print_table() -> None:
    rows = describe()
    name_width = max(len(row.name) for row in rows)
    kind_width = max(len(row.kind) for row in rows)
    for row in rows:
        default = f" (default: {row.default})" if row.default else ""
        print(f"{row.name:<{name_width}}  {row.kind:<{kind_width}}  {row.text}{default}")
    print("\n[_FILE]: may come from a file instead. A list is comma separated.")

"""Say whether the configuration is complete, and what is missing. ``--list`` shows every setting."""

import argparse

from jilnode.identity import load_trust
from jilnode.module import installed_modules
from jilnode.settings import describe, load_settings
from jilnode.zone import installed_zones

__all__ = ("add_arguments", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="every setting, its default, and what it is")


def run(options: argparse.Namespace) -> int:
    if options.list:
        rows = describe()
        width = max(len(name) for name, _, _ in rows)
        for name, default, text in rows:
            print(f"{name:<{width}}  {text}{f' (default: {default})' if default else ''}")
        return 0
    settings = load_settings()
    trusted = load_trust(settings.trust_file)
    zones = [zone.code for zone in installed_zones()]
    print(f"node          {settings.node_id} in {settings.region}, network {settings.network}")
    store = "PostgreSQL" if settings.database_url else f"SQLite in {settings.data_dir}"
    print(f"store         {store}")
    bus = ", ".join(settings.redpanda_seeds or settings.peers) or "none: this node runs alone"
    print(f"events        {bus}")
    print(f"believes      {', '.join(sorted(trusted)) or 'nobody but itself'}")
    print(f"modules       {', '.join(f'{module.name} {module.version}' for module in installed_modules())}")
    if settings.jurisdiction in zones:
        print(f"zone          {settings.jurisdiction}")
        return 0
    print(f"zone          {settings.jurisdiction}: no rule pack is installed, so every reviewed action will be refused")
    return 1

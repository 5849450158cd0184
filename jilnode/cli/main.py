"""``jilnode``: run | check | verify | export | events | genesis | token | fleet | simulate."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from jilnode import __version__
from jilnode.identity import IdentityError
from jilnode.kernel.errors import LockLost, WrongDatabase
from jilnode.settings import SettingsError

__all__ = ("main",)

COMMANDS = {
    "run": "start a node",
    "check": "say whether the configuration is complete",
    "verify": "prove a journal, offline",
    "export": "write a journal as JSON Lines",
    "events": "print a journal's events",
    "genesis": "print this node's line for a trust file",
    "token": "make a token, in dev mode",
    "fleet": "run several nodes on this machine",
    "simulate": "run a fleet from a seed",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 refused or not proven, 2 used wrongly."""
    parser = argparse.ArgumentParser(prog="jilnode", description="A node of the JIL settlement network.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {}
    for name, text in COMMANDS.items():
        modules[name] = importlib.import_module(f"jilnode.cli.{name}")
        modules[name].add_arguments(commands.add_parser(name, help=text, description=modules[name].__doc__))
    options = parser.parse_args(arguments)
    try:
        code = modules[options.command].run(options)
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    except (IdentityError, WrongDatabase, LockLost, ConnectionError, OSError) as error:
        print(f"jilnode: {error}", file=sys.stderr)
        return 1
    assert isinstance(code, int)
    return code


if __name__ == "__main__":
    sys.exit(main())

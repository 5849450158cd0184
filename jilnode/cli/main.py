"""``jilnode``: run | check | verify | export | events | genesis | token | fleet | simulate."""

import argparse
import importlib
import io
import sys
from collections.abc import Sequence

from jilnode import __version__
from jilnode.identity import IdentityError
from jilnode.kernel.errors import Breach, LockLost, WrongDatabase
from jilnode.settings import SettingsError

__all__ = ("main",)

COMMANDS = {
    "run": "start a node",
    "check": "say whether the configuration is complete; --list shows every setting",
    "verify": "prove a journal, offline",
    "export": "write a journal as JSON Lines",
    "events": "print a journal's events",
    "genesis": "print this node's line for a trust file",
    "token": "make a token, in dev mode",
    "fleet": "run several nodes on this machine",
    "simulate": "run a fleet from a seed, and check what must always hold",
}
EXPECTED = (IdentityError, WrongDatabase, LockLost, Breach, LookupError, OSError)
"""What an operator can act on: said in one line. Anything else is our bug, and shows its trace."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 refused or not proven, 2 used wrongly."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="jilnode", description="A node of the JIL settlement network.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # Only the command that was asked for is imported: a node's parts take longer to load than most commands to run.
    selected = next((name for name in given if name in COMMANDS), None)
    module = None if selected is None else importlib.import_module(f"jilnode.cli.{selected}")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=module.__doc__ if module is not None else text)
        if module is not None and name == selected:
            module.add_arguments(command)
    options = parser.parse_args(given)
    assert module is not None
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name or a path that this terminal can't show ends no command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = module.run(options)
    except SettingsError as error:
        for problem in error.problems:
            print(f"jilnode: {problem}", file=sys.stderr)
        return 2
    except EXPECTED as error:
        print(f"jilnode: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    assert isinstance(code, int)
    return code


if __name__ == "__main__":
    sys.exit(main())

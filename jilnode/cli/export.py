"""Write a journal as JSON Lines, one bus record a line: what ``verify`` and any other tool can check."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import BinaryIO

from jilnode.cli.journals import journal_records
from jilnode.events.export import write_lines
from jilnode.settings import load_settings

__all__ = ("add_arguments", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", default="", help="a database: URL or SQLite file (default: this node's)")
    parser.add_argument("--source", default="", help="only this source's journal")
    parser.add_argument("--output", default="-", help="a file (default: standard output)")


def run(options: argparse.Namespace) -> int:
    target = options.target or load_settings().store_target
    if options.output == "-":
        asyncio.run(_export(target, options.source, sys.stdout.buffer))
        sys.stdout.flush()
        return 0
    # Beside it first: a file with its final name is whole.
    path = Path(options.output)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        asyncio.run(_export(target, options.source, file))
    partial.replace(path)
    return 0


async def _export(target: str, source: str, file: BinaryIO) -> None:
    """Raises ``LookupError``: an empty file is no journal, and a name may be misspelled."""
    found = False
    async for record in journal_records(target, source):
        found = True
        file.writelines(write_lines([record]))
    if not found:
        raise LookupError(f"there is no journal of {source} in it" if source else "there is no journal in it")

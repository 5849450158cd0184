"""Print a journal's events, one line each."""

import argparse
import asyncio

from jilnode.cli.journals import journal_records
from jilnode.kernel.entry import decode_header, decode_record
from jilnode.settings import load_settings

__all__ = ("add_arguments", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="target", default="", help="a database or an export file; default: this node's")
    parser.add_argument("--source", default="")
    parser.add_argument("--type", default="", help="only types that begin with this")


def run(options: argparse.Namespace) -> int:
    asyncio.run(_print(options.target or load_settings().store_url, options.source, options.type))
    return 0


async def _print(target: str, source: str, kind: str) -> None:
    async for record in journal_records(target, source):
        if record.kind.startswith("jil.") or not record.kind.startswith(kind):
            continue
        header = decode_header(decode_record(record.value).header)
        place = f"{header.source_id}/{header.epoch}/{header.sequence}"
        print(f"{header.timestamp}  {place:<28} {header.type:<28} {header.actor or ''}")

"""Prove a journal, offline: entries, tree, seals, sections, ownership, every module's invariants, digests. Names the
first bad entry."""

import argparse
import asyncio
import sys
from contextlib import aclosing
from pathlib import Path

from jilnode.audit import Auditor
from jilnode.cli.journals import DatabaseJournals, is_database, journal_records
from jilnode.identity import load_trust
from jilnode.kernel.errors import Breach
from jilnode.module import installed_modules
from jilnode.settings import NETWORKS, load_settings

__all__ = ("add_arguments", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", nargs="?", default="", help="a database (URL or SQLite file) or an export (default: this node's)"
    )
    parser.add_argument("--network", choices=NETWORKS, help="default: JIL_NETWORK")
    parser.add_argument("--trust", default="", help="a trust file; without one, each genesis is taken as it is")


def run(options: argparse.Namespace) -> int:
    settings = load_settings()
    trust_file = Path(options.trust) if options.trust else settings.trust_file
    trusted = None if trust_file is None else load_trust(trust_file)
    auditor = Auditor(options.network or settings.network, installed_modules(), trusted)
    finding = asyncio.run(_verify(auditor, options.target or settings.store_target))
    if finding is not None:
        print(f"NOT PROVEN: {finding}", file=sys.stderr)
        return 1
    for line in auditor.summary():
        print(line)
    if trusted is None:
        print("not proven: who the sources are (each genesis was taken as it is; --trust FILE names them)")
    return 0


async def _verify(auditor: Auditor, target: str) -> str | None:
    try:
        async with aclosing(journal_records(target)) as records:
            async for record in records:
                if (finding := await auditor.take(record)) is not None:
                    return finding
        finding = await auditor.finish()
        if finding is None and is_database(target):
            finding = await _compare(auditor, target)
    except Breach as breach:
        return str(breach)
    return finding


async def _compare(auditor: Auditor, target: str) -> str | None:
    journals = DatabaseJournals(target)
    try:
        return await auditor.compare(journals.rows(auditor.tables), lambda: journals.moved(auditor.heads))
    finally:
        await journals.close()

"""Print events, one line each: from a database, from an export file, or live from a node's address."""

import argparse
import asyncio
from collections.abc import AsyncIterator

import httpx

from jilnode.cli.journals import DatabaseJournals, is_database, journal_records
from jilnode.cli.token import make_development_token
from jilnode.events.bus import Record
from jilnode.events.record import SEAL_KIND
from jilnode.http.stream_route import STREAM_PATH, STREAM_SCOPE
from jilnode.http.visible import AUDIT_SCOPE
from jilnode.kernel.codec import decode_header, decode_record
from jilnode.settings import Settings, load_settings

__all__ = ("add_arguments", "run")

POLL_S = 0.5
QUIET_S = 5.0
"""A node that has been silent for so long has told what there is. Its comments are no sign of that: one opens each
stream."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        nargs="?",
        default="",
        help="a database, an export file or a node's http address (default: this node's database)",
    )
    parser.add_argument("--source", default="", help="only this source's")
    parser.add_argument("--type", default="", help="only types that begin with this: wallet.transfer")
    parser.add_argument("--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument("--token", default="", help="for a node's address (default: one of this node's, in dev mode)")


def run(options: argparse.Namespace) -> int:
    settings = load_settings()
    target = options.target or settings.store_target
    if target.startswith(("http://", "https://")):
        asyncio.run(_print_stream(target, options, settings))
    else:
        asyncio.run(_print_journal(target, options))
    return 0


async def _print_journal(target: str, options: argparse.Namespace) -> None:
    if options.follow and not is_database(target):
        raise OSError("an export file does not grow: --follow needs a database or a node's address")
    records = _growing(target, options.source) if options.follow else journal_records(target, options.source)
    async for record in records:
        if record.kind == SEAL_KIND:
            continue
        header = decode_header(decode_record(record.value).header)
        if not header.type.startswith(options.type):
            continue
        place = f"{header.source_id}/{header.epoch}/{header.sequence}"
        print(f"{header.timestamp}  {place:<28} {header.type:<28} {header.actor or ''}", flush=options.follow)


async def _growing(target: str, source: str) -> AsyncIterator[Record]:
    journals = DatabaseJournals(target)
    printed: dict[str, tuple[int, int]] = {}
    try:
        while True:
            for name, head in sorted((await journals.heads()).items()):
                if (not source or name == source) and printed.get(name) != head:
                    async for record in journals.records(name, printed.get(name, (0, 0)), head):
                        yield record
                    printed[name] = head
            await asyncio.sleep(POLL_S)
    finally:
        await journals.close()


async def _print_stream(url: str, options: argparse.Namespace, settings: Settings) -> None:
    """The node's event stream as it is. Without ``--follow`` until it has nothing more to tell."""
    told = False
    try:
        async for line in _stream_lines(url, options, settings):
            told = True
            if line:
                print(line, flush=True)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        if not (told and isinstance(error, httpx.ReadTimeout) and not options.follow):
            raise OSError(f"{url} can't be read: {error or type(error).__name__}") from None


async def _stream_lines(url: str, options: argparse.Namespace, settings: Settings) -> AsyncIterator[str]:
    """What is to be printed of each line that comes; empty for what is not."""
    token = options.token or make_development_token(settings, "events", [STREAM_SCOPE, AUDIT_SCOPE], 3600)
    params = {"after": "start", "source": options.source}
    headers = {"authorization": f"Bearer {token}"}
    timeout = httpx.Timeout(10, read=60 if options.follow else QUIET_S)
    async with (
        httpx.AsyncClient(timeout=timeout, trust_env=False) as client,
        client.stream("GET", f"{url.rstrip('/')}{STREAM_PATH}", params=params, headers=headers) as response,
    ):
        if response.status_code != 200:
            raise OSError(f"{url} answered {response.status_code}: {(await response.aread()).decode(errors='replace')}")
        kind = ""
        async for line in response.aiter_lines():
            if line.startswith("event:"):
                kind = line.removeprefix("event:").strip()
            shown = line.startswith("data:") and kind.startswith(options.type)
            yield f"{kind:<28} {line.removeprefix('data:').strip()}" if shown else ""

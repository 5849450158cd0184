"""Start a node, and stop it in good order on SIGTERM or SIGINT."""

import argparse
import asyncio
import logging
import signal

import uvloop

from jilnode.cli.token import ALL_SCOPES, make_development_token
from jilnode.http.logs import configure_logs
from jilnode.node import Node
from jilnode.settings import Settings, load_settings

__all__ = ("add_arguments", "run")

logger = logging.getLogger("jilnode.run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--accept-tail", metavar="REASON", default="", help="write although nobody confirmed the newest entry; recorded"
    )
    parser.add_argument("--new-epoch", action="store_true", help="give up what may be lost behind the tail; start anew")


def run(options: argparse.Namespace) -> int:
    settings = load_settings()
    configure_logs(settings.node_id, settings.log_level)
    uvloop.run(_serve(settings, options))
    return 0


async def _serve(settings: Settings, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    node = Node(settings)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await node.start(accept_tail=options.accept_tail, new_epoch=options.new_epoch)
        print(_welcome(settings, node.http.port), flush=True)
        failing = asyncio.ensure_future(node.wait())
        await asyncio.wait([stopping, failing], return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            failing.result()
        failing.cancel()
        await asyncio.gather(failing, return_exceptions=True)
    finally:
        stopping.cancel()
        await node.close()


def _welcome(settings: Settings, port: int) -> str:
    base = f"http{'s' if settings.tls_certificate_file else ''}://{settings.http_host}:{port}"
    lines = [
        f"jilnode {settings.node_id} ({settings.jurisdiction}, network {settings.network})",
        f"  docs     {base}/docs",
        f"  health   {base}/readyz",
        f"  events   {base}/v1/events",
    ]
    if settings.development:
        token = make_development_token(settings, "demo", list(ALL_SCOPES), 86_400)
        lines += [
            "",
            "  DEV MODE: zone XX_DEV allows everything, and this token may do anything for a day. Never in earnest.",
            f"  token    {token}",
            "",
            "  try      curl -s -X POST " + f"{base}/v1/wallet/assets" + " \\",
            f"             -H 'authorization: Bearer {token}' \\",
            "             -H 'idempotency-key: first' -H 'content-type: application/json' \\",
            '             -d \'{"code":"CHFX","scale":2}\'',
        ]
    return "\n".join(lines)

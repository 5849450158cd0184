"""Start a node, and stop it in good order on SIGTERM or SIGINT."""

import argparse
import asyncio
import shlex
import signal
import sys

import uvloop

from jilnode.cli.token import all_scopes, make_development_token
from jilnode.http.logs import configure_logs
from jilnode.kernel.build import BUILD
from jilnode.node import Node
from jilnode.preflight import faults
from jilnode.settings import Settings, SettingsError, load_settings

__all__ = ("add_arguments", "run")

TOKEN_TTL_S = 86_400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--accept-tail", metavar="REASON", default="", help="write although nobody confirmed the newest entry; recorded"
    )
    parser.add_argument(
        "--new-epoch", action="store_true", help="give up what may be lost behind the newest entry, and begin anew"
    )


def run(options: argparse.Namespace) -> int:
    settings = load_settings()
    if problems := faults(settings):
        raise SettingsError(problems)
    configure_logs(settings.node_id, settings.log_level)
    for problem in settings.missing():
        print(f"missing: {problem}", file=sys.stderr)
    uvloop.run(_serve(settings, options))
    return 0


async def _serve(settings: Settings, options: argparse.Namespace) -> None:
    """Until a signal, or until the node can't go on: then it raises what stopped it."""
    serving = asyncio.current_task()
    assert serving is not None
    stopping = asyncio.Event()

    def stop() -> None:
        # The first one only: a second must not cut the shutdown short.
        if not stopping.is_set():
            stopping.set()
            serving.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    node = Node(settings)
    try:
        await node.start(accept_tail=options.accept_tail, new_epoch=options.new_epoch)
        print(_welcome(settings, node.http.port), flush=True)
        await node.wait()
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    finally:
        stopping.set()
        await node.close()


def _welcome(settings: Settings, port: int) -> str:
    host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
    base = f"http{'s' if settings.http_cert_file else ''}://{host}:{port}"
    lines = [
        f"jilnode {settings.node_id} ({settings.jurisdiction}, network {settings.network}, {BUILD})",
        f"  docs     {base}/docs",
        f"  health   {base}/readyz",
        f"  events   {base}/v1/events",
        f"  metrics  {base}/metrics",
    ]
    if settings.development:
        lines += _development(settings, base)
    return "\n".join(lines)


def _development(settings: Settings, base: str) -> list[str]:
    token = make_development_token(settings, "demo", all_scopes(), TOKEN_TTL_S)
    lines = [
        "",
        "  *** DEV MODE *** zone XX_DEV allows everything, and whoever has this token may do anything for a day.",
        "  Never with real money.",
        "",
    ]
    if settings.jwks_file is None and not settings.jwks_url:
        data = shlex.quote('{"code":"CHFX","scale":2}')
        lines += [
            f"  token    {token}",
            "",
            f"  try      curl -X POST {base}/v1/wallet/assets \\",
            f"             -H 'authorization: Bearer {token}' \\",
            f"             -H 'idempotency-key: first' -H 'content-type: application/json' -d {data}",
        ]
    return lines

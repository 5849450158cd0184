"""Run several nodes on this machine: SQLite, following each other over HTTP, with a trust file made for them."""

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

from jilnode.cli.genesis import genesis_hash
from jilnode.cli.token import ALL_SCOPES, make_development_token
from jilnode.settings import Settings, load_settings

__all__ = ("add_arguments", "run")

NAMES = ("ch-zug-01", "sg-mas-01", "gb-lon-01", "us-nyc-01", "de-fra-01", "jp-tyo-01", "au-syd-01", "ca-tor-01")
NODES_MAX = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nodes", type=int, nargs="?", default=3)
    parser.add_argument("--first-port", type=int, default=8400)


def run(options: argparse.Namespace) -> int:
    if not 1 <= options.nodes <= NODES_MAX:
        print(f"1 to {NODES_MAX} nodes", file=sys.stderr)
        return 2
    return asyncio.run(_fleet(load_settings(), options.nodes, options.first_port))


async def _fleet(settings: Settings, count: int, first_port: int) -> int:
    names = [NAMES[i] if i < len(NAMES) else f"node-{i + 1:02}" for i in range(count)]
    ports = [first_port + i for i in range(count)]
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    folder = settings.data_dir / "fleet"
    folder.mkdir(parents=True, exist_ok=True)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    trust: dict[str, str] = {}
    for name in names:
        trust[name] = await genesis_hash(Settings(node_id=name, data_dir=folder / name))
    trust_file = folder / "trust.json"
    trust_file.write_text(json.dumps(trust, indent=1) + "\n")
    children = []
    for index, name in enumerate(names):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("JIL_")}
        environment |= {
            "JIL_NODE_ID": name,
            "JIL_DATA_DIR": str(folder / name),
            "JIL_HTTP_PORT": str(ports[index]),
            "JIL_PUBLIC_URL": urls[index],
            "JIL_TRUST_FILE": str(trust_file),
            "JIL_PEERS": ",".join(url for url in urls if url != urls[index]),
        }
        log = (folder / f"{name}.log").open("wb")
        with log:
            children.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "jilnode.cli.main", "run", env=environment, stdout=log, stderr=log
                )
            )
    print(_tour(folder, names, urls), flush=True)
    return await _until_stopped(children)


async def _until_stopped(children: list[asyncio.subprocess.Process]) -> int:
    """Until Ctrl-C, or until a node ends by itself; then all of them are stopped."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    endings = [asyncio.ensure_future(child.wait()) for child in children]
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([stopping, *endings], return_when=asyncio.FIRST_COMPLETED)
    failed = not stop.is_set()
    for child in children:
        if child.returncode is None:
            child.terminate()
    await asyncio.gather(*endings)
    stopping.cancel()
    return 1 if failed else 0


def _tour(folder: Path, names: list[str], urls: list[str]) -> str:
    """Addresses, and commands to copy: money moves at the first node and is seen at the last."""
    tokens = [
        make_development_token(Settings(data_dir=folder / name), "demo", list(ALL_SCOPES), 86_400) for name in names
    ]
    lines = ["A fleet in dev mode. Everything is allowed; never use it in earnest.", ""]
    lines += [f"  {name:<12} {url}/docs   log: {folder / name}.log" for name, url in zip(names, urls, strict=True)]
    post = f"curl -s -X POST -H 'authorization: Bearer {tokens[0]}' -H 'content-type: application/json'"
    home = names[0]
    asset = f"CHFX@{home}"
    steps = [
        ("asset", "assets", '{"code":"CHFX","scale":2}'),
        ("kestrel", "accounts", '{"handle":"kestrel"}'),
        ("heron", "accounts", '{"handle":"heron"}'),
        ("issue", "issues", f'{{"asset":"{asset}","credit":"kestrel@{home}","amount":"100.00"}}'),
        (
            "pay",
            "transfers",
            f'{{"debit":"kestrel@{home}","credit":"heron@{home}","asset":"{asset}","amount":"12.50"}}',
        ),
    ]
    lines += ["", f"Move money at {home}:", ""]
    lines += [
        f"  {post} -H 'idempotency-key: {key}' {urls[0]}/v1/wallet/{path} -d '{body}'" for key, path, body in steps
    ]
    lines += ["", f"See it at {names[-1]}:", ""]
    see = f"{urls[-1]}/v1/wallet/accounts/heron@{home}/balances"
    lines += [f"  curl -s -H 'authorization: Bearer {tokens[-1]}' {see}", "", "Ctrl-C stops them all."]
    return "\n".join(lines)

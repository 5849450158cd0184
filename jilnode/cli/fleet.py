"""Run several nodes on this machine: SQLite, following each other over HTTP, with a trust file made for them."""

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NamedTuple

import httpx

from jilnode.cli.arguments import whole_number
from jilnode.cli.genesis import genesis_hash
from jilnode.cli.token import all_scopes, make_development_token
from jilnode.parts import development_key_path
from jilnode.settings import PORT_LAST, Settings, inherited_environment, load_settings

__all__ = ("add_arguments", "run")

NAMES = ("ch-zug-01", "sg-mas-01", "gb-lon-01", "us-nyc-01", "de-fra-01", "jp-tyo-01", "au-syd-01", "ca-tor-01")
NODES_MAX = 32
HOST = "127.0.0.1"
READY_TIMEOUT_S = 60
POLL_S = 0.1
TOKEN_TTL_S = 7 * 86_400


class Member(NamedTuple):
    name: str
    url: str
    settings: Settings
    log: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    count, port = whole_number(1, NODES_MAX), whole_number(1, PORT_LAST)
    parser.add_argument("nodes", type=count, nargs="?", default=3, help=f"how many, 1 to {NODES_MAX} (default: 3)")
    parser.add_argument("--first-port", type=port, help="the others follow it (default: JIL_HTTP_PORT)")


def run(options: argparse.Namespace) -> int:
    settings = load_settings()
    first_port = options.first_port or settings.http_port
    if not settings.development or not 1 <= first_port <= PORT_LAST + 1 - options.nodes:
        print("jilnode: a fleet runs in network dev only, each node on a port of its own", file=sys.stderr)
        return 2
    return asyncio.run(_fleet(settings, options.nodes, first_port))


async def _fleet(settings: Settings, count: int, first_port: int) -> int:
    folder = (settings.data_dir / "fleet").absolute()
    members = [_member(folder, index, first_port + index) for index in range(count)]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    trust_file = folder / "trust.json"
    await _prepare(members, trust_file)
    children = [await _start(member, members, trust_file) for member in members]
    endings = [asyncio.ensure_future(child.wait()) for child in children]
    touring = asyncio.ensure_future(_tour(members))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([touring, stopping, *endings], return_when=asyncio.FIRST_COMPLETED)
        if touring.done():
            print(touring.result(), flush=True)
            await asyncio.wait([stopping, *endings], return_when=asyncio.FIRST_COMPLETED)
    finally:
        fallen = [member for member, child in zip(members, children, strict=True) if child.returncode is not None]
        for child in children:
            if child.returncode is None:
                child.terminate()
        for task in (touring, stopping):
            task.cancel()
        await asyncio.gather(touring, stopping, *endings, return_exceptions=True)
    for member in fallen:
        last = "\n".join(member.log.read_text(errors="replace").splitlines()[-5:])
        print(f"jilnode: {member.name} ended by itself; the end of {member.log}:\n{last}", file=sys.stderr)
    return 1 if fallen else 0


def _member(folder: Path, index: int, port: int) -> Member:
    name = NAMES[index] if index < len(NAMES) else f"node-{index + 1:02}"
    url = f"http://{HOST}:{port}"
    # Raises OSError while somebody else has the port: better now than in a log.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise OSError(f"can't listen on {HOST}:{port}: {error.strerror}; give --first-port") from None
    settings = Settings(node_id=name, data_dir=folder / name, http_host=HOST, http_port=port, public_url=url)
    return Member(name, url, settings, folder / f"{name}.log")


async def _prepare(members: list[Member], trust_file: Path) -> None:
    """Every node's genesis first, so that the trust file names them all; and one development key, so that one token
    is good at every node."""
    trust = {member.name: await genesis_hash(member.settings) for member in members}
    _write(trust_file, json.dumps(trust, indent=1).encode() + b"\n")
    make_development_token(members[0].settings, "demo", [], 1)
    key = development_key_path(members[0].settings).read_bytes()
    for member in members[1:]:
        _write(development_key_path(member.settings), key)


def _write(path: Path, content: bytes) -> None:
    """Readable by its owner only."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


async def _start(member: Member, members: list[Member], trust_file: Path) -> asyncio.subprocess.Process:
    settings = member.settings
    environment = inherited_environment() | {
        "JIL_NODE_ID": member.name,
        "JIL_REGION": member.name.partition("-")[0],
        "JIL_DATA_DIR": str(settings.data_dir),
        "JIL_HTTP_HOST": settings.http_host,
        "JIL_HTTP_PORT": str(settings.http_port),
        "JIL_PUBLIC_URL": member.url,
        "JIL_TRUST_FILE": str(trust_file),
        # Everybody here has the same address.
        "JIL_RATE_LIMIT": "off",
        "JIL_PEERS": ",".join(other.url for other in members if other is not member),
    }
    with member.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "jilnode.cli.main", "run"),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C is for the fleet, which then stops its nodes.
            start_new_session=True,
        )


async def _tour(members: list[Member]) -> str:
    """Waits for all of them, gives two accounts at the first some money to move, and says how to look."""
    first, last = members[0], members[-1]
    token = make_development_token(first.settings, "demo", all_scopes(), TOKEN_TTL_S)
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        async with asyncio.timeout(READY_TIMEOUT_S):
            for member in members:
                await _ready(client, member)
        for key, path, body in _opening(first.name):
            headers = {"authorization": f"Bearer {token}", "idempotency-key": f"fleet-{key}"}
            answer = await client.post(f"{first.url}/v1/wallet/{path}", headers=headers, json=body)
            answer.raise_for_status()
    lines = ["*** DEV MODE *** A fleet on this machine: everything is allowed. Never with real money.", ""]
    lines += [f"  {member.name:<12} {member.url}/docs   log: {member.log}" for member in members]
    transfer = json.dumps(
        {
            "debit": f"kestrel@{first.name}",
            "credit": f"heron@{first.name}",
            "asset": f"CHFX@{first.name}",
            "amount": "12.50",
        }
    )
    lines += [
        "",
        f"  TOKEN={token}",
        "",
        f"Move money at {first.name}:",
        "",
        f'  curl -X POST {first.url}/v1/wallet/transfers -H "authorization: Bearer $TOKEN" \\',
        "    -H \"idempotency-key: $(date +%s%N)\" -H 'content-type: application/json' \\",
        f"    -d '{transfer}'",
        "",
        f"See it at {last.name}:",
        "",
        f'  curl {last.url}/v1/wallet/accounts/heron@{first.name}/balances -H "authorization: Bearer $TOKEN"',
        "",
        "Ctrl-C stops them all.",
    ]
    return "\n".join(lines)


async def _ready(client: httpx.AsyncClient, member: Member) -> None:
    while True:
        try:
            if (await client.get(f"{member.url}/readyz")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(POLL_S)


def _opening(name: str) -> list[tuple[str, str, dict[str, object]]]:
    """(key, path, body). The keys are always the same, so a second start gives nothing away twice."""
    return [
        ("asset", "assets", {"code": "CHFX", "scale": 2}),
        ("kestrel", "accounts", {"handle": "kestrel"}),
        ("heron", "accounts", {"handle": "heron"}),
        ("issue", "issues", {"asset": f"CHFX@{name}", "credit": f"kestrel@{name}", "amount": "1000.00"}),
    ]

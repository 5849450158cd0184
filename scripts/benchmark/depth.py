"""From an order's request to the frame of the market's depth that shows it, at a steady rate.

Each order has a price of its own, so a frame tells by its levels which orders it shows. An order counts from when its
request was due, whether or not earlier ones were answered, until the frame has come in whole; sender and subscriber
read the same monotonic clock.
"""

import asyncio
import json
import subprocess
import sys
import time
from typing import NamedTuple

from scripts.benchmark.load import ladder_price
from scripts.benchmark.rows import at
from scripts.benchmark.server import QUIET_MARKET, Server

__all__ = ("Shown", "show")

RATE_PER_S = 1_000
WAIT_S = 30
"""For the last order to be shown."""


class Shown(NamedTuple):
    """``rate``: orders a second, as many as were wanted or as few as the node took. ``p50_ms`` and ``p99_ms`` until
    they were shown; ``answered`` (p50, p99) until they were answered."""

    rate: float
    p50_ms: float
    p99_ms: float
    answered: tuple[float, float]


def show(server: Server, seconds: float, round_number: int) -> Shown:
    """Rounds have prices of their own."""
    return asyncio.run(_measure(server, seconds, round_number * RATE_PER_S * int(seconds + 1)))


async def _measure(server: Server, seconds: float, first: int) -> Shown:
    job = {
        "kind": "ladder",
        "market": QUIET_MARKET,
        "port": server.port,
        "path": "/v1/dex/orders",
        "token": server.token,
        "accounts": server.accounts,
        "items": 1,
        "connections": 64,
        "seconds": seconds,
        "first": first,
        "prefix": "ladder",
        "rate": RATE_PER_S,
    }
    frames: list[tuple[float, bytes]] = []
    async with asyncio.timeout(seconds + WAIT_S):
        reader, writer = await _subscribe(server)
        try:
            sender = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "scripts.benchmark.load", stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            sending = asyncio.create_task(sender.communicate(json.dumps(job).encode()))
            reading = asyncio.create_task(_read(reader, frames))
            output, _ = await sending
            sent = json.loads(output)
            if sent["failures"]:
                raise RuntimeError(f"{sent['failures']} of {sent['requests']} requests failed")
            due = {ladder_price(first + n): sent["begun"] + n / RATE_PER_S for n in range(sent["requests"])}
            while len(shown := _shown(frames)) < len(due):
                if reading.done():
                    reading.result()
                await asyncio.sleep(0.1)
            reading.cancel()
        finally:
            writer.close()
    times = sorted(max(0.0, shown[price] - moment) * 1000 for price, moment in due.items())
    answered = (sent["p50_ms"], sent["p99_ms"])
    return Shown(len(times) / seconds, at(times, 0.5), at(times, 0.99), answered)


async def _subscribe(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Returns once the snapshot is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20)
    path = f"/v1/dex/markets/{QUIET_MARKET}/depth/stream"
    writer.write(f"GET {path} HTTP/1.1\r\nhost: n\r\nauthorization: Bearer {server.token}\r\n\r\n".encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer.decode())
    await reader.readuntil(b"\n\n")
    return reader, writer


async def _read(reader: asyncio.StreamReader, frames: list[tuple[float, bytes]]) -> None:
    """When which frames had come in whole."""
    rest = b""
    while data := await reader.read(1 << 16):
        now = time.perf_counter()
        whole, end, rest = (rest + data).rpartition(b"\n\n")
        if end:
            frames.append((now, whole))
    raise RuntimeError("the stream ended")


def _shown(frames: list[tuple[float, bytes]]) -> dict[str, float]:
    """price -> when its level was first shown."""
    found: dict[str, float] = {}
    for moment, text in frames:
        for line in text.splitlines():
            if line.startswith(b"data: "):
                for price, _ in json.loads(line[6:])["asks"]:
                    found.setdefault(price, moment)
    return found

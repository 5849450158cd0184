"""From a commit here to its visibility there, through a real Kafka, at a steady rate.

Both nodes' live streams come to one listener, so one clock tells: an entry is on the first stream once it is durable
here, and on the second once the other node has verified it and committed it. Requests are sent when they are due,
whether or not earlier ones are answered.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.benchmark.rows import Row, at, row
from tests.kit.kafka import KafkaBroker
from tests.kit.node_process import NodeProcess, pair

__all__ = ("measure",)

HERE, THERE = "ch-bench-01", "sg-bench-01"
ASSET = f"CHFX@{HERE}"
ACCOUNTS = 200
RATE_PER_S = 1_000
WAIT_S = 30
"""For the last entry to be seen."""
_ID = re.compile(rb"^id: (.+)$", re.MULTILINE)


def measure(quick: bool) -> list[Row]:
    rounds, seconds = (1, 5.0) if quick else (3, 10.0)
    subprocess.run([Path(__file__).parents[1] / "kafka"], check=True)
    folder = Path(tempfile.mkdtemp(prefix="jil-latency-"))
    kafka = KafkaBroker()
    kafka.start()
    nodes: list[NodeProcess] = []
    found: list[list[float]] = []
    try:
        settings = {"REDPANDA_SEEDS": kafka.bootstrap, "JIL_KAFKA_PARTITIONS": "4", "JIL_LOG_LEVEL": "WARNING"}
        nodes = pair(folder, (HERE, THERE), lambda ports: [settings, settings])
        for node in nodes:
            node.start("/readyz")
        accounts = _open_accounts(nodes[0])
        _round(nodes, accounts, "warm", 2.0)
        found += [sorted(_round(nodes, accounts, f"r{number}", seconds)) for number in range(rounds)]
    finally:
        for node in nodes:
            node.process.kill()
        kafka.close()
        shutil.rmtree(folder, ignore_errors=True)
    rate = [len(times) / seconds for times in found]
    places = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return [
        row("visible.rate", rate, "1/s"),
        *[row(f"visible.{name}", [at(times, place) for times in found], "ms") for name, place in places.items()],
        row("visible.max", [times[-1] for times in found], "ms"),
    ]


def _open_accounts(node: NodeProcess) -> list[str]:
    node.post("/v1/wallet/assets", "asset", {"code": "CHFX", "scale": 2})
    accounts = [node.post("/v1/wallet/accounts", f"account-{number}", {})[1]["id"] for number in range(ACCOUNTS)]
    for account in accounts:
        body: dict[str, object] = {"asset": ASSET, "credit": account, "amount": "1000000.00"}
        assert node.post("/v1/wallet/issues", f"issue-{account}", body)[0] == 201
    return accounts


def _round(nodes: list[NodeProcess], accounts: list[str], name: str, seconds: float) -> list[float]:
    """Milliseconds of every entry."""
    return asyncio.run(_listen(nodes, accounts, name, seconds))


class _Seen:
    """When each entry came by on one node's stream."""

    def __init__(self) -> None:
        self.at: dict[bytes, float] = {}
        self.listening = asyncio.Event()
        self._wanted = 0
        self._complete = asyncio.Event()

    def add(self, entries: list[bytes]) -> None:
        now = time.perf_counter()
        for entry in entries:
            self.at.setdefault(entry, now)
        if self._wanted and len(self.at) >= self._wanted:
            self._complete.set()

    async def until(self, count: int) -> None:
        self._wanted = count
        self.add([])
        await self._complete.wait()

    async def read(self, node: NodeProcess) -> None:
        """Each transfer of the first node."""
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port, limit=1 << 20)
        try:
            query = f"type=wallet.transfer.posted&source={HERE}"
            head = f"GET /v1/events?{query} HTTP/1.1\r\nhost: n\r\nauthorization: Bearer {node.token()}\r\n\r\n"
            writer.write(head.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode())
            self.listening.set()
            rest = b""
            while data := await reader.read(1 << 16):
                whole, _, rest = (rest + data).rpartition(b"\n")
                self.add(_ID.findall(whole + b"\n"))
            raise RuntimeError(f"the stream of {node.name} ended")
        finally:
            writer.close()


async def _listen(nodes: list[NodeProcess], accounts: list[str], name: str, seconds: float) -> list[float]:
    here, there = seen = _Seen(), _Seen()
    async with asyncio.timeout(seconds + WAIT_S), asyncio.TaskGroup() as streams:
        reading = [streams.create_task(log.read(node)) for log, node in zip(seen, nodes, strict=True)]
        for log in seen:
            await log.listening.wait()
        job = {
            "port": nodes[0].port,
            "path": "/v1/wallet/transfers",
            "token": nodes[0].token(),
            "accounts": accounts,
            "asset": ASSET,
            "items": 1,
            "connections": 64,
            "seconds": seconds,
            "first": 0,
            "prefix": name,
            "rate": RATE_PER_S,
        }
        sender = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scripts.benchmark.load", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        output, _ = await sender.communicate(json.dumps(job).encode())
        sent = json.loads(output)
        if sent["failures"]:
            raise RuntimeError(f"{sent['failures']} of {sent['requests']} requests failed")
        for log in seen:
            await log.until(sent["requests"])
        for task in reading:
            task.cancel()
    return [max(0.0, there.at[entry] - at) * 1000 for entry, at in here.at.items()]

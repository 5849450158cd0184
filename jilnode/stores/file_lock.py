"""The one writer of an SQLite file: an advisory lock on a file beside it, which ends with its process."""

import fcntl
import os
from pathlib import Path

from jilnode.kernel.errors import LockLost

__all__ = ("FileLock",)


class FileLock:
    """Held on ``<database>.lock`` from ``take`` to ``release``."""

    def __init__(self, database: Path) -> None:
        self._database = str(database)
        self._path = f"{database}.lock"
        self._descriptor = -1
        self._lock_inode = self._database_inode = -1

    def take(self) -> None:
        """Raises ``LockLost`` when another process has it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise LockLost(
                f"another process (id {holder}) writes {self._database}. Stop it first, or give this node another"
                " JIL_DATA_DIR"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        self._lock_inode = os.fstat(descriptor).st_ino

    def watch_database(self) -> None:
        """From now on ``check`` also notices that the database was replaced. To be called once the file is there."""
        self._database_inode = os.stat(self._database).st_ino  # noqa: PTH116

    def check(self) -> None:
        """Two ``stat`` calls, so that every commit can afford it. Raises ``LockLost``."""
        try:
            same = (
                os.stat(self._path).st_ino == self._lock_inode  # noqa: PTH116
                and os.stat(self._database).st_ino == self._database_inode  # noqa: PTH116
            )
        except FileNotFoundError:
            same = False
        if not same:
            raise LockLost(
                f"{self._database} or its .lock was removed or replaced while this node ran, so another process may"
                " write it. Start the node again"
            )

    def release(self) -> None:
        """The file stays: removing it would let two processes lock two files."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

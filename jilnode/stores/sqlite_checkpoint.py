"""Moves pages from SQLite's write-ahead log to their places while the writer goes on.

Inside a COMMIT a checkpoint holds up everybody who waits for that commit: a fifth of the time under load. So a second
connection does most of it on a thread of its own. It never gets quite done while the writer writes; the few pages that
came meanwhile are moved by the writer's thread, after which SQLite begins its log anew.
"""

import logging
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

__all__ = ("Checkpointer",)

logger = logging.getLogger("jilnode.store")

_CHANGES = 4000
"""Rows changed between two checkpoints; some 16 MiB of log when each change touches a page of its own."""
_CHECKPOINT = "pragma wal_checkpoint(passive)"


class Checkpointer:
    """``after_commit`` is called on the thread that commits; nothing else uses the connection then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-checkpoint")
        self._running: Future[None] | None = None
        self._seen = 0

    def after_commit(self, writer: sqlite3.Connection) -> None:
        if self._running is not None:
            if self._running.done():
                error = self._running.exception()
                if error is not None:
                    logger.warning("a checkpoint failed", extra={"fields": {"detail": str(error)}})
                self._running = None
                writer.execute(_CHECKPOINT).fetchall()
        elif writer.total_changes - self._seen >= _CHANGES:
            self._seen = writer.total_changes
            self._running = self._thread.submit(self._checkpoint)

    def new_writer(self) -> None:
        """A new connection counts its changes from 0."""
        self._seen = 0

    def close(self) -> None:
        self._thread.shutdown(wait=True)

    def _checkpoint(self) -> None:
        connection = sqlite3.connect(self._path, timeout=1.0, isolation_level=None)
        try:
            connection.execute("pragma synchronous = full")
            connection.execute("pragma checkpoint_fullfsync = on")
            connection.execute(_CHECKPOINT).fetchall()
        finally:
            connection.close()

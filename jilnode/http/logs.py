"""JSON logs: one object a line, with nothing secret or personal in them.

A record is its message and the members of ``extra={"fields": {...}}``. Of an exception it holds the type and the
frames: an exception's message may quote a row, a body or a token.
"""

import logging
import sys
import time
import traceback
from types import TracebackType
from typing import TextIO

import msgspec

__all__ = ("JsonFormatter", "configure_logs")

_encode = msgspec.json.Encoder(enc_hook=str).encode


class JsonFormatter(logging.Formatter):
    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        seconds, fraction = divmod(record.created, 1)
        line: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(fraction * 1000):03d}Z",
            "level": record.levelname.lower(),
            "node": self._node,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line.update(fields)
        if record.exc_info:
            line["error"] = _error(record.exc_info[1])
            line["frames"] = _frames(record.exc_info[2])
        return _encode(line).decode()


def configure_logs(node: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Everything through one handler. uvicorn's own access log stays off: it would hold addresses and paths."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(node))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
    logging.getLogger("uvicorn.access").disabled = True
    # Each of these writes a line with an address for every request that we make.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel("WARNING")


def _error(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__


def _frames(trace: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]

"""The one rule about real parts: a missing one skips its tests and says so, and fails them where CI=true."""

import os
from typing import Literal

import pytest

from scripts import compiling
from tests.kit import kafka, postgres, valkey

Part = Literal["postgres", "kafka", "valkey", "compiler"]

_MISSING = {
    "postgres": postgres.missing,
    "kafka": kafka.missing,
    "valkey": valkey.missing,
    "compiler": compiling.missing,
}


def require(part: Part) -> None:
    reason = _MISSING[part]()
    if reason is None:
        return
    message = f"{part} is missing: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)

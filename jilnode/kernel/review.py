"""The zones' review of an action: what they are asked, what they answer, and the port behind which they stand."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

__all__ = ("Action", "Verdict", "ZoneReview")


class Action(msgspec.Struct, frozen=True):
    """What zones review: pseudonymous facts of one action. ``zones`` lists the zones of both parties."""

    kind: str
    zones: tuple[str, ...]
    facts: Mapping[str, object] = {}


class Verdict(msgspec.Struct, frozen=True):
    """A zone's answer. ``record`` (JSON bytes, kept on this node only) is what was known and which rules fired; its
    salted hash goes into the header. An empty record means that the zone keeps none (the dev zone)."""

    approved: bool
    code: str = ""
    detail: str = ""
    record: bytes = b""


class ZoneReview(Protocol):
    """Review by zones: pure, synchronous, inside the decision. An exception is a refusal (fail closed)."""

    def review(self, action: Action, time_us: int) -> Verdict: ...

    def facts(self) -> Mapping[str, object]:
        """Zone data that handlers may need: bounds, ages. Stored with nothing; constant while the node runs."""

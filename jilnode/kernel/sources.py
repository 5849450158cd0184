"""What is known of each source: its epoch, the frontier of its tree, its digest, its key, and whether it is
followed."""

from jilnode.kernel.digest import MODULUS
from jilnode.kernel.system import Head
from jilnode.kernel.tree import Frontier

__all__ = (
    "CAUSE_DISPUTED",
    "FOLLOWING",
    "NOT_JUDGED",
    "NOT_STORED",
    "PARKED",
    "RESIDENT_FULL",
    "SET_ASIDE",
    "SUSPENDED",
    "SourceState",
)

FOLLOWING, PARKED, SUSPENDED = "following", "parked", "suspended"
RESIDENT_FULL = "resident_full"
"""Why a source is parked that would take more of this node's memory than it may."""
NOT_JUDGED = "not_judged"
"""Why a source is parked over whose entry this program failed: a fault here, whatever it tells of the source."""
NOT_STORED = "not_stored"
"""Why a source is parked whose entry this node's database can't take, though this program found nothing wrong in it."""
CAUSE_DISPUTED = "cause_disputed"
"""Why a source is parked that rests on another entry of a third one than is here: either it lies, or that one told each
of us something else."""
SET_ASIDE = frozenset((RESIDENT_FULL, NOT_JUDGED, NOT_STORED, CAUSE_DISPUTED))


class SourceState:
    """Mutable, one for each source; ``copy`` before a batch is the undo."""

    __slots__ = (
        "code",
        "detail",
        "digest",
        "drift",
        "epoch",
        "frontier",
        "public_key",
        "source",
        "status",
        "tick_size",
        "tick_us",
        "time_us",
        "zone",
    )

    def __init__(self, source: str) -> None:
        self.source = source
        self.epoch = 0
        self.frontier = Frontier()
        self.digest = 0
        self.public_key = b""
        self.zone = ""
        self.tick_us = 0
        self.tick_size = 0
        """The size of the tree just after the last tick."""
        self.time_us = 0
        """The time of the newest entry."""
        self.status = FOLLOWING
        self.code = ""
        self.detail = ""
        self.drift = False

    @property
    def size(self) -> int:
        return self.frontier.size

    @property
    def set_aside(self) -> bool:
        """Whether nothing of it is applied until an operator releases it. What it sends meanwhile is kept raw."""
        return self.status == SUSPENDED or self.code in SET_ASIDE

    def copy(self) -> "SourceState":
        twin = SourceState(self.source)
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        twin.frontier = self.frontier.copy()
        return twin

    def add_digest(self, delta: int) -> None:
        self.digest = (self.digest + delta) % MODULUS

    def to_row(self) -> Head:
        return Head(
            epoch=self.epoch,
            size=self.size,
            hashes=tuple(value.hex() for value in self.frontier.hashes),
            digest=f"{self.digest:064x}",
            zone=self.zone,
            public_key=self.public_key.hex(),
            tick_us=self.tick_us,
            time_us=self.time_us,
            tick_size=self.tick_size,
            status=self.status,
            code=self.code,
            detail=self.detail,
            drift=self.drift,
        )

    @classmethod
    def of_row(cls, source: str, head: Head) -> "SourceState":
        state = cls(source)
        state.epoch = head.epoch
        state.frontier = Frontier(head.size, [bytes.fromhex(value) for value in head.hashes])
        state.digest = int(head.digest, 16)
        state.zone = head.zone
        state.public_key = bytes.fromhex(head.public_key)
        state.tick_us = head.tick_us
        state.time_us = head.time_us
        state.tick_size = head.tick_size
        state.status = head.status
        state.code = head.code
        state.detail = head.detail
        state.drift = head.drift
        return state

"""The zone contract: how a jurisdiction's rules judge an action.

A zone is found by the entry-point group ``jilnode.compliance`` under its code (``XX_DEV``). No plug-in, no rule pack,
or an exception in a rule means that the action is refused and the refusal recorded: a node fails closed.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Protocol

from jilnode.kernel.review import Action, Verdict

__all__ = ("ZONE_CODES", "Action", "Verdict", "Zone", "ZoneBoard", "installed_zones")

_APPROVED = Verdict(True)
DEVELOPMENT_ZONE = "XX_DEV"
ZONE_CODES = (
    "CH_FINMA",
    "AE_FSRA",
    "SG_MAS",
    "US_FINCEN",
    "IN_RBI_SEBI",
    "BR_CVM_BCB",
    "ZA_FSCA",
    "GB_FCA",
    "DE_BAFIN",
    "JP_FSA",
    "AU_ASIC",
    "CA_FINTRAC",
    "PH_BSP",
)


class Zone(Protocol):
    """One jurisdiction's rules. ``review`` is pure and synchronous; ``facts`` are constant while the node runs."""

    code: str

    def review(self, action: Action, time_us: int) -> Verdict: ...

    def facts(self) -> Mapping[str, object]: ...


class ZoneBoard:
    """The kernel's zone review: every zone that an action touches must approve; the first refusal wins."""

    def __init__(self, home: str, zones: Sequence[Zone], *, development: bool) -> None:
        self.home = home
        self._asked = lru_cache(maxsize=1024)(self._zones_asked)
        self._zones = {zone.code: zone for zone in zones if development or zone.code != DEVELOPMENT_ZONE}

    def _zones_asked(self, parties: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.home, *parties)))

    def review(self, action: Action, time_us: int) -> Verdict:
        records: list[bytes] = []
        for code in self._asked(action.zones):
            zone = self._zones.get(code)
            if zone is None:
                return Verdict(False, "zone_unavailable", f"no rules for zone {code} on this node")
            try:
                verdict: object = zone.review(action, time_us)
            except Exception as error:
                return Verdict(False, "zone_error", f"the rules of zone {code} failed: {type(error).__name__}")
            if not isinstance(verdict, Verdict) or verdict.approved is not True:
                if isinstance(verdict, Verdict) and verdict.approved is False:
                    return verdict
                return Verdict(False, "zone_error", f"zone {code} gave no verdict")
            if verdict.record:
                records.append(verdict.record)
        return Verdict(True, record=b"\n".join(records)) if records else _APPROVED

    def facts(self) -> Mapping[str, object]:
        """What handlers may know of the home zone: its code, and its own facts (bounds, ages)."""
        zone = self._zones.get(self.home)
        return {"zone": self.home, **({} if zone is None else zone.facts())}


def installed_zones() -> list[Zone]:
    """Every installed zone plug-in. One that can't be loaded is absent, so its actions are refused."""
    return [point.load() for point in sorted(entry_points(group="jilnode.compliance"), key=lambda point: point.name)]

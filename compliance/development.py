"""``XX_DEV``: the zone of a laptop. It approves everything, keeps no record, and is refused outside network ``dev``."""

from collections.abc import Mapping

from jilnode.zone import Action, Verdict

__all__ = ("ZONE", "DevelopmentZone")

_APPROVED = Verdict(True)


class DevelopmentZone:
    code = "XX_DEV"

    def review(self, action: Action, time_us: int) -> Verdict:
        return _APPROVED

    def facts(self) -> Mapping[str, object]:
        return {}


ZONE = DevelopmentZone()

"""What can be asked of the router."""

import msgspec

__all__ = ("TakeRoute",)


class TakeRoute(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Pays at most ``amount_in`` of ``asset_in``, fees included, for at least ``min_out`` of ``asset_out``, by the best
    lane of this node, not after ``deadline_us``."""

    account: str
    asset_in: str
    asset_out: str
    amount_in: str
    min_out: str
    deadline_us: int

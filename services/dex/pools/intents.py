"""What can be asked of pools. Amounts are decimal strings; a deadline is a moment in microseconds, after which the
command is refused."""

import msgspec

__all__ = ("AddLiquidity", "CreatePool", "RemoveLiquidity", "SetPoolStatus", "Swap")


class _Intent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class CreatePool(_Intent, frozen=True):
    """``base``, ``quote``: assets, ``CODE@issuer``. ``fee_bps``, of each input, holds for ever."""

    base: str
    quote: str
    fee_bps: int = 30


class SetPoolStatus(_Intent, frozen=True):
    """Halts with a reason; resumes with an empty one."""

    pool: str
    halted: str = ""


class AddLiquidity(_Intent, frozen=True):
    """At most ``base`` and ``quote``, in the proportion that the pool has; less than ``min_base`` or ``min_quote`` of
    them is refused. The first liquidity is taken as it is, and makes the price."""

    pool: str
    account: str
    base: str
    quote: str
    min_base: str
    min_quote: str
    deadline_us: int


class RemoveLiquidity(_Intent, frozen=True):
    """Gives ``shares`` back for their part of both reserves, at least ``min_base`` and ``min_quote``."""

    pool: str
    account: str
    shares: str
    min_base: str
    min_quote: str
    deadline_us: int


class Swap(_Intent, frozen=True):
    """Pays exactly ``amount_in`` of ``asset_in``, the pool's base or quote, for at least ``min_out`` of the other."""

    pool: str
    account: str
    asset_in: str
    amount_in: str
    min_out: str
    deadline_us: int

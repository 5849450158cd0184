"""The pools' rows. Amounts are integers in minor units.

A pool, the asset of its shares and the account that its money lies on go by one key, ``<node>/dex.LP<n>``: outside the
asset and the pool are ``dex.LP<n>@<node>``. Such names are the exchange's, so whoever sees one in an event knows that
it is a pool's.
"""

from jilnode.module import CreatedBy, EqualityIndex, Owned, Table
from services.wallet.kinds import Exchange

__all__ = (
    "ADD",
    "CODE_PREFIX",
    "LIQUIDITY",
    "POOLS",
    "REMOVE",
    "SWAPS",
    "TABLES",
    "Liquidity",
    "Pool",
    "Swapped",
    "pair_of",
    "pool_name",
)

ADD, REMOVE = "add", "remove"
CODE_PREFIX = "dex.LP"


def pool_name(key: str) -> str:
    """The pool's name outside, which is that of the asset of its shares."""
    node, _, code = key.partition("/")
    return f"{code}@{node}"


def pair_of(one: str, other: str) -> str:
    """Two assets, whichever comes first."""
    return " ".join(sorted((one, other)))


class Pool(Owned, frozen=True):
    """``base_reserve`` and ``quote_reserve`` are all that lies on the pool's account (M6); ``shares`` are all of its
    shares, with those that nobody has. ``base_cumulative`` and ``quote_cumulative`` are the sums of price times
    microseconds up to ``at_us``, the last moment at which the reserves changed: of the base in quote, and of the quote
    in base; each a decimal string of an integer with ``curve.PRICE_BITS`` bits after the point."""

    base: str
    quote: str
    base_scale: int
    quote_scale: int
    share_scale: int
    fee_bps: int
    base_reserve: int = 0
    quote_reserve: int = 0
    shares: int = 0
    base_cumulative: str = "0"
    quote_cumulative: str = "0"
    at_us: int = 0
    halted: str = ""
    """Why an operator stopped it; empty while it runs."""

    @property
    def pair(self) -> str:
        return pair_of(self.base, self.quote)


class Swapped(Exchange, frozen=True):
    """One swap, and its payment: ``debit`` is the account that swaps, and ``credit`` the pool's. No node takes a fee of
    it; ``kept`` is the part of the input that is the pool's."""

    kept: int

    @property
    def account(self) -> str:
        return self.debit

    @property
    def pool(self) -> str:
        return self.credit

    @property
    def asset_in(self) -> str:
        return self.asset

    @property
    def amount_in(self) -> int:
        return self.amount

    @property
    def scale_in(self) -> int:
        return self.scale

    @property
    def asset_out(self) -> str:
        return self.back_asset

    @property
    def amount_out(self) -> int:
        return self.back_amount

    @property
    def scale_out(self) -> int:
        return self.back_scale


class Liquidity(Owned, frozen=True):
    """``kind``: ``add`` or ``remove``. ``shares`` are what the account got or gave; the first liquidity of a pool also
    makes those that nobody gets. ``scales``: of base, quote, shares."""

    pool: str
    account: str
    kind: str
    base: int
    quote: int
    shares: int
    scales: tuple[int, int, int]
    at_us: int


POOLS = Table("dex.pool", Pool, CreatedBy(), resident=True, indexes=(EqualityIndex("by_pair", "pair"),))
SWAPS = Table("dex.swap", Swapped, CreatedBy(), write_once=True, searchable=("debit", "credit"))
LIQUIDITY = Table("dex.liquidity", Liquidity, CreatedBy(), write_once=True, searchable=("account",))

TABLES = (POOLS, SWAPS, LIQUIDITY)

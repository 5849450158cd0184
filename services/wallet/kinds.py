"""What rows of other modules are, by which the wallet judges them, in whichever table they stand: an order holds money
(``Holding``), a trade says what two accounts paid each other (``Exchange``). Amounts are integers in minor units."""

from typing import Final

import msgspec

from jilnode.module import Owned

__all__ = ("TRADE", "Counted", "Exchange", "Holding", "Reserved", "Side", "sides")

TRADE: Final = "trade"
"""The kind, in a history, of what another module had accounts pay."""


class Counted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a reservation took of its account's limits, to be given back as far as it is not posted: of the windows
    ``day``, ``month`` and ``window`` at the home; elsewhere of the part that came with money and holds until
    ``until_us``."""

    amount: int
    count: int
    day: int = 0
    month: int = 0
    window: int = 0
    until_us: int = 0


class Reserved(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Money set aside, in the ``held`` of this node's share of it. Of what was set aside ``paid`` went out already.
    ``counted`` is None where no limit counts."""

    asset: str
    amount: int
    paid: int = 0
    counted: Counted | None = None


class Holding(Owned, frozen=True):
    """What a row of another module is, for which money of ``account`` is set aside: an order, a quote. By this the
    wallet judges it, whatever else it is."""

    account: str
    reserved: Reserved


class Exchange(Owned, frozen=True):
    """What a row of another module is that says, itself, that two accounts paid each other: a trade. ``debit`` paid
    ``amount + fee`` of ``asset``, ``credit`` paid ``back_amount + back_fee`` of ``back_asset``; each got what the other
    paid, without the fee, which the node's fee account got. By this the wallet judges it, whatever else it is, and
    shows it in the accounts' histories: no transfer says it again. Its table is written once and searchable by
    ``debit`` and ``credit``."""

    debit: str
    credit: str
    asset: str
    amount: int
    fee: int
    scale: int
    back_asset: str
    back_amount: int
    back_fee: int
    back_scale: int
    at_us: int


Side = tuple[str, str, str, int, int]
"""(payer, payee, asset, amount, fee)"""


def sides(exchange: Exchange) -> tuple[Side, Side]:
    """What ``debit`` paid, and what ``credit`` paid back."""
    debit, credit = exchange.debit, exchange.credit
    return (
        (debit, credit, exchange.asset, exchange.amount, exchange.fee),
        (credit, debit, exchange.back_asset, exchange.back_amount, exchange.back_fee),
    )

"""What other modules do with money: set it aside for a row of theirs (``Holding``), pay with it, give it back.

A payment is a transfer, which the ledger writes (``pay``), or one side of an exchange, which the module's own row says
(``Exchange``; ``give`` out of what is available, ``give_reserved`` out of what is set aside).

A command's moves are gathered and written once: a balance that a hundred fills touch is one row of the event. What a
module sets aside is held in the account's share and counts against its limits as a pending transfer does; who asks for
it is checked there and then, so what pays later is only whether the account may still pay (``may_pay``).
"""

from typing import Final

from jilnode.kernel.state import Context, State
from jilnode.module import Rejected
from services.wallet.commands.fees import charge
from services.wallet.commands.holds import spendable
from services.wallet.commands.limits import check_limits, counter_of, uncount
from services.wallet.commands.shares import Purpose, changed, check_debit, moved, short
from services.wallet.commands.supply import change_supply
from services.wallet.kinds import TRADE, Counted, Reserved
from services.wallet.rows import SHARES, TRANSFERS, Account, Share, Transfer

__all__ = ("Ledger", "may_pay")

_AVAILABLE: Final = 0
_HELD: Final = 1


def may_pay(context: Context, account: str, row: Account | None) -> str:
    """Empty when what is reserved of the account may pay now; else the code of why not: it was frozen since, or its
    home was not heard lately."""
    if row is None:
        return "unknown_account"
    try:
        check_debit(context, account, row)
    except Rejected as rejected:
        return rejected.code
    return ""


class Ledger:
    """One for each command; ``write`` ends it. What it returns is the row's to keep: a row holds what its ``reserved``
    says, and the command that changes it writes the row."""

    __slots__ = ("_changes", "_context", "_ended", "_fees", "_state")

    def __init__(self, state: State, context: Context) -> None:
        self._state = state
        self._context = context
        self._changes: dict[str, list[int]] = {}
        """balance -> what its share here gains: (available, held)."""
        self._ended: list[tuple[str, Counted, int]] = []
        """(balance, what was counted, what was paid) of what is set aside no more."""
        self._fees: dict[str, int] = {}

    def reserve(self, account: str, asset: str, amount: int, limited: int, purpose: Purpose) -> Reserved:
        """Sets ``amount`` aside; ``limited`` of it, without the fees, counts against the account's limits. Raises
        ``Rejected``: ``insufficient_funds``, ``share_short``, ``limit_...``."""
        balance = f"{account}/{asset}"
        counted = self._take(balance, amount, limited, purpose)
        self._change(balance)[_HELD] += amount
        return Reserved(asset, amount, 0, counted)

    def keep(self, account: str, reserved: Reserved, amount: int) -> Reserved:
        """Gives back all but ``amount``; with 0 nothing is set aside any more."""
        back = reserved.amount - amount
        assert back >= 0, f"{account} has {reserved.amount} set aside, not {amount}"
        if back:
            change = self._change(f"{account}/{reserved.asset}")
            change[_HELD] -= back
            change[_AVAILABLE] += back
        counted = reserved.counted
        if counted is not None and not amount:
            self._ended.append((f"{account}/{reserved.asset}", counted, reserved.paid))
            counted = None
        return Reserved(reserved.asset, amount, reserved.paid, counted)

    def uncount_ended(self) -> None:
        """What ended counts against its account's limits no more, but for what it paid: before something else is
        reserved in its stead, or else at the end."""
        state, context, ended = self._state, self._context, self._ended
        if ended:
            state.need([counter_of(context, balance) for balance, _, _ in ended])
        for balance, counted, paid in ended:
            uncount(state, context, balance, counted, paid)
        ended.clear()

    def give_reserved(self, account: str, reserved: Reserved, credit: str, amount: int, fee: int) -> Reserved:
        """Pays ``amount`` to ``credit`` and ``fee`` to this node, both out of what is set aside: one side of an
        ``Exchange`` that the caller writes."""
        asset = reserved.asset
        left = reserved.amount - amount - fee
        assert left >= 0, f"{account} has {reserved.amount} set aside, not {amount} + {fee}"
        self._change(f"{account}/{asset}")[_HELD] -= amount + fee
        self._credit(credit, asset, amount, fee)
        return Reserved(asset, left, reserved.paid + amount, reserved.counted)

    def give(self, debit: str, credit: str, asset: str, amount: int, fee: int, purpose: Purpose) -> None:
        """The same out of what is available. Raises as ``reserve``."""
        self._take(f"{debit}/{asset}", amount + fee, amount, purpose)
        self._credit(credit, asset, amount, fee)

    def pay(self, debit: str, credit: str, asset: str, amount: int, scale: int, of: str, purpose: Purpose) -> None:
        """Pays out of what is available by a transfer, for what the module calls ``of``. Raises as ``reserve``."""
        self.give(debit, credit, asset, amount, 0, purpose)
        self._insert(Transfer(debit, credit, asset, amount, scale, self._context.time_us, 0, TRADE, of))

    def issue(self, asset: str, credit: str, amount: int, scale: int) -> None:
        """New money of an asset of this node."""
        change_supply(self._state, asset, issued=amount)
        self._change(f"{credit}/{asset}")[_AVAILABLE] += amount
        self._insert(Transfer("", credit, asset, amount, scale, self._context.time_us, 0, "issue"))

    def burn(self, asset: str, debit: str, amount: int, scale: int, purpose: Purpose) -> None:
        """Raises ``Rejected``: ``insufficient_funds``, ``share_short``."""
        self._take(f"{debit}/{asset}", amount, 0, purpose)
        change_supply(self._state, asset, burned=amount)
        self._insert(Transfer(debit, "", asset, amount, scale, self._context.time_us, 0, "burn"))

    def write(self) -> None:
        state, context = self._state, self._context
        self.uncount_ended()
        for asset, fee in self._fees.items():
            charge(state, context, asset, fee)
        shares = state[SHARES]
        for balance, (available, in_hold) in self._changes.items():
            if available or in_hold:
                key = f"{balance}/{context.source}"
                share = shares.get(key) or Share(*_parts(balance))
                shares.put(key, moved(context, share, available, in_hold))

    def _take(self, balance: str, amount: int, limited: int, purpose: Purpose) -> Counted | None:
        """Takes ``amount`` off what is available here, with what came for this purpose. Returns what was counted."""
        state, context = self._state, self._context
        share = spendable(state, context, balance, purpose)
        counted = check_limits(state, context, balance, limited, purpose) if limited else None
        change = self._change(balance)
        gained = change[_AVAILABLE]
        if (0 if share is None else share.available) + gained < amount:
            if gained:
                share = changed(share or Share(*_parts(balance)), available=gained)
            raise short(state, context, balance, share, amount, purpose)
        change[_AVAILABLE] = gained - amount
        return counted

    def _change(self, balance: str) -> list[int]:
        change = self._changes.get(balance)
        if change is None:
            change = self._changes[balance] = [0, 0]
        return change

    def _credit(self, credit: str, asset: str, amount: int, fee: int) -> None:
        self._change(f"{credit}/{asset}")[_AVAILABLE] += amount
        if fee:
            self._fees[asset] = self._fees.get(asset, 0) + fee

    def _insert(self, transfer: Transfer) -> None:
        self._state[TRANSFERS].insert(self._context.new_key(), transfer)


def _parts(balance: str) -> tuple[str, str]:
    account, _, asset = balance.rpartition("/")
    return account, asset

"""What other modules do with money: set it aside under their own row's key, pay with it, give it back.

A command's moves are gathered and written once: a balance that a hundred fills touch is one row of the event. What a
module reserves is held in the account's share and counts against its limits as a pending transfer does; who asks for it
is checked there and then, so what pays later is only whether the account may still pay (``may_pay``).
"""

from typing import Any

from jilnode.kernel.state import Context, State
from jilnode.module import Rejected, Table
from services.wallet.commands.fees import charge
from services.wallet.commands.holds import spendable
from services.wallet.commands.limits import check_limits, counter_of, uncount
from services.wallet.commands.shares import Purpose, changed, check_debit, moved, short
from services.wallet.commands.supply import change_supply
from services.wallet.rows import RESERVATIONS, SHARES, TRANSFERS, Account, Counted, Reservation, Share, Transfer

__all__ = ("Ledger", "may_pay")

_AVAILABLE, _HELD = 0, 1


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


class _Held:
    """A reservation as this command has it so far."""

    __slots__ = ("account", "amount", "asset", "before", "counted", "keeper", "paid")

    def __init__(
        self,
        account: str,
        asset: str,
        amount: int,
        keeper: str,
        paid: int,
        counted: Counted | None,
        before: Reservation | None,
    ) -> None:
        self.account = account
        self.asset = asset
        self.amount = amount
        self.keeper = keeper
        self.paid = paid
        self.counted = counted
        self.before = before


class Ledger:
    """One for each command; ``write`` ends it. Keys of reservations are the module's own: ``context.new_key()``."""

    __slots__ = ("_changes", "_context", "_fees", "_held", "_state")

    def __init__(self, state: State, context: Context) -> None:
        self._state = state
        self._context = context
        self._changes: dict[str, list[int]] = {}
        """balance -> what its share here gains: (available, held)."""
        self._held: dict[str, _Held] = {}
        self._fees: dict[str, int] = {}

    def reserve(
        self, keeper: Table[Any], key: str, account: str, asset: str, amount: int, limited: int, purpose: Purpose
    ) -> None:
        """Sets ``amount`` aside for the row of ``keeper`` under ``key``; ``limited`` of it, without the fees, counts
        against the account's limits. Raises ``Rejected``: ``insufficient_funds``, ``share_short``, ``limit_...``."""
        balance = f"{account}/{asset}"
        counted = self._take(balance, amount, limited, purpose)
        self._change(balance)[_HELD] += amount
        self._held[key] = _Held(account, asset, amount, keeper.name, 0, counted, None)

    def has(self, key: str) -> bool:
        """Whether this command has touched the reservation already."""
        return key in self._held

    def keep(self, key: str, amount: int) -> None:
        """Gives back all but ``amount`` of what is reserved under ``key``; with 0 the reservation ends."""
        held = self._reservation(key)
        back = held.amount - amount
        assert back >= 0, f"{key} reserves {held.amount}, not {amount}"
        change = self._change(f"{held.account}/{held.asset}")
        change[_HELD] -= back
        change[_AVAILABLE] += back
        held.amount = amount

    def uncount_ended(self) -> None:
        """What ended counts against its account's limits no more, but for what it paid: before something else is
        reserved in its stead, or else at the end."""
        state, context = self._state, self._context
        ended = [held for held in self._held.values() if held.counted is not None and not held.amount]
        if ended:
            state.need([counter_of(context, f"{held.account}/{held.asset}") for held in ended])
        for held in ended:
            assert held.counted is not None
            uncount(state, context, f"{held.account}/{held.asset}", held.counted, held.paid)
            held.counted = None

    def pay_reserved(self, key: str, credit: str, amount: int, fee: int, scale: int, of: str) -> None:
        """Pays ``amount`` to ``credit`` and ``fee`` to this node, both out of what is reserved under ``key``."""
        held = self._reservation(key)
        assert held.amount >= amount + fee, f"{key} reserves {held.amount}, not {amount} + {fee}"
        held.amount -= amount + fee
        held.paid += amount
        self._change(f"{held.account}/{held.asset}")[_HELD] -= amount + fee
        self._post(held.account, credit, held.asset, amount, fee, scale, of)

    def pay(
        self, debit: str, credit: str, asset: str, amount: int, fee: int, scale: int, of: str, purpose: Purpose
    ) -> None:
        """Pays out of what is available. Raises as ``reserve``."""
        self._take(f"{debit}/{asset}", amount + fee, amount, purpose)
        self._post(debit, credit, asset, amount, fee, scale, of)

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
        reservations = state[RESERVATIONS]
        for key, held in self._held.items():
            if held.amount:
                row = Reservation(held.account, held.asset, held.amount, held.keeper, held.paid, held.counted)
                if held.before is None:
                    reservations.insert(key, row)
                elif held.before.amount != held.amount:
                    reservations.put(key, row)
                continue
            if held.before is not None:
                reservations.delete(key)
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

    def _reservation(self, key: str) -> _Held:
        held = self._held.get(key)
        if held is None:
            row: Any = self._state[RESERVATIONS].get(key)
            assert row is not None, f"nothing is reserved under {key}"
            held = self._held[key] = _Held(row.account, row.asset, row.amount, row.keeper, row.paid, row.counted, row)
        return held

    def _post(self, debit: str, credit: str, asset: str, amount: int, fee: int, scale: int, of: str) -> None:
        self._change(f"{credit}/{asset}")[_AVAILABLE] += amount
        if fee:
            self._fees[asset] = self._fees.get(asset, 0) + fee
        self._insert(Transfer(debit, credit, asset, amount, scale, self._context.time_us, fee, "trade", of))

    def _insert(self, transfer: Transfer) -> None:
        self._state[TRANSFERS].insert(self._context.new_key(), transfer)


def _parts(balance: str) -> tuple[str, str]:
    account, _, asset = balance.rpartition("/")
    return account, asset

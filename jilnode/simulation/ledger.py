"""As small as a module can be, with every kind of index: what simulations and the kernel's tests run."""

from typing import Any

import msgspec

from jilnode.kernel.state import Context, State
from jilnode.module import (
    Change,
    Command,
    CreatedBy,
    DeadlineIndex,
    DerivedFrom,
    EndsWithOwner,
    EqualityIndex,
    Invariant,
    Module,
    OrderedIndex,
    Owned,
    Reaction,
    Rejected,
    SumIndex,
    Table,
)

__all__ = (
    "BIDS",
    "MODULE",
    "NOTES",
    "POTS",
    "QUESTIONS",
    "REPLIES",
    "Ask",
    "Drain",
    "Fill",
    "Grab",
    "Mint",
    "Move",
    "PlaceBid",
)


class Pot(Owned, frozen=True):
    amount: int
    group: str = "all"
    until_us: int = 0


class Note(Owned, frozen=True):
    pot: str
    amount: int


class Question(Owned, frozen=True):
    to: str
    number: int


class Reply(Owned, frozen=True):
    number: int


class Bid(Owned, frozen=True):
    market: str
    price: int


class Fill(msgspec.Struct, frozen=True):
    name: str
    amount: int
    until_us: int = 0
    group: str = "all"


class Move(msgspec.Struct, frozen=True):
    debit: str
    credit: str
    amount: int


class Drain(msgspec.Struct, frozen=True):
    """Empties a pot. Where nothing is in it, it succeeds and changes nothing."""

    name: str


class Expire(msgspec.Struct, frozen=True):
    key: str


class Ask(msgspec.Struct, frozen=True):
    to: str
    number: int


class Tell(msgspec.Struct, frozen=True):
    key: str


class PlaceBid(msgspec.Struct, frozen=True):
    market: str
    price: int


class Grab(msgspec.Struct, frozen=True):
    """A bug on purpose: writes a row that another node owns."""

    key: str


class Mint(msgspec.Struct, frozen=True):
    """A bug on purpose: changes a pot with no note."""

    name: str


POTS = Table(
    "ledger.pot",
    Pot,
    EndsWithOwner(),
    searchable=("amount", "group", "until_us"),
    indexes=(
        EqualityIndex("by_group", "group"),
        SumIndex("in_group", "group", "amount"),
        DeadlineIndex("expiry", "until_us", lambda key, row: Expire(key)),
    ),
)
NOTES = Table("ledger.note", Note, CreatedBy(), write_once=True, searchable=("pot",))
QUESTIONS = Table("ledger.question", Question, CreatedBy(), write_once=True, searchable=("to",))
REPLIES = Table("ledger.reply", Reply, DerivedFrom(QUESTIONS, lambda row: row.to))
BIDS = Table(
    "ledger.bid",
    Bid,
    CreatedBy(),
    resident=True,
    indexes=(
        OrderedIndex("book", lambda key, row: row.market, lambda key, row: (-row.price,)),
        EqualityIndex("by_market", "market"),
    ),
)


def _fill(state: State, context: Context, command: Any) -> None:
    key = f"{command.name}/{context.source}"
    pot = state[POTS].get(key)
    if command.amount < 0:
        raise Rejected("negative", "a pot can't be below nothing", field="/amount")
    state[POTS].put(key, Pot(command.amount + (pot.amount if pot else 0), command.group, command.until_us))
    state[NOTES].insert(context.new_key(), Note(key, command.amount))


def _move(state: State, context: Context, command: Any) -> None:
    pots = state[POTS]
    debit = pots.get(f"{command.debit}/{context.source}")
    if debit is None or debit.amount < command.amount:
        raise Rejected("insufficient", "not enough in the pot", field="/amount")
    pots.put(f"{command.debit}/{context.source}", Pot(debit.amount - command.amount, debit.group, debit.until_us))
    credit = pots.get(f"{command.credit}/{context.source}") or Pot(0)
    pots.put(f"{command.credit}/{context.source}", Pot(credit.amount + command.amount, credit.group, credit.until_us))
    state[NOTES].insert(context.new_key(), Note(f"{command.debit}/{context.source}", -command.amount))
    state[NOTES].insert(context.new_key(), Note(f"{command.credit}/{context.source}", command.amount))


def _drain(state: State, context: Context, command: Drain) -> None:
    key = f"{command.name}/{context.source}"
    pot = state[POTS].get(key)
    if pot is not None and pot.amount:
        state[POTS].put(key, Pot(0, pot.group, pot.until_us))
        state[NOTES].insert(context.new_key(), Note(key, -pot.amount))


def _expire(state: State, context: Context, command: Any) -> None:
    pot = state[POTS].get(command.key)
    assert pot is not None
    state[POTS].put(command.key, Pot(0, pot.group))
    state[NOTES].insert(context.new_key(), Note(command.key, -pot.amount))


def _ask(state: State, context: Context, command: Any) -> None:
    state[QUESTIONS].insert(context.new_key(), Question(command.to, command.number))


def _tell(state: State, context: Context, command: Any) -> None:
    question = state[QUESTIONS].rest_on(command.key)
    assert question is not None
    state[REPLIES].put(command.key, Reply(question.number * 2))


def _bid(state: State, context: Context, command: Any) -> None:
    state[BIDS].insert(context.new_key(), Bid(command.market, command.price))


def _grab(state: State, context: Context, command: Grab) -> None:
    pot = state[POTS].get(command.key)
    if pot is None:
        raise Rejected("insufficient", "no such pot is known here", field="/key")
    state[POTS].put(command.key, Pot(pot.amount, "grabbed"))


def _mint(state: State, context: Context, command: Any) -> None:
    key = f"{command.name}/{context.source}"
    pot = state[POTS].get(key)
    if pot is None:
        raise Rejected("insufficient", "no such pot is known here", field="/name")
    state[POTS].put(key, Pot(pot.amount + 1, pot.group, pot.until_us))


def _conserved(change: Change) -> str | None:
    moved: dict[str, int] = {}
    for key, before, after in change.rows(POTS):
        if after is not None and after.amount < 0:
            return f"{key} is below nothing"
        moved[key] = (after.amount if after else 0) - (before.amount if before else 0)
    for _, _, note in change.rows(NOTES):
        moved[note.pot] = moved.get(note.pot, 0) - note.amount
    return None if not any(moved.values()) else f"pots moved without notes: {moved}"


def _answered(change: Change) -> str | None:
    for key, _, reply in change.rows(REPLIES):
        cause = change.cause(QUESTIONS, key)
        if cause is None or reply is None or reply.number != cause[1].number * 2:
            return f"{key} does not answer its question"
    return None


MODULE = Module(
    "ledger",
    1,
    tables=(POTS, NOTES, QUESTIONS, REPLIES, BIDS),
    commands=(
        Command(Fill, "ledger.pot.filled", _fill, lambda rows: rows.one(POTS)[1].amount),
        Command(Move, "ledger.pot.moved", _move, lambda rows: {key: row.amount for key, row in rows.rows(POTS)}),
        Command(Drain, "ledger.pot.drained", _drain, lambda rows: -sum(note.amount for _, note in rows.rows(NOTES))),
        Command(Expire, "ledger.pot.expired", _expire, lambda rows: None),
        Command(Ask, "ledger.question.asked", _ask, lambda rows: rows.one(QUESTIONS)[0]),
        Command(Tell, "ledger.question.answered", _tell, lambda rows: rows.one(REPLIES)[1].number),
        Command(PlaceBid, "ledger.bid.placed", _bid, lambda rows: rows.one(BIDS)[0]),
        Command(Grab, "ledger.pot.grabbed", _grab, lambda rows: None),
        Command(Mint, "ledger.pot.minted", _mint, lambda rows: None),
    ),
    invariants=(
        Invariant("conserved", range(1, 2), _conserved),
        Invariant("answered", range(1, 2), _answered),
    ),
    reactions=(Reaction(QUESTIONS, "to", REPLIES, lambda key, row: Tell(key)),),
)

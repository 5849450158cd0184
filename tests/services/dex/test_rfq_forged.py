"""A node that is not bound by the desk's rules writes events: every other node refuses each, and is not changed.

The rogue does what an honest node would do, with one thing changed on its way into the event.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from jilnode.kernel.errors import Breach
from jilnode.module import Command
from services.dex.module import MODULE as DEX
from services.dex.rfq.intents import AcceptQuote, CancelRequest, SubmitQuote, WithdrawQuote
from services.dex.rfq.rows import ENDED_QUOTES, ENDED_REQUESTS, QUOTES, REQUESTS, SETTLEMENTS
from services.wallet.module import MODULE as WALLET
from services.wallet.rows import SHARES
from tests.kit.node import TestNode, running
from tests.services.dex.kit import BASE, QUOTE, Exchange
from tests.services.dex.rfq_kit import Desk, check_desk
from tests.services.dex.test_forged import ROGUE_WALLET
from tests.services.wallet.kit import rows, turn

REQUESTED, QUOTED, SETTLED = "invariant.rfq_requested", "invariant.rfq_quoted", "invariant.rfq_settled"
RESERVED, EXPLAINED = "invariant.wallet_reserved", "invariant.wallet_explained"
GONE = "gone"

changed = msgspec.structs.replace


class Forged(msgspec.Struct, frozen=True):
    """Makes ``first(state)``, runs ``honest`` by its own handler, as if it were ``back_us`` earlier, then makes
    ``change(state)``."""

    honest: Any
    change: Any
    back_us: int = 0
    first: Any = lambda state: None


def _forge(state: Any, context: Any, command: Forged) -> None:
    command.first(state)
    context.time_us -= command.back_us
    for spec in DEX.commands:
        if spec.type is type(command.honest):
            spec.handler(state, context, command.honest)
    command.change(state)


ROGUE = replace(
    DEX, commands=(*DEX.commands, Command(Forged, "dex.rfq.forged", _forge, lambda rows: None)), invariants=()
)


class Pair:
    """The rogue, where the desk is, and an honest node that follows it. ``request`` has a live quote of each maker."""

    def __init__(self) -> None:
        self.exchange = Exchange(1)
        self.exchange.nodes[0] = self.exchange.home = TestNode(
            "sg-mas-01", [ROGUE_WALLET, ROGUE], clock=self.exchange.clock
        )
        self.honest = TestNode("ch-zug-01", [WALLET, DEX], clock=self.exchange.clock)
        self.rogue = self.exchange.home
        self.desk = Desk(self.exchange)

    async def begin(self) -> None:
        await self.exchange.begin()
        await self.desk.begin(fee_bps=10)
        self.request = await self.desk.ask(sealed=False, invited=(self.desk.maker, self.desk.other))
        self.best = await self.desk.offer(self.request, "100")
        self.worst = await self.desk.offer(self.request, "101", "n")
        self.sealed = await self.desk.ask(sealed=True)
        self.hidden = await self.desk.offer(self.sealed, "100")
        await self.honest.follow(self.rogue)

    def keys(self) -> dict[str, str]:
        return {
            name: getattr(self, name).id.replace("~", "/") for name in ("request", "best", "worst", "sealed", "hidden")
        }


def put(table: Any, key: str, **changes: Any) -> Callable[[Any, dict[str, str]], None]:
    """Changes fields of a row; ``key`` is what the pair calls it, or ``new``: the one that this event made."""

    def change(state: Any, keys: dict[str, str]) -> None:
        found = keys[key] if key in keys else _new(state, table)
        values = {name: value(keys) if callable(value) else value for name, value in changes.items()}
        state[table]._write(found, state.image(table, found), changed(state[table].get(found), **values))

    return change


def drop(table: Any, key: str) -> Callable[[Any, dict[str, str]], None]:
    """The row stays as it was: not deleted, or not there."""

    def change(state: Any, keys: dict[str, str]) -> None:
        found = keys[key] if key in keys else _new(state, table)
        before = next(image for cache, changed_key, image in state.log if cache.spec is table and changed_key == found)
        cache = state.tables[table]
        state.log.append((cache, found, state.image(table, found)))
        cache.set(found, state.image(table, found), before)

    return change


def hold(key: str, **changes: Any) -> Callable[[Any, dict[str, str]], None]:
    """Changes what a quote says that it holds."""

    def change(state: Any, keys: dict[str, str]) -> None:
        found = keys[key] if key in keys else _new(state, QUOTES)
        put(QUOTES, key, reserved=changed(state[QUOTES].get(found).reserved, **changes))(state, keys)

    return change


def kept(table: Any) -> Callable[[Any, dict[str, str]], None]:
    """The one row of a table that this event changes stays as it was."""

    def change(state: Any, keys: dict[str, str]) -> None:
        ((cache, key, before),) = [item for item in state.log if item[0].spec is table]
        state.log.append((cache, key, state.image(table, key)))
        cache.set(key, state.image(table, key), before)

    return change


def share(party: str, asset: str, more: int) -> Callable[[Any, dict[str, str]], None]:
    """A party's share has so much more than is said."""

    def change(state: Any, keys: dict[str, str]) -> None:
        key = f"{STANDING[party]}/{asset}/sg-mas-01"
        row = state[SHARES].get(key)
        state[SHARES].put(key, changed(row, available=row.available + more))

    return change


def again(state: Any, keys: dict[str, str]) -> None:
    """One more settlement of the same."""
    state[SETTLEMENTS].insert("sg-mas-01/again", state[SETTLEMENTS].get(_new(state, SETTLEMENTS)))


def _new(state: Any, table: Any) -> str:
    return next(key for cache, key, before in state.log if cache.spec is table and before is None)


def both(*changes: Callable[[Any, dict[str, str]], None]) -> Callable[[Any, dict[str, str]], None]:
    def change(state: Any, keys: dict[str, str]) -> None:
        for item in changes:
            item(state, keys)

    return change


def terms(**changes: Any) -> Callable[[dict[str, str]], Any]:
    return lambda keys: changed(STANDING["terms"], **changes)


STANDING: dict[str, Any] = {}
"""The terms, the request and the parties of the pair, as its rows have them."""


def accept(pair: Pair) -> Any:
    return AcceptQuote(pair.best.id)


def withdraw(pair: Pair) -> Any:
    return WithdrawQuote(pair.best.id)


def cancel(pair: Pair) -> Any:
    return CancelRequest(pair.request.id)


def offer(pair: Pair) -> Any:
    return SubmitQuote(pair.sealed.id, pair.desk.other, "99")


def opening(pair: Pair) -> Any:
    return pair.desk.opening()


def ended(table: Any, key: str, inner: str, **changes: Any) -> Callable[[Any, dict[str, str]], None]:
    """Changes what an ended row says that stood."""

    def change(state: Any, keys: dict[str, str]) -> None:
        row = state[table].get(keys[key])
        stood = changed(getattr(row, inner), **changes)
        state[table]._write(keys[key], state.image(table, keys[key]), changed(row, **{inner: stood}))

    return change


FORGERIES: dict[str, tuple[Any, Any, str]] = {
    "opens a request that is quoted": (opening, put(REQUESTS, "new", state="quoted"), REQUESTED),
    "opens a request in the past": (opening, put(REQUESTS, "new", placed_us=1), REQUESTED),
    "opens a request with no time": (opening, put(REQUESTS, "new", accept_until_us=1), REQUESTED),
    "opens a request that is due later": (opening, put(REQUESTS, "new", due_us=1 << 60), REQUESTED),
    "opens a request for nothing": (opening, put(REQUESTS, "new", terms=terms(quantity=0)), REQUESTED),
    "opens a request of no side": (opening, put(REQUESTS, "new", terms=terms(side="both")), REQUESTED),
    "opens a request in absurd decimals": (opening, put(REQUESTS, "new", terms=terms(base_scale=10**9)), REQUESTED),
    "opens a request with an absurd fee": (opening, put(REQUESTS, "new", terms=terms(fee_bps=5000)), REQUESTED),
    "changes a request": (withdraw, put(REQUESTS, "request", accept_until_us=1 << 60), REQUESTED),
    "opens a request again": (withdraw, put(REQUESTS, "request", state="open"), REQUESTED),
    "ends a request with no word": (cancel, drop(ENDED_REQUESTS, "request"), REQUESTED),
    "ends a request that goes on": (cancel, drop(REQUESTS, "request"), REQUESTED),
    "ends a request as another": (cancel, ended(ENDED_REQUESTS, "request", "request", sealed=True), REQUESTED),
    "ends a request of another account": (cancel, put(ENDED_REQUESTS, "request", account="sg-mas-01/x"), REQUESTED),
    "expires a request before its time": (cancel, put(ENDED_REQUESTS, "request", state="expired"), REQUESTED),
    "settles a request with no settlement": (cancel, put(ENDED_REQUESTS, "request", state="settled"), REQUESTED),
    "settles a request and calls it cancelled": (accept, put(ENDED_REQUESTS, "request", state="cancelled"), REQUESTED),
    "quotes with nothing set aside": (offer, hold("new", amount=0), QUOTED),
    "quotes with less set aside": (offer, hold("new", amount=1), QUOTED),
    "quotes with another's money": (offer, put(QUOTES, "new", account="sg-mas-01/x"), RESERVED),
    "quotes with another asset set aside": (offer, hold("new", asset=QUOTE), QUOTED),
    "quotes a request elsewhere": (offer, put(QUOTES, "new", request="ch-zug-01/0-0000000001"), QUOTED),
    "quotes in the past": (offer, put(QUOTES, "new", placed_us=1), QUOTED),
    "quotes what is over": (offer, put(QUOTES, "new", valid_until_us=1), QUOTED),
    "quotes the taker's own": (offer, put(QUOTES, "new", taker=lambda keys: STANDING["other"]), QUOTED),
    "quotes nothing": (offer, put(QUOTES, "new", price=0), QUOTED),
    "quotes inexactly": (offer, put(QUOTES, "new", price=1), QUOTED),
    "quotes in absurd decimals": (offer, put(QUOTES, "new", terms=terms(quote_scale=-1)), QUOTED),
    "changes a quote's price": (offer, put(QUOTES, "best", price=1), QUOTED),
    "shows a quote and takes its money": (
        offer,
        both(put(QUOTES, "hidden", shown=True), hold("hidden", amount=1)),
        QUOTED,
    ),
    "withdraws a quote with no word": (withdraw, drop(ENDED_QUOTES, "best"), QUOTED),
    "withdraws a quote that lives on": (withdraw, drop(QUOTES, "best"), QUOTED),
    "withdraws a quote and keeps its money": (withdraw, kept(SHARES), RESERVED),
    "withdraws a quote as another": (withdraw, ended(ENDED_QUOTES, "best", "quote", price=1), QUOTED),
    "expires a quote before its time": (withdraw, put(ENDED_QUOTES, "best", reason="expired"), QUOTED),
    "ends a quote for no reason": (withdraw, put(ENDED_QUOTES, "best", reason="whim"), QUOTED),
    "says accepted and settles nothing": (withdraw, put(ENDED_QUOTES, "best", reason="accepted"), QUOTED),
    "settles and says lost": (accept, put(ENDED_QUOTES, "best", reason="lost"), QUOTED),
    "settles a quote twice": (accept, put(ENDED_QUOTES, "worst", reason="accepted"), QUOTED),
    "settles at another price": (accept, put(SETTLEMENTS, "new", price=1), SETTLED),
    "settles another turnover": (accept, put(SETTLEMENTS, "new", amount=1), SETTLED),
    "settles another quantity": (accept, put(SETTLEMENTS, "new", back_amount=1), SETTLED),
    "settles with another fee of the taker": (accept, put(SETTLEMENTS, "new", fee=0), SETTLED),
    "settles with another fee of the maker": (accept, put(SETTLEMENTS, "new", back_fee=0), SETTLED),
    "settles in another asset": (accept, put(SETTLEMENTS, "new", asset=BASE), SETTLED),
    "settles for another asset": (accept, put(SETTLEMENTS, "new", back_asset=QUOTE), SETTLED),
    "settles in other decimals": (accept, put(SETTLEMENTS, "new", scale=2), SETTLED),
    "settles for other decimals": (accept, put(SETTLEMENTS, "new", back_scale=2), SETTLED),
    "settles other terms": (accept, put(SETTLEMENTS, "new", terms=terms(quantity=1)), SETTLED),
    "settles with somebody else": (accept, put(SETTLEMENTS, "new", credit="sg-mas-01/x"), SETTLED),
    "settles for somebody else": (accept, put(SETTLEMENTS, "new", debit="sg-mas-01/x"), SETTLED),
    "settles another request": (accept, put(SETTLEMENTS, "new", request=lambda keys: keys["sealed"]), REQUESTED),
    "settles another quote": (accept, put(SETTLEMENTS, "new", quote=lambda keys: keys["worst"]), QUOTED),
    "settles a request twice": (accept, again, SETTLED),
    "settles at another time": (accept, put(SETTLEMENTS, "new", at_us=1), SETTLED),
    "pays nobody": (accept, share("taker", BASE, -100_000), EXPLAINED),
    "pays less": (accept, share("maker", QUOTE, -1), EXPLAINED),
    "pays with nobody's money": (accept, share("taker", QUOTE, 1), EXPLAINED),
    "settles a request that goes on": (
        accept,
        both(
            drop(ENDED_REQUESTS, "request"),
            drop(REQUESTS, "request"),
            put(REQUESTS, "request", due_us=lambda keys: STANDING["accept_until_us"]),
        ),
        SETTLED,
    ),
    "settles a quote that lives on": (accept, both(drop(ENDED_QUOTES, "best"), drop(QUOTES, "best")), SETTLED),
    "settles a request that is not there": (
        accept,
        both(drop(ENDED_REQUESTS, "request"), drop(REQUESTS, "request")),
        SETTLED,
    ),
}


async def refused(pair: Pair, command: Any, change: Any, code: str) -> None:
    keys = pair.keys()
    requests = rows(pair.rogue, REQUESTS)
    request = requests[keys["request"]]
    STANDING.update(
        terms=request.terms,
        accept_until_us=request.accept_until_us,
        taker=pair.desk.taker.replace("~", "/"),
        maker=pair.desk.maker.replace("~", "/"),
        other=pair.desk.other.replace("~", "/"),
    )
    before = {table.name: rows(pair.honest, table) for table in (*DEX.tables, *WALLET.tables)}
    actor = {AcceptQuote: "t", CancelRequest: "t", SubmitQuote: "n", WithdrawQuote: "m"}.get(type(command), "t")
    await pair.rogue.run(Forged(command, lambda state: change(state, keys)), actor=actor)
    with pytest.raises(Breach) as breach:
        await pair.honest.follow(pair.rogue)
    assert breach.value.code == code, breach.value
    await turn(pair.honest)
    assert {table.name: rows(pair.honest, table) for table in (*DEX.tables, *WALLET.tables)} == before


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_event_is_refused_and_changes_nothing(name):
    pair = Pair()
    async with running(pair.rogue, pair.honest):
        await pair.begin()
        make, change, code = FORGERIES[name]
        await refused(pair, make(pair), change, code)
        check_desk(pair.honest)


async def test_a_quote_is_not_accepted_when_its_time_is_over():
    pair = Pair()
    async with running(pair.rogue, pair.honest):
        await pair.begin()
        pair.exchange.clock.advance(95)
        now_us = pair.exchange.clock.now_us
        keys = pair.keys()

        def say_now(state: Any) -> None:
            put(SETTLEMENTS, "new", at_us=now_us)(state, keys)
            put(ENDED_REQUESTS, "request", ended_us=now_us)(state, keys)
            for key in ("best", "worst"):
                put(ENDED_QUOTES, key, ended_us=now_us)(state, keys)

        await pair.rogue.run(Forged(AcceptQuote(pair.best.id), say_now, 95_000_000), actor="t")
        with pytest.raises(Breach, match="comes too late") as breach:
            await pair.honest.follow(pair.rogue)
        assert breach.value.code == SETTLED
        check_desk(pair.honest)


async def refused_next(pair: Pair, code: str, message: str) -> None:
    with pytest.raises(Breach, match=message) as breach:
        await pair.honest.follow(pair.rogue)
    assert breach.value.code == code
    check_desk(pair.honest)


async def test_a_quote_that_was_not_shown_is_not_settled():
    pair = Pair()
    async with running(pair.rogue, pair.honest):
        await pair.begin()
        keys = pair.keys()

        def say_hidden(state: Any) -> None:
            ended(ENDED_QUOTES, "hidden", "quote", shown=False)(state, keys)
            put(ENDED_QUOTES, "hidden", shown_in="")(state, keys)

        show = put(QUOTES, "hidden", shown=True)
        command = Forged(AcceptQuote(pair.hidden.id), say_hidden, first=lambda state: show(state, keys))
        await pair.rogue.run(command, actor="t")
        await refused_next(pair, SETTLED, "did not see")


async def test_a_quote_settles_no_other_request():
    pair = Pair()
    async with running(pair.rogue, pair.honest):
        await pair.begin()
        keys = pair.keys()
        request, sealed = keys["request"], keys["sealed"]

        def say_its_own(state: Any) -> None:
            ended(ENDED_QUOTES, "best", "quote", request=request)(state, keys)
            put(ENDED_QUOTES, "best", shown_in=request)(state, keys)

        turn_over = put(QUOTES, "best", request=sealed)
        command = Forged(AcceptQuote(pair.best.id), say_its_own, first=lambda state: turn_over(state, keys))
        await pair.rogue.run(command, actor="t")
        await refused_next(pair, SETTLED, "did not see")


async def test_a_quote_of_who_was_not_invited_does_not_settle():
    pair = Pair()
    async with running(pair.rogue, pair.honest):
        await pair.begin()
        pair.request = await pair.desk.ask(invited=(pair.desk.maker,))
        await pair.desk.offer(pair.request, "101")
        keys = pair.keys()
        (standing,) = [row for key, row in rows(pair.rogue, REQUESTS).items() if key == keys["request"]]
        offer = SubmitQuote(pair.request.id, pair.desk.other, "99")
        invite, forget = put(REQUESTS, "request", invited=()), put(REQUESTS, "request", invited=standing.invited)
        image = None

        def let_in(state: Any) -> None:
            nonlocal image
            image = state.image(REQUESTS, keys["request"])
            invite(state, keys)

        def shut(state: Any) -> None:
            forget(state, keys)
            state.tables[REQUESTS].set(keys["request"], state.image(REQUESTS, keys["request"]), image)

        await pair.rogue.run(Forged(offer, shut, first=let_in), actor="n")
        await pair.honest.follow(pair.rogue)
        (quote,) = [key for key, row in rows(pair.rogue, QUOTES).items() if row.price == 99 * 10**9]
        await pair.rogue.run(AcceptQuote(quote), actor="t")
        await refused_next(pair, SETTLED, "was not invited")


async def test_nobody_takes_what_another_asked_for():
    pair = Pair()
    async with running(pair.rogue, pair.honest):
        await pair.begin()
        keys = pair.keys()
        turn_to = put(QUOTES, "new", taker=pair.desk.other.replace("~", "/"))
        offer = SubmitQuote(pair.request.id, pair.desk.maker, "99")
        await pair.rogue.run(Forged(offer, lambda state: turn_to(state, keys)), actor="m")
        await pair.honest.follow(pair.rogue)
        (quote,) = [key for key, row in rows(pair.rogue, QUOTES).items() if row.price == 99 * 10**9]
        await pair.rogue.run(AcceptQuote(quote), actor="n")
        await refused_next(pair, SETTLED, "between others")


async def test_honest_events_of_every_kind_are_accepted():
    """The other side: what the forgeries are refused for is not refused when it is right."""
    exchange = Exchange(2)
    async with running(*exchange.nodes):
        await exchange.begin()
        desk = Desk(exchange)
        await desk.begin(fee_bps=10)
        for make in (AcceptQuote, WithdrawQuote):
            for sealed in (False, True):
                request = await desk.ask(sealed=sealed, invited=(desk.maker, desk.other))
                quote = await desk.offer(request, "100")
                await desk.offer(request, "101", "n", valid_until_us=desk.in_s(35))
                await desk.offer(request, "99", "n", valid_until_us=desk.in_s(35))
                desk.clock.advance(31)
                await turn(desk.home)
                await desk.home.run(make(quote.id), actor="t" if make is AcceptQuote else "m")
                desk.clock.advance(10)
                await turn(desk.home)
        await desk.home.run(CancelRequest((await desk.ask()).id), actor="t")
        desk.clock.advance(300)
        await exchange.settle()
        for node in exchange.nodes:
            check_desk(node)
        assert rows(exchange.nodes[1], REQUESTS) == {}

"""The RFQ desk against a naive model: a few dictionaries. Every answer and refusal is predicted (Q1 to Q3, L8)."""

import asyncio
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jilnode.kernel.errors import Rejected
from jilnode.module import QueryContext
from services.dex.rfq import queries
from services.dex.rfq.intents import AcceptQuote, CancelRequest, OpenRequest, SetRfqFee, SubmitQuote, WithdrawQuote
from services.dex.rfq.rows import ENDED_QUOTES, ENDED_REQUESTS, QUOTES, REQUESTS
from services.wallet.amounts import format_amount
from services.wallet.intents import SetStatus
from services.wallet.rows import SHARES
from tests.kit.node import TestNode
from tests.services.dex.kit import BASE, DEX, QUOTE, WALLET, Exchange
from tests.services.dex.rfq_kit import check_desk
from tests.services.wallet.kit import rows, turn

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking, which takes minutes here: the failing steps are few enough to read."""
WHO = st.integers(0, 4)
NUMBER = st.integers(0, 1000)
FEES = "sg-mas-01/fees"
SECOND_US = 1_000_000
SCALE = 10_000


class Refused(Exception):
    pass


class Model:
    def __init__(self) -> None:
        self.available: dict[tuple[str, str], int] = {}
        self.held: dict[tuple[str, str], int] = {}
        self.frozen: set[str] = set()
        self.bps = 0
        self.requests: dict[str, dict[str, Any]] = {}
        self.quotes: dict[str, dict[str, Any]] = {}
        self.ended_requests: dict[str, str] = {}
        self.ended_quotes: dict[str, str] = {}

    def fee(self, amount: int, bps: int) -> int:
        whole, rest = divmod(amount * bps, 10_000)
        return whole + (1 if rest else 0)

    def legs(self, request: dict[str, Any], price: int) -> tuple[tuple[str, int, int], tuple[str, int, int]]:
        """((asset, amount, fee) of the taker, of the maker); prices are in hundredths, quantities in minor units."""
        turnover, rest = divmod(request["quantity"] * price, 100)
        if rest:
            raise Refused("inexact_notional")
        paid = (QUOTE, turnover, self.fee(turnover, request["bps"]))
        sold = (BASE, request["quantity"], self.fee(request["quantity"], request["bps"]))
        return (paid, sold) if request["side"] == "buy" else (sold, paid)

    def live(self, request: str) -> list[str]:
        """Best first."""
        sign = 1 if self.requests[request]["side"] == "buy" else -1
        found = [key for key, quote in self.quotes.items() if quote["request"] == request]
        return sorted(found, key=lambda key: (sign * self.quotes[key]["price"], self.quotes[key]["number"]))

    def ask(self, account: str, side: str, quantity: int, sealed: bool, until: int, accept: int) -> Any:
        if account in self.frozen:
            raise Refused("account_frozen")
        return {
            "account": account,
            "side": side,
            "quantity": quantity,
            "sealed": sealed,
            "until": until,
            "accept": accept,
            "bps": self.bps,
            "due": until,
        }

    def quote(self, request_key: str, account: str, price: int, valid: int, now: int) -> Any:
        request = self.requests.get(request_key)
        if request is None:
            raise Refused("unknown_request")
        if account in self.frozen:
            raise Refused("account_frozen")
        if now >= request["until"]:
            raise Refused("quotes_ended")
        if account == request["account"]:
            raise Refused("self_trade")
        _, (asset, amount, fee) = self.legs(request, price)
        valid = valid or request["accept"]
        if not (request["until"] if request["sealed"] else now) < valid <= request["accept"]:
            raise Refused("bad_expiry")
        back = 0
        old = next((key for key in self.live(request_key) if self.quotes[key]["account"] == account), None)
        if old is not None:
            before = self.quotes[old]
            gain = before["price"] - price if request["side"] == "buy" else price - before["price"]
            if gain < 0 or (gain == 0 and valid <= before["valid"]):
                raise Refused("quote_not_better")
            back = before["held"]
        if self.available[account, asset] + back < amount + fee:
            raise Refused("insufficient_funds")
        if old is not None:
            self.end_quote(old, "improved")
        self.available[account, asset] -= amount + fee
        self.held[account, asset] += amount + fee
        return {
            "request": request_key,
            "account": account,
            "price": price,
            "valid": valid,
            "asset": asset,
            "held": amount + fee,
            "shown": not request["sealed"],
            "number": len(self.quotes) + len(self.ended_quotes),
        }

    def end_quote(self, key: str, reason: str, keep: int = 0) -> None:
        quote = self.quotes.pop(key)
        self.held[quote["account"], quote["asset"]] -= quote["held"]
        self.available[quote["account"], quote["asset"]] += quote["held"] - keep
        self.ended_quotes[key] = reason

    def end_request(self, key: str, outcome: str, reason: str) -> None:
        for quote in self.live(key):
            self.end_quote(quote, reason)
        del self.requests[key]
        self.ended_requests[key] = outcome

    def accept(self, key: str, now: int) -> None:
        quote = self.quotes.get(key)
        if quote is None or not quote["shown"]:
            raise Refused("unknown_quote")
        request = self.requests[quote["request"]]
        if request["account"] in self.frozen:
            raise Refused("account_frozen")
        if now >= request["accept"]:
            raise Refused("request_expired")
        if now >= quote["valid"]:
            raise Refused("quote_expired")
        if quote["account"] in self.frozen:
            raise Refused("quote_void")
        (paid, amount, fee), (sold, quantity, other_fee) = self.legs(request, quote["price"])
        taker, maker = request["account"], quote["account"]
        if self.available[taker, paid] < amount + fee:
            raise Refused("insufficient_funds")
        self.available[taker, paid] -= amount + fee
        self.available[maker, paid] += amount
        self.available[taker, sold] += quantity
        self.available[FEES, paid] += fee
        self.available[FEES, sold] += other_fee
        self.end_quote(key, "accepted", keep=quantity + other_fee)
        self.end_request(quote["request"], "settled", "lost")

    def time_passes(self, now: int) -> None:
        """Requests first, as their table does."""
        for key in [key for key, request in self.requests.items() if request["due"] <= now]:
            request = self.requests[key]
            if now >= request["accept"] or not self.live(key):
                self.end_request(key, "expired", "request_expired")
                continue
            request["due"] = request["accept"]
            for quote in self.live(key):
                self.quotes[quote]["shown"] = True
        for key in [key for key, quote in self.quotes.items() if quote["valid"] <= now]:
            self.end_quote(key, "expired")


class OneDesk(RuleBasedStateMachine):
    cache_bytes = 64 * 1024 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.exchange = Exchange(1, cache_bytes=self.cache_bytes)
        self.node = self.exchange.home
        self.accounts: list[str] = []

    def wait(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    @property
    def now(self) -> int:
        return self.exchange.clock.now_us

    @initialize()
    def begin(self) -> None:
        self.wait(self.node.start())
        self.wait(self.exchange.begin())
        for number in range(5):
            account = self.wait(self.exchange.trader(f"s{number}", "25", "2500"))
            self.accounts.append(account)
            self.model.available[account, BASE] = 25 * SCALE
            self.model.available[account, QUOTE] = 2500 * SCALE
        for asset in (BASE, QUOTE):
            self.model.available[FEES, asset] = 0
            for account in self.accounts:
                self.model.held[account, asset] = 0
        self.ask(0, "buy", 200, False, 30, 60)
        self.ask(1, "sell", 200, True, 10, 60)

    def agree(self, command: Any, subject: str, predict: Any) -> Any:
        """Runs both; both do it, or both refuse with the same code."""
        code, expected = None, None
        try:
            expected = predict()
        except Refused as refused:
            code = str(refused)
        try:
            answer = self.wait(self.insist(command, subject))
        except Rejected as rejected:
            assert rejected.code == code, (command, rejected, code)
            answer = None
        else:
            assert code is None, (command, code)
        # What was due ran in the same batch.
        done = answer is not None
        if done:
            self.record(answer.reply, expected)
        self.model.time_passes(self.now)
        return answer.reply if done else None

    def record(self, reply: Any, expected: Any) -> None:
        if isinstance(expected, dict):
            (self.model.quotes if "request" in expected else self.model.requests)[reply.id] = expected

    async def insist(self, command: Any, subject: str) -> Any:
        """As a client that heeds ``Retry-After``: rows that took too long to find are at hand the next time."""
        for _ in range(9):
            try:
                return await self.node.run(command, actor=subject)
            except Rejected as rejected:
                if rejected.code != "command_too_wide":
                    raise
        return await self.node.run(command, actor=subject)

    def pick(self, known: Any, ended: Any, number: int) -> str:
        """Mostly one that lives; now and then one that has ended."""
        found = [*known, *ended] if ended and number % 8 == 7 else list(known)
        return str(found[number % len(found)])

    def who(self, account: str) -> str:
        return f"s{self.accounts.index(account)}"

    @rule(
        who=WHO,
        side=st.sampled_from(["buy", "sell"]),
        quantity=st.integers(1, 6000),
        sealed=st.booleans(),
        until=st.integers(5, 60),
        accept=st.integers(1, 60),
    )
    def ask(self, who: int, side: str, quantity: int, sealed: bool, until: int, accept: int) -> None:
        until_us = self.now + until * SECOND_US
        accept_us = until_us + accept * SECOND_US
        account, amount = self.accounts[who], quantity * 50
        self.agree(
            OpenRequest(account, BASE, QUOTE, side, format_amount(amount, 4), until_us, accept_us, sealed),
            f"s{who}",
            lambda: self.model.ask(account, side, amount, sealed, until_us, accept_us),
        )

    @precondition(lambda self: self.model.requests)
    @rule(
        number=NUMBER,
        offers=st.lists(
            st.tuples(WHO, st.integers(9_800, 10_200), st.just(0) | st.integers(1, 30)), min_size=1, max_size=6
        ),
    )
    def quote(self, number: int, offers: list[tuple[int, int, int]]) -> None:
        request = self.pick(self.model.requests, self.model.ended_requests, number)
        for who, price, valid in offers:
            account = self.accounts[who]
            valid_us = self.now + valid * SECOND_US if valid else 0
            reply = self.agree(
                SubmitQuote(request, account, format_amount(price, 2), valid_us),
                f"s{who}",
                lambda: self.model.quote(request, account, price, valid_us, self.now),  # noqa: B023
            )
            if reply is not None:
                assert reply.maker_gives.total == format_amount(self.model.quotes[reply.id]["held"], 4)

    @precondition(lambda self: self.model.quotes)
    @rule(number=NUMBER)
    def withdraw(self, number: int) -> None:
        key = self.pick(self.model.quotes, self.model.ended_quotes, number)

        def predict() -> None:
            if key not in self.model.quotes:
                raise Refused("unknown_quote")
            self.model.end_quote(key, "withdrawn")

        quote = self.model.quotes.get(key)
        self.agree(WithdrawQuote(key), "s0" if quote is None else self.who(quote["account"]), predict)

    @precondition(lambda self: self.model.quotes)
    @rule(number=NUMBER)
    def accept(self, number: int) -> None:
        key = self.pick(self.model.quotes, self.model.ended_quotes, number)
        quote = self.model.quotes.get(key)
        request = None if quote is None else self.model.requests[quote["request"]]
        taker = "s0" if request is None else self.who(request["account"])
        reply = self.agree(AcceptQuote(key), taker, lambda: self.model.accept(key, self.now))
        if reply is not None:
            assert quote is not None and request is not None
            (_, amount, fee), _ = self.model.legs(request, quote["price"])
            assert (reply.taker_gives.amount, reply.taker_gives.fee) == (
                format_amount(amount, 4),
                format_amount(fee, 4),
            )

    @precondition(lambda self: self.model.quotes)
    @rule(number=NUMBER)
    def accept_another(self, number: int) -> None:
        self.accept(number)

    @precondition(lambda self: self.model.requests)
    @rule(number=NUMBER)
    def cancel(self, number: int) -> None:
        if number % 3:
            return
        key = self.pick(self.model.requests, self.model.ended_requests, number)

        def predict() -> None:
            if key not in self.model.requests:
                raise Refused("unknown_request")
            self.model.end_request(key, "cancelled", "request_cancelled")

        request = self.model.requests.get(key)
        self.agree(CancelRequest(key), "s0" if request is None else self.who(request["account"]), predict)

    @rule(seconds=st.integers(1, 12))
    def time_passes(self, seconds: int) -> None:
        self.exchange.clock.advance(seconds)
        self.model.time_passes(self.now)
        self.wait(turn(self.node))

    @precondition(lambda self: self.model.quotes)
    @rule(seconds=st.integers(1, 12), number=NUMBER)
    def accept_before_the_timers_ran(self, seconds: int, number: int) -> None:
        self.exchange.clock.advance(seconds)
        self.accept(number)

    @rule(bps=st.sampled_from([0, 1, 30, 250]))
    def fee(self, bps: int) -> None:
        self.wait(self.exchange.operate(SetRfqFee(bps)))
        self.model.bps = bps

    @rule(who=WHO)
    def freeze(self, who: int) -> None:
        """One at a time, and not for long."""
        account = next(iter(self.model.frozen), self.accounts[who])
        self.model.frozen ^= {account}
        self.wait(self.exchange.operate(SetStatus(account, "frozen" if self.model.frozen else "active")))

    @precondition(lambda self: self.model.quotes)
    @rule(number=NUMBER)
    def accept_from_a_frozen_maker(self, number: int) -> None:
        maker = self.model.quotes[self.pick(self.model.quotes, (), number)]["account"]
        if not self.model.frozen:
            self.freeze(self.accounts.index(maker))
            self.accept(number)
            self.freeze(0)

    @rule()
    def restart(self) -> None:
        self.wait(self.node.close())
        store = self.node.store
        node = TestNode(
            self.node.source, [WALLET, DEX], clock=self.exchange.clock, store=store, cache_bytes=self.cache_bytes
        )
        node.disk = self.node.disk
        self.node = self.exchange.nodes[0] = self.exchange.home = node
        self.wait(node.start())

    @invariant()
    def the_same_stands(self) -> None:
        if not self.accounts:
            return
        model = self.model
        shares = rows(self.node, SHARES)
        for (account, asset), available in model.available.items():
            share = shares.get(f"{account.replace('~', '/')}/{asset}/{self.node.source}")
            found = (0, 0) if share is None else (share.available, share.held)
            assert found == (available, model.held.get((account, asset), 0)), account
        live = {key.replace("/", "~"): row for key, row in rows(self.node, QUOTES).items()}
        assert {key: row.shown for key, row in live.items()} == {k: q["shown"] for k, q in model.quotes.items()}
        assert {key.replace("/", "~") for key in rows(self.node, REQUESTS)} == set(model.requests)
        ended = {key.replace("/", "~"): row.reason for key, row in rows(self.node, ENDED_QUOTES).items()}
        assert ended == model.ended_quotes
        ended = {key.replace("/", "~"): row.state for key, row in rows(self.node, ENDED_REQUESTS).items()}
        assert ended == model.ended_requests
        for key, request in model.requests.items():
            taker = f"s{self.accounts.index(request['account'])}"
            assert self.seen(key, taker) == [quote for quote in model.live(key) if model.quotes[quote]["shown"]]
        check_desk(self.node)
        assert not self.node.engine.alarms

    def seen(self, request: str, subject: str) -> list[str]:
        context = QueryContext(subject, frozenset(), self.node.source, self.now)
        params = queries.IdParams(request)
        found = self.wait(self.node.writer.query(lambda view: queries.quotes(view, context, params)))
        return [item.id for item in found.items]

    def teardown(self) -> None:
        self.wait(self.node.close())
        self.runner.close()


class OneForgetfulDesk(OneDesk):
    """With a cache for nothing: every command finds its rows in the database."""

    cache_bytes = 1


def test_the_desk_answers_as_the_model_does():
    run_state_machine_as_test(OneDesk, settings=settings(max_examples=25, stateful_step_count=60, phases=PHASES))


def test_a_desk_that_keeps_nothing_in_memory_answers_the_same():
    run_state_machine_as_test(
        OneForgetfulDesk, settings=settings(max_examples=10, stateful_step_count=40, phases=PHASES)
    )

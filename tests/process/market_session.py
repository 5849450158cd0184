"""A market session as its members have it: over HTTP, each with a token of their own. Every answer is compared with
what the plain exchange makes of the same request, and in the end so is all that there is."""

import random
from typing import Any

from tests.kit.node_process import NodeProcess
from tests.kit.wait import wait_until
from tests.process.plain_exchange import (
    BASE_SCALE,
    PRICE_SCALE,
    QUOTE_SCALE,
    Fill,
    PlainExchange,
    PlainOrder,
    Refused,
    Terms,
    decimal,
    minor,
)

MAKERS = ("maker-1", "maker-2")
TAKERS = tuple(f"taker-{number}" for number in range(1, 7))
HOUSE = ("house-1", "house-2")
"""Two accounts of one owner."""
MOVER = "mover"
"""Has nothing in the book when it moves the price, so nothing of its own is in its way."""
MEMBERS = (*MAKERS, *TAKERS, *HOUSE, MOVER)
FUNDS = {"GOLD": "1000.0000", "USDX": "100000.0000"}


class MarketSession:
    """``node`` is the market's. The parts of the session are its public methods, and what is beside the book
    (``market_desks``); each leaves node and plain exchange agreed."""

    def __init__(self, node: NodeProcess, seed: int = 1) -> None:
        self.node = node
        self.base, self.quote = f"GOLD@{node.name}", f"USDX@{node.name}"
        self.market = f"GOLD-USDX@{node.name}"
        self.plain = PlainExchange(Terms(5, 10), self.base, self.quote)
        self._random = random.Random(seed)
        self._accounts: dict[str, str] = {}
        self._quotes: dict[str, list[PlainOrder]] = {name: [] for name in MAKERS}
        self._tokens: dict[str, str] = {}
        self._count = 0

    # The parts

    def open(self) -> None:
        for code in FUNDS:
            self.done("/v1/wallet/assets", {"code": code, "scale": 4})
        for member in MEMBERS:
            owner = "house" if member in HOUSE else member
            opened = self.done("/v1/wallet/accounts", {"handle": member}, member)
            self._accounts[member] = opened["id"]
            self.plain.owners[member] = owner
            self.done(f"/v1/dex/accounts/{opened['id']}/group", {"group": owner}, status=200, method="PUT")
            for code, amount in FUNDS.items():
                asset = f"{code}@{self.node.name}"
                self.done("/v1/wallet/issues", {"asset": asset, "credit": opened["id"], "amount": amount})
                self.plain.move(member, asset, minor(amount, 4))
        terms = self.plain.terms
        market = {"base": self.base, "quote": self.quote, "tick": "0.01", "lot": "0.01"}
        self.done("/v1/dex/markets", {**market, "maker_bps": terms.maker_bps, "taker_bps": terms.taker_bps})
        self.refused("no_reference", MEMBERS[2], "buy", "1.00", kind="market")

    def quotes(self) -> None:
        """Two makers quote both sides, and quote again."""
        for middle in (10_000, 10_003, 9_998):
            for maker in MAKERS:
                self.quote_both_sides(maker, middle + self._random.randint(-2, 2))

    def flow(self, requests: int) -> None:
        """Takers buy and sell, makers quote, and everybody changes their mind."""
        for _ in range(requests):
            what = self._random.random()
            mine = [order for order in self.plain.open if order.account in TAKERS]
            if what < 0.12:
                self.quote_both_sides(self._random.choice(MAKERS), 10_000 + self._random.randint(-20, 20))
            elif what < 0.22 and mine:
                self.cancel(self._random.choice(mine))
            elif what < 0.30 and mine:
                self.amend(self._random.choice(mine), self._quantity())
            else:
                self._any_order(self._random.choice(TAKERS))

    def stops(self) -> None:
        """Orders that wait until the price comes to them, some of them because another one did."""
        low, high = self.plain.last - 15, self.plain.last + 15
        for number, (side, around) in enumerate((("sell", low), ("buy", high), ("sell", low - 2), ("buy", high + 2))):
            kind = "stop" if number < 2 else "stop_limit"
            limit = around - 30 if side == "sell" else around + 30
            self.order(TAKERS[number], side, "2.00", _price(limit), kind=kind, stop=_price(around))
        self.order(TAKERS[4], "sell", "1.00", kind="stop", stop=_price(low))
        # One price that reaches them is made by hand: whatever stands better is bought away first.
        for side, around in (("sell", low - 3), ("buy", high + 3)):
            self.order(TAKERS[5], "buy" if side == "sell" else "sell", "0.50", _price(around), kind="limit")
            self.order(MOVER, side, "400.00", _price(around), kind="limit", time_in_force="ioc")
        assert not [order for order in self.plain.open if order.stop], "all of them woke"

    def owners(self) -> None:
        """One owner's two accounts meet each other, in every way that they may have chosen."""
        for prevention in ("taker", "maker", "both", "decrement", "none"):
            best = max([price for price, _ in self.plain.depth("buy")], default=self.plain.last - 10)
            ask = min([price for price, _ in self.plain.depth("sell")], default=best + 20)
            assert ask - best > 1, "there is room between the two sides"
            self.order(HOUSE[0], "buy", "3.00", _price(best + 1))
            self.order(HOUSE[1], "sell", "2.00", _price(best + 1), prevention=prevention)
            for order in [order for order in self.plain.open if order.account in HOUSE]:
                self.cancel(order)

    def refusals(self) -> None:
        """What can't be done changes nothing."""
        last = _price(self.plain.last)
        self.refused("price_out_of_band", TAKERS[0], "buy", "1.00", _price(self.plain.last * 2))
        self.refused("insufficient_funds", TAKERS[0], "buy", "99999.00", last)
        self.refused("not_filled_whole", TAKERS[1], "buy", "900.00", last, kind="limit", time_in_force="fok")
        status, problem = self.ask("/v1/dex/orders", self._body("demo", "buy", "0.001", last), TAKERS[0])
        assert (status, problem["code"]) == (422, "unknown_account"), problem
        status, problem = self.ask("/v1/dex/orders", self._body(TAKERS[0], "buy", "0.001", last), TAKERS[0])
        assert (status, problem["code"]) == (422, "off_lot"), problem
        status, problem = self.ask("/v1/dex/orders", self._body(TAKERS[0], "buy", "1.00", last), TAKERS[1])
        assert (status, problem["code"]) == (403, "not_your_account"), problem

    def halt(self) -> None:
        """A halted market takes no orders; what is open can be cancelled."""
        self.order(TAKERS[2], "buy", "1.00", _price(self.plain.last - 60))
        self.done(f"/v1/dex/markets/{self.market}/halt", {"reason": "news"}, status=200)
        self.plain.halted = True
        self.refused("market_halted", TAKERS[2], "buy", "1.00", _price(self.plain.last))
        self.cancel(next(order for order in self.plain.open if order.account == TAKERS[2]))
        self.done(f"/v1/dex/markets/{self.market}/resume", {}, status=200)
        self.plain.halted = False
        self.order(TAKERS[2], "buy", "1.00", _price(self.plain.last - 60))

    def cancel_all(self, member: str) -> None:
        answer = self.done("/v1/dex/orders/cancel-all", {"account": self._accounts[member]}, member, status=200)
        mine = [order for order in self.plain.open if order.account == member]
        assert sorted(answer["cancelled"]) == sorted(order.id for order in mine)
        for order in mine:
            self.plain.cancel(order)

    # What members ask for

    def order(self, member: str, side: str, quantity: str, price: str = "", **more: str) -> None:
        """Placed at the node and in the plain exchange; accepted or refused by both, with the same fills."""
        body = self._body(member, side, quantity, price, **more)
        status, answer = self.ask("/v1/dex/orders", body, member)
        try:
            order = self.plain.place(member, side, quantity, price, **more)
        except Refused as refused:
            assert (status, answer.get("code")) in ((409, refused.code), (422, refused.code)), (body, answer)
            return
        assert status == 201, (body, answer)
        self._placed(order, answer)
        self._wake()

    def refused(self, code: str, member: str, side: str, quantity: str, price: str = "", **more: str) -> None:
        status, problem = self.ask("/v1/dex/orders", self._body(member, side, quantity, price, **more), member)
        assert problem["code"] == code, (status, problem)
        try:
            self.plain.place(member, side, quantity, price, **more)
        except Refused as refused:
            assert refused.code == code
        else:
            raise AssertionError(f"the plain exchange takes what the node refuses with {code}")

    def cancel(self, order: PlainOrder) -> None:
        answer = self.done(f"/v1/dex/orders/{order.id}/cancel", {}, order.account, status=200)
        self.plain.cancel(order)
        assert (answer["reason"], answer["cancelled"]) == ("cancelled", decimal(order.cancelled, BASE_SCALE))

    def amend(self, order: PlainOrder, quantity: str) -> None:
        status, answer = self.ask(f"/v1/dex/orders/{order.id}/amend", {"quantity": quantity}, order.account)
        try:
            self.plain.amend(order, quantity)
        except Refused as refused:
            assert answer.get("code") == refused.code, answer
        else:
            assert (status, answer["remaining"]) == (200, decimal(order.remaining, BASE_SCALE)), answer

    def quote_both_sides(self, maker: str, middle: int) -> None:
        """The new quotes take the place of the old ones; one that would take is refused by itself."""
        sides = (("buy", -1), ("sell", 1))
        wanted = [
            (side, middle + sign * (4 + 3 * level), f"{self._random.randint(1, 8)}.00")
            for level in range(3)
            for side, sign in sides
        ]
        quotes = [{"side": side, "price": _price(price), "quantity": amount} for side, price, amount in wanted]
        body = {"market": self.market, "account": self._accounts[maker], "quotes": quotes}
        answer = self.done("/v1/dex/quotes", body, maker, method="PUT")
        for order in [order for order in self._quotes[maker] if order in self.plain.open]:
            self.plain.cancel(order, "quoted_again")
        self._quotes[maker] = []
        for (side, price, amount), item in zip(wanted, answer["items"], strict=True):
            try:
                order = self.plain.place(maker, side, amount, _price(price), kind="post_only")
            except Refused as refused:
                assert item.get("code") == refused.code, item
            else:
                self._placed(order, item["order"])
                self._quotes[maker].append(order)

    # What there is in the end

    def check(self, node: NodeProcess) -> None:
        """Book, trades and every account, to the minor unit, as ``node`` shows them. Raises ``AssertionError``."""
        depth = self._get(node, f"/v1/dex/markets/{self.market}/depth?levels=500")
        for side, shown in (("buy", depth["bids"]), ("sell", depth["asks"])):
            levels = [[decimal(p, PRICE_SCALE), decimal(q, BASE_SCALE)] for p, q in self.plain.depth(side)]
            assert shown == levels, side
        trades = list(reversed(self._pages(node, f"/v1/dex/markets/{self.market}/trades")))
        assert [trade["number"] for trade in trades] == list(range(1, len(trades) + 1))
        assert [(trade["price"], trade["quantity"], trade["side"]) for trade in trades] == [
            (decimal(price, PRICE_SCALE), decimal(amount, BASE_SCALE), side)
            for price, amount, side in self.plain.trades
        ]
        for member, account in {**self._accounts, "fees": f"fees@{self.node.name}"}.items():
            shown = {
                item["asset"]: item for item in self._get(node, f"/v1/wallet/accounts/{account}/balances")["items"]
            }
            for asset in (self.base, self.quote):
                held, free = self.plain.held(member, asset), self.plain.available(member, asset)
                item = shown.get(asset, {"available": decimal(0, 4), "pending": decimal(0, 4)})
                told = (item["available"], item["pending"])
                assert told == (decimal(free, QUOTE_SCALE), decimal(held, QUOTE_SCALE)), (member, asset)
        for member in MEMBERS:
            self._check_orders(node, member)

    def _check_orders(self, node: NodeProcess, member: str) -> None:
        account = self._accounts[member]
        shown = self._get(node, f"/v1/dex/accounts/{account}/orders")["items"]
        assert {item["id"]: (item["remaining"], item["status"]) for item in shown} == {
            order.id: (decimal(order.remaining, BASE_SCALE), "waiting" if order.stop else "open")
            for order in self.plain.open
            if order.account == member
        }
        ended = self._pages(node, f"/v1/dex/accounts/{account}/orders/ended")
        fields = ("reason", "filled", "cancelled", "prevented")
        assert {item["id"]: tuple(item[name] for name in fields) for item in ended} == {
            order.id: (
                order.reason,
                *(decimal(part, BASE_SCALE) for part in (order.filled, order.cancelled, order.prevented)),
            )
            for order in self.plain.ended
            if order.account == member
        }

    # How

    def done(
        self, path: str, body: dict[str, Any], member: str = "", *, status: int = 201, method: str = "POST"
    ) -> Any:
        told, answer = self.ask(path, body, member, method=method)
        assert told == status, (path, body, answer)
        return answer

    def ask(self, path: str, body: dict[str, Any], member: str = "", *, method: str = "POST") -> tuple[int, Any]:
        """As ``member``; without one as the operator."""
        self._count += 1
        return self.node.post(path, f"session-{self._count}", body, token=self._token(member), method=method)

    def account(self, member: str) -> str:
        return self._accounts[member]

    def get(self, path: str) -> Any:
        return self._get(self.node, path)

    def again(self) -> tuple[tuple[int, Any], tuple[int, Any]]:
        """A request, and the same once more with the same key."""
        body = self._body(TAKERS[0], "buy", "0.01", _price(self.plain.last - 70))
        token = self._token(TAKERS[0])
        first, second = (self.node.post("/v1/dex/orders", "once", body, token=token) for _ in range(2))
        if first[1]["id"] not in [order.id for order in self.plain.open]:
            self._placed(self.plain.place(TAKERS[0], "buy", "0.01", _price(self.plain.last - 70)), first[1])
        return first, second

    def _token(self, member: str) -> str:
        if member not in self._tokens:
            scopes = ("dex:trade", "dex:read", "wallet:transfer", "wallet:read") if member and member != "demo" else ()
            self._tokens[member] = self.node.token(member or "demo", *scopes)
        return self._tokens[member]

    def _any_order(self, member: str) -> None:
        side = self._random.choice(("buy", "sell"))
        price = _price(10_000 + self._random.randint(-30, 30))
        kind, force = self._random.choice(
            (("limit", ""), ("limit", ""), ("limit", "ioc"), ("limit", "fok"), ("post_only", ""), ("market", ""))
        )
        if kind == "market":
            price = ""
        more = {"time_in_force": force} if force else {}
        self.order(member, side, self._quantity(), price, kind=kind, **more)

    def _body(self, member: str, side: str, quantity: str, price: str, **more: str) -> dict[str, Any]:
        account = self._accounts.get(member, "nobody")
        body = {"market": self.market, "account": account, "side": side, "quantity": quantity, **more}
        return body | {"price": price} if price else body

    def _placed(self, order: PlainOrder, answer: Any) -> None:
        order.id = answer["id"]
        assert answer["filled"] == decimal(order.filled, BASE_SCALE), answer
        assert answer["reason"] == order.reason, answer
        fills = [
            Fill(minor(fill["price"], PRICE_SCALE), minor(fill["quantity"], BASE_SCALE), minor(fill["fee"], 4))
            for fill in answer["fills"]
        ]
        assert fills == order.fills, answer

    def _wake(self) -> None:
        """Stop orders wake unasked, one after the other: each is waited for."""
        while (order := self.plain.wake()) is not None:
            path = f"/v1/dex/orders/{order.id}"
            wait_until(lambda path=path: self._get(self.node, path)["status"] != "waiting")

    def _quantity(self) -> str:
        return f"{self._random.randint(1, 900) / 100:.2f}"

    def _get(self, node: NodeProcess, path: str) -> Any:
        status, answer = node.get(path, authorization=f"Bearer {node.token()}")
        assert status == 200, answer
        return answer

    def _pages(self, node: NodeProcess, path: str) -> list[Any]:
        found: list[Any] = []
        after = ""
        while True:
            page = self._get(node, f"{path}?limit=100" + (f"&after={after}" if after else ""))
            found += page["items"]
            after = page["next"] or ""
            if not after:
                return found


def _price(hundredths: int) -> str:
    return decimal(hundredths, PRICE_SCALE)

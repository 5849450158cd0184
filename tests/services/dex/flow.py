"""Orders as they come: a seeded stream, as a market has it, and one by somebody who wishes the book ill."""

from random import Random
from typing import Any

from services.dex.intents import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    MassQuote,
    PlaceOrder,
    PlaceOrders,
    QuoteEntry,
    ReplaceOrder,
)
from services.wallet.amounts import format_amount
from tests.services.dex.kit import MARKET
from tests.services.dex.pair import Pair

PREVENTIONS = ("none", "taker", "maker", "both", "decrement")


class Flow:
    """``middle``: the price, in ticks, around which orders come, ``spread`` to both sides."""

    def __init__(self, pair: Pair, seed: int, middle: int = 10_000, spread: int = 40) -> None:
        self.pair = pair
        self.random = Random(seed)
        self.middle = middle
        self.spread = spread
        self.accounts: dict[str, str] = {}

    async def traders(self, count: int, gold: int = 1000, usd: int = 100_000, *, each: int = 1) -> None:
        """So many accounts, of subjects that have ``each`` of them."""
        for number in range(count):
            subject = f"s{number // each}"
            self.accounts[await self.pair.trader(subject, gold, usd)] = subject

    # The mix of a market: 9 % good till cancelled, 3 % immediate or cancel, 6 % cancels, the rest moves.

    async def usual(self) -> None:
        draw = self.random.random()
        if draw < 0.09 or not self.pair.naive.open:
            await self.place(time_in_force="gtc")
        elif draw < 0.12:
            await self.place(time_in_force="ioc")
        elif draw < 0.18:
            await self.cancel()
        else:
            await self.move()

    async def hostile(self) -> None:
        """Anything, also what makes no sense."""
        actions = (
            (self.place, 10),
            (self.any_kind, 10),
            (self.stop, 5),
            (self.cancel, 3),
            (self.stale, 2),
            (self.amend, 6),
            (self.replace, 6),
            (self.quote, 3),
            (self.batch, 3),
            (self.cancel_everything, 1),
            (self.freeze, 2),
            (self.regroup, 2),
            (self.halt, 1),
            (self.wait, 3),
        )
        action = self.random.choices([one for one, _ in actions], [weight for _, weight in actions])[0]
        await action()

    async def place(self, **more: Any) -> None:
        account = self.who()
        await self.pair.run(self.order(account, **more), self.accounts[account])

    async def any_kind(self) -> None:
        random = self.random
        kind = random.choice(("limit", "market", "post_only"))
        times = {
            "limit": ("gtc", "ioc", "fok", "gtd"),
            "market": ("", "ioc", "fok", "gtc"),
            "post_only": ("gtc", "gtd"),
        }
        time_in_force = random.choice(times[kind])
        more: dict[str, Any] = {"kind": kind, "time_in_force": time_in_force}
        if time_in_force == "gtd":
            more["expires_us"] = self.pair.exchange.clock.now_us + random.choice((-1, 0, 1, 5, 3600)) * 1_000_000
        if kind == "market" and random.random() < 0.6:
            more["price"] = ""
        if random.random() < 0.2:
            more["client_id"] = random.choice(("a", "b", "c"))
        await self.place(**more)

    async def stop(self) -> None:
        random = self.random
        at = self.middle + random.randint(-self.spread // 2, self.spread // 2)
        kind = random.choice(("stop", "stop_limit"))
        limit = at + random.randint(-5, 5)
        price = "" if kind == "stop" and random.random() < 0.5 else ticks(limit)
        more: dict[str, Any] = {}
        if random.random() < 0.2:
            more = {"time_in_force": "gtd", "expires_us": self.pair.exchange.clock.now_us + 10_000_000}
        await self.place(kind=kind, stop=ticks(at), price=price, **more)

    async def cancel(self) -> None:
        order = self.some_open()
        if order is not None:
            await self.pair.run(CancelOrder(order.id), self.accounts[order.account])

    async def stale(self) -> None:
        """An order that has ended, one that never was, one of somebody else."""
        naive = self.pair.naive
        account = self.who()
        ids = ["sg-mas-01~0-0000000001", "nonsense", ""]
        ids += [order.id for order in self.random.sample(naive.closed, min(3, len(naive.closed)))]
        ids += [order.id for order in naive.open[:1]]
        chosen = self.random.choice(ids)
        command = self.random.choice(
            (CancelOrder(chosen), AmendOrder(chosen, "1"), ReplaceOrder(chosen, self.order(account)))
        )
        await self.pair.run(command, self.accounts[account])

    async def move(self) -> None:
        await (self.amend() if self.random.random() < 0.5 else self.replace())

    async def amend(self) -> None:
        """Also to what it is, to what is filled, and to one lot more or less."""
        order = self.some_open()
        if order is None:
            return
        lot = self.pair.naive.lot
        least = order.filled + order.prevented
        whole = order.quantity - order.cancelled
        quantity = self.random.choice((least, least + lot, whole - lot, whole, whole + lot, (least + whole) // 2))
        quantity = quantity // lot * lot
        await self.pair.run(AmendOrder(order.id, amount(quantity)), self.accounts[order.account])

    async def replace(self) -> None:
        order = self.some_open()
        if order is not None:
            mode = self.random.choice(("stop_on_failure", "allow_failure"))
            new = self.order(order.account, side=order.side)
            await self.pair.run(ReplaceOrder(order.id, new, mode), self.accounts[order.account])

    async def quote(self) -> None:
        account, random = self.who(), self.random
        quotes = []
        for _ in range(random.randint(0, 6)):
            side = random.choice(("buy", "sell"))
            away = random.randint(-3, self.spread)
            quotes.append(QuoteEntry(side, ticks(self.middle + (away if side == "sell" else -away)), self.quantity()))
        await self.pair.run(MassQuote(MARKET, account, tuple(quotes)), self.accounts[account])

    async def batch(self) -> None:
        """Of several accounts, most of them the subject's own, which meet each other; others are refused."""
        subject = self.accounts[self.who()]
        own = [account for account, owner in self.accounts.items() if owner == subject]
        orders = tuple(
            self.order(self.random.choice(own) if self.random.random() < 0.8 else self.who())
            for _ in range(self.random.randint(0, 6))
        )
        await self.pair.run(PlaceOrders(orders), subject)

    async def cancel_everything(self) -> None:
        account = self.who()
        await self.pair.run(CancelAll(account, self.random.choice((MARKET, ""))), self.accounts[account])

    async def freeze(self) -> None:
        account = self.who()
        await self.pair.freeze(account, not self.pair.naive.traders[account].frozen)

    async def regroup(self) -> None:
        await self.pair.group(self.who(), self.random.choice(("", "one", "two")))

    async def halt(self) -> None:
        await self.pair.halt("" if self.pair.naive.halted else "why not")

    async def wait(self) -> None:
        if self.pair.naive.halted:
            await self.pair.halt("")
        await self.pair.pass_time(self.random.choice((0.001, 1, 6, 61)))

    # What they are made of

    def who(self) -> str:
        return self.random.choice(list(self.accounts))

    def some_open(self) -> Any:
        found = self.pair.naive.open
        return self.random.choice(found) if found else None

    def quantity(self) -> str:
        lots = self.random.choice((1, 1, 2, 3, 7, 10, 50))
        return amount(lots * self.pair.naive.lot)

    def order(self, account: str, **more: Any) -> PlaceOrder:
        random = self.random
        side = random.choice(("buy", "sell"))
        # Mostly it rests; now and then it crosses.
        away = random.randint(-self.spread // 4, self.spread)
        price = self.middle + (-away if more.get("side", side) == "buy" else away)
        values = {
            "side": side,
            "quantity": self.quantity(),
            "price": ticks(price),
            "prevention": random.choice(PREVENTIONS),
            **more,
        }
        return PlaceOrder(MARKET, account, **values)


def ticks(price: int) -> str:
    return format_amount(max(1, price), 2)


def amount(quantity: int) -> str:
    return format_amount(quantity, 4)

"""What the tests of the RFQ desk share: asking, quoting and accepting at a node, and what must always hold there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jilnode.module import QueryContext
from services.dex.rfq import queries
from services.dex.rfq.intents import AcceptQuote, OpenRequest, SetRfqFee, SubmitQuote
from services.dex.rfq.rows import ENDED_QUOTES, ENDED_REQUESTS, QUOTES, REQUESTS, SETTLEMENTS
from services.dex.rfq.terms import legs
from services.wallet.rows import SHARES
from tests.kit.node import TestNode
from tests.services.dex.kit import BASE, QUOTE, Exchange, exchange
from tests.services.wallet.kit import check_conservation, rows

SECOND_US = 1_000_000


class Desk:
    """One taker, ``t``, and two makers, ``m`` and ``n``, at the first node of an exchange, each with 1,000 GOLD and
    100,000 USDX."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.home = exchange.home
        self.clock = exchange.clock
        self.taker = self.maker = self.other = ""

    async def begin(self, fee_bps: int = 0) -> None:
        self.taker, self.maker, self.other = [await self.exchange.trader(name) for name in "tmn"]
        if fee_bps:
            await self.exchange.operate(SetRfqFee(fee_bps))

    def in_s(self, seconds: float) -> int:
        return int(self.clock.now_us + seconds * SECOND_US)

    def opening(self, side: str = "buy", quantity: str = "10", **changes: Any) -> OpenRequest:
        """Quotes for 30 s; accepted for a minute more."""
        values = {"account": self.taker, "quotes_until_us": self.in_s(30), **changes}
        return OpenRequest(base=BASE, quote=QUOTE, side=side, quantity=quantity, **values)

    async def ask(self, side: str = "buy", quantity: str = "10", **changes: Any) -> Any:
        return (await self.home.run(self.opening(side, quantity, **changes), actor="t")).reply

    async def offer(self, request: Any, price: str, subject: str = "m", **changes: Any) -> Any:
        account = {"m": self.maker, "n": self.other}[subject]
        command = SubmitQuote(request.id, **{"account": account, "price": price, **changes})
        return (await self.home.run(command, actor=subject)).reply

    async def accept(self, quote: Any, subject: str = "t") -> Any:
        return (await self.home.run(AcceptQuote(quote.id), actor=subject)).reply

    async def seen(self, request: Any, actor: str = "t", *scopes: str, node: TestNode | None = None) -> list[Any]:
        """The live quotes of a request as a subject is told them."""
        node = node or self.home
        context = QueryContext(actor, frozenset(scopes), node.source, node.engine.now_us())
        found = await node.writer.query(lambda view: queries.quotes(view, context, queries.IdParams(request.id)))
        return found.items

    def money(self, account: str, node: TestNode | None = None) -> tuple[int, int, int, int]:
        """(GOLD available, GOLD held, USDX available, USDX held) at the first node, in minor units."""
        shares = rows(node or self.home, SHARES)
        found: list[int] = []
        for asset in (BASE, QUOTE):
            share = shares.get(f"{account.replace('~', '/')}/{asset}/{self.home.source}")
            found += [0, 0] if share is None else [share.available, share.held]
        return tuple(found)  # type: ignore[return-value]


@asynccontextmanager
async def desk(count: int = 1, *, fee_bps: int = 0, **options: Any) -> AsyncIterator[Desk]:
    async with exchange(count, **options) as made:
        found = Desk(made)
        await found.begin(fee_bps)
        yield found


def check_desk(node: TestNode) -> None:
    """Money is conserved; live quotes hold exactly what they would pay and nothing else is held (Q2); what ended, ended
    once (Q1); every settlement says that both sides paid what its quote's price is (Q3)."""
    check_conservation(node)
    requests, quotes = rows(node, REQUESTS), rows(node, QUOTES)
    for quote in quotes.values():
        gives = legs(quote.terms, quote.price)[1]
        assert (quote.reserved.asset, quote.reserved.amount) == (gives.asset, gives.amount + gives.fee)
        assert quote.request in requests
    if not quotes:
        assert all(share.held == 0 for share in rows(node, SHARES).values())
    ended_requests, ended_quotes = rows(node, ENDED_REQUESTS), rows(node, ENDED_QUOTES)
    assert not requests.keys() & ended_requests.keys()
    assert not quotes.keys() & ended_quotes.keys()
    settlements = list(rows(node, SETTLEMENTS).values())
    settled = [key for key, row in ended_requests.items() if row.state == "settled"]
    assert sorted(settlement.request for settlement in settlements) == sorted(settled)
    for settlement in settlements:
        ended = ended_quotes[settlement.quote]
        quote = ended.quote
        assert (ended.reason, quote.price, quote.request) == ("accepted", settlement.price, settlement.request)
        assert (settlement.taker, settlement.maker) == (quote.taker, quote.account)
        taker, maker = legs(quote.terms, quote.price)
        assert (settlement.asset, settlement.amount, settlement.fee) == (taker.asset, taker.amount, taker.fee)
        assert (settlement.back_asset, settlement.back_amount, settlement.back_fee) == (
            maker.asset,
            maker.amount,
            maker.fee,
        )
    assert not node.engine.alarms

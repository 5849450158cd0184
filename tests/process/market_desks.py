"""Parts of the market session beside the book: a desk for requests for quotes, and a pool. What they move is computed
here, and booked with the members' money in the plain exchange."""

import time
from math import isqrt
from typing import Any

from tests.process.market_session import MAKERS, TAKERS, MarketSession
from tests.process.plain_exchange import BASE_SCALE, decimal, minor

MINUTE_US = 60_000_000
RFQ_BPS = 8
POOL_BPS = 30
LOCKED = 1000
"""Shares of a pool that are nobody's."""


def quote_desk(session: MarketSession) -> None:
    """One request is settled with the better of two quotes, one is taken back: its quote's hold goes home."""
    session.done("/v1/dex/rfq/fee", {"bps": RFQ_BPS}, status=200)
    _settle(session, "buy", "12.00", {MAKERS[0]: "100.05", MAKERS[1]: "100.02"}, best=MAKERS[1])
    _settle(session, "sell", "7.25", {MAKERS[0]: "99.97", MAKERS[1]: "99.90"}, best=MAKERS[0])
    request = _request(session, "buy", "3.00")
    _quote(session, request, MAKERS[0], "100.00")
    session.done(f"/v1/dex/rfq/requests/{request}/cancel", {}, TAKERS[0], status=200)
    session.check(session.node)


def pool(session: MarketSession) -> None:
    """Two makers put liquidity in, takers swap both ways, one maker takes half of its part out."""
    plain, base, quote = session.plain, session.base, session.quote
    opened = session.done("/v1/dex/pools", {"base": base, "quote": quote, "fee_bps": POOL_BPS})
    name, reserves, shares = opened["pool"], {base: 0, quote: 0}, 0
    scale = len(opened["shares"].partition(".")[2])

    def move(member: str, asset: str, amount: int) -> None:
        """From the member into the pool."""
        plain.move(member, asset, -amount)
        reserves[asset] += amount

    def ask(path: str, member: str, **body: str) -> Any:
        body = {"pool": name, "account": session.account(member), **body}
        return session.done(f"/v1/dex/{path}", {**body, "deadline_us": _now_us() + MINUTE_US}, member)

    least = {"min_base": "0.0001", "min_quote": "0.0001"}
    owned = dict.fromkeys(MAKERS, 0)
    for maker, base_max, quote_max in ((MAKERS[0], "100.0000", "10000.0000"), (MAKERS[1], "30.0001", "3100.0000")):
        most = {base: minor(base_max, BASE_SCALE), quote: minor(quote_max, BASE_SCALE)}
        if shares:
            new = min(most[asset] * shares // reserves[asset] for asset in most)
            cost = {asset: -(-new * reserves[asset] // shares) for asset in most}
        else:
            new, cost = isqrt(most[base] * most[quote]), most
        answer = ask("liquidity/add", maker, base=base_max, quote=quote_max, **least)
        for asset, amount in cost.items():
            move(maker, asset, amount)
        owned[maker] = new - (0 if shares else LOCKED)
        shares += new
        assert (answer["base"], answer["quote"]) == (decimal(cost[base], 4), decimal(cost[quote], 4))
    for taker, given, amount in (
        (TAKERS[0], quote, "512.3400"),
        (TAKERS[1], base, "3.1416"),
        (TAKERS[0], base, "1.0000"),
    ):
        got = quote if given == base else base
        paid = minor(amount, 4) * (10_000 - POOL_BPS)
        out = paid * reserves[got] // (10_000 * reserves[given] + paid)
        answer = ask("swaps", taker, asset_in=given, amount_in=amount, min_out=decimal(out, 4))
        assert answer["amount_out"] == decimal(out, 4)
        move(taker, given, minor(amount, 4))
        move(taker, got, -out)
    part = owned[MAKERS[0]] // 2
    text = decimal(part, scale)
    ask("liquidity/remove", MAKERS[0], shares=text, **least)
    for asset in (base, quote):
        move(MAKERS[0], asset, -(part * reserves[asset] // shares))
    shares, owned[MAKERS[0]] = shares - part, owned[MAKERS[0]] - part
    shown = session.get(f"/v1/dex/pools/{name}")
    assert (shown["base_reserve"], shown["quote_reserve"]) == (decimal(reserves[base], 4), decimal(reserves[quote], 4))
    assert shown["shares"] == decimal(shares, scale)
    for maker, mine in owned.items():
        balances = session.get(f"/v1/wallet/accounts/{session.account(maker)}/balances")["items"]
        assert [item["total"] for item in balances if item["asset"] == name] == [decimal(mine, scale)]
    session.check(session.node)


def _settle(session: MarketSession, side: str, quantity: str, prices: dict[str, str], *, best: str) -> None:
    request = _request(session, side, quantity)
    quotes = {maker: _quote(session, request, maker, price) for maker, price in prices.items()}
    settled = session.done(f"/v1/dex/rfq/quotes/{quotes[best]}/accept", {}, TAKERS[0])
    amount = minor(quantity, BASE_SCALE)
    worth = minor(prices[best], 2) * amount // 100
    assert settled["turnover"] == decimal(worth, 4)
    legs = [(TAKERS[0], best, session.quote, worth), (best, TAKERS[0], session.base, amount)]
    if side == "sell":
        legs = [(payee, payer, asset, paid) for payer, payee, asset, paid in legs]
    for payer, payee, asset, paid in legs:
        fee = (paid * RFQ_BPS + 9_999) // 10_000
        session.plain.move(payer, asset, -paid - fee)
        session.plain.move(payee, asset, paid)
        session.plain.move("fees", asset, fee)


def _request(session: MarketSession, side: str, quantity: str) -> str:
    body = {"account": session.account(TAKERS[0]), "base": session.base, "quote": session.quote, "side": side}
    times = {"quotes_until_us": _now_us() + MINUTE_US}
    return str(session.done("/v1/dex/rfq/requests", {**body, "quantity": quantity, **times}, TAKERS[0])["id"])


def _quote(session: MarketSession, request: str, maker: str, price: str) -> str:
    body = {"account": session.account(maker), "price": price}
    return str(session.done(f"/v1/dex/rfq/requests/{request}/quotes", body, maker)["id"])


def _now_us() -> int:
    return time.time_ns() // 1000

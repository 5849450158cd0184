"""Who hears of a quote: the live stream, and what zones are told."""

import json
from typing import Any

import pytest

from jilnode.http.auth import Principal
from jilnode.http.visible import Filter, Seer
from jilnode.kernel.errors import Rejected
from jilnode.zone import Verdict, ZoneBoard
from services.dex.module import MODULE as DEX
from services.dex.rfq.intents import CancelRequest, SubmitQuote
from services.wallet.module import MODULE as WALLET
from tests.services.dex.kit import BASE, QUOTE
from tests.services.dex.rfq_kit import Desk, check_desk, desk
from tests.services.wallet.kit import turn


async def stream(one: Desk, subject: str, *scopes: str) -> list[tuple[str, str, Any]]:
    """(table, key, document) of every row of the desk that the subject's stream has had so far."""
    seer = Seer([WALLET, DEX], one.home.writer.image)
    principal = Principal(subject, frozenset({"events", *scopes}), 4e9)
    found = []
    for entry in (await one.home.journal())[0]:
        frame = seer.frame(await seer.opened(entry), principal, Filter(types=frozenset({"dex.rfq.*"})))
        if frame is not None:
            event = json.loads(frame.data)
            found += [(row["table"], row["key"], row["doc"]) for row in event["rows"]]
    return found


def quotes_in(rows: list[tuple[str, str, Any]]) -> list[str]:
    return [key.replace("/", "~") for table, key, _ in rows if table.startswith("dex.rfq_quote")]


async def test_the_stream_keeps_a_sealed_quote_for_its_maker_until_it_is_shown():
    async with desk() as one:
        request = await one.ask(sealed=True)
        gone = await one.offer(request, "104")
        mine, other = await one.offer(request, "103"), await one.offer(request, "102", "n")
        taker = await stream(one, "t")
        # Not even that there are quotes: nothing came but the request.
        assert [table for table, _, _ in taker] == ["dex.rfq"]
        assert quotes_in(await stream(one, "m")) == [gone.id, mine.id, gone.id]
        assert quotes_in(await stream(one, "n")) == [other.id]
        assert await stream(one, "stranger") == []
        one.clock.advance(30)
        await turn(one.home)
        assert sorted(quotes_in((await stream(one, "t"))[1:])) == sorted([mine.id, other.id])
        await one.accept(other)
        told = await stream(one, "t")
        assert [table for table, _, _ in told].count("dex.rfq_settlement") == 1
        assert gone.id not in quotes_in(told)
        assert other.id not in quotes_in(await stream(one, "m"))
        assert mine.id not in quotes_in(await stream(one, "n"))


async def test_a_sealed_quote_that_was_never_shown_stays_its_makers():
    async with desk() as one:
        request = await one.ask(sealed=True)
        quote = await one.offer(request, "103")
        await one.home.run(CancelRequest(request.id), actor="t")
        assert quotes_in(await stream(one, "t")) == []
        assert quotes_in(await stream(one, "m")) == [quote.id, quote.id]


async def test_an_auditor_hears_of_a_sealed_quote_when_it_is_shown_and_of_money_as_it_moves():
    async with desk() as one:
        request = await one.ask(sealed=True)
        gone = await one.offer(request, "104")
        quote = await one.offer(request, "103")
        for way in ("audit", "dex:operate"):
            assert quotes_in(await stream(one, "a", way)) == []
        told = await stream(one, "a", "audit")
        assert [doc["account"] for table, _, doc in told if table == "wallet.share"] == [
            one.maker.replace("~", "/")
        ] * 2
        one.clock.advance(30)
        await turn(one.home)
        (shown,) = [doc for table, _, doc in await stream(one, "a", "audit") if table == "dex.rfq_quote"]
        assert (shown["price"], shown["shown"]) == (103 * 10**9, True)
        await one.accept(quote)
        told = await stream(one, "a", "audit")
        assert quotes_in(told) == [quote.id] * 3
        assert gone.id not in quotes_in(told)
        unsealed = await one.offer(await one.ask(), "102")
        told = await stream(one, "a", "audit")
        assert quotes_in(told)[-1] == unsealed.id


async def test_best_first_the_taker_hears_of_each_quote_as_it_comes_and_the_invited_of_the_request():
    async with desk() as one:
        request = await one.ask(invited=(one.maker,))
        assert [table for table, _, _ in await stream(one, "m")] == ["dex.rfq"]
        assert await stream(one, "n") == []
        quote = await one.offer(request, "103")
        assert quotes_in(await stream(one, "t")) == [quote.id]


async def test_the_quotes_of_a_request_are_listed_however_many_there_are(monkeypatch):
    """With nobody's account in memory: all of them are loaded at once. How many quotes a request has, no replica
    checks."""
    monkeypatch.setattr("jilnode.kernel.writer.COMMAND_RERUNS_MAX", 2)
    async with desk(cache_bytes=1) as one:
        invited = [await one.exchange.trader(f"m{number}") for number in range(5)]
        request = await one.ask(invited=tuple(invited))
        assert await one.seen(request, "m4") == []
        with pytest.raises(Rejected, match="unknown_request"):
            await one.seen(request, "stranger")
        quoted = []
        for number, account in enumerate(invited):
            command = SubmitQuote(request.id, account, str(100 + number))
            quoted.append((await one.home.run(command, actor=f"m{number}")).reply.id)
        assert [quote.id for quote in await one.seen(request)] == quoted


class Strict:
    """Bans what is named, and remembers what it was asked."""

    code = "XX_DEV"

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.banned = ""

    def review(self, action: Any, time_us: int) -> Verdict:
        self.asked.append(action)
        if action.kind == self.banned:
            return Verdict(False, "banned_here", "not here", b"{}")
        return Verdict(True)

    def facts(self) -> dict[str, object]:
        return {}


async def test_zones_judge_the_request_the_quote_and_the_acceptance_of_both_parties():
    zone = Strict()
    async with desk(zones=ZoneBoard("XX_DEV", [zone], development=True)) as one:
        request = await one.ask(sealed=False)
        quote = await one.offer(request, "101.5")
        await one.accept(quote)
        told = {action.kind: action for action in zone.asked}
        both = {"base": BASE, "quote": QUOTE, "side": "buy", "leverage": 1}
        asked, offered, accepted = [told[f"dex.rfq.{kind}"] for kind in ("request", "quote", "acceptance")]
        assert (asked.zones, asked.facts) == (
            ("XX_DEV",),
            {**both, "account": one.taker, "quantity": "10", "sealed": False},
        )
        assert (offered.zones, offered.facts) == (
            ("XX_DEV", "XX_DEV"),
            {**both, "account": one.maker, "request": request.id, "quantity": "10.0000", "price": "101.5"},
        )
        assert (accepted.zones, accepted.facts) == (
            ("XX_DEV", "XX_DEV"),
            {
                **both,
                "taker": one.taker,
                "maker": one.maker,
                "request": request.id,
                "quantity": "10.0000",
                "price": "101.5",
                "turnover": "1015.0000",
            },
        )


@pytest.mark.parametrize("kind", ["request", "quote", "acceptance"])
async def test_what_a_zone_bans_moves_nothing(kind):
    zone = Strict()
    async with desk(zones=ZoneBoard("XX_DEV", [zone], development=True)) as one:
        request = await one.ask()
        quote = await one.offer(request, "100")
        before = [one.money(account) for account in (one.taker, one.maker, one.other)]
        zone.banned = f"dex.rfq.{kind}"
        attempt = {"request": one.ask(), "quote": one.offer(request, "99", "n"), "acceptance": one.accept(quote)}
        for name, waiting in attempt.items():
            if name == kind:
                with pytest.raises(Rejected, match="banned_here") as refusal:
                    await waiting
                assert refusal.value.status == 403
            else:
                waiting.close()
        assert [one.money(account) for account in (one.taker, one.maker, one.other)] == before
        check_desk(one.home)

"""A node that is not bound by the wallet's rules writes events: every other node refuses each, and is not changed."""

from dataclasses import replace

import msgspec
import pytest

from jilnode.kernel.errors import Breach
from jilnode.module import Command
from services.wallet.intents import Issue, PostTransfer, ReserveTransfer
from services.wallet.module import MODULE
from services.wallet.rows import (
    ACCOUNTS,
    ASSETS,
    CLAIMS,
    HOLDS,
    LIMITS,
    PENDING,
    REQUESTS,
    RETURNS,
    ROAMING,
    SHARES,
    SUPPLY,
    TRANSFERS,
    TRANSITS,
    USAGE,
    Account,
    Asset,
    Claim,
    Hold,
    Limit,
    Pending,
    Request,
    Return,
    Roaming,
    Share,
    Supply,
    Transfer,
    Transit,
    Usage,
)
from tests.kit.node import START_US, TestNode, running
from tests.services.wallet.kit import CHF, Bank, check_conservation, rows, turn

HOME, ROGUE = "ch-zug-01", "sg-mas-01"
R, H = "sg-mas-01/r", "ch-zug-01/h"
"""Accounts: the rogue's own, and one at the honest node."""
GOLD = "GOLD@sg-mas-01"
GONE = "gone"


class Forge(msgspec.Struct, frozen=True):
    """Writes rows as they are, past every check of the kernel; a row of None rests on what stands there, ``GONE``
    deletes it."""

    rows: tuple


def _forge(state, context, command):
    for table, key, row in command.rows:
        if row is None:
            state[table].rest_on(key)
        elif row == GONE:
            state[table].delete(key)
        else:
            state[table]._write(key, state.image(table, key), row)


ROGUE_MODULE = replace(
    MODULE,
    commands=(*MODULE.commands, Command(Forge, "wallet.money.forged", _forge, lambda rows: None)),
    invariants=(),
    reactions=(),
)


def share(account, asset, node, available, held=0):
    return (SHARES, f"{account}/{asset}/{node}", Share(account, asset, available, held))


def transfer(**changes):
    values = {"debit": R, "credit": H, "asset": GOLD, "amount": 10, "scale": 2, "at_us": START_US}
    return (TRANSFERS, f"{ROGUE}/x", Transfer(**{**values, **changes}))


def moved(debit=90, credit=10, **changes):
    return (share(R, GOLD, ROGUE, debit), share(H, GOLD, ROGUE, credit), transfer(**changes))


def pending(**changes):
    values = {"debit": R, "credit": H, "asset": GOLD, "amount": 10, "scale": 2, "until_us": 1 << 60}
    return Pending(**{**values, **changes})


HELD = (share(R, GOLD, ROGUE, 90, 10), (PENDING, f"{ROGUE}/p", pending()))
BACK = share(R, GOLD, ROGUE, 100)
ASK = (REQUESTS, f"{HOME}/q", None)
ASKED_OF_ROGUE = (REQUESTS, f"{HOME}/q", Request(f"{R}/{GOLD}", 10, ROGUE, 9))
SENT_BY_HOME = (TRANSITS, f"{ROGUE}/q", Transit(f"{H}/{CHF}", 10, ROGUE))

FORGERIES = {
    "mints by a share": ((share(R, GOLD, ROGUE, 101),), "invariant.wallet_explained"),
    "mints another's asset": ((share(R, CHF, ROGUE, 1),), "invariant.wallet_explained"),
    "burns silently": ((share(R, GOLD, ROGUE, 99),), "invariant.wallet_explained"),
    "deletes nothing but goes below zero": (moved(-10, 110, amount=110), "invariant.wallet_explained"),
    "credits more than it debits": (moved(90, 11), "invariant.wallet_explained"),
    "moves at another time": (moved(at_us=START_US + 1), "invariant.wallet_explained"),
    "keeps a fee that nobody gets": (moved(85, 10, fee=5), "invariant.wallet_explained"),
    "moves with no transfer": (moved()[:2], "invariant.wallet_explained"),
    "writes a transfer that moves nothing": ((transfer(),), "invariant.wallet_explained"),
    "moves a negative amount": (moved(110, -10, amount=-10), "invariant.wallet_explained"),
    "moves nothing": ((transfer(amount=0),), "invariant.wallet_explained"),
    "takes a negative fee": (moved(91, 10, fee=-1), "invariant.wallet_explained"),
    "pays itself": ((transfer(credit=R),), "invariant.wallet_explained"),
    "calls an issue a transfer": (
        (share(R, GOLD, ROGUE, 110), transfer(debit="", credit=R)),
        "invariant.wallet_explained",
    ),
    "issues without a supply": (
        (share(R, GOLD, ROGUE, 110), transfer(debit="", credit=R, kind="issue")),
        "invariant.wallet_explained",
    ),
    "issues less than it says": (
        (
            share(R, GOLD, ROGUE, 110),
            transfer(debit="", credit=R, kind="issue"),
            (SUPPLY, f"{ROGUE}/GOLD", Supply(105)),
        ),
        "invariant.wallet_explained",
    ),
    "raises its supply for nobody": (((SUPPLY, f"{ROGUE}/GOLD", Supply(200)),), "invariant.wallet_explained"),
    "lowers what was issued": (((SUPPLY, f"{ROGUE}/GOLD", Supply(50)),), "invariant.wallet_explained"),
    "burns less than nothing": (((SUPPLY, f"{ROGUE}/GOLD", Supply(50, -50)),), "invariant.wallet_explained"),
    "issues another's asset": (
        (
            share(R, CHF, ROGUE, 5),
            transfer(debit="", credit=R, kind="issue", asset=CHF, amount=5),
            (SUPPLY, f"{HOME}/CHFX", Supply(10_005)),
        ),
        "foreign_row",
    ),
    "issues another's asset under a supply of its own": (
        (
            share(R, CHF, ROGUE, 5),
            transfer(debit="", credit=R, kind="issue", asset=CHF, amount=5),
            (SUPPLY, f"{ROGUE}/GOLD", Supply(105)),
        ),
        "invariant.wallet_explained",
    ),
    "spends another's share": ((share(H, CHF, HOME, 9_990), share(R, CHF, ROGUE, 10)), "foreign_row"),
    "writes a share under another's name": (
        ((SHARES, f"{R}/{GOLD}/{ROGUE}", Share(H, GOLD, 100)),),
        "invariant.wallet_explained",
    ),
    "cuts a share's key elsewhere": (
        (
            (SHARES, f"{R}/{GOLD}/{ROGUE}", Share(ROGUE, f"r/{GOLD}", 90)),
            share(H, GOLD, ROGUE, 10),
            transfer(),
        ),
        "invariant.wallet_explained",
    ),
    "pays from a balance that is cut elsewhere": (
        (
            share(R, GOLD, ROGUE, 90),
            share(f"{ROGUE}/x/r", GOLD, ROGUE, 10),
            transfer(debit=ROGUE, credit=f"{ROGUE}/x", asset=f"r/{GOLD}"),
        ),
        "invariant.wallet_explained",
    ),
    "reserves of a balance that is cut elsewhere": (
        (HELD[0], (PENDING, f"{ROGUE}/p", pending(debit=ROGUE, asset=f"r/{GOLD}"))),
        "invariant.wallet_reserved",
    ),
    "freezes another's account": (((ACCOUNTS, H, Account("x", "", "", "frozen")),), "foreign_row"),
    "opens an account elsewhere": (((ACCOUNTS, f"{HOME}/new", Account("x", "")),), "foreign_row"),
    "holds with no pending": ((share(R, GOLD, ROGUE, 90, 10),), "invariant.wallet_explained"),
    "reserves with nothing held": ((HELD[1],), "invariant.wallet_reserved"),
    "begins a pending as posted": (
        (HELD[0], (PENDING, f"{ROGUE}/p", pending(status="posted"))),
        "invariant.wallet_reserved",
    ),
    "posts a pending that never was": (moved(kind="post", of=f"{ROGUE}/none"), "invariant.wallet_explained"),
    "posts a pending that never was, beside another": (
        (
            (PENDING, f"{ROGUE}/p", pending()),
            share(R, GOLD, ROGUE, 80, 10),
            *moved(kind="post", of=f"{ROGUE}/none")[1:],
        ),
        "invariant.wallet_reserved",
    ),
    "binds with no hold": (
        ((SHARES, f"{R}/{GOLD}/{ROGUE}", Share(R, GOLD, 90, bound=10)),),
        "invariant.wallet_explained",
    ),
    "makes a hold of what did not come": (
        (
            (SHARES, f"{R}/{GOLD}/{ROGUE}", Share(R, GOLD, 90, bound=10)),
            (HOLDS, f"{R}/{GOLD}/why/{ROGUE}", Hold(10, 1 << 60)),
        ),
        "invariant.wallet_bound",
    ),
    "sends without being asked": (
        (share(R, GOLD, ROGUE, 90), (TRANSITS, f"{ROGUE}/q", Transit(f"{R}/{GOLD}", 10, HOME))),
        "foreign_row",
    ),
    "returns to somebody who is not the home": (
        (share(R, GOLD, ROGUE, 90), (RETURNS, f"{ROGUE}/q", Return(f"{R}/{GOLD}", 10, HOME))),
        "invariant.wallet_sent",
    ),
    "returns less than nothing": (
        (share(R, GOLD, ROGUE, 110), (RETURNS, f"{ROGUE}/q", Return(f"{R}/{GOLD}", -10, ROGUE))),
        "invariant.wallet_sent",
    ),
    "claims what nobody sent": (
        (share(R, GOLD, ROGUE, 110), (CLAIMS, f"{HOME}/none", Claim(f"{R}/{GOLD}", 10))),
        "foreign_row",
    ),
    "makes an asset with absurd decimals": (
        ((ASSETS, f"{ROGUE}/EVIL", Asset(10**9, "token")),),
        "invariant.wallet_scaled",
    ),
    "limits in absurd decimals": (((LIMITS, f"{R}/{GOLD}", Limit(10**9)),), "invariant.wallet_scaled"),
    "counts in absurd decimals": (((USAGE, f"{R}/{GOLD}", Usage(10**9)),), "invariant.wallet_scaled"),
    "roams in no decimals": (((ROAMING, f"{R}/{GOLD}", Roaming(-1, 1, 1, (), 1)),), "invariant.wallet_scaled"),
    "changes an asset's decimals": (((ASSETS, f"{ROGUE}/GOLD", Asset(3, "token")),), "invariant.wallet_scaled"),
}


def rogue_and_honest() -> Bank:
    made = Bank(1)
    rogue = TestNode(ROGUE, [ROGUE_MODULE], clock=made.clock)
    made.nodes.append(rogue)
    return made


async def prepared(made: Bank) -> None:
    """The rogue has 100 of its own GOLD, honestly; the honest node 10,000 CHFX."""
    rogue = made.nodes[1]
    await made.begin()
    await rogue.run(
        Forge(
            (
                (ASSETS, f"{ROGUE}/GOLD", Asset(2, "token")),
                (SUPPLY, f"{ROGUE}/GOLD", Supply(100)),
                (ACCOUNTS, R, Account("r", "")),
                share(R, GOLD, ROGUE, 100),
                (TRANSFERS, f"{ROGUE}/first", Transfer("", R, GOLD, 100, 2, START_US, 0, "issue")),
            )
        )
    )
    await made.home.run(Issue(CHF, await made.account("h"), "100.00"), actor="o", scopes=("wallet:issue",))
    await made.home.follow(rogue)
    await rogue.follow(made.home)


def everything(node: TestNode) -> dict:
    return {table.name: rows(node, table) for table in MODULE.tables}


async def refused(made: Bank, forgery: tuple, code: str) -> None:
    rogue = made.nodes[1]
    before = everything(made.home)
    await rogue.run(Forge(forgery))
    with pytest.raises(Breach) as breach:
        await made.home.follow(rogue)
    assert breach.value.code == code, breach.value
    await turn(made.home)
    assert everything(made.home) == before
    check_conservation(made.home)


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_event_is_refused_and_changes_nothing(name):
    made = rogue_and_honest()
    async with running(*made.nodes):
        await prepared(made)
        await refused(made, *FORGERIES[name])
        account = await made.account("a")
        assert account, "the honest node goes on"


RESOLUTIONS = {
    "twice": (((PENDING, f"{ROGUE}/p", pending(status="voided")), BACK), None),
    "with more than was reserved": (
        (
            (PENDING, f"{ROGUE}/p", pending(status="posted", posted=11)),
            *moved(89, 11, kind="post", of=f"{ROGUE}/p", amount=11),
        ),
        "invariant.wallet_reserved",
    ),
    "to somebody else": (
        (
            (PENDING, f"{ROGUE}/p", pending(status="posted", posted=10)),
            share(R, GOLD, ROGUE, 90),
            share("sg-mas-01/z", GOLD, ROGUE, 10),
            transfer(kind="post", of=f"{ROGUE}/p", credit="sg-mas-01/z"),
        ),
        "invariant.wallet_reserved",
    ),
    "by opening it again with more": (
        ((PENDING, f"{ROGUE}/p", pending(amount=20)), share(R, GOLD, ROGUE, 80, 20)),
        "invariant.wallet_reserved",
    ),
    "without giving back": (((PENDING, f"{ROGUE}/p", pending(status="voided")),), "invariant.wallet_reserved"),
}


@pytest.mark.parametrize("name", RESOLUTIONS)
async def test_a_pending_transfer_can_t_be_resolved(name):
    made = rogue_and_honest()
    async with running(*made.nodes):
        await prepared(made)
        await made.nodes[1].run(Forge(HELD))
        await made.home.follow(made.nodes[1])
        forgery, code = RESOLUTIONS[name]
        if code is None:
            await made.nodes[1].run(Forge(forgery))
            await made.home.follow(made.nodes[1])
            code = "invariant.wallet_reserved"
        await refused(made, forgery, code)


SENDINGS = {
    "more than was asked for": (
        (ASK, share(R, GOLD, ROGUE, 89), (TRANSITS, f"{HOME}/q", Transit(f"{R}/{GOLD}", 11, HOME))),
        "invariant.wallet_sent",
    ),
    "to somebody else": (
        (ASK, share(R, GOLD, ROGUE, 90), (TRANSITS, f"{HOME}/q", Transit(f"{R}/{GOLD}", 10, "ae-fsra-01"))),
        "invariant.wallet_sent",
    ),
    "without naming the request": (
        (share(R, GOLD, ROGUE, 90), (TRANSITS, f"{HOME}/q", Transit(f"{R}/{GOLD}", 10, HOME))),
        "invariant.wallet_sent",
    ),
    "without paying": (
        (ASK, (TRANSITS, f"{HOME}/q", Transit(f"{R}/{GOLD}", 10, HOME))),
        "invariant.wallet_explained",
    ),
}


@pytest.mark.parametrize("name", SENDINGS)
async def test_money_can_t_be_sent(name):
    made = rogue_and_honest()
    async with running(*made.nodes):
        await prepared(made)
        await plant(made, [ASKED_OF_ROGUE])
        await refused(made, *SENDINGS[name])


CLAIMINGS = {
    "more than was sent": (
        ((TRANSITS, f"{ROGUE}/q", None), share(H, CHF, ROGUE, 11), (CLAIMS, f"{ROGUE}/q", Claim(f"{H}/{CHF}", 11))),
        "invariant.wallet_sent",
    ),
    "of another asset": (
        ((TRANSITS, f"{ROGUE}/q", None), share(H, GOLD, ROGUE, 10), (CLAIMS, f"{ROGUE}/q", Claim(f"{H}/{GOLD}", 10))),
        "invariant.wallet_sent",
    ),
    "for another account": (
        ((TRANSITS, f"{ROGUE}/q", None), share(R, CHF, ROGUE, 10), (CLAIMS, f"{ROGUE}/q", Claim(f"{R}/{CHF}", 10))),
        "invariant.wallet_sent",
    ),
    "without naming the transit": (
        (share(H, CHF, ROGUE, 10), (CLAIMS, f"{ROGUE}/q", Claim(f"{H}/{CHF}", 10))),
        "invariant.wallet_sent",
    ),
    "twice": (
        (
            (TRANSITS, f"{ROGUE}/q", None),
            share(H, CHF, ROGUE, 20),
            (CLAIMS, f"{ROGUE}/q", Claim(f"{H}/{CHF}", 10)),
            (CLAIMS, f"{ROGUE}/q/again", Claim(f"{H}/{CHF}", 10)),
        ),
        "foreign_row",
    ),
}


HELD_BY_ROGUE = f"{H}/{CHF}/why/{ROGUE}"
CLAIMED = ((TRANSITS, f"{ROGUE}/q", None), (CLAIMS, f"{ROGUE}/q", Claim(f"{H}/{CHF}", 10)))
BOUND = (
    *CLAIMED,
    (SHARES, f"{H}/{CHF}/{ROGUE}", Share(H, CHF, bound=10)),
    (HOLDS, HELD_BY_ROGUE, Hold(10, 1 << 60)),
)
BINDINGS = {
    "for nothing": ((*CLAIMED, share(H, CHF, ROGUE, 10)), None),
    "for another purpose": (
        (*BOUND[:3], (HOLDS, f"{H}/{CHF}/other/{ROGUE}", Hold(10, 1 << 60))),
        None,
    ),
    "in a hold of less": ((*BOUND[:3], (HOLDS, HELD_BY_ROGUE, Hold(9, 1 << 60))), None),
    "in no hold": (BOUND[:3], None),
    "in a hold that is used in part": (
        BOUND,
        (
            (SHARES, f"{H}/{CHF}/{ROGUE}", Share(H, CHF, 4, bound=6)),
            (HOLDS, HELD_BY_ROGUE, Hold(6, 1 << 60)),
        ),
    ),
    "in a hold that ends and leaves it bound": (BOUND, ((HOLDS, HELD_BY_ROGUE, GONE),)),
    "in a hold that outlives it": (BOUND, ((SHARES, f"{H}/{CHF}/{ROGUE}", Share(H, CHF, 10)),)),
}


@pytest.mark.parametrize("name", BINDINGS)
async def test_what_came_for_a_purpose_can_t_be_claimed(name):
    made = rogue_and_honest()
    async with running(*made.nodes):
        await prepared(made)
        rogue, home = made.nodes[1], made.home
        asked = Request(f"{H}/{CHF}", 10, HOME, 9, "why")
        await rogue.run(Forge(((REQUESTS, f"{ROGUE}/q", asked),)))
        await home.follow(rogue)
        sent = (TRANSITS, f"{ROGUE}/q", Transit(f"{H}/{CHF}", 10, ROGUE, purpose="why"))
        await plant(made, [(REQUESTS, f"{ROGUE}/q", None), share(H, CHF, HOME, -10), sent])
        forgery, then = BINDINGS[name]
        if then is not None:
            await rogue.run(Forge(forgery))
            await home.follow(rogue)
            forgery = then
        before = everything(home)
        await rogue.run(Forge(forgery))
        with pytest.raises(Breach) as breach:
            await home.follow(rogue)
        assert breach.value.code in ("invariant.wallet_bound", "invariant.wallet_explained"), breach.value
        assert everything(home) == before


@pytest.mark.parametrize("name", CLAIMINGS)
async def test_money_can_t_be_claimed(name):
    made = rogue_and_honest()
    async with running(*made.nodes):
        await prepared(made)
        rogue, home = made.nodes[1], made.home
        await rogue.run(Forge(((REQUESTS, f"{ROGUE}/q", Request(f"{H}/{CHF}", 10, HOME, 9)),)))
        await home.follow(rogue)
        await plant(made, [(REQUESTS, f"{ROGUE}/q", None), share(H, CHF, HOME, -10), SENT_BY_HOME])
        before = everything(home)
        await rogue.run(Forge(CLAIMINGS[name][0]))
        with pytest.raises(Breach) as breach:
            await home.follow(rogue)
        assert breach.value.code == CLAIMINGS[name][1], breach.value
        assert everything(home) == before


async def plant(made: Bank, planted: list) -> None:
    """The honest node wrote these rows, honestly or not: the rogue sees them."""
    engine = made.home.engine
    checks, engine.registry.checks = engine.registry.checks, lambda schema, tables: ()
    commands = engine.registry.commands
    commands[Forge] = ROGUE_MODULE.commands[-1]
    await made.home.run(Forge(tuple(planted)))
    engine.registry.checks = checks
    rogue = made.nodes[1]
    await rogue.follow(made.home)


async def test_honest_events_of_every_kind_are_accepted():
    """The other side: what the forgeries are refused for is not refused when it is right."""
    made = Bank(2)
    async with running(*made.nodes):
        await made.begin()
        a, b = await made.account("a", "100.00"), await made.account("b", node=made.nodes[1])
        await made.settle()
        await made.home.run(PostTransfer(a, b, CHF, "1.00"), actor="a")
        await made.home.run(ReserveTransfer(a, b, CHF, "1.00", 5), actor="a")
        made.clock.advance(61)
        await made.settle()
        await turn(made.home)
        await made.settle()
        assert await made.available(b, made.nodes[1]) == "1.00"
        for node in made.nodes:
            check_conservation(node)

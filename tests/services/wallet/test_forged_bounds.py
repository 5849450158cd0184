"""A node writes of its own what others could not go on with: an account that is gone, a key that is too long for what
is made of it, a request or a return of less than nothing. Every other node refuses it, and is not changed."""

import pytest

from jilnode.kernel.names import KEY_BYTES_MAX, valid_key
from jilnode.limits import INT64_MAX
from services.wallet.intents import SetLimit
from services.wallet.rows import (
    ACCOUNT_CHARS_MAX,
    ACCOUNTS,
    PURPOSE_CHARS_MAX,
    REQUESTS,
    RETURNS,
    TRANSITS,
    Account,
    Request,
    Return,
    Transit,
    hold_key,
)
from tests.kit.node import running
from tests.services.wallet.kit import OPERATOR
from tests.services.wallet.test_forged import (
    ASK,
    ASKED_OF_ROGUE,
    GOLD,
    GONE,
    HOME,
    ROGUE,
    Forge,
    H,
    R,
    moved,
    plant,
    prepared,
    refused,
    rogue_and_honest,
    share,
    transfer,
)

LONG = f"{ROGUE}/{'a' * 64}"
"""Longer still with any further part."""
TOO_LONG = f"{LONG}/{'a' * (ACCOUNT_CHARS_MAX - len(LONG))}"
OPENED, EXPLAINED = "invariant.wallet_opened", "invariant.wallet_explained"
ASKED, SENT = "invariant.wallet_asked", "invariant.wallet_sent"


def account(key=R, **changes):
    return ((ACCOUNTS, key, Account(**{"subject": "r", "zone": "", **changes})),)


def request(balance=f"{R}/{GOLD}", amount=5, purpose=""):
    return ((REQUESTS, f"{ROGUE}/asked", Request(balance, amount, HOME, 9, purpose)),)


FORGERIES = {
    "deletes an account": (((ACCOUNTS, R, GONE),), OPENED),
    "gives an account a status of its own": (account(status="asleep"), OPENED),
    "gives an account an endless status": (account(status="x" * 300_000), OPENED),
    "gives an account a kind of its own": (account(kind="vault"), OPENED),
    "gives an account an endless subject": (account(subject="x" * 129), OPENED),
    "gives an account an endless zone": (account(zone="x" * 129), OPENED),
    "gives an account an endless handle": (account(handle="x" * 129), OPENED),
    "opens an account under its own name": (account(ROGUE), OPENED),
    "opens an account in an account": (account(f"{R}/r"), OPENED),
    "pays to an account of too long a key": (
        (share(R, GOLD, ROGUE, 90), share(TOO_LONG, GOLD, ROGUE, 10), transfer(credit=TOO_LONG)),
        EXPLAINED,
    ),
    "asks for nothing": (request(amount=0), ASKED),
    "asks for less than nothing": (request(amount=-5), ASKED),
    "asks for what can be no balance": (request(f"{R}/{'x' * 65}"), ASKED),
    "asks for a balance of too long a key": (request(f"{TOO_LONG}/{GOLD}"), ASKED),
    "asks for a purpose in two parts": (request(purpose="one/two"), ASKED),
    "asks for a purpose that can be none": (request(purpose="why?"), ASKED),
    "asks for an endless purpose": (request(purpose="x" * (PURPOSE_CHARS_MAX + 1)), ASKED),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_row_that_others_could_not_go_on_with_is_refused(name):
    made = rogue_and_honest()
    async with running(*made.nodes):
        await prepared(made)
        await refused(made, *FORGERIES[name])


SENDINGS = {
    "fewer than no debits": {"count": -1},
    "more debits than can be counted": {"count": INT64_MAX},
    "an endless code": {"code": "x" * 300_000},
}


@pytest.mark.parametrize("name", SENDINGS)
async def test_money_can_t_be_sent_with(name):
    made = rogue_and_honest()
    async with running(*made.nodes):
        await prepared(made)
        await plant(made, [ASKED_OF_ROGUE])
        sent = Transit(f"{R}/{GOLD}", 10, HOME, **SENDINGS[name])
        await refused(made, (ASK, share(R, GOLD, ROGUE, 90), (TRANSITS, f"{HOME}/q", sent)), SENT)


RETURNINGS = {
    "less than nothing of the limits": {"allowance": -(10**7)},
    "more of the limits than came with it": {"allowance": 11},
    "fewer than no debits": {"allowance": 10, "count": -(2**63)},
}


@pytest.mark.parametrize("name", RETURNINGS)
async def test_money_can_t_go_home_with(name):
    made = rogue_and_honest()
    async with running(*made.nodes):
        await prepared(made)
        await made.nodes[1].run(Forge(moved()))
        await made.home.follow(made.nodes[1])
        back = Return(f"{H}/{GOLD}", 10, HOME, until_us=1 << 60, **RETURNINGS[name])
        await refused(made, (share(H, GOLD, ROGUE, 0), (RETURNS, f"{ROGUE}/back", back)), SENT)


def test_the_longest_account_has_a_key_wherever_its_money_is_held():
    part = "x" * 64
    longest = hold_key(f"{'x' * (ACCOUNT_CHARS_MAX - 65)}/{part}/{part}", "x" * PURPOSE_CHARS_MAX, part)
    assert (len(longest), valid_key(longest)) == (KEY_BYTES_MAX, True)


async def test_a_count_of_debits_is_not_more_than_can_be_sent():
    made = rogue_and_honest()
    async with running(*made.nodes):
        await prepared(made)
        account = await made.account("a")
        with pytest.raises(Exception, match="bad_limit"):
            await made.home.run(SetLimit(account, "CHFX@ch-zug-01", count=INT64_MAX), actor="o", scopes=OPERATOR)

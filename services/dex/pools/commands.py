"""Pools: made and halted by an operator; liquidity put in and taken out; swaps. The curve decides, the ledger pays."""

import msgspec

from jilnode.kernel.state import Context, State
from jilnode.limits import INT64_MAX
from jilnode.module import Action, Rejected
from services.dex.fields import sent_as
from services.dex.pools.curve import (
    MINIMUM_LIQUIDITY,
    accumulated,
    cost_of,
    fee_in,
    first_shares,
    shares_for,
    worth_of,
)
from services.dex.pools.intents import AddLiquidity, CreatePool, RemoveLiquidity, SetPoolStatus, Swap
from services.dex.pools.quoting import (
    check_open,
    output_of,
    own_pool,
    own_pool_of_pair,
    sides_of,
)
from services.dex.pools.rows import (
    ADD,
    CODE_PREFIX,
    LIQUIDITY,
    POOLS,
    REMOVE,
    SWAPS,
    Liquidity,
    Pool,
    Swapped,
    pool_name,
)
from services.wallet.amounts import parse_amount
from services.wallet.commands.accounts import account_of, asset_of, check_owner, open_module_account
from services.wallet.commands.shares import check_debit
from services.wallet.commands.supply import add_asset
from services.wallet.ledger import Ledger

__all__ = (
    "add_liquidity",
    "check_deadline",
    "create_pool",
    "exchange",
    "remove_liquidity",
    "review_liquidity",
    "review_swap",
    "set_status",
    "swap",
    "trader_of",
)

FEE_BPS_MAX = 1000
HALT_CHARS_MAX = 140
SHARE_KIND = "liquidity"


def create_pool(state: State, context: Context, command: CreatePool) -> None:
    """One of a pair at a node; empty."""
    base = asset_of(state, command.base, "/base")
    quote = asset_of(state, command.quote, "/quote")
    if command.base == command.quote:
        raise Rejected("bad_pool", "base and quote are two assets", field="/quote", status=400)
    if not 0 <= command.fee_bps <= FEE_BPS_MAX:
        raise Rejected("bad_pool", f"a fee is 0 to {FEE_BPS_MAX} basis points", field="/fee_bps", status=400)
    if own_pool_of_pair(state, context.source, command.base, command.quote):
        raise Rejected("pool_exists", "this node has a pool of this pair", status=409, field="/base")
    mine = sum(key.startswith(context.source + "/") for key, _ in state[POOLS].all())
    code = f"{CODE_PREFIX}{mine + 1}"
    # The scale at which a share of a first deposit of one whole base and one whole quote is about one whole.
    scale = (base.scale + quote.scale) // 2
    add_asset(state, context, code, scale, SHARE_KIND)
    key = open_module_account(state, context, code)
    state[POOLS].put(
        key,
        Pool(
            command.base,
            command.quote,
            base.scale,
            quote.scale,
            scale,
            command.fee_bps,
            at_us=context.time_us,
        ),
    )


def set_status(state: State, context: Context, command: SetPoolStatus) -> None:
    """An operator's word holds until the operator's next."""
    key, pool = own_pool(state, context, command.pool)
    if len(command.halted) > HALT_CHARS_MAX:
        raise Rejected("bad_pool", f"a reason has at most {HALT_CHARS_MAX} characters", field="/reason", status=400)
    state[POOLS].put(key, msgspec.structs.replace(pool, halted=command.halted))


@sent_as("/base")
def add_liquidity(state: State, context: Context, command: AddLiquidity) -> None:
    key, pool = own_pool(state, context, command.pool)
    account = trader_of(state, context, command.account)
    check_deadline(context, command.deadline_us)
    check_open(state, key, pool, swapping=True)
    most = (
        parse_amount(command.base, pool.base_scale, "/base"),
        parse_amount(command.quote, pool.quote_scale, "/quote"),
    )
    base, quote, shares, locked = _bought(pool, *most)
    _check_least(pool, base, quote, command)
    asset = pool_name(key)
    if max(pool.base_reserve + base, pool.quote_reserve + quote) > INT64_MAX:
        raise Rejected("pool_full", "a reserve would pass 64 bits", field="/base")
    act = context.new_key()
    ledger = Ledger(state, context)
    purpose = ("liquidity", key, most[0])
    ledger.pay(account, key, pool.base, base, pool.base_scale, act, purpose)
    with sent_as("/quote"):
        ledger.pay(account, key, pool.quote, quote, pool.quote_scale, act, purpose)
    ledger.issue(asset, account, shares, pool.share_scale)
    if locked:
        ledger.issue(asset, key, locked, pool.share_scale)
    _changed(state, context, key, pool, base, quote, shares + locked)
    _insert(state, context, act, key, pool, account, ADD, base, quote, shares)
    ledger.write()


@sent_as("/shares")
def remove_liquidity(state: State, context: Context, command: RemoveLiquidity) -> None:
    """Nothing but a frozen account keeps anybody's money in a pool."""
    key, pool = own_pool(state, context, command.pool)
    account = trader_of(state, context, command.account)
    check_deadline(context, command.deadline_us)
    check_open(state, key, pool, swapping=False)
    shares = parse_amount(command.shares, pool.share_scale, "/shares")
    if shares > pool.shares - MINIMUM_LIQUIDITY:
        raise Rejected("insufficient_funds", "nobody has that many shares of the pool", field="/shares")
    base = worth_of(shares, pool.base_reserve, pool.shares)
    quote = worth_of(shares, pool.quote_reserve, pool.shares)
    if not (base and quote):
        raise Rejected("amount_too_small", "so few shares are worth nothing", field="/shares")
    _check_least(pool, base, quote, command)
    act = context.new_key()
    ledger = Ledger(state, context)
    ledger.burn(pool_name(key), account, shares, pool.share_scale, ("liquidity", key, shares))
    purpose = ("liquidity", account, shares)
    ledger.pay(key, account, pool.base, base, pool.base_scale, act, purpose)
    ledger.pay(key, account, pool.quote, quote, pool.quote_scale, act, purpose)
    _changed(state, context, key, pool, -base, -quote, -shares)
    _insert(state, context, act, key, pool, account, REMOVE, base, quote, shares)
    ledger.write()


@sent_as("/amount_in")
def swap(state: State, context: Context, command: Swap) -> None:
    key, pool = own_pool(state, context, command.pool)
    account = trader_of(state, context, command.account)
    check_deadline(context, command.deadline_us)
    sides = sides_of(pool, command.asset_in)
    amount = parse_amount(command.amount_in, sides.scale_in, "/amount_in")
    least = parse_amount(command.min_out, sides.scale_out, "/min_out")
    ledger = Ledger(state, context)
    if exchange(state, context, ledger, key, account, command.asset_in, amount) < least:
        raise Rejected("below_minimum", "the pool gives less than min_out now", field="/min_out")
    ledger.write()


def exchange(state: State, context: Context, ledger: Ledger, key: str, account: str, asset_in: str, amount: int) -> int:
    """Swaps, at a pool of this node, within somebody's ledger. Returns what came out. Raises ``Rejected``."""
    pool = state[POOLS].get(key)
    assert pool is not None
    check_open(state, key, pool, swapping=True)
    sides = sides_of(pool, asset_in)
    out = output_of(pool, sides, amount)
    ledger.give(account, key, sides.asset_in, amount, 0, ("swap", key, amount))
    ledger.give(key, account, sides.asset_out, out, 0, ("swap", account, out))
    base, quote = (amount, -out) if asset_in == pool.base else (-out, amount)
    _changed(state, context, key, pool, base, quote, 0)
    state[SWAPS].insert(
        context.new_key(),
        Swapped(
            account,
            key,
            sides.asset_in,
            amount,
            0,
            sides.scale_in,
            sides.asset_out,
            out,
            0,
            sides.scale_out,
            context.time_us,
            fee_in(amount, pool.fee_bps),
        ),
    )
    return out


def trader_of(state: State, context: Context, reference: str) -> str:
    """The key of the account that pays, which the caller may debit. Raises ``Rejected``."""
    account, row = account_of(state, reference, "/account")
    check_owner(context, row, "/account")
    check_debit(context, account, row)
    return account


def check_deadline(context: Context, deadline_us: int) -> None:
    if context.time_us > deadline_us:
        raise Rejected("deadline_passed", "the deadline has passed", field="/deadline_us")


def review_swap(state: State, context: Context, command: Swap) -> Action:
    """What the zones judge, before the pool sees it: the node's and the account's."""
    return _action(
        state,
        context,
        "dex.swap",
        command.pool,
        command.account,
        {"asset_in": command.asset_in, "amount_in": command.amount_in, "min_out": command.min_out},
    )


def review_liquidity(state: State, context: Context, command: AddLiquidity | RemoveLiquidity) -> Action:
    facts: dict[str, object]
    if isinstance(command, AddLiquidity):
        facts = {"side": ADD, "base_amount": command.base, "quote_amount": command.quote}
    else:
        facts = {"side": REMOVE, "shares": command.shares}
    return _action(state, context, "dex.liquidity", command.pool, command.account, facts)


def _action(state: State, context: Context, kind: str, name: str, reference: str, facts: dict[str, object]) -> Action:
    _, pool = own_pool(state, context, name)
    _, account = account_of(state, reference, "/account")
    return Action(
        kind,
        (account.zone,) if account.zone else (),
        {
            "account": reference,
            "pool": name,
            "base": pool.base,
            "quote": pool.quote,
            **facts,
            "leverage": 1,
        },
    )


def _bought(pool: Pool, base: int, quote: int) -> tuple[int, int, int, int]:
    """(base, quote, shares, shares that nobody gets) for at most so much. Raises ``Rejected``."""
    if not pool.shares:
        shares = first_shares(base, quote)
        if shares <= MINIMUM_LIQUIDITY:
            raise Rejected("amount_too_small", f"it takes more than {MINIMUM_LIQUIDITY} shares to begin", field="/base")
        return base, quote, shares - MINIMUM_LIQUIDITY, MINIMUM_LIQUIDITY
    shares = shares_for(base, quote, pool.base_reserve, pool.quote_reserve, pool.shares)
    if not shares:
        raise Rejected("amount_too_small", "so little is not worth one share", field="/base")
    return (
        cost_of(shares, pool.base_reserve, pool.shares),
        cost_of(shares, pool.quote_reserve, pool.shares),
        shares,
        0,
    )


def _check_least(pool: Pool, base: int, quote: int, command: AddLiquidity | RemoveLiquidity) -> None:
    if base < parse_amount(command.min_base, pool.base_scale, "/min_base"):
        raise Rejected("below_minimum", "it would be less than min_base", field="/min_base")
    if quote < parse_amount(command.min_quote, pool.quote_scale, "/min_quote"):
        raise Rejected("below_minimum", "it would be less than min_quote", field="/min_quote")


def _changed(state: State, context: Context, key: str, pool: Pool, base: int, quote: int, shares: int) -> None:
    """Writes the pool's row: what its prices were until now is accumulated first."""
    sums = (pool.base_cumulative, pool.quote_cumulative)
    if pool.shares:
        elapsed_us = context.time_us - pool.at_us
        sums = (
            accumulated(pool.base_cumulative, pool.base_reserve, pool.quote_reserve, elapsed_us),
            accumulated(pool.quote_cumulative, pool.quote_reserve, pool.base_reserve, elapsed_us),
        )
    state[POOLS].put(
        key,
        Pool(
            pool.base,
            pool.quote,
            pool.base_scale,
            pool.quote_scale,
            pool.share_scale,
            pool.fee_bps,
            pool.base_reserve + base,
            pool.quote_reserve + quote,
            pool.shares + shares,
            *sums,
            context.time_us,
            pool.halted,
        ),
    )


def _insert(
    state: State,
    context: Context,
    act: str,
    key: str,
    pool: Pool,
    account: str,
    kind: str,
    base: int,
    quote: int,
    shares: int,
) -> None:
    scales = (pool.base_scale, pool.quote_scale, pool.share_scale)
    state[LIQUIDITY].insert(act, Liquidity(key, account, kind, base, quote, shares, scales, context.time_us))

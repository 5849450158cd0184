"""Markets: made and set by an operator at their node; looked after by the kernel."""

from functools import lru_cache
from typing import Final

from msgspec.structs import replace

from jilnode.kernel.names import KEY_BYTES_MAX, valid_key
from jilnode.kernel.state import Context, State
from jilnode.limits import INT64_MAX
from jilnode.module import Rejected
from services.dex.commands.desk import Floor
from services.dex.commands.stops import wake
from services.dex.commands.watch import woken
from services.dex.intents import CreateMarket, ReviewMarket, SetGroup, SetMarket, SetMarketStatus
from services.dex.prices import PRICE_SCALE_MAX, is_exact
from services.dex.rows import BOOKS, GROUPS, MARKETS, Book, Group, Market
from services.wallet.amounts import parse_amount
from services.wallet.commands.accounts import FEES_NAME, account_of, asset_of, open_system_account

__all__ = ("create_market", "market_key", "market_of", "review_market", "set_group", "set_market", "set_status")

BPS_MAX: Final = 1000
BAND_BPS_MAX: Final = 10_000
HALT_CHARS_MAX: Final = 140
KEY_PART_MAX: Final = 64


def market_key(name: str) -> str:
    """``BASE-QUOTE@node`` as a key, ``<node>/BASE-QUOTE``; a key stays one. Empty when it can't be one."""
    return _market_key(name) if len(name) <= KEY_BYTES_MAX else ""


@lru_cache(maxsize=4096)
def _market_key(name: str) -> str:
    symbol, at, node = name.partition("@")
    key = f"{node}/{symbol}" if at else name.replace("~", "/")
    return key if valid_key(key) else ""


def market_of(state: State, context: Context, name: str) -> tuple[str, Market]:
    """(key, row) of a market of this node. Raises ``Rejected``: ``unknown_market``, ``misdirected``."""
    key = market_key(name)
    market = state[MARKETS].get(key) if key else None
    if market is None:
        raise Rejected("unknown_market", "no such market is known here", status=404, field="/market")
    owner = state[MARKETS].owner(key)
    if owner != context.source:
        raise Rejected("misdirected", f"the book of {name} is at node {owner}", status=421, extra={"owner": owner})
    return key, market


def create_market(state: State, context: Context, command: CreateMarket) -> None:
    base = asset_of(state, command.base, "/base")
    quote = asset_of(state, command.quote, "/quote")
    if command.base == command.quote:
        raise Rejected("bad_market", "base and quote are two assets", field="/quote", status=400)
    decimals = len(command.tick.partition(".")[2])
    if decimals > PRICE_SCALE_MAX:
        raise Rejected("bad_market", f"a tick has at most {PRICE_SCALE_MAX} decimals", field="/tick", status=400)
    market = Market(
        command.base,
        command.quote,
        base.scale,
        quote.scale,
        decimals,
        parse_amount(command.tick, decimals, "/tick"),
        parse_amount(command.lot, base.scale, "/lot"),
        parse_amount(command.min_notional, quote.scale, "/min_notional", zero=True),
        command.band_bps,
        command.maker_bps,
        command.taker_bps,
        command.states_bps,
    )
    _check(market)
    if not is_exact(market):
        raise Rejected(
            "bad_market", "tick times lot must be a whole number of the quote's minor units", field="/lot", status=400
        )
    symbol = f"{command.base.partition('@')[0]}-{command.quote.partition('@')[0]}"
    key = f"{context.source}/{symbol}"
    if len(symbol) + 1 + len(context.source) > KEY_PART_MAX:
        raise Rejected("bad_market", "the codes and this node's id are too long together", field="/base", status=400)
    if state[MARKETS].get(key) is not None:
        raise Rejected("market_exists", f"{symbol}@{context.source} is there already", status=409, field="/base")
    state[MARKETS].put(key, market)
    assets = (market.base, market.quote)
    state[BOOKS].put(key, Book((decimals, base.scale, quote.scale), since_us=context.time_us, assets=assets))
    open_system_account(state, context, FEES_NAME)


def set_market(state: State, context: Context, command: SetMarket) -> None:
    key, before = market_of(state, context, command.market)
    market = replace(
        before,
        min_notional=parse_amount(command.min_notional, before.quote_scale, "/min_notional", zero=True),
        band_bps=command.band_bps,
        maker_bps=command.maker_bps,
        taker_bps=command.taker_bps,
        states_bps=command.states_bps,
    )
    _check(market)
    _put(state, context, key, market)


def set_status(state: State, context: Context, command: SetMarketStatus) -> None:
    """An operator's word holds until the operator's next."""
    key, before = market_of(state, context, command.market)
    if len(command.halted) > HALT_CHARS_MAX:
        raise Rejected("bad_market", f"a reason has at most {HALT_CHARS_MAX} characters", field="/reason", status=400)
    _put(state, context, key, replace(before, halted=command.halted))


def set_group(state: State, context: Context, command: SetGroup) -> None:
    """For orders that come from then on, at this node."""
    account, _ = account_of(state, command.account, "/account")
    group = command.group
    if group and not (valid_key(group) and "/" not in group):
        raise Rejected("bad_group", "a group is 1 to 64 of A-Z a-z 0-9 . _ ~ @ : -", field="/group", status=400)
    state[GROUPS].put(f"{context.source}/{account}", Group(group))


def review_market(state: State, context: Context, command: ReviewMarket) -> None:
    """The kernel's own: one stop order that the last price wakes; else the minute's candle, and the state."""
    market = state[MARKETS].get(command.key)
    assert market is not None
    floor = Floor(state, context)
    desk = floor.desk(command.key, market)
    desk.looks = True
    first = woken(state, command.key, market, desk.book)
    if first is not None:
        wake(desk, *first)
    floor.finish()


def _put(state: State, context: Context, key: str, market: Market) -> None:
    """What the new terms make of the market holds at once, and the answer tells it."""
    state[MARKETS].put(key, market)
    floor = Floor(state, context)
    floor.desk(key, market).looks = True
    floor.finish()


def _check(market: Market) -> None:
    for field, bps in (("/maker_bps", market.maker_bps), ("/taker_bps", market.taker_bps)):
        if not 0 <= bps <= BPS_MAX:
            raise Rejected("bad_market", f"a fee is 0 to {BPS_MAX} basis points", field=field, status=400)
    if not 1 <= market.band_bps <= BAND_BPS_MAX:
        raise Rejected("bad_market", f"a band is 1 to {BAND_BPS_MAX} basis points", field="/band_bps", status=400)
    elevated, restricted, halted = market.states_bps
    if not 0 < elevated < restricted < halted <= INT64_MAX:
        raise Rejected("bad_market", "each state begins above the one before", field="/states_bps", status=400)

"""What clients were told, held against the one true journal: it is still so, or more of it is done; and they got no
less than the least that they asked for, and not after their deadline."""

from typing import Any

from jilnode.simulation.exchange.source import Source
from jilnode.simulation.finding import Finding
from services.dex.pools.intents import Swap
from services.dex.pools.rows import LIQUIDITY, SWAPS
from services.dex.pools.views import LiquidityView, SwapView
from services.dex.rfq.intents import AcceptQuote
from services.dex.rfq.rows import SETTLEMENTS
from services.dex.rfq.views import QuoteView, RequestView, SettlementView
from services.dex.router.rows import ROUTES
from services.dex.router.views import RouteView
from services.dex.rows import CLOSED, TRADES
from services.dex.views import BatchView, OrderView, ReplacedView
from services.wallet.amounts import parse_amount

__all__ = ("check_answer", "told")


def told(reply: Any) -> list[OrderView]:
    """The orders that an answer tells of."""
    if isinstance(reply, OrderView):
        return [reply]
    if isinstance(reply, ReplacedView):
        return [reply.order] if reply.replaced is None else [reply.order, reply.replaced]
    if isinstance(reply, BatchView):
        return [item.order for item in reply.items if item.order is not None]
    return []


def check_answer(known: Source, command: Any, reply: Any) -> None:
    """``known`` gave the ``reply`` to the ``command``."""
    for order in told(reply):
        _order(known, order)
    if isinstance(reply, RequestView | QuoteView):
        _desk(known, reply)
    elif isinstance(reply, SettlementView):
        settled = [row for row in known.rows[SETTLEMENTS.name].values() if row.request == _key(reply.id)]
        if [(row.quote, row.at_us) for row in settled] != [(_key(reply.quote_id), reply.at_us)]:
            raise Finding(f"lost: {known.name} acknowledged settlement {reply.id}")
        if isinstance(command, AcceptQuote) and command.id != reply.quote_id:
            raise Finding(f"accepted: {known.name} settled {reply.quote_id}, and {command.id} was accepted (Q3)")
    elif isinstance(reply, SwapView | LiquidityView):
        _act(known, command, reply)
    elif isinstance(reply, RouteView):
        _route(known, command, reply)


def _order(known: Source, reply: OrderView) -> None:
    key = _key(reply.id)
    ended = known.rows[CLOSED.name].get(key)
    symbol, _, node = reply.market.partition("@")
    order: Any = ended or known.books[f"{node}/{symbol}"].orders.get(key)
    if order is None or (ended is None and reply.closed_us is not None) or order.placed_us != reply.placed_us:
        raise Finding(f"lost: {known.name} acknowledged order {key}, {reply.status}")
    for fill in reply.fills:
        trade = known.rows[TRADES.name].get(_key(fill.trade))
        if trade is None or trade.number != fill.number or key not in (trade.maker_order, trade.taker_order):
            raise Finding(f"lost: {known.name} acknowledged trade {fill.number} of {reply.market}")


def _desk(known: Source, reply: RequestView | QuoteView) -> None:
    """What ended stays ended, and what lives was so."""
    key = _key(reply.id)
    ended = known.desk.ended.get(key)
    if ended is not None:
        row, ended_us = (ended.request if isinstance(reply, RequestView) else ended.quote), ended.ended_us
    else:
        row, ended_us = (known.desk.requests if isinstance(reply, RequestView) else known.desk.quotes).get(key), None
    if row is None or row.placed_us != reply.placed_us or reply.ended_us not in (None, ended_us):
        raise Finding(f"lost: {known.name} acknowledged {key} of its desk")


def _act(known: Source, command: Any, reply: SwapView | LiquidityView) -> None:
    row = known.rows[(SWAPS if isinstance(reply, SwapView) else LIQUIDITY).name].get(_key(reply.id))
    if row is None or row.at_us != reply.at_us:
        raise Finding(f"lost: {known.name} acknowledged {reply.id} of pool {reply.pool}")
    if row.at_us > command.deadline_us:
        raise Finding(f"least: {known.name} did {reply.id} {row.at_us - command.deadline_us} us after its deadline")
    if isinstance(command, Swap):
        wanted = [(command.min_out, row.amount_out, row.scale_out)]
    else:
        base, quote, _ = row.scales
        wanted = [(command.min_base, row.base, base), (command.min_quote, row.quote, quote)]
    for least, amount, scale in wanted:
        if amount < parse_amount(least, scale, ""):
            raise Finding(f"least: {known.name} gave {amount} in {reply.id}, and {least} was the least")


def _route(known: Source, command: Any, reply: RouteView) -> None:
    row = known.rows[ROUTES.name].get(_key(reply.id or ""))
    if row is None or (row.at_us, row.lane) != (reply.at_us, reply.lane):
        raise Finding(f"lost: {known.name} acknowledged route {reply.id} by {reply.lane}")
    if row.at_us > command.deadline_us:
        raise Finding(f"least: {known.name} took {reply.id} {row.at_us - command.deadline_us} us after its deadline")
    output = next(lane.output for lane in row.lanes if lane.lane == row.lane)
    if output < parse_amount(command.min_out, row.scale_out, ""):
        raise Finding(f"least: {known.name} gave {output} by {reply.id}, and {command.min_out} was the least")


def _key(name: str) -> str:
    return name.replace("~", "/")

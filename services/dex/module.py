"""The exchange as a service module: what it declares to the kernel and to HTTP."""

from jilnode.module import Command, Invariant, Module
from services.dex.commands import batches, markets, orders, sweeps
from services.dex.feeds import FEEDS
from services.dex.intents import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    CreateMarket,
    ExpireOrder,
    MassQuote,
    PlaceOrder,
    PlaceOrders,
    ReplaceOrder,
    ReviewMarket,
    SetGroup,
    SetMarket,
    SetMarketStatus,
    SweepOrders,
)
from services.dex.invariants.books import charted, listed, numbered
from services.dex.invariants.orders import counted, funded
from services.dex.invariants.trades import traded
from services.dex.pools import module as pools
from services.dex.problems import PROBLEMS
from services.dex.replies import batch_reply, cancelled_reply, group_reply, market_reply, order_reply, replaced_reply
from services.dex.rfq import module as rfq
from services.dex.router import module as router
from services.dex.routes import QUERIES, WRITES
from services.dex.rows import BOOKS, CANDLES, CLOSED, MARKETS, ORDERS, TABLES, TRADES
from services.wallet.replies import no_reply
from services.wallet.rows import ACCOUNTS

__all__ = ("MODULE",)

MODULE = Module(
    "dex",
    1,
    tables=(*TABLES, *rfq.TABLES, *pools.TABLES, *router.TABLES),
    commands=(
        Command(CreateMarket, "dex.market.created", markets.create_market, market_reply),
        Command(SetMarket, "dex.market.set", markets.set_market, market_reply, status=200),
        Command(SetMarketStatus, "dex.market.status_set", markets.set_status, market_reply, status=200),
        Command(SetGroup, "dex.group.set", markets.set_group, group_reply, status=200),
        Command(PlaceOrder, "dex.order.placed", orders.place, order_reply, review=orders.review_order),
        Command(CancelOrder, "dex.order.cancelled", orders.cancel, order_reply, status=200),
        Command(AmendOrder, "dex.order.amended", orders.amend, order_reply, status=200),
        Command(ReplaceOrder, "dex.order.replaced", orders.replace, replaced_reply, review=orders.review_replacement),
        Command(CancelAll, "dex.orders.cancelled", sweeps.cancel_all, cancelled_reply, status=200),
        Command(PlaceOrders, "dex.orders.placed", batches.place_batch, batch_reply, review=batches.review_batch),
        Command(MassQuote, "dex.orders.quoted", batches.mass_quote, batch_reply, review=batches.review_quotes),
        Command(ExpireOrder, "dex.order.expired", orders.expire, no_reply),
        Command(ReviewMarket, "dex.market.reviewed", markets.review_market, no_reply),
        Command(SweepOrders, "dex.orders.swept", sweeps.sweep_orders, no_reply),
        *rfq.COMMANDS,
        *pools.COMMANDS,
        *router.COMMANDS,
    ),
    invariants=(
        Invariant("dex_listed", range(1, 2), listed, (MARKETS, BOOKS)),
        Invariant("dex_counted", range(1, 2), counted, (ORDERS, CLOSED)),
        Invariant("dex_traded", range(1, 2), traded, (ORDERS, CLOSED, TRADES)),
        Invariant("dex_funded", range(1, 2), funded, (ORDERS,)),
        Invariant("dex_numbered", range(1, 2), numbered, (BOOKS, ORDERS, CLOSED, TRADES)),
        Invariant("dex_charted", range(1, 2), charted, (CANDLES,)),
        *rfq.INVARIANTS,
        *pools.INVARIANTS,
        *router.INVARIANTS,
    ),
    writes=(*WRITES, *rfq.WRITES, *pools.WRITES, *router.WRITES),
    queries=(*QUERIES, *rfq.QUERIES, *pools.QUERIES, *router.QUERIES),
    feeds=FEEDS,
    subject_of={
        ORDERS.name: lambda key, row: ((ACCOUNTS, row.account),),
        CLOSED.name: lambda key, row: ((ACCOUNTS, row.account),),
        TRADES.name: lambda key, row: ((ACCOUNTS, row.debit), (ACCOUNTS, row.credit)),
        **rfq.SUBJECT_OF,
        **pools.SUBJECT_OF,
        **router.SUBJECT_OF,
    },
    sealed=rfq.SEALED,
    problems={**PROBLEMS, **rfq.PROBLEMS, **pools.PROBLEMS, **router.PROBLEMS},
    requires=("wallet",),
)

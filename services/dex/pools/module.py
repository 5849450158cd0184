"""What pools declare: their part of the exchange's module."""

from jilnode.module import Command
from services.dex.pools import commands
from services.dex.pools.intents import AddLiquidity, CreatePool, RemoveLiquidity, SetPoolStatus, Swap
from services.dex.pools.invariants import INVARIANTS
from services.dex.pools.problems import PROBLEMS
from services.dex.pools.replies import liquidity_reply, pool_reply, swap_reply
from services.dex.pools.routes import QUERIES, WRITES
from services.dex.pools.rows import LIQUIDITY, SWAPS, TABLES
from services.wallet.rows import ACCOUNTS

__all__ = ("COMMANDS", "INVARIANTS", "PROBLEMS", "QUERIES", "SUBJECT_OF", "TABLES", "WRITES")

COMMANDS = (
    Command(CreatePool, "dex.pool.created", commands.create_pool, pool_reply),
    Command(SetPoolStatus, "dex.pool.status_set", commands.set_status, pool_reply, status=200),
    Command(
        AddLiquidity,
        "dex.liquidity.added",
        commands.add_liquidity,
        liquidity_reply,
        review=commands.review_liquidity,
    ),
    Command(
        RemoveLiquidity,
        "dex.liquidity.removed",
        commands.remove_liquidity,
        liquidity_reply,
        review=commands.review_liquidity,
    ),
    Command(Swap, "dex.swap.made", commands.swap, swap_reply, review=commands.review_swap),
)

SUBJECT_OF = {
    SWAPS.name: lambda key, row: ((ACCOUNTS, row.account),),
    LIQUIDITY.name: lambda key, row: ((ACCOUNTS, row.account),),
}

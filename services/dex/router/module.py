"""What the router declares: its part of the exchange's module."""

from jilnode.module import Command
from services.dex.router import commands
from services.dex.router.intents import TakeRoute
from services.dex.router.invariants import INVARIANTS
from services.dex.router.problems import PROBLEMS
from services.dex.router.replies import route_reply
from services.dex.router.routes import QUERIES, WRITES
from services.dex.router.rows import ROUTES, TABLES
from services.wallet.rows import ACCOUNTS

__all__ = ("COMMANDS", "INVARIANTS", "PROBLEMS", "QUERIES", "SUBJECT_OF", "TABLES", "WRITES")

COMMANDS = (Command(TakeRoute, "dex.route.taken", commands.take_route, route_reply, review=commands.review_route),)

SUBJECT_OF = {ROUTES.name: lambda key, row: ((ACCOUNTS, row.account),)}

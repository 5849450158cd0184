"""Where a refusal of the wallet's points: at the field that was sent."""

from collections.abc import Iterator
from contextlib import contextmanager

from jilnode.module import Rejected

__all__ = ("rename", "sent_as")


def rename(rejected: Rejected, amount: str, account: str = "/account") -> None:
    """What the wallet calls ``/amount`` and ``/debit`` this command calls otherwise."""
    if rejected.field == "/amount":
        rejected.field = amount
    elif rejected.field == "/debit":
        rejected.field = account


@contextmanager
def sent_as(amount: str, account: str = "/account") -> Iterator[None]:
    """For all of a command that is not so often asked for that entering this counts."""
    try:
        yield
    except Rejected as rejected:
        rename(rejected, amount, account)
        raise

"""Where a refusal of the wallet's points: at the field that was sent."""

from collections.abc import Iterator
from contextlib import contextmanager

from jilnode.module import Rejected

__all__ = ("sent_as",)


@contextmanager
def sent_as(amount: str, account: str = "/account") -> Iterator[None]:
    """What the wallet calls ``/amount`` and ``/debit`` this command calls otherwise."""
    try:
        yield
    except Rejected as rejected:
        if rejected.field == "/amount":
            rejected.field = amount
        elif rejected.field == "/debit":
            rejected.field = account
        raise

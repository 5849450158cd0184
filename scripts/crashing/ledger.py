"""What the clients know: every request that they sent, what was answered, and what the accounts must hold for it."""

import json
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ("Answer", "Ledger", "Request", "Wrong", "minor")


class Wrong(Exception):
    """Something that was acknowledged is lost, changed or done twice. Says which key."""


@dataclass(frozen=True)
class Request:
    key: str
    path: str
    body: str


@dataclass(frozen=True)
class Answer:
    status: int
    body: str

    @property
    def final(self) -> bool:
        """Whether the same key must get this very answer for ever."""
        return self.status < 500 and self.status not in (421, 429)


class Ledger:
    """``acknowledged`` holds the answers that a client has seen; ``settle`` takes the final answer of every request."""

    def __init__(self) -> None:
        self.sent: dict[str, Request] = {}
        self.acknowledged: dict[str, Answer] = {}
        self.available: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.orders: list[tuple[Request, dict[str, Any]]] = []
        """Settled, and not yet booked by the market."""
        self.settled = 0

    def settle(self, key: str, answer: Answer) -> None:
        """``answer`` is that of a retry after the crash. Raises ``Wrong``."""
        request, before = self.sent[key], self.acknowledged.get(key)
        if not answer.final:
            raise Wrong(f"{key}: no final answer after the restart, but {answer.status} {answer.body}")
        if before is not None and before.final and before != answer:
            raise Wrong(f"{key} was answered {before.status} {before.body}, and is {answer.status} {answer.body} now")
        if answer.status >= 300:
            raise Wrong(f"{key}: every request of this load can be done, but {answer.status} {answer.body}")
        self._book(request, json.loads(answer.body))
        self.settled += 1
        del self.sent[key]
        self.acknowledged.pop(key, None)

    def compare(self, balances: dict[str, tuple[int, int]]) -> None:
        """``balances``: account -> (available, held) in minor units, as the node has them. Raises ``Wrong``."""
        for account, (available, held) in balances.items():
            if (available, held) != (self.available[account], self.held[account]):
                raise Wrong(
                    f"{account} has {available} available and {held} held;"
                    f" the answers say {self.available[account]} and {self.held[account]}"
                )

    def _book(self, request: Request, answer: dict[str, Any]) -> None:
        asked = json.loads(request.body)
        if request.path.endswith("/batch"):
            if answer["posted"] != len(asked["transfers"]):
                raise Wrong(f"{request.key}: {answer['refused']} of a batch were refused")
            for item in asked["transfers"]:
                self._move(item["debit"], item["credit"], minor(item["amount"]))
        elif request.path.startswith("/v1/dex/"):
            self.orders.append((request, answer))
        elif request.path.endswith("/pending"):
            self.available[answer["debit"]] -= minor(answer["amount"])
            self.held[answer["debit"]] += minor(answer["amount"])
        elif request.path.endswith("/void"):
            self.available[answer["debit"]] += minor(answer["amount"])
            self.held[answer["debit"]] -= minor(answer["amount"])
        elif request.path.endswith("/post"):
            self.held[answer["debit"]] -= minor(answer["amount"])
            self.available[answer["credit"]] += minor(answer["amount"])
        else:
            self._move(answer["debit"], answer["credit"], minor(answer["amount"]))

    def _move(self, debit: str, credit: str, amount: int) -> None:
        self.available[debit] -= amount
        self.available[credit] += amount


def minor(amount: str) -> int:
    """Of a scale of 2."""
    return int(Decimal(amount) * 100)

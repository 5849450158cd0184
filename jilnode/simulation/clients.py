"""Clients of the fleet: they remember what they were told, try again with the same key, and compare."""

import hashlib
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from jilnode.kernel.command import Submission
from jilnode.kernel.errors import Rejected
from jilnode.kernel.keys import Answer
from jilnode.simulation.finding import Finding

if TYPE_CHECKING:
    from jilnode.simulation.world import SimulatedNode, World

__all__ = ("Clients", "Errand", "Request", "Work")

BODY_HASH = b"\xbb" * 32
"""Of every request. In hexadecimal it has no digits, as a long number would have, for which documents are walked."""


class Errand(msgspec.Struct, frozen=True):
    """What somebody wants of one node. ``name`` is the work's own, to know the answer by."""

    node: int
    command: Any
    actor: str = "client"
    scopes: frozenset[str] = frozenset()
    name: str = ""


class Work(Protocol):
    """What clients do, and what they make of the answers."""

    weight: int
    """How often it is chosen, beside others."""

    def errand(self) -> Errand: ...
    def answered(self, errand: Errand, answer: Answer) -> None: ...
    def refused(self, errand: Errand, rejected: Rejected) -> None: ...
    def restored(self, node: "SimulatedNode", first_lost: int) -> None:
        """The node forgot what it did from entry ``first_lost`` on."""


class Request(msgspec.Struct):
    errand: Errand
    work: Work
    key: bytes
    answer: Answer | None = None
    code: str = ""


class Clients:
    def __init__(self, world: "World", works: list[Work]) -> None:
        self._world = world
        self._works = works
        self._weights = [work.weight for work in works]
        self.requests: list[Request] = []
        self.acknowledged = 0
        self.refused = 0
        self.replayed = 0
        self.findings: list[str] = []

    def act(self) -> None:
        """A new request, or an old one again: answered, refused or never heard of."""
        world, randomness = self._world, self._world.random
        if self.requests and randomness.random() < 0.25:
            request = randomness.choice(self.requests[-200:])
        else:
            (work,) = randomness.choices(self._works, self._weights)
            key = hashlib.sha256(b"%d/%d" % (world.seed, len(self.requests))).digest()
            request = Request(work.errand(), work, key)
            self.requests.append(request)
        node = world.nodes[request.errand.node]
        if node.writable:
            self._send(node, request)

    def _send(self, node: "SimulatedNode", request: Request) -> None:
        errand = request.errand
        submission = Submission(errand.command, errand.actor, errand.scopes, request.key, BODY_HASH)
        self._world.submit(node, submission, lambda result: self._heard(node, request, result))

    def _heard(self, node: "SimulatedNode", request: Request, result: Any) -> None:
        if isinstance(result, Answer):
            self.acknowledged += 1
            self.replayed += result.replayed
            told = request.answer
            if request.code:
                self.findings.append(f"{node.source} refused a key for good ({request.code}) and then took it")
            if told is not None and (told.reply, told.sequence) != (result.reply, result.sequence):
                self.findings.append(f"{node.source} gave one key two answers: {told} and {result}")
            request.answer = result
            request.work.answered(request.errand, result)
        elif isinstance(result, Rejected):
            self.refused += 1
            if result.final and result.status != 500:
                if request.answer is not None:
                    self.findings.append(f"{node.source} took a key and then refused it: {result.code}")
                request.code = result.code
            request.work.refused(request.errand, result)

    def restored(self, node: "SimulatedNode", first_lost: int) -> None:
        """The node forgot what it had told nobody, and its refusals, which are its own."""
        for request in self.requests:
            if self._world.nodes[request.errand.node] is node:
                request.code = ""
                if request.answer is not None and request.answer.sequence >= first_lost:
                    request.answer = None
        for work in self._works:
            work.restored(node, first_lost)

    def check(self) -> None:
        if self.findings:
            raise Finding(self.findings[0])

    def told(self) -> list[tuple[str, Any, Any]]:
        """(node, command, reply) of everything that was acknowledged and not lost with a disk."""
        return [
            (self._world.nodes[request.errand.node].source, request.errand.command, request.answer.reply)
            for request in self.requests
            if request.answer is not None
        ]

    def check_durable(self) -> None:
        """Whatever was acknowledged is in its node's journal, once; what was not is there once or not at all."""
        for request in self.requests:
            node = self._world.nodes[request.errand.node]
            entries = [entry for entry in node.disk.by_command.get(request.key, ()) if entry.source == node.source]
            if len(entries) > 1:
                raise Finding(f"{node.source} did one command {len(entries)} times")
            if request.answer is not None and not entries and request.answer.sequence >= 0:
                raise Finding(f"{node.source} lost entry {request.answer.sequence}, which it had acknowledged")

"""Clients of the fleet: they remember what they were told, try again with the same key, and compare."""

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from jilnode.kernel.command import Submission
from jilnode.kernel.errors import Rejected
from jilnode.kernel.keys import Answer
from jilnode.simulation.checks import Finding
from jilnode.simulation.ledger import Ask, Fill, Grab, Mint, Move, PlaceBid

if TYPE_CHECKING:
    from jilnode.simulation.world import SimulatedNode, World

__all__ = ("Clients",)

POTS = 5


class _Request(msgspec.Struct):
    node: int
    command: Any
    key: bytes
    answer: Answer | None = None
    code: str = ""


class Clients:
    def __init__(self, world: "World") -> None:
        self._world = world
        self.requests: list[_Request] = []
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
            index = randomness.randrange(len(world.nodes))
            key = hashlib.sha256(b"%d/%d" % (world.seed, len(self.requests))).digest()
            request = _Request(index, self._command(), key)
            self.requests.append(request)
        node = world.nodes[request.node]
        if node.writable:
            self._send(node, request)

    def _command(self) -> Any:
        randomness, nodes = self._world.random, self._world.nodes
        what = randomness.random()
        name, other = f"p{randomness.randrange(POTS)}", f"p{randomness.randrange(POTS)}"
        if what < 0.40:
            until_us = 0
            if randomness.random() < 0.1:
                until_us = 1_795_415_580_000_000 + self._world.elapsed_us + randomness.randrange(20_000_000)
            return Fill(name, randomness.randrange(100), until_us)
        if what < 0.75:
            return Move(name, other if other != name else f"{name}x", randomness.randrange(1, 50))
        if what < 0.87:
            return Ask(randomness.choice(nodes).source, randomness.randrange(1000))
        if what < 0.93:
            return PlaceBid("m", randomness.randrange(100))
        if what < 0.97:
            return Grab(f"{name}/{randomness.choice(nodes).source}")
        return Mint(name)

    def _send(self, node: "SimulatedNode", request: _Request) -> None:
        submission = Submission(request.command, "client", frozenset(), request.key, b"b" * 32)
        self._world.submit(node, submission, lambda result: self._heard(node, request, result))

    def _heard(self, node: "SimulatedNode", request: _Request, result: Any) -> None:
        if isinstance(result, Answer):
            self.acknowledged += 1
            self.replayed += result.replayed
            told = request.answer
            if request.code:
                self.findings.append(f"{node.source} refused a key for good ({request.code}) and then took it")
            if told is not None and (told.reply, told.sequence) != (result.reply, result.sequence):
                self.findings.append(f"{node.source} gave one key two answers: {told} and {result}")
            request.answer = result
        elif isinstance(result, Rejected):
            self.refused += 1
            if result.final and result.status != 500:
                if request.answer is not None:
                    self.findings.append(f"{node.source} took a key and then refused it: {result.code}")
                request.code = result.code

    def restored(self, node: "SimulatedNode", first_lost: int) -> None:
        """The node forgot what it had told nobody, and its refusals, which are its own."""
        for request in self.requests:
            if self._world.nodes[request.node] is node:
                request.code = ""
                if request.answer is not None and request.answer.sequence >= first_lost:
                    request.answer = None

    def check(self) -> None:
        if self.findings:
            raise Finding(self.findings[0])

    def check_durable(self) -> None:
        """Whatever was acknowledged is in its node's journal, once; what was not is there once or not at all."""
        for request in self.requests:
            node = self._world.nodes[request.node]
            entries = [entry for entry in node.disk.by_command.get(request.key, ()) if entry.source == node.source]
            if len(entries) > 1:
                raise Finding(f"{node.source} did one command {len(entries)} times")
            if request.answer is not None and not entries and request.answer.sequence >= 0:
                raise Finding(f"{node.source} lost entry {request.answer.sequence}, which it had acknowledged")

"""What one command costs the core, in this process, with no HTTP and no store: its microseconds by stage.

Batches of as many commands as 64 clients fill; each is decided, sealed and confirmed. The stages inside a decision are
measured in batches of their own, so that measuring them does not weigh on the sum.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import count
from typing import Any

import msgspec

from compliance.development import ZONE
from jilnode.kernel.build import BUILD
from jilnode.kernel.command import Submission
from jilnode.kernel.engine import Engine
from jilnode.kernel.errors import Missing
from jilnode.kernel.keys import Answer
from jilnode.kernel.milestones import genesis
from jilnode.kernel.ports import Loaded, Wanted
from jilnode.kernel.registry import Registry
from jilnode.kernel.seal import SealKey
from jilnode.node import COLLECTOR_ALLOCATIONS
from jilnode.system_clock import SystemClock, SystemEntropy
from jilnode.zone import ZoneBoard
from scripts.benchmark.rows import Row, row
from services.dex.intents import CreateMarket, PlaceOrder
from services.dex.module import MODULE as DEX
from services.wallet.intents import CreateAccount, CreateAsset, Issue, PostTransfer
from services.wallet.module import MODULE as WALLET

__all__ = ("ACCOUNTS", "ASSET", "BASE", "BATCH", "SCOPES", "Core", "crossing", "measure", "resting", "settle")

SOURCE = "bench-01"
ASSET, BASE = f"CHFX@{SOURCE}", f"GOLD@{SOURCE}"
MARKET = f"GOLD-CHFX@{SOURCE}"
ACCOUNTS = 1_000
BATCH = 64
WARM = 20
"""Batches before measuring: each account's rows have been asked for by then."""
FILLS = 1
"""Resting orders that one crossing order takes."""
SCOPES = frozenset(("wallet:operate", "wallet:issue", "wallet:transfer", "dex:operate", "dex:trade"))
PARTS = ("review", "handler", "invariants", "reply")
METHODS = ("record", "digest") if BUILD == "plain" else ()
"""Measured by putting a clock around each, which no method of a compiled class allows. ``record`` holds the invariants,
sealing holds ``digest``."""


class Core:
    """An engine whose commits are always durable."""

    def __init__(self, *, timed: bool) -> None:
        registry = Registry([WALLET, DEX])
        self.spent = dict.fromkeys((*PARTS, *METHODS), 0.0)
        if timed:
            self._watch(registry)
        self.engine = Engine(
            network="dev",
            source=SOURCE,
            zone="XX_DEV",
            key=SealKey.from_seed(bytes(32)),
            registry=registry,
            zones=ZoneBoard("XX_DEV", [ZONE], development=True),
            clock=SystemClock(),
            entropy=SystemEntropy(),
            cache_bytes=1 << 30,
        )
        if timed and METHODS:
            recorder, digests = self.engine.recorder, self.engine.digests
            recorder.record = self._timed("record", recorder.record)  # type: ignore[method-assign]
            digests.fold = self._timed("digest", digests.fold)  # type: ignore[method-assign]
        genesis(self.engine, self.engine.now_us())
        self._commit()
        self.run([CreateAsset("CHFX", 4), CreateAsset("GOLD", 4)])
        owners = [CreateAccount(subject=f"owner-{number}") for number in range(ACCOUNTS)]
        self.accounts = [answer.reply.id for answer in self.run(owners)]
        for asset in (ASSET, BASE):
            self.run([Issue(asset, account, "1000000000.00") for account in self.accounts])
        wide = (1 << 40, 1 << 41, 1 << 42)
        self.run([CreateMarket(BASE, ASSET, "0.01", "0.01", band_bps=10_000, states_bps=wide)])

    def _watch(self, registry: Registry) -> None:
        for type_, spec in registry.commands.items():
            registry.commands[type_] = replace(
                spec,
                handler=self._timed("handler", spec.handler),
                reply=self._timed("reply", spec.reply),
                review=None if spec.review is None else self._timed("review", spec.review),
            )
        for name, invariants in registry.invariants.items():
            registry.invariants[name] = tuple(
                replace(invariant, check=self._timed("invariants", invariant.check)) for invariant in invariants
            )

    def _timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        spent, clock = self.spent, time.process_time

        def timed(*arguments: Any, **named: Any) -> Any:
            began = clock()
            try:
                return work(*arguments, **named)
            finally:
                spent[part] += clock() - began

        return timed

    def run(self, commands: list[Any]) -> list[Answer]:
        now = self.engine.now_us()
        answers = [self._decide(Submission(command, "bench", SCOPES), now) for command in commands]
        self._commit()
        return answers

    def _decide(self, submission: Submission, time_us: int) -> Answer:
        """What is not in memory is nowhere, since there is no store."""
        while True:
            try:
                return self.engine.decide(submission, time_us)
            except Missing as missing:
                wanted = missing.want
                assert isinstance(wanted, Wanted)
                self.engine.provide(
                    Loaded(
                        rows={table: dict.fromkeys(keys) for table, keys in wanted.rows.items()},
                        commands=dict.fromkeys(wanted.commands),
                    )
                )

    def batch(self, commands: list[Submission]) -> tuple[float, float, float]:
        """Seconds of the core for deciding, sealing and confirming. Ticks are left out."""
        engine, clock = self.engine, time.process_time
        engine.keys.provide({(SOURCE, call.key_hash): None for call in commands if call.key_hash is not None})
        now = engine.now_us()
        began = clock()
        for command in commands:
            self._decide(command, now)
        decided = clock()
        engine.seal(now)
        sealed = clock()
        engine.confirm()
        return decided - began, sealed - decided, clock() - sealed

    def _commit(self) -> None:
        self.engine.seal(self.engine.now_us())
        self.engine.confirm()


def transfers(accounts: list[str]) -> Iterator[Submission]:
    for number in count():
        command = PostTransfer(
            accounts[number * 7 % ACCOUNTS], accounts[(number * 7 + 1 + number % 5) % ACCOUNTS], ASSET, "0.01"
        )
        yield _keyed(command, number)


def resting(accounts: list[str]) -> Iterator[Submission]:
    for number in count():
        price = f"{100 + number * 7 % 50}.00"
        yield _keyed(PlaceOrder(MARKET, accounts[number * 7 % ACCOUNTS], "sell", "0.01", price), number)


def crossing(accounts: list[str]) -> Iterator[Submission]:
    for number in count():
        quantity = f"0.{FILLS:02d}"
        yield _keyed(PlaceOrder(MARKET, accounts[(number * 7 + 3) % ACCOUNTS], "buy", quantity, "200.00"), number)


def _keyed(command: msgspec.Struct, number: int) -> Submission:
    key = sha256(b"%d" % number).digest()
    return Submission(command, "bench", SCOPES, key, key)


def settle() -> None:
    """The garbage collector as a node has it once it has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTOR_ALLOCATIONS, 20, 20)


def measure(quick: bool) -> list[Row]:
    batches = 100 if quick else 600
    whole, timed = Core(timed=False), Core(timed=True)
    kinds = {"transfer": transfers, "resting": resting, "crossing": crossing}
    calls = {name: (make(whole.accounts), make(whole.accounts)) for name, make in kinds.items()}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in kinds}
    settle()
    for number in range(WARM + batches):
        # Orders rest in as many batches as are needed for those that take them.
        for name in ("transfer", *["resting"] * FILLS, "crossing"):
            commands, watched = ([next(source) for _ in range(BATCH)] for source in calls[name])
            decide, seal, confirm = whole.batch(commands)
            before = dict(timed.spent)
            timed.batch(watched)
            parts = {part: spent - before[part] for part, spent in timed.spent.items()}
            if METHODS:
                parts["record"] -= parts["invariants"] + parts["reply"]
            stages = {"total": decide + seal + confirm, "decide": decide, "seal": seal, "confirm": confirm}
            if number >= WARM:
                for stage, seconds in {**stages, **parts}.items():
                    found[name].setdefault(stage, []).append(seconds / BATCH * 1e6)
    return [
        row(f"kernel.{name}.{stage}", values, "us")
        for name, stages in found.items()
        for stage, values in stages.items()
    ]

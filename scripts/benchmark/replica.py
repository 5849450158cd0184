"""How fast a node follows another: from the bytes on the wire to its own commit, everything verified."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from jilnode.events.bus import Record
from jilnode.events.feed import Feed
from jilnode.events.record import read_record, records_of
from jilnode.kernel.entry import Entry
from jilnode.kernel.ports import Store
from jilnode.limits import WRITER_FOREIGN_ENTRIES_MAX
from jilnode.stores.memory import MemoryStore
from jilnode.stores.memory_disk import MemoryDisk
from jilnode.stores.postgres import PostgresStore
from jilnode.stores.sqlite import SqliteStore
from jilnode.system_clock import SystemClock
from scripts.benchmark.rows import Row, row
from scripts.benchmark.server import node
from services.wallet.intents import CreateAccount, CreateAsset, Issue, PostTransfer
from services.wallet.module import MODULE
from tests.kit.node import TestNode, running
from tests.kit.postgres import PostgresServer

__all__ = ("measure",)

SOURCE, FOLLOWER = "ch-zug-01", "sg-mas-01"
ASSET = f"CHFX@{SOURCE}"
ACCOUNTS = 1_000
COMMIT_ENTRIES = 48
"""Entries that one seal covers, as with 64 clients."""


def measure(quick: bool) -> list[Row]:
    """The writer's CPU is that of a whole node process under load over HTTP, in the same run."""
    rounds, entries, seconds = (1, 5_000, 2.0) if quick else (3, 30_000, 6.0)
    folder = Path(tempfile.mkdtemp(prefix="jil-replica-"))
    postgres = PostgresServer()
    postgres.start()
    stores: dict[str, Callable[[int], Store]] = {
        "memory": lambda number: MemoryStore(MemoryDisk()),
        "sqlite": lambda number: SqliteStore(folder / f"{number}.db"),
        "postgres": lambda number: PostgresStore(postgres.database()),
    }
    rates: dict[str, list[float]] = {name: [] for name in stores}
    spent: dict[str, list[float]] = {name: [] for name in stores}
    writers: dict[str, list[float]] = {}
    try:
        genesis, records = uvloop.run(_journal(entries))
        for number in range(rounds):
            for name, make in stores.items():
                rate, cpu_us = uvloop.run(_follow(make(number), genesis, records))
                rates[name].append(rate)
                spent[name].append(cpu_us)
        for name, database in (("sqlite", ""), ("postgres", postgres.database())):
            with node(folder / name, database) as server:
                server.load("/v1/wallet/transfers", 1, 64, 1.0)
                results = [server.load("/v1/wallet/transfers", 1, 64, seconds) for _ in range(rounds)]
                writers[name] = [result["cpu_us"] for result in results]
    finally:
        postgres.close()
        shutil.rmtree(folder, ignore_errors=True)
    rows: list[Row] = []
    for name in stores:
        rows.append(row(f"replica.{name}", rates[name], "1/s"))
        writer = writers.get(name)
        rows.append(row(f"replica.{name}.cpu", spent[name], "us", "its writer" if writer else "", writer))
    return rows


async def _journal(entries: int) -> tuple[str, list[Record]]:
    """A wallet's journal as it travels, and the hash of its genesis."""
    async with running(TestNode(SOURCE, [MODULE], clock=SystemClock())) as (one,):  # type: ignore[arg-type]
        scopes = ("wallet:operate", "wallet:issue", "wallet:transfer")
        await one.run(CreateAsset("CHFX", 2), scopes=scopes)
        accounts = [(await one.run(CreateAccount(), actor="t")).reply.id for _ in range(ACCOUNTS)]
        for account in accounts:
            await one.run(Issue(ASSET, account, "100000.00"), scopes=scopes)
        for first in range(0, entries, COMMIT_ENTRIES):
            commands = [
                PostTransfer(
                    accounts[number * 7 % ACCOUNTS], accounts[(number * 7 + 1 + number % 5) % ACCOUNTS], ASSET, "0.01"
                )
                for number in range(first, first + COMMIT_ENTRIES)
            ]
            await asyncio.gather(
                *[
                    one.run(command, actor="t", scopes=scopes, key=f"{first}-{number}")
                    for number, command in enumerate(commands)
                ]
            )
        return await one.genesis_hash(), records_of(*await one.journal())


async def _follow(store: Store, genesis: str, records: list[Record]) -> tuple[float, float]:
    """(entries a second, CPU in microseconds an entry), merged as the replicator merges."""
    clock = SystemClock()
    two = TestNode(FOLLOWER, [MODULE], store=store, clock=clock, trusted={SOURCE: genesis})  # type: ignore[arg-type]
    async with running(two):
        feed, done = Feed(SOURCE), 0
        began, cpu = time.perf_counter(), time.process_time()
        for record in records:
            item = read_record(record)
            if isinstance(item, Entry):
                feed.entries.append(item)
                continue
            assert item is not None
            feed.seals.append(item)
            if len(feed.entries) >= WRITER_FOREIGN_ENTRIES_MAX - COMMIT_ENTRIES or record is records[-1]:
                for group in feed.groups(merged=True):
                    await two.apply(group)
                    feed.drop(len(group.entries))
                    done += len(group.entries)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        return done / seconds, cpu / done * 1e6

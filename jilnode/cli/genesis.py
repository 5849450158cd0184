"""Print this node's line for a trust file: its id and the hash of its genesis entry. Makes both where there are
none."""

import argparse
import asyncio
import json

from jilnode.kernel.tree import leaf_hash
from jilnode.module import installed_modules
from jilnode.parts import build_kernel
from jilnode.settings import Settings, load_settings

__all__ = ("add_arguments", "genesis_hash", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


async def genesis_hash(settings: Settings) -> str:
    """The leaf hash of the first entry, in hex. Takes the writer's lock: the node must not run."""
    kernel = build_kernel(settings, installed_modules())
    try:
        await kernel.start()
        await kernel.begin_journal()
        (entry,) = await kernel.store.journal(settings.node_id, 0, 0, 1)
        return leaf_hash(entry.header).hex()
    finally:
        await kernel.close()


def run(options: argparse.Namespace) -> int:
    settings = load_settings()
    print(json.dumps({settings.node_id: asyncio.run(genesis_hash(settings))}))
    return 0

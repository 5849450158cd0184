"""Writes jilnode/events/vectors from fixed inputs: ``python -m tests.kit.vectors``.

The formats can't change, so neither may these files.
"""

import asyncio
import json
from pathlib import Path

from jilnode.kernel.codec import decision_hash
from jilnode.kernel.digest import row_mark
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.seal import key_id
from jilnode.kernel.tree import consistency_proof, inclusion_proof, leaf_hash, root_of
from jilnode.simulation.ledger import MODULE, Drain, Fill, Move
from tests.kit.node import TestNode, running
from tests.kit.vector_epochs import make_epochs

FOLDER = Path(__file__).resolve().parents[2] / "jilnode/events/vectors"


async def make() -> dict[str, str]:
    """File name -> content."""
    node = TestNode("ch-zug-01", [MODULE])
    async with running(node):
        await node.run(Fill("a", 5), key="first", body=b'{"amount":5}')
        await node.run(Move("a", "b", 2))
        node.clock.advance(31)
        await node.run(Fill("b", 1))
        entries, seals = await node.journal()
        digest = node.engine.own.digest
        rows = [
            {
                "table": name,
                "key": key,
                "owner": row.owner,
                "epoch": row.epoch,
                "sequence": row.sequence,
                "doc": doc,
                "mark": f"{row_mark(name, key, row.owner, row.epoch, row.sequence, doc.encode()):064x}",
            }
            for name, table in node.engine.registry.tables.items()
            if not table.local
            for key, row in sorted(node.disk.tables[name].rows.items())
            for doc in ((node.disk.document(table, row) or b"").decode(),)
        ]
    leaves = [leaf_hash(entry.header) for entry in entries]
    origin = "jil/dev/ch-zug-01/0"
    tree = {
        "leaf_hashes": [leaf.hex() for leaf in leaves],
        "roots_by_size": [root_of(leaves[:size]).hex() for size in range(len(leaves) + 1)],
        "inclusion_proof_of_leaf_1": [item.hex() for item in inclusion_proof(leaves, 1)],
        "consistency_proof_from_size_2": [item.hex() for item in consistency_proof(leaves, 2)],
        "origin": origin,
        "public_key": node.key.public_key.hex(),
        "key_id": key_id(origin, node.key.public_key).hex(),
    }
    state = {"rows": rows, "state_digest": f"{digest:064x}"}
    epochs = await make_epochs()
    verdicts = {
        "public_keys": epochs.public_keys,
        "decisions": [{"record": record, "hash": decision_hash(record.encode())} for record in epochs.decisions],
        "state_digest": epochs.state_digest,
    }
    return {
        "epochs.jsonl": "".join(_lines(entries, seals) for entries, seals in epochs.journals),
        "epochs.json": json.dumps(verdicts, indent=1) + "\n",
        "journal.jsonl": _lines(entries, seals),
        "unchanged.jsonl": await _unchanged(),
        "tree.json": json.dumps(tree, indent=1) + "\n",
        "digest.json": json.dumps(state, indent=1) + "\n",
    }


async def _unchanged() -> str:
    """The same node, had it first done a command that had a key and found nothing to change."""
    node = TestNode("ch-zug-01", [MODULE])
    async with running(node):
        await node.run(Drain("a"), key="first", body=b"{}")
        return _lines(*await node.journal())


def _lines(entries: list[Entry], seals: list[Seal]) -> str:
    lines = []
    waiting = list(seals)
    for entry in entries:
        sections = ",".join(f'"{name}":{entry.sections[name].decode()}' for name in sorted(entry.sections))
        value = f'{{"header":{entry.header.decode()},"sections":{{{sections}}}}}'
        lines.append(json.dumps({"type": "jil.entry", "value": value}, ensure_ascii=False))
        if waiting and waiting[0].size == entry.sequence + 1:
            lines.append(json.dumps({"type": "jil.seal", "value": waiting.pop(0).note}, ensure_ascii=False))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in asyncio.run(make()).items():
        (FOLDER / name).write_text(content)

"""The wire format's vectors, checked by code that shares nothing with the kernel: what the wire page says is enough."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.kit.vectors import make

FOLDER = Path(__file__).resolve().parents[2] / "jilnode/events/vectors"


def load(name: str):
    return json.loads((FOLDER / name).read_text())


def records(name: str = "journal.jsonl"):
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


def slice_header(value: str) -> str:
    """The header's exact text: from after ``{"header":`` up to where its braces close, strings skipped."""
    start = len('{"header":')
    depth, quoted, index = 0, False, start
    while True:
        character = value[index]
        if quoted:
            if character == "\\":
                index += 1
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return value[start : index + 1]
        index += 1


def leaf(header: str) -> bytes:
    return hashlib.sha256(b"\x00" + header.encode()).digest()


def merkle_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return hashlib.sha256(b"\x01" + merkle_root(leaves[:middle]) + merkle_root(leaves[middle:])).digest()


async def test_the_code_still_writes_the_vectors():
    for name, content in (await make()).items():
        assert (FOLDER / name).read_text() == content, f"{name}: a wire format can't change"


def test_leaves_sections_and_roots():
    tree = load("tree.json")
    headers = [slice_header(record["value"]) for record in records() if record["type"] == "jil.entry"]
    assert [leaf(header).hex() for header in headers] == tree["leaf_hashes"]
    for size in range(len(headers) + 1):
        assert merkle_root([leaf(header) for header in headers[:size]]).hex() == tree["roots_by_size"][size]
    for record in records():
        if record["type"] != "jil.entry":
            continue
        value = record["value"]
        header_text = slice_header(value)
        header = json.loads(header_text)
        for name, reference in header["sections"].items():
            start = value.index(f'"{name}":', len(header_text) + len('{"header":')) + len(f'"{name}":')
            section = value.encode()[len(value[:start].encode()) :][: reference["length"]]
            assert hashlib.sha256(b"jil/section/v1\x00" + section).hexdigest() == reference["hash"]


def test_an_entry_that_changed_nothing_has_no_sections():
    headers, sizes = [], []
    for record in records("unchanged.jsonl"):
        if record["type"] == "jil.entry":
            headers.append(slice_header(record["value"]))
            continue
        _, size, root = record["value"].split("\n\n")[0].split("\n")
        assert base64.b64decode(root) == merkle_root([leaf(header) for header in headers])
        sizes.append(int(size))
    assert sizes[-1] == len(headers)
    (unchanged,) = [text for text in headers if '"ledger.pot.drained"' in text]
    header = json.loads(unchanged)
    assert "sections" not in header
    assert "schema" not in header
    assert header["command"]["key_hash"] == hashlib.sha256(b"tester\x00first").hexdigest()
    assert f'{{"header":{unchanged},"sections":{{}}}}' in [record["value"] for record in records("unchanged.jsonl")]


def test_seals():
    tree = load("tree.json")
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(tree["public_key"]))
    seals = [record["value"] for record in records() if record["type"] == "jil.seal"]
    assert seals
    for note in seals:
        text, signature = note.split("\n\n")
        origin, size, root = text.split("\n")
        assert origin == tree["origin"]
        assert base64.b64decode(root).hex() == tree["roots_by_size"][int(size)]
        dash, name, blob = signature.strip("\n").split(" ")
        assert (dash, name) == ("—", origin)
        data = base64.b64decode(blob)
        wanted = hashlib.sha256(origin.encode() + b"\n\x01" + bytes.fromhex(tree["public_key"])).digest()[:4]
        assert data[:4] == wanted
        assert data[:4].hex() == tree["key_id"]
        key.verify(data[4:], f"{text}\n".encode())


def mark(*parts: str) -> str:
    data = b"".join(len(part.encode()).to_bytes(8, "big") + part.encode() for part in parts)
    return hashlib.sha256(data).hexdigest()


def test_state_digest():
    state = load("digest.json")
    total = 0
    for row in state["rows"]:
        found = mark(row["table"], row["key"], row["owner"], str(row["epoch"]), str(row["sequence"]), row["doc"])
        assert found == row["mark"]
        total = (total + int(found, 16)) % 2**256
    assert f"{total:064x}" == state["state_digest"]


def sections_of(value: str, header: dict[str, Any]) -> dict[str, str]:
    """Each section's exact text; they stand in the order of their names."""
    found, rest = {}, value[len(slice_header(value)) + len('{"header":,"sections":{') :]
    for name in sorted(header.get("sections", {})):
        start = rest.index(f'"{name}":') + len(f'"{name}":')
        text = rest[start:].encode()[: header["sections"][name]["length"]]
        assert hashlib.sha256(b"jil/section/v1\x00" + text).hexdigest() == header["sections"][name]["hash"]
        found[name] = text.decode()
        rest = rest[start + len(found[name]) :]
    return found


def documents(section: str) -> list[tuple[str, str, str | None]]:
    """(table, key, the document's exact text; None where the row is deleted). Here no text holds a brace."""
    rows = json.loads(section)["data"]
    texts = [text if text != "null" else None for text in re.findall(r'"doc":(\{.*?\}|null)\}', section)]
    return [(row["table"], row["key"], text) for row, text in zip(rows, texts, strict=True)]


def test_a_changed_key_a_second_epoch_and_a_section_of_its_own():
    known = load("epochs.json")
    keys = [bytes.fromhex(key) for key in known["public_keys"]]
    leaves: dict[str, list[bytes]] = {}
    rows: dict[tuple[str, str], str] = {}
    ends: dict[int, list[object]] = {}
    last: dict[str, Any] = {}
    sealed_by = keys[:1]
    outcomes, memos = [], []
    for record in records("epochs.jsonl"):
        if record["type"] == "jil.entry":
            text = slice_header(record["value"])
            last = json.loads(text)
            epoch, sequence = last["epoch"], last["sequence"]
            leaves.setdefault(f"jil/dev/ch-zug-01/{epoch}", []).append(leaf(text))
            for name, section in sections_of(record["value"], last).items():
                memos += [section] if name == "memo" else []
                for table, key, doc in documents(section):
                    rows.pop((table, key), None)
                    if doc is not None:
                        rows[table, key] = mark(table, key, "ch-zug-01", str(epoch), str(sequence), doc)
                        if table == "kernel.source" and sequence == 0 and epoch:
                            assert json.loads(doc)["previous"] == ends[epoch - 1]
                            assert json.loads(doc)["public_key"] == keys[1].hex()
            outcomes += [last["outcome"]] if "outcome" in last else []
            continue
        note, signatures = record["value"].split("\n\n")
        origin, size, root = note.split("\n")
        assert (int(size), base64.b64decode(root)) == (len(leaves[origin]), merkle_root(leaves[origin]))
        sealed_by = keys if last["type"] == "kernel.key.rotated" else sealed_by
        for key, signature in zip(sealed_by, signatures.strip("\n").split("\n"), strict=True):
            blob = base64.b64decode(signature.split(" ")[2])
            Ed25519PublicKey.from_public_bytes(key).verify(blob[4:], f"{note}\n".encode())
        sealed_by = sealed_by[-1:]
        ends[last["epoch"]] = [last["epoch"], int(size), base64.b64decode(root).hex()]
    total = sum(int(found, 16) for found in rows.values()) % 2**256
    assert f"{total:064x}" == known["state_digest"]
    assert [(outcome["class"], outcome["decision"]) for outcome in outcomes] == [
        (kind, hashlib.sha256(b"jil/decision/v1\x00" + decision["record"].encode()).hexdigest())
        for kind, decision in zip(("approved", "refused", "approved"), known["decisions"], strict=True)
    ]
    assert len(memos) == 2


@pytest.mark.parametrize("field", ["event_id", "timestamp", "sections"])
def test_header_fields_stand_in_wire_order(field):
    order = [
        *("event_id", "network", "source_id", "epoch", "sequence", "topic", "type", "timestamp", "actor", "cause"),
        *("outcome", "command", "schema", "min_reader", "sections", "traceparent", "evidence"),
    ]
    for record in records():
        if record["type"] == "jil.entry":
            names = list(json.loads(slice_header(record["value"])))
            assert names == [name for name in order if name in names]
            assert field in names

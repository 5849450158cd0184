"""The Merkle tree: proofs P1 to P4 of the domain page, as properties."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jilnode.kernel.tree import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(b"%d" % number) for number in range(70)]
sizes = st.integers(1, len(LEAVES))


def test_known_roots():
    """RFC 6962's own example values: the empty tree, and the leaf hash of an empty entry."""
    assert EMPTY_ROOT.hex() == hashlib.sha256().hexdigest()
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


@given(sizes)
def test_the_frontier_is_the_tree(size):
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier.append(leaf)
    assert frontier.root() == root_of(LEAVES[:size])
    assert Frontier(frontier.size, frontier.hashes).root() == frontier.root()


@given(sizes, st.data())
def test_every_leaf_has_an_inclusion_proof_and_no_other_does(size, data):
    index = data.draw(st.integers(0, size - 1))
    leaves, root = LEAVES[:size], root_of(LEAVES[:size])
    proof = inclusion_proof(leaves, index)
    assert verify_inclusion(leaves[index], index, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, root)
    assert not verify_inclusion(leaves[index], index, size, proof, leaf_hash(b"root"))
    if size > 1:
        other = data.draw(st.integers(0, size - 1).filter(lambda item: item != index))
        assert not verify_inclusion(leaves[index], other, size, proof, root)
    for position in range(len(proof)):
        changed = [*proof[:position], leaf_hash(b"x"), *proof[position + 1 :]]
        assert not verify_inclusion(leaves[index], index, size, changed, root)
    assert not verify_inclusion(leaves[index], index, size, [*proof, LEAVES[0]], root)


@given(sizes, st.data())
def test_consistency_of_every_two_sizes(size, data):
    old = data.draw(st.integers(1, size))
    proof = consistency_proof(LEAVES[:size], old)
    old_root, root = root_of(LEAVES[:old]), root_of(LEAVES[:size])
    assert verify_consistency(old, size, proof, old_root, root)
    assert not verify_consistency(old, size, proof, leaf_hash(b"x"), root)
    if old != size:
        assert not verify_consistency(old, size, proof, old_root, leaf_hash(b"x"))


def test_a_frontier_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="subtrees"):
        Frontier(3, [b""])

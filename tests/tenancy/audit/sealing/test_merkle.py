"""Our trees against another author's, and our proofs against the program that customers run."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from tenancy.audit.sealing.merkle import EMPTY_ROOT, Frontier, Tree, cover, fold, leaf_hash, node_hash
from tests.tenancy.audit.sealing.made_exports import tree_of, verifier

BODIES = [f"event {number}".encode() for number in range(70_000)]
LEAVES = [leaf_hash(body) for body in BODIES]


def test_roots_are_another_author_s_for_700_sizes() -> None:
    oracle, mine = InmemoryTree(algorithm="sha256"), Frontier()
    for body, leaf in zip(BODIES[:700], LEAVES, strict=False):
        oracle.append_entry(body)
        mine.extend([leaf])
        assert mine.root == oracle.get_root()
        assert mine.size == oracle.get_size()


def test_proofs_are_another_author_s() -> None:
    oracle = InmemoryTree(algorithm="sha256")
    for body in BODIES[:300]:
        oracle.append_entry(body)
    tree = tree_of(BODIES[:300])
    for index in range(0, 300, 7):
        theirs = oracle.prove_inclusion(index + 1, 300).serialize()["path"]
        assert [one.hex() for one in tree.inclusion(index)] == theirs[1:]  # theirs begins with the leaf itself


def test_a_frontier_grows_the_same_whatever_the_batches() -> None:
    whole = Frontier()
    nodes = whole.extend(LEAVES)
    parts, found = Frontier(), []
    for start, end in pairwise([0, 1, 255, 256, 257, 5_000, 65_536, 65_537, 70_000]):
        parts = Frontier.load(parts.size, parts.packed)  # as it is stored in between
        found += parts.extend(LEAVES[start:end])
    assert (parts, found) == (whole, nodes)
    assert {node.level for node in nodes} == {8, 16}
    assert [node.place for node in nodes if node.level == 8] == list(range(70_000 // 256))


def test_a_frontier_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="no frontier of 32 bytes"):
        Frontier.load(3, bytes(32))


def test_the_smallest_trees_are_the_rfc_s() -> None:
    assert Frontier().root == EMPTY_ROOT == hashlib.sha256(b"").digest()
    assert Frontier(1, [LEAVES[0]]).root == hashlib.sha256(b"\x00event 0").digest()
    assert fold([node_hash(LEAVES[0], LEAVES[1]), LEAVES[2]]) == tree_of(BODIES[:3]).root


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_cover_is_whole_and_of_aligned_subtrees(one: int, other: int) -> None:
    start, end = sorted((one, other))
    at = start
    for level, index in cover(start, end):
        assert index << level == at
        at += 1 << level
    assert at == end
    assert len(list(cover(start, end))) <= 60


@pytest.fixture(scope="module")
def large() -> Tree:
    return tree_of(BODIES)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_every_proof_convinces_the_program_and_no_other_does(large: Tree, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70_000) | st.sampled_from([256, 257, 65_535, 65_536, 65_537]))
    index = data.draw(st.integers(0, size - 1))
    proof, root = large.inclusion(index, size), large.root_at(size)
    assert verifier.is_included(LEAVES[index], index, size, proof, root)
    assert len(proof) <= 17
    assert not verifier.is_included(LEAVES[index - 1], index, size, proof, root) or size == 1
    old = data.draw(st.integers(1, size))
    grown = large.consistency(old, size)
    assert verifier.is_grown(old, large.root_at(old), size, root, grown)
    if old < size:
        assert not verifier.is_grown(old, LEAVES[0] if old > 1 else LEAVES[1], size, root, grown)
        broken = [*grown[:-1], bytes(32)]
        assert not verifier.is_grown(old, large.root_at(old), size, root, broken)


def test_a_proof_in_a_tree_of_millions_reads_a_few_hundred_hashes() -> None:
    read: list[int] = []

    def some(level: int, first: int, count: int) -> list[bytes]:
        read.append(count)
        return [hashlib.sha256(f"{level} {n}".encode()).digest() for n in range(first, first + count)]

    proof = Tree(12_345_678, some).inclusion(7_654_321)
    assert len(proof) == 24
    assert len(read) <= 7
    assert sum(read) <= 7 * 256


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0), (0, 70_001)])
def test_what_is_not_in_a_tree_has_no_proof(large: Tree, index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no such part"):
        large.inclusion(index, size)


def test_a_tree_that_lacks_hashes_proves_nothing() -> None:
    with pytest.raises(ValueError, match="no such part"):
        Tree(300, lambda level, first, count: []).inclusion(0)

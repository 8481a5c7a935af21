"""The tree: published vectors, and agreement with the RFC's own recursive definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import merkle
from ledger.merkle import Frontier, consistency_proof, inclusion_proof, is_consistent, leaf_hash, root_from_inclusion
from tests.ledger import trees

#: The test vectors of Certificate Transparency (certificate-transparency/reference, merkletree_test).
INPUTS = [
    bytes.fromhex(data)
    for data in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
#: Leaf (from 1), size, path.
PATHS = [
    (1, 1, []),
    (1, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (6, 8, ["bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (3, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (2, 5, ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
]  # fmt: skip
#: Old size, new size, path.
EXTENSIONS = [
    (1, 1, []),
    (1, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 5, ["5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
]  # fmt: skip


class Forest:
    """A tree grown leaf by leaf, whose complete subtrees are kept."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.frontier = Frontier()
        self.kept: dict[tuple[int, int], bytes] = {}
        self.looks = 0
        for number, data in enumerate(leaves, 1):
            leaf = leaf_hash(data)
            self.kept[0, number - 1] = leaf
            for level, node in enumerate(self.frontier.add(leaf), 1):
                self.kept[level, (number >> level) - 1] = node

    def nodes(self, level: int, position: int) -> bytes:
        self.looks += 1
        return self.kept[level, position]


LOGS = st.lists(st.binary(max_size=12), min_size=1, max_size=70)


def hexed(hashes: tuple[bytes, ...]) -> list[str]:
    return [each.hex() for each in hashes]


def test_the_published_leaf_and_node_hashes() -> None:
    assert leaf_hash(b"").hex() == ROOTS[1]
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert merkle.node_hash(b"N123", b"N456").hex() == (
        "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    )


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_the_published_roots(size: int) -> None:
    forest = Forest(INPUTS[:size])
    assert forest.frontier.root().hex() == merkle.root(forest.nodes, size).hex() == ROOTS[size]


@pytest.mark.parametrize(("leaf", "size", "path"), PATHS)
def test_the_published_inclusion_proofs(leaf: int, size: int, path: list[str]) -> None:
    assert hexed(inclusion_proof(Forest(INPUTS).nodes, leaf - 1, size)) == path
    hashes = [bytes.fromhex(each) for each in path]
    assert root_from_inclusion(leaf_hash(INPUTS[leaf - 1]), leaf - 1, size, hashes).hex() == ROOTS[size]


@pytest.mark.parametrize(("old", "new", "path"), EXTENSIONS)
def test_the_published_consistency_proofs(old: int, new: int, path: list[str]) -> None:
    assert hexed(consistency_proof(Forest(INPUTS).nodes, old, new)) == path
    roots = [bytes.fromhex(each) for each in ROOTS]
    assert is_consistent(old, roots[old], new, roots[new], [bytes.fromhex(each) for each in path])


@given(LOGS, st.data())
def test_a_naive_tree_agrees_on_random_logs(leaves: list[bytes], data: st.DataObject) -> None:
    forest = Forest(leaves)
    size = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    whole = leaves[:size]
    assert merkle.root(forest.nodes, size) == merkle.frontier(forest.nodes, size).root() == trees.mth(whole)
    path = inclusion_proof(forest.nodes, index, size)
    assert list(path) == trees.path(index, whole)
    assert root_from_inclusion(leaf_hash(leaves[index]), index, size, path) == trees.mth(whole)
    steps = consistency_proof(forest.nodes, old, size)
    assert list(steps) == trees.proof(old, whole)
    assert is_consistent(old, trees.mth(leaves[:old]), size, trees.mth(whole), steps)


@given(LOGS, st.data())
def test_a_proof_with_any_part_changed_proves_nothing(leaves: list[bytes], data: st.DataObject) -> None:
    forest, size = Forest(leaves), len(leaves)
    index = data.draw(st.integers(0, size - 1))
    path = list(inclusion_proof(forest.nodes, index, size))
    genuine, leaf = forest.frontier.root(), leaf_hash(leaves[index])
    for wrong in (path[1:], path[:-1], [*path, bytes(32)], [bytes(32), *path], [bytes(32), *path[1:]]):
        if wrong != path:
            with pytest.raises(ValueError, match="path is too") if len(wrong) != len(path) else _nothing():
                assert root_from_inclusion(leaf, index, size, wrong) != genuine
    assert root_from_inclusion(leaf_hash(leaves[index] + b"!"), index, size, path) != genuine


@given(LOGS, st.data())
def test_a_fork_is_not_consistent(leaves: list[bytes], data: st.DataObject) -> None:
    forest, size = Forest(leaves), len(leaves)
    old = data.draw(st.integers(1, size))
    changed = data.draw(st.integers(0, old - 1))
    forked = trees.mth([*leaves[:changed], leaves[changed] + b"!", *leaves[changed + 1 : old]])
    steps = consistency_proof(forest.nodes, old, size)
    root = forest.frontier.root()
    assert not is_consistent(old, forked, size, root, steps)
    for wrong in (steps[1:], steps[:-1], (*steps, bytes(32))):
        if wrong != steps:
            assert not is_consistent(old, trees.mth(leaves[:old]), size, root, wrong)


def test_a_repeated_last_leaf_gives_another_root() -> None:
    assert Forest([b"a", b"b", b"c"]).frontier.root() != Forest([b"a", b"b", b"c", b"c"]).frontier.root()


@pytest.mark.parametrize(("old", "new"), [(0, 4), (5, 4), (-1, 4)])
def test_impossible_extensions_are_refused(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="does not grow"):
        consistency_proof(Forest(INPUTS).nodes, old, new)
    assert not is_consistent(old, bytes(32), new, bytes(32), ())


@pytest.mark.parametrize(("index", "size"), [(4, 4), (-1, 4), (0, 0)])
def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="is not in a tree"):
        inclusion_proof(Forest(INPUTS).nodes, index, size)
    with pytest.raises(ValueError, match="is not in a tree"):
        root_from_inclusion(bytes(32), index, size, ())


def test_a_proof_takes_a_logarithm_of_looks() -> None:
    forest = Forest([bytes([n % 256, n // 256]) for n in range(5000)])
    for make in (
        lambda: inclusion_proof(forest.nodes, 1234, 4999),
        lambda: consistency_proof(forest.nodes, 3001, 4999),
        lambda: merkle.frontier(forest.nodes, 4999),
    ):
        forest.looks = 0
        make()
        assert forest.looks <= 2 * 13


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

"""The Merkle tree of RFC 6962, section 2.1, as pure functions.

A leaf is SHA-256 of 0x00 and the exact bytes of a record; a node is SHA-256 of 0x01 and its two children; a tree of n
leaves is split at the largest power of two below n. Records are numbered from 1 in the ledger and from 0 here.

A complete subtree never changes once its last leaf is there. ``(level, position)`` names the one of ``2**level`` leaves
that starts at leaf ``position << level``; whoever can look those up (``Nodes``) has the root of any older tree and any
proof in O(log n) look-ups.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

#: The hash of the complete subtree (level, position).
Nodes = Callable[[int, int], bytes]

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()

_LEAF = hashlib.sha256(b"\x00")


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf that holds ``data``."""
    hashed = _LEAF.copy()
    hashed.update(data)
    return hashed.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node above ``left`` and ``right``."""
    return hashlib.sha256(b"\x01" + left + right).digest()


# --- growing ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Frontier:
    """The right edge of a growing tree: the roots of its complete subtrees, largest first, one per set bit of size."""

    size: int = 0
    hashes: list[bytes] = field(default_factory=list)

    def add(self, leaf: bytes) -> tuple[bytes, ...]:
        """Append a leaf; returns the subtrees of level 1, 2, … that it completes."""
        completed = []
        index, hashed = self.size, leaf
        while index & 1:
            hashed = node_hash(self.hashes.pop(), hashed)
            completed.append(hashed)
            index >>= 1
        self.hashes.append(hashed)
        self.size += 1
        return tuple(completed)

    def root(self) -> bytes:
        """The root of the tree as it is."""
        return _fold(self.hashes)

    def copy(self) -> "Frontier":
        """Another one that grows on its own."""
        return Frontier(self.size, list(self.hashes))


def frontier(nodes: Nodes, size: int) -> Frontier:
    """The right edge of the tree of the first ``size`` leaves."""
    return Frontier(size, [nodes(level, position) for level, position in _cover(0, size)])


def root(nodes: Nodes, size: int) -> bytes:
    """The root of the tree of the first ``size`` leaves."""
    return _range_hash(nodes, 0, size)


# --- proofs -----------------------------------------------------------------------------------------------------------


def inclusion_proof(nodes: Nodes, index: int, size: int) -> tuple[bytes, ...]:
    """The audit path of leaf ``index`` in the tree of ``size`` leaves, from the leaf upwards (PATH of the RFC)."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_hash(nodes, middle, end))
            end = middle
        else:
            path.append(_range_hash(nodes, start, middle))
            start = middle
    return tuple(reversed(path))


def consistency_proof(nodes: Nodes, old: int, new: int) -> tuple[bytes, ...]:
    """That the tree of ``new`` leaves begins with the tree of ``old`` leaves (PROOF of the RFC)."""
    if not 0 < old <= new:
        raise ValueError(f"a tree of {old} leaves does not grow into one of {new}")
    path = []
    start, end = 0, new
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range_hash(nodes, middle, end))
            end = middle
        else:
            path.append(_range_hash(nodes, start, middle))
            start = middle
    if start:
        path.append(_range_hash(nodes, start, end))
    return tuple(reversed(path))


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that ``path`` leads to from ``leaf`` (RFC 9162, 2.1.3.2). Raises ValueError if it does not fit."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    hashed, here, last = leaf, index, size - 1
    for sibling in path:
        if last == 0:
            raise ValueError("the path is too long")
        if here & 1 or here == last:
            hashed = node_hash(sibling, hashed)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            hashed = node_hash(hashed, sibling)
        here, last = here >> 1, last >> 1
    if last != 0:
        raise ValueError("the path is too short")
    return hashed


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether ``path`` proves that the new tree begins with the old one (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not path and old_root == new_root
    steps = list(path) if old & (old - 1) else [old_root, *path]
    if not steps:
        return False
    here, last = old - 1, new - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            second = node_hash(second, step)
        here, last = here >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


# --- ranges of leaves -------------------------------------------------------------------------------------------------


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


def _cover(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The complete subtrees, largest first, that make up the leaves from ``start``; which is aligned to their size."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def _range_hash(nodes: Nodes, start: int, end: int) -> bytes:
    return _fold([nodes(level, position) for level, position in _cover(start, end)])


def _fold(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return EMPTY_ROOT
    hashed = hashes[-1]
    for left in reversed(hashes[:-1]):
        hashed = node_hash(left, hashed)
    return hashed

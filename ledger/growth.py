"""The Merkle tree of many records at once, a page at a time: the same tree, at half the cost of adding leaf by leaf."""

import hashlib
from collections.abc import Sequence

from ledger.merkle import Frontier

#: A power of two, so that a page is a complete subtree.
PAGE_LEVEL = 9
PAGE = 1 << PAGE_LEVEL


class Growth:
    """A tree that grows by whole pages of ``PAGE`` records; the last page may be shorter, and ends it."""

    def __init__(self, start: Frontier) -> None:
        """Go on from ``start``, which must end with a whole page."""
        if start.size % PAGE:
            raise ValueError(f"a tree of {start.size} records does not end with a page")
        #: Each leaf of it is a page.
        self._pages = Frontier(start.size >> PAGE_LEVEL, list(start.hashes))
        self._before = start.copy()
        self._levels: list[list[bytes]] = [[]]

    def add(self, records: Sequence[bytes]) -> list[bytes]:
        """Append a page; returns for each record the subtrees that end with it, as they are stored with it."""
        self._before = self.frontier()
        sha256 = hashlib.sha256
        hashes = [sha256(b"\x00" + record).digest() for record in records]
        self._levels = [hashes]
        subtrees = [b""] * len(hashes)
        while len(hashes) > 1:
            odd = len(hashes) & ~1
            hashes = [
                sha256(b"\x01" + left + right).digest()
                for left, right in zip(hashes[:odd:2], hashes[1::2], strict=True)
            ]
            width = 1 << len(self._levels)
            for place, hashed in enumerate(hashes, 1):
                subtrees[place * width - 1] += hashed
            self._levels.append(hashes)
        if len(records) == PAGE:
            subtrees[-1] += b"".join(self._pages.add(hashes[0]))
        return subtrees

    def frontier(self, count: int | None = None) -> Frontier:
        """The right edge after the first ``count`` records of the last page; of all of them by default."""
        leaves = self._levels[0]
        size = len(leaves) if count is None else count
        if size == PAGE:
            return Frontier(self._pages.size << PAGE_LEVEL, list(self._pages.hashes))
        edge = list(self._before.hashes)
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                edge.append(self._levels[level][(size >> level) - 1])
        return Frontier(self._before.size + size, edge)

    def root(self, count: int) -> bytes:
        """The root of the tree with the first ``count`` records of the last page."""
        return self.frontier(count).root()

"""The Merkle tree as it is stored: with each record, the complete subtrees that end with it."""

import sqlite3

from ledger import merkle
from ledger.merkle import HASH_BYTES, Frontier, Nodes, leaf_hash
from ledger.rows import damaged

_SELECT_RECORD = "SELECT record FROM events WHERE seq = ?"
_SELECT_SUBTREE = "SELECT substr(subtrees, ?, 32) FROM events WHERE seq = ?"


def stored_nodes(connection: sqlite3.Connection) -> Nodes:
    """Look-ups of complete subtrees, one row each; raises LedgerDamaged for one that is missing."""

    def node(level: int, position: int) -> bytes:
        seq = (position + 1) << level
        if level == 0:
            row = connection.execute(_SELECT_RECORD, (seq,)).fetchone()
            if row is None:
                raise damaged(seq, "it is missing")
            return leaf_hash(row[0])
        row = connection.execute(_SELECT_SUBTREE, (HASH_BYTES * (level - 1) + 1, seq)).fetchone()
        if row is None:
            raise damaged(seq, "it is missing")
        hashed: bytes = row[0]
        if len(hashed) != HASH_BYTES:
            raise damaged(seq, f"its subtree of {1 << level} records is missing")
        return hashed

    return node


def read_frontier(connection: sqlite3.Connection, size: int) -> Frontier:
    """The right edge of the tree of the first ``size`` records."""
    return merkle.frontier(stored_nodes(connection), size)


def read_root(connection: sqlite3.Connection, size: int) -> bytes:
    """The root of the tree of the first ``size`` records, as stored."""
    return merkle.root(stored_nodes(connection), size)

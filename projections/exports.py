"""Records as they are stored: the exact bytes that were hashed, which alone can be verified."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from ledger import rows, schema

_PAGE = 256


def stored_bytes(path: Path, seqs: Sequence[int]) -> Iterator[bytes]:
    """The bytes of the records ``seqs`` of the ledger file ``path``, in that order.

    Raises LedgerDamaged for bytes that are not those that were hashed, and as the reader does.
    """
    try:
        connection = schema.connect_reader(path)
        try:
            for start in range(0, len(seqs), _PAGE):
                yield from _page(connection, seqs[start : start + _PAGE])
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise schema.explain(error, f"read ledger {path}") from error


def _page(connection: sqlite3.Connection, seqs: Sequence[int]) -> Iterator[bytes]:
    marks = ", ".join("?" * len(seqs))
    found = {row.seq: row for row in rows.select(connection, f"WHERE seq IN ({marks})", seqs)}
    for seq in seqs:
        row = found.get(seq)
        if row is None:
            raise rows.damaged(seq, "it is missing")
        row.decode_any()
        yield row.record

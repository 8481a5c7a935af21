"""Large ledgers, written by the real encoder and tree, but many transactions to a commit and without waiting for disks.

``python -m tests.ledger.bulk DIRECTORY RECORDS``
"""

import sqlite3
import sys
from contextlib import closing
from itertools import count
from pathlib import Path

from ledger import index, rows, schema
from ledger.events import TransactionEvent
from ledger.index import Stream
from ledger.merkle import Frontier
from ledger.pen import Pen
from ledger.rows import Tail
from ledger.sheaf import Sheaf
from ledger.tree import read_frontier
from tests.ledger.fakes import ORIGIN, CountedIds, FakeClock, begun, committed, create, started, succeeded

_STEPS = 8
_TOGETHER = 2000


def grow(directory: Path, records: int) -> None:
    """Bring the ledger in ``directory`` to at least as many records, in committed transactions of eight steps."""
    create(directory).close()
    ids = CountedIds()
    with closing(schema.connect(directory / schema.LEDGER_FILE)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        tail = rows.read_tail(connection)
        frontier = read_frontier(connection, tail.seq)
        pen = Pen(ORIGIN, FakeClock(), lambda: f"b{ids()[1:]}")
        for number in count(tail.seq):
            if tail.seq >= records:
                break
            if number % _TOGETHER == 0 or not connection.in_transaction:
                if connection.in_transaction:
                    connection.execute("COMMIT")
                connection.execute("BEGIN IMMEDIATE")
            tail, frontier = _one(connection, pen, tail, frontier, f"{number:08d}")
        if connection.in_transaction:
            connection.execute("COMMIT")
        schema.checkpoint(connection)


def _one(connection: sqlite3.Connection, pen: Pen, tail: Tail, frontier: Frontier, name: str) -> tuple[Tail, Frontier]:
    stream: Stream | None = None
    sheaf = Sheaf(pen, tail, frontier)
    events: list[TransactionEvent] = [begun(f"jail:jail{int(name) % 20}", _STEPS)]
    for step in range(1, _STEPS + 1):
        events += [started(step), succeeded(step)]
    for event in [*events, committed()]:
        stream = index.follow(stream, name, event, sheaf.tail.seq + 1)
        sheaf.add(stream.version, event, name, stream.begun)
    for row in sheaf.rows:
        rows.insert(connection, row)
    if stream is not None:
        index.put(connection, stream)
    return sheaf.tail, sheaf.frontier


if __name__ == "__main__":
    grow(Path(sys.argv[1]), int(sys.argv[2]))

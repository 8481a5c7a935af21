"""What is recorded: programs around the real writer, each run as ``python -m tests.power_loss.programs ROOT NAME …``.

A program marks what it was told: ``ack`` with the bytes of records that an append has returned, or that opening has
found there, since whoever opens a ledger acts on what it reads in it.
"""

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger import rows, schema
from ledger.codec import Record, encode
from ledger.events import RecoveryStarted, TransactionEvent
from ledger.writer import LedgerWriter
from tests.ledger.fakes import ORIGIN, CountedIds, FakeClock, begun, started, succeeded, whole_unwinding, whole_upgrade
from tests.power_loss.trace import MARKS, mark_line, pack

LEDGER = "ledger"
Tell = Callable[[str, dict[str, object]], None]


def teller(root: Path) -> Tell:
    """Writes marks into the trace."""
    fd = os.open(root / MARKS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(kind: str, content: dict[str, object]) -> None:
        os.write(fd, mark_line(kind, content))

    return tell


class Telling:
    """A writer whose acknowledgements are marks."""

    def __init__(self, writer: LedgerWriter, tell: Tell) -> None:
        self.writer = writer
        self._tell = tell
        found = rows.select(writer._store.connection, "ORDER BY seq")
        self._ack([row.record for row in found])

    def append(self, transaction: str, *events: TransactionEvent) -> None:
        self.tell_all(self.writer.append(transaction, *events))

    def note(self) -> None:
        self.tell_all(self.writer.note(RecoveryStarted(boot_id="boot-2", open=())))

    def tell_all(self, records: tuple[Record, ...]) -> None:
        self._ack([encode(record) for record in records])

    def _ack(self, records: list[bytes]) -> None:
        self._tell("ack", {"records": [pack(record) for record in records]})


class Weak(sqlite3.Connection):
    """A connection that makes less of ``synchronous``, or of the log, than it is asked to."""

    instead: dict[str, tuple[str, ...]]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        *before, last = self.instead.get(sql, (sql,))
        for statement in before:
            super().execute(statement)
        return super().execute(last, parameters)


_SYNC, _LOG = "PRAGMA synchronous = EXTRA", "PRAGMA journal_mode = WAL"
_ROLLBACK = ("PRAGMA journal_mode = DELETE", "SELECT 'wal'")
#: How to open, and what is then done instead of the writer's pragmas.
CONNECTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "as shipped": {},
    "small log": {_LOG: ("PRAGMA wal_autocheckpoint = 12", _LOG)},
    "normal": {_SYNC: ("PRAGMA synchronous = NORMAL",)},
    "off": {_SYNC: ("PRAGMA synchronous = OFF",)},
    "rollback journal, extra": {_LOG: _ROLLBACK},
    "rollback journal, full": {_SYNC: ("PRAGMA synchronous = FULL",), _LOG: _ROLLBACK},
}


def connector(name: str) -> schema.Connect:
    """The real ``connect``, or one of the weak ones."""
    if name == "as shipped":
        return schema.connect

    class Connection(Weak):
        instead = CONNECTIONS[name]

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Connection)

    return connect


def work(telling: Telling, run: int, commits: int) -> None:
    """As many commits of all sizes: transactions that end well, that are taken back, that stay open; notes."""
    left = commits
    number = 0
    while left > 0:
        number += 1
        transaction = f"{run:04}{number:04}"
        target = f"jail:w{run}x{number}"
        match number % 5:
            case 1:
                events = whole_upgrade(target)
                batches = [events[:2], events[2:4], events[4:]]
            case 2:
                events = whole_unwinding(target)
                batches = [events[:3], events[3:5], events[5:]]
            case 3:
                batches = [(begun(target, padding=(300, 3000, 9000, 30_000)[number // 5 % 4]), started(1))]
            case 4:
                batches = [(begun(target),), (started(1),), (succeeded(1), started(2)), (succeeded(2),)]
            case _:
                telling.note()
                left -= 1
                continue
        for batch in batches[:left]:
            telling.append(transaction, *batch)
        left -= len(batches)


def run(root: Path, action: str, number: int, commits: int, connection: str) -> None:
    """Open (or ``create``) the ledger, append, and close it (or ``leave`` it, as a process that just ends)."""
    tell = teller(root)
    opened = LedgerWriter.create if "create" in action else LedgerWriter.open
    ids = CountedIds(number * 1000)
    writer = opened(root / LEDGER, ORIGIN, FakeClock(), new_id=ids, connect=connector(connection))
    work(Telling(writer, tell), number, commits)
    if "leave" in action:
        os._exit(0)
    writer.close()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])

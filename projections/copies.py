"""A copy of the ledger and of its projections, to be looked at by others: a live file is not for that.

A page that is being read must not change under the reader, and who opens the live file from outside may miss what still
lies in its write-ahead log, or see it from a stale one.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from ledger import schema
from ledger.reader import LedgerReader
from projections import tables
from projections.projector import open_projector
from projections.shelf import projections_path
from projections.timeline import entry

_CHUNK = 1 << 20
_PAGE = 5000
HISTORY_FILE = "history.db"


@dataclass(frozen=True, slots=True)
class Copy:
    """A file and the SHA-256 of its bytes."""

    path: Path
    sha256: str

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """Look into it; it is not written to."""
        uri = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            yield connection


def copy_ledger(reader: LedgerReader, directory: Path) -> Path:
    """Copy the ledger as it is at this moment into ``directory``, which exists; returns the directory of the copy."""
    place = directory / "ledger"
    place.mkdir(mode=0o700)
    _backup(reader.path, place / schema.LEDGER_FILE)
    source = projections_path(reader)
    if source.is_file():
        _backup(source, directory / source.name)  # so that little has to be caught up
    return place


def copy_history(copied: LedgerReader, directory: Path) -> Copy:
    """The projections of the copied ledger and its log, as a file of their own that nobody catches up any more."""
    path = directory / HISTORY_FILE
    with open_projector(copied) as projector, closing(_create(path)) as target:
        projector.database.conn.backup(target)
        _spell_out(copied, Database(target, execute_plugins=False))
        _finish(target)
    projections_path(copied).unlink(missing_ok=True)
    return Copy(path, digest_of(path))


def _spell_out(copied: LedgerReader, database: Database) -> None:
    """Add the log in words, for who has no rootswap to make its lines when they are asked for."""
    database.conn.execute("BEGIN")
    tables.LOG.create(database)
    seq = 0
    while lines := list(map(entry, copied.plain_records(after=seq, limit=_PAGE))):
        tables.LOG.put(database, lines)
        seq = lines[-1].seq
    tables.LOG.index(database)
    database.conn.execute("COMMIT")


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _backup(source: Path, target: Path) -> None:
    with closing(schema.connect_reader(source)) as original, closing(_create(target)) as copy:
        original.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def _create(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    return sqlite3.connect(path, isolation_level=None)


def _finish(connection: sqlite3.Connection) -> None:
    """Statistics for the planner, a sample of them: without any, some questions take minutes on a large history."""
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA analysis_limit = 400")
    connection.execute("ANALYZE")

"""The projections as they lie on disk, for questions: a plain connection, without what it takes to write them.

Loading that takes a third of the time of a command, and most questions are asked of a ledger that has not grown since.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ledger.reader import LedgerReader

PROJECTIONS_FILE = "projections.db"
#: Of the tables and of every rule that fills them: a file of another version is dropped and built anew.
VERSION = 6


@contextmanager
def open_tables(reader: LedgerReader) -> Iterator[sqlite3.Connection]:
    """The tables of the projections of ``reader``'s ledger, up to date; not to be written to."""
    connection = _open_current(reader)
    if connection is not None:
        with closing(connection):
            yield connection
        return
    from projections.projector import open_projector

    with open_projector(reader) as projector:
        yield projector.database.conn


def projections_path(reader: LedgerReader) -> Path:
    """The file that holds the projections of ``reader``'s ledger."""
    return reader.path.parent.parent / PROJECTIONS_FILE


def is_ours(ledger: Path, path: Path) -> bool:
    """Whether the ledger is ours, and the file too if it is there: nobody else may put words into our mouth."""
    try:
        user = os.geteuid()
        return ledger.stat().st_uid == user and (not os.path.lexists(path) or path.lstat().st_uid == user)
    except OSError:
        return False


def _open_current(reader: LedgerReader) -> sqlite3.Connection | None:
    """The file, if it is all that the ledger says; None if it has to be caught up or cannot be used."""
    path = projections_path(reader)
    if not is_ours(reader.path, path) or path.is_symlink() or not path.is_file():
        return None
    connection: sqlite3.Connection | None = None
    with suppress(sqlite3.Error):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        if _is_current(connection, reader):
            return connection
    if connection is not None:
        connection.close()
    return None


def _is_current(connection: sqlite3.Connection, reader: LedgerReader) -> bool:
    if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
        return False
    position = connection.execute("SELECT seq, event_id FROM position").fetchone()
    if position is None or position[0] != reader.last_seq():
        return False
    last = next(reader.records(after=position[0] - 1, limit=1), None)
    return last is not None and last.event_id == position[1]

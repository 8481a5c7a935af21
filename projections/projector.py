"""The projector: keeps the tables of the read side up with the ledger.

It reads on from its position, and commits lines and position together, so that a kill leaves neither behind the other.
The file can be dropped at any time: built from nothing it has the same content, to the byte.
"""

import gc
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from ledger.plain import PlainRecord
from ledger.reader import LedgerReader
from projections import tables
from projections.batch import Batch
from projections.shelf import PROJECTIONS_FILE, is_ours, projections_path

__all__ = ["PROJECTIONS_FILE", "Projector", "open_projector", "projections_path"]

PAGE = 5000
BUSY_TIMEOUT_S = 5.0
#: Of what is made from nothing, 64 MiB stay in memory until the end.
_CACHE = "PRAGMA cache_size = -65536"


class Place(NamedTuple):
    """The last record that was read, and its moment."""

    seq: int
    at: str | None


NOWHERE = Place(0, None)


class Projector:
    """Projections of one ledger in one database, which belongs to it.

    - ``catch_up`` reads the records after the position and commits page by page; run by two processes at a time, one
      waits for the other.
    - A database of another version of the tables, or one that was made from another ledger, is emptied first. What is
      made from nothing comes in one commit, its indexes last.
    - The content depends on the records alone: not on where the pages were cut, nor on when.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take over ``connection``, which must have been opened with ``isolation_level=None``."""
        self.database = Database(connection, execute_plugins=False)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def catch_up(self, reader: LedgerReader, *, until: int | None = None, page: int | None = None) -> int:
        """Read on to the end of the ledger, or ``until`` there, and return the position."""
        while True:
            with self._committing():
                place = self._place(reader)
                if place is NOWHERE:
                    return self._build(reader, until, page or PAGE).seq
                after = self._read_on(reader, place, until, page or PAGE)
                if after == place:
                    return place.seq

    def _build(self, reader: LedgerReader, until: int | None, size: int) -> "Place":
        """Make everything from nothing, in the caller's transaction: a kill leaves what was there before."""
        for name in self.database.table_names():
            self.database.table(name).drop()
        self.database.conn.execute(_CACHE)
        tables.lay_out(self.database)
        place, after = NOWHERE, self._read_on(reader, NOWHERE, until, size)
        while after != place:
            place, after = after, self._read_on(reader, after, until, size)
        tables.lay_out_indexes(self.database)
        self.database.conn.execute(f"PRAGMA user_version = {tables.VERSION}")
        return place

    def _read_on(self, reader: LedgerReader, place: "Place", until: int | None, size: int) -> "Place":
        """Project the page after ``place``; returns the place then."""
        batch = Batch(self.database, place.at)
        last: PlainRecord | None = None
        with _no_search_for_garbage():
            for record in reader.plain_records(after=place.seq, until=until, limit=size):
                batch.add(record)
                last = record
            if last is None:
                return place
            batch.write()
        at = {"id": 1, "seq": last.seq, "event_id": last.event_id}
        self.database.table("position").upsert(at, pk="id")
        return Place(last.seq, last.at)

    def dump(self) -> str:
        """The whole content as JSON lines, each table in the order in which it was written."""
        lines = []
        for name in sorted(self.database.table_names()):
            for row in self.database.table(name).rows_where(order_by="rowid"):
                lines.append(json.dumps({"table": name, **row}, separators=(",", ":"), ensure_ascii=False) + "\n")
        return "".join(lines)

    def _place(self, reader: LedgerReader) -> "Place":
        """Where we stand; NOWHERE if nothing that is there is of any use."""
        if self._version() != tables.VERSION:
            return NOWHERE
        row = next(iter(list(self.database.query("SELECT seq, event_id FROM position"))), None)
        if row is None:
            return NOWHERE
        # The record at our place tells whether this is still the ledger that we have read.
        last = next(reader.records(after=row["seq"] - 1, until=row["seq"]), None)
        return Place(last.seq, last.at) if last is not None and last.event_id == row["event_id"] else NOWHERE

    def _version(self) -> int:
        version: int = self.database.conn.execute("PRAGMA user_version").fetchone()[0]
        return version

    @contextmanager
    def _committing(self) -> Iterator[None]:
        # Not Database.atomic(): it would begin with a lock to read, and two processes could then both want to write.
        connection = self.database.conn
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """A page of records is many small objects, none of them in a ring: to look for rings takes a fourth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def open_projector(reader: LedgerReader) -> Iterator[Projector]:
    """The projections of ``reader``'s ledger, up to date.

    They are kept in a file beside the directory of the ledger by whoever owns that directory and may write there. For
    anyone else, and where the file cannot be used, they are built in memory.
    """
    projector = _open_file(reader) or _in_memory(reader)
    try:
        yield projector
    finally:
        projector.close()


def _in_memory(reader: LedgerReader) -> Projector:
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    projector.catch_up(reader)
    return projector


def _open_file(reader: LedgerReader) -> Projector | None:
    path = projections_path(reader)
    if not is_ours(reader.path, path):
        return None
    for _ in range(2):
        try:
            return _try_file(reader, path)
        except sqlite3.OperationalError:
            return None  # read-only, full, or locked for too long
        except sqlite3.DatabaseError:
            # Not a database, or a damaged one. Nothing in it is worth keeping.
            with suppress(OSError):
                path.unlink()
        except OSError:
            return None
    return None


def _try_file(reader: LedgerReader, path: Path) -> Projector:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    projector = Projector(sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S))
    try:
        projector.catch_up(reader)
    except BaseException:
        projector.close()
        raise
    return projector

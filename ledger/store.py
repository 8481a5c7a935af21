"""The file as the writer holds it: one connection, and commits whose outcome is always known.

SQLite cannot say what a COMMIT that failed has left: its bytes may lie in the write-ahead log, whole and valid, so that
the next one to open the file finds them. So the store opens the file afresh, which is what a crash would do, and looks.
"""

import errno
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import sqlite_utils

from ledger import index, rows, schema, seals, tree
from ledger.checkpoint import Seal
from ledger.errors import AppendFailed, IllegalEvent, LedgerDamaged, LedgerError, LedgerNewer, LedgerUnusable
from ledger.index import Stream, TransactionRow
from ledger.merkle import Frontier
from ledger.rows import Row, Tail, damaged

#: What a commit may take beside its records: pages of two tables and eight indexes, log and shared index.
_COMMIT_BYTES = 128 << 10
#: SQLite's shared index, which grows in these steps.
_INDEX_BYTES = 64 << 10
#: With less room than this, we ask the file system rather than believe it.
_LOW_BYTES = 8 << 20
_PROBE_BYTES = 16 << 10
_MEND = "mend the disk, then run `rootswap recover`"


@dataclass(frozen=True, slots=True)
class Contents:
    """What the writer has to know of the file: its end, the right edge of its tree, and the open transactions."""

    tail: Tail
    frontier: Frontier
    streams: dict[str, Stream]


class Store:
    """The writer's connection to the file.

    ``is_stale`` is set by ``write`` and cleared by the writer once it has taken note: whoever finds it set (a signal
    got in between) must ``reload``.
    """

    def __init__(self, path: Path, connect: schema.Connect) -> None:
        self.path = path
        self.is_stale = True
        self._connect = connect
        self._why_unusable: str | None = None
        self._directory = os.fspath(path.parent)
        _require_index_room(self._directory)
        _settle(path)
        self._database = self._open()

    @property
    def connection(self) -> sqlite3.Connection:
        """The one connection; raises LedgerUnusable on a full disk, or if a commit's outcome could not be learnt."""
        self._require_usable()
        _require_index_room(self._directory)
        return self._database.conn

    def close(self) -> None:
        """Empty the write-ahead log if possible, so that the file alone is the ledger, and let go of it."""
        with suppress(sqlite3.Error):
            schema.checkpoint(self._database.conn)
        self._database.close()

    def load(self) -> Contents:
        """Look at the guards, the end and the open transactions; raises LedgerDamaged or LedgerNewer."""
        connection = self.connection
        schema.check_objects(connection)
        tail = rows.read_tail(connection)
        newest = index.select_transactions(connection, "ORDER BY begun_seq DESC LIMIT 1")
        if newest and newest[0].last_seq > tail.seq:
            raise damaged(tail.seq + 1, f"it is missing, but transaction {newest[0].transaction} has it")
        streams = {row.transaction: _open_stream(connection, row) for row in index.open_rows(connection)}
        self.is_stale = False
        return Contents(tail, tree.read_frontier(connection, tail.seq), streams)

    def reload(self) -> Contents:
        """``load`` on a fresh connection."""
        self._require_usable()
        self._reopen()
        return self.load()

    def require_room(self, record_bytes: int) -> None:
        """Raise AppendFailed unless a commit of as many bytes of records has room on the disk."""
        self._require_usable()
        # Records are written twice, to the log and later to the file.
        if not has_room(self._directory, 2 * record_bytes + _COMMIT_BYTES):
            raise AppendFailed("cannot append to the ledger: its file system is full", remedy=schema.MAKE_ROOM)

    def write(self, new: Sequence[Row], stream: Stream | None, before: Stream | None = None) -> None:
        """Commit ``new`` rows and the index of their ``stream``; when this returns, they are on the disk.

        ``before`` is that stream as the index is known to have it, if it is. Raises AppendFailed if they certainly are
        not, LedgerUnusable if nobody can say.
        """
        self.require_room(sum(len(row.record) for row in new))
        last = new[-1]

        def put(connection: sqlite3.Connection) -> None:
            for row in new:
                rows.insert(connection, row)
            if stream is not None:
                index.put(connection, stream, before)

        def is_there(connection: sqlite3.Connection) -> bool:
            return any(row.hash == last.hash for row in rows.select(connection, "WHERE seq = ?", (last.seq,)))

        self._commit(put, is_there)

    def write_seal(self, seal: Seal, at: str) -> None:
        """Commit ``seal``; raises as ``write`` does."""
        self.require_room(len(seal.signature))
        size = seal.checkpoint.size
        self._commit(
            lambda connection: seals.put(connection, seal, at),
            lambda connection: seals.find_seal(connection, size) == seal,
        )

    def _commit(
        self, put: Callable[[sqlite3.Connection], None], is_there: Callable[[sqlite3.Connection], bool]
    ) -> None:
        connection = self._database.conn
        self.is_stale = True
        try:
            connection.execute("BEGIN IMMEDIATE")
            put(connection)
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            # A constraint means that somebody else has written, and that what we know of the file is out of date.
            self.is_stale = isinstance(error, sqlite3.IntegrityError)
            raise schema.explain(error, "append to the ledger", AppendFailed) from error
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if not self._survived(is_there, error):
                self.is_stale = False
                raise schema.explain(error, "append to the ledger", AppendFailed) from error

    def _survived(self, is_there: Callable[[sqlite3.Connection], bool], cause: sqlite3.Error) -> bool:
        """Whether what was put is in the ledger after a COMMIT that failed, and then on the disk for good."""
        try:
            self._reopen()
            is_present = is_there(self._database.conn)
        except (sqlite3.Error, LedgerError) as error:
            raise self._give_up(f"a commit failed ({cause}) and its outcome cannot be read ({error})") from cause
        # Emptying the log makes durable what is there and wipes what is not. Where that fails, the next append writes
        # over what is not there; before it, nothing may happen that those events would belie.
        try:
            is_emptied = schema.checkpoint(self._database.conn)
        except sqlite3.Error:
            is_emptied = False
        if is_present and not is_emptied:
            raise self._give_up(f"a commit failed ({cause}) and what it left cannot be made durable") from cause
        return is_present

    def _require_usable(self) -> None:
        if self._why_unusable is not None:
            raise LedgerUnusable(self._why_unusable, remedy=_MEND)

    def _give_up(self, cause: str) -> LedgerUnusable:
        self._why_unusable = f"cannot use the ledger: {cause}"
        return LedgerUnusable(self._why_unusable, remedy=_MEND)

    def _reopen(self) -> None:
        self._database.close()
        self._database = self._open()

    def _open(self) -> sqlite_utils.Database:
        with ExitStack() as undo:
            connection = self._connect(self.path)
            undo.callback(connection.close)
            schema.check_identity(connection, self.path)
            schema.prepare_writer(connection)
            database = sqlite_utils.Database(connection, execute_plugins=False)
            undo.pop_all()
        return database


def require_versions() -> None:
    """Raise LedgerUnusable if SQLite or sqlite-utils are too old."""
    schema.require_sqlite(sqlite3.sqlite_version_info)
    schema.require_sqlite_utils(version("sqlite-utils"))


def make_directory(directory: Path) -> None:
    """Make ``directory``, for us alone, and make its name durable."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    last_there = missing[-1].parent if missing else directory
    # It may be what a run that was killed has made and not synced. Where we may not look, we have made nothing.
    with suppress(PermissionError):
        _sync_directory(last_there.parent)
    for path in reversed(missing):
        path.mkdir(mode=0o700 if path == directory else 0o777, exist_ok=True)
        _sync_directory(path.parent)


def has_room(directory: str, needed_bytes: int) -> bool:
    """Whether ``needed_bytes`` more can be written to the file system of ``directory``.

    SQLite's shared index is mapped memory, and on a full Btrfs to touch it, even to read or to close, is not an error
    but a SIGBUS: so we ask before SQLite does. Free space as reported cannot say (root may have a reserve, Btrfs has
    none), so where it is low we try.
    """
    found = os.statvfs(directory)
    if found.f_bavail * found.f_frsize >= _LOW_BYTES + needed_bytes:
        return True
    try:
        _try_room(Path(directory, schema.LEDGER_FILE + ".room"), needed_bytes)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return False
        raise
    return True


def _require_index_room(directory: str) -> None:
    if not has_room(directory, _INDEX_BYTES):
        raise LedgerUnusable("cannot use the ledger: its file system is full", remedy=schema.MAKE_ROOM)


def _try_room(probe: Path, needed_bytes: int) -> None:
    """Dirty as many pages and drop them before they are written back: reserved, but never allocated."""
    fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        left = needed_bytes
        while left > 0:
            left -= os.write(fd, bytes(min(left, _PROBE_BYTES)))
    finally:
        os.ftruncate(fd, 0)
        os.close(fd)
        probe.unlink()


def build(path: Path, first: Row) -> None:
    """Make the file ``path`` with its ``first`` record, so that a kill leaves the whole file or none."""
    log = path.with_name(path.name + "-wal")
    if log.exists():
        raise LedgerDamaged(
            f"cannot create ledger {path}: {log.name} is left of an earlier one, and would become part of it",
            remedy=f"restore {path.name}, or move {log.name} away",
        )
    draft = path.with_name(path.name + ".new")
    for leftover in path.parent.glob(f"{draft.name}*"):
        leftover.unlink()
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    connection = schema.connect(draft)
    try:
        schema.prepare_writer(connection)
        connection.execute("BEGIN IMMEDIATE")
        schema.lay_out(connection)
        rows.insert(connection, first)
        connection.execute("COMMIT")
        if not schema.checkpoint(connection):
            raise LedgerUnusable(f"cannot create ledger {path}: another program reads {draft.name}")
    finally:
        connection.close()
    draft.rename(path)
    _sync_directory(path.parent)


def _settle(path: Path) -> None:
    """Make durable what an engine that was killed has left in the page cache: its last commit, and the file's name.

    We are about to act on what we read, so a power cut must not take it back. (The file itself needs nothing: where it
    was not synced, the log is still there and will be written to it once more.)
    """
    with suppress(FileNotFoundError):
        _sync(path.with_name(path.name + "-wal"), os.O_RDONLY)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open_stream(connection: sqlite3.Connection, row: TransactionRow) -> Stream:
    transaction = row.transaction
    try:
        records = [found.decode() for found in rows.select_stream(connection, transaction)]
        stream = index.fold(records)
    except LedgerNewer as error:
        raise LedgerNewer(f"cannot act on open transaction {transaction}: {error}", remedy=error.remedy) from error
    except IllegalEvent as error:
        raise damaged(row.last_seq, f"transaction {transaction} is out of order: {error}") from error
    for place, record in enumerate(records, 1):
        if record.version != place:
            raise damaged(record.seq, f"it is number {record.version} of {transaction}, not {place}")
    if stream is None or stream.row != row:
        raise damaged(row.last_seq, f"the index of transactions is wrong about {transaction}")
    return stream

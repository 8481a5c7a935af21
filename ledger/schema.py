"""The file of the ledger: its tables, its guards, and how it is opened.

One STRICT table holds the records; three triggers make it append-only (BEFORE INSERT as well, since INSERT OR REPLACE
deletes without firing a DELETE trigger). Two small tables are the ledger's own index, written in the same commit as
the event: where each transaction stands, and the settled state of each target. The file belongs to one writer, the
holder of the lock, and to any number of readers.

The Merkle tree costs no table: ``subtrees`` of record n are the roots of the complete subtrees of 2, 4, 8 … records
that end with it, one for each time that n can be halved. They come with the record's own row, in its page and behind
its guards, and any node is found by the number of a record. ``seals`` are the signed checkpoints: here rather than in
files beside, so that a seal and the records under it are one file with one lock, one durability and one copy.

SQLite before 3.51.3 (3.50.7, 3.44.6) can lose commits when two connections write or checkpoint at the same instant
(sqlite.org/wal.html#walresetbug). Here only the holder of the lock writes, it has one connection, its automatic
checkpoints stay on that connection, and readers open read-only and cannot checkpoint: the bug has no second party.
"""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from ledger.errors import LedgerDamaged, LedgerError, LedgerMissing, LedgerNewer, LedgerUnusable

LEDGER_FILE = "ledger.db"
#: "rswp", so that file(1) and we know a ledger from any other database.
APPLICATION_ID = 0x72737770
USER_VERSION = 1
#: STRICT tables.
OLDEST_SQLITE = (3, 37, 0)
OLDEST_SQLITE_UTILS = (4, 2)
BUSY_TIMEOUT_S = 5.0
#: What SQLite makes for its shared index, which grows in steps of half of that; with less than the other, we try.
_INDEX_BYTES = 64 << 10
_LOW_BYTES = 8 << 20
#: Remedies.
_NO_LEDGER = "run `rootswap init`; if there was one, put its copy back first"
MAKE_ROOM = "make room on the file system of the ledger, then run it again"
WRITABLE = "see that the file system of the ledger is mounted read-write, and be root"

#: Opens the file read-write; a parameter of the writer, so that tests can let the disk fail.
Connect = Callable[[Path], sqlite3.Connection]

#: Every object of the schema by name, exactly as SQLite stores it: the check at open compares these texts.
OBJECTS = {
    "events": """CREATE TABLE events (
    seq INTEGER PRIMARY KEY CHECK (seq > 0),
    event_id TEXT NOT NULL UNIQUE,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    transaction_id TEXT,
    target TEXT,
    type TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    at TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    subtrees BLOB NOT NULL CHECK (length(subtrees) % 32 = 0),
    record BLOB NOT NULL,
    UNIQUE (stream, version)
) STRICT""",
    "events_by_target": "CREATE INDEX events_by_target ON events (target, seq)",
    "events_with_keys": """CREATE INDEX events_with_keys ON events (seq)
WHERE type IN ('key.rotated', 'ledger.created')""",
    "events_refuse_update": """CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: a record is never changed'); END""",
    "events_refuse_delete": """CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: a record is never removed'); END""",
    "events_refuse_replace": """CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events
WHEN EXISTS (SELECT 1 FROM events WHERE seq = NEW.seq)
  OR EXISTS (SELECT 1 FROM events WHERE stream = NEW.stream AND version = NEW.version)
  OR EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id)
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: a record is never replaced'); END""",
    "seals": """CREATE TABLE seals (
    size INTEGER PRIMARY KEY CHECK (size > 0),
    checkpoint TEXT NOT NULL,
    signature TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT""",
    "seals_refuse_update": """CREATE TRIGGER seals_refuse_update BEFORE UPDATE ON seals
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: a seal is never changed'); END""",
    "seals_refuse_delete": """CREATE TRIGGER seals_refuse_delete BEFORE DELETE ON seals
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: a seal is never removed'); END""",
    "seals_refuse_replace": """CREATE TRIGGER seals_refuse_replace BEFORE INSERT ON seals
WHEN NEW.size <= (SELECT max(size) FROM seals)
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: a seal is never replaced'); END""",
    "transactions": """CREATE TABLE transactions (
    transaction_id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    state TEXT NOT NULL,
    begun_seq INTEGER NOT NULL UNIQUE,
    last_seq INTEGER NOT NULL,
    reason TEXT,
    ticket TEXT,
    approval TEXT
) STRICT, WITHOUT ROWID""",
    "open_transactions": """CREATE UNIQUE INDEX open_transactions ON transactions (target)
WHERE state IN ('forward', 'unwinding', 'stuck')""",
    "targets": """CREATE TABLE targets (
    target TEXT PRIMARY KEY NOT NULL,
    state TEXT,
    transaction_id TEXT NOT NULL,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
}

#: Indexes that a ledger may have or not: one that was made before them is read more slowly, and as well.
INDEXES = (
    "CREATE INDEX waiting_transactions ON transactions (begun_seq) WHERE state IN ('planned', 'approved')",
    """CREATE INDEX owing_transactions ON transactions (begun_seq) WHERE approval GLOB '*"owed":*'""",
)

# synchronous comes before journal_mode: only EXTRA syncs the directory after the journal of that very switch is gone.
_WRITER_PRAGMAS = (
    "PRAGMA synchronous = EXTRA",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
)
_READER_PRAGMAS = ("PRAGMA query_only = ON", "PRAGMA trusted_schema = OFF")


def connect(path: Path) -> sqlite3.Connection:
    """A read-write connection without implicit transactions, for use from several threads under the writer's lock."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)


def prepare_writer(connection: sqlite3.Connection) -> None:
    """Make every commit durable, and the append-only guards effective, on a fresh connection.

    Raises LedgerUnusable if the file cannot have a write-ahead log.
    """
    for pragma in _WRITER_PRAGMAS:
        connection.execute(pragma)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise LedgerUnusable(
            f"cannot open the ledger: SQLite keeps journal mode {mode!r}",
            remedy="put the ledger on a local, writable file system",
        )


def connect_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection, which neither writes nor checkpoints.

    Raises LedgerUnusable on a read-only file system with a write-ahead log beside the ledger: the log may hold
    records that cannot be read there, and on one that is full.
    """
    options = "mode=ro"
    if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size > 0:
            raise LedgerUnusable(
                f"cannot read ledger {path}: the file system is read-only and {log.name} holds records",
                remedy="copy the ledger directory to a writable place and read the copy",
            )
        options = "mode=ro&immutable=1"
    elif _is_full(path.parent):
        raise LedgerUnusable(f"cannot read ledger {path}: its file system is full", remedy=MAKE_ROOM)
    uri = f"{path.absolute().as_uri()}?{options}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
    for pragma in _READER_PRAGMAS:
        connection.execute(pragma)
    return connection


def lay_out(connection: sqlite3.Connection) -> None:
    """Create tables, index and triggers, inside the caller's transaction."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {USER_VERSION}")
    for statement in (*OBJECTS.values(), *INDEXES):
        connection.execute(statement)


def checkpoint(connection: sqlite3.Connection) -> bool:
    """Move the whole write-ahead log into the file and empty it; False if a reader stands in the way."""
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def check_identity(connection: sqlite3.Connection, path: Path) -> None:
    """Raise unless the file is a ledger (LedgerDamaged) of a version that we know (LedgerNewer)."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise LedgerDamaged(
            f"cannot open ledger {path}: it is a database, but not a ledger",
            remedy="restore the ledger from its copy, or correct the configured directory",
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > USER_VERSION:
        raise LedgerNewer(
            f"cannot open ledger {path}: it has schema {version}, known up to {USER_VERSION}",
            remedy="use the rootswap that wrote it, or a newer one",
        )


def check_objects(connection: sqlite3.Connection) -> None:
    """Raise LedgerDamaged unless every table, index and trigger is there, unchanged, and nothing else but INDEXES."""
    found = dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall())
    for name, statement in OBJECTS.items():
        if name not in found:
            raise _schema_damaged(f"{_kind(statement)} {name} is missing")
        if found[name] != statement:
            raise _schema_damaged(f"{_kind(statement)} {name} was changed")
    for name, statement in found.items():
        # What ANALYZE leaves is SQLite's own.
        if name not in OBJECTS and statement not in INDEXES and not name.startswith("sqlite_stat"):
            raise _schema_damaged(f"{_kind(statement)} {name} is not ours")


def _kind(statement: str) -> str:
    words = statement.split(maxsplit=3)
    return (words[2] if words[1] == "UNIQUE" else words[1]).lower()


def _schema_damaged(cause: str) -> LedgerDamaged:
    return LedgerDamaged(
        f"cannot trust the ledger: {cause}",
        remedy="somebody has worked on the file: compare it with its last copy, then restore it",
    )


def require_file(path: Path) -> None:
    """Raise LedgerMissing unless the ledger exists."""
    if not path.exists():
        raise LedgerMissing(f"cannot open ledger {path}: there is none", remedy=_NO_LEDGER)


def require_sqlite(version: tuple[int, ...]) -> None:
    """Raise LedgerUnusable if SQLite is too old for the schema."""
    if version < OLDEST_SQLITE:
        have, need = (".".join(map(str, numbers)) for numbers in (version, OLDEST_SQLITE))
        raise LedgerUnusable(
            f"cannot open the ledger: SQLite {have} has no STRICT tables",
            remedy=f"run rootswap with a Python that is linked with SQLite {need} or newer",
        )


def require_sqlite_utils(version: str) -> None:
    """Raise LedgerUnusable for sqlite-utils 3, whose inserts commit the transaction of their caller."""
    have = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if have < OLDEST_SQLITE_UTILS:
        raise LedgerUnusable(
            f"cannot open the ledger: sqlite-utils {version} commits behind our back",
            remedy="install rootswap with its own dependencies: sqlite-utils 4.2 or newer",
        )


def explain(error: sqlite3.Error, action: str, failure: type[LedgerError] = LedgerUnusable) -> LedgerError:
    """What SQLite's ``error`` means for the one who wanted to ``action``, say "append to the ledger".

    Damage and missing rights have their own classes; all else is a ``failure``.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    message = f"cannot {action}: {error}"
    match code:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return LedgerDamaged(message, remedy="restore the ledger from its last copy; keep the damaged file")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return LedgerUnusable(message, remedy=WRITABLE)
        case sqlite3.SQLITE_FULL:
            return failure(message, remedy=MAKE_ROOM)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return failure(message, remedy="another program holds the database: end it (fuser ledger.db)")
        case _:
            return failure(message, remedy="look for disk errors in the kernel's log")


def _is_full(directory: Path) -> bool:
    """Whether SQLite's shared index finds no room.

    It is mapped memory, and on a full Btrfs to touch it, even to read, is not an error but a SIGBUS. Where little room
    is left we try, in a file without a name, for what is reported as free cannot be relied on.
    """
    found = os.statvfs(directory)
    if found.f_bavail * found.f_frsize >= _LOW_BYTES:
        return False
    try:
        probe = os.open(directory, os.O_WRONLY | os.O_TMPFILE, 0o600)
        try:
            return os.write(probe, bytes(_INDEX_BYTES)) < _INDEX_BYTES
        finally:
            os.close(probe)
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    except AttributeError:  # FreeBSD has no such files, and no Btrfs
        return found.f_bavail * found.f_frsize < _INDEX_BYTES

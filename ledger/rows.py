"""The records as rows: the one place that reads and writes the table ``events``.

A row is a record and copies of some of its fields, for queries. The record is the truth; a row whose copies differ
from its record, or whose hash is not that of its bytes, is evidence of damage.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ledger.codec import GENESIS, AnyRecord, Envelope, Record, decode, decode_any, encode, record_hash
from ledger.errors import LedgerDamaged
from ledger.merkle import Frontier, leaf_hash

#: Of the table, in order.
COLUMNS = "seq, event_id, stream, version, transaction_id, target, type, schema_version, at, hash, subtrees, record"
_INSERT = f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 constants only
_SELECT = f"SELECT {COLUMNS} FROM events"  # noqa: S608 constants only


#: The columns of a row as SQLite returns them.
Columns = tuple[int, str, str, int, str | None, str | None, str, int, str, bytes, bytes, bytes]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of ``events``, its columns in order."""

    seq: int
    event_id: str
    stream: str
    version: int
    transaction_id: str | None
    target: str | None
    type: str
    schema_version: int
    at: str
    hash: bytes
    subtrees: bytes
    record: bytes

    @classmethod
    def of(cls, record: Record, frontier: Frontier | None = None) -> Self:
        """The row that stores ``record``; ``frontier`` grows by it. Without one, the row has no place in the tree."""
        data = encode(record)
        subtrees = () if frontier is None else frontier.add(leaf_hash(data))
        return cls(*_copies(record), record_hash(data), b"".join(subtrees), data)

    def decode(self) -> Record:
        """The record, if row and record agree; raises LedgerDamaged or LedgerNewer."""
        self._check_hash()
        try:
            record = decode(self.record)
        except LedgerDamaged as error:
            raise damaged(self.seq, str(error)) from error
        self._check_copies(record)
        return record

    def decode_any(self) -> AnyRecord:
        """As ``decode``, but the event of a newer version comes back as it is."""
        self._check_hash()
        try:
            record = decode_any(self.record)
        except LedgerDamaged as error:
            raise damaged(self.seq, str(error)) from error
        self._check_copies(record)
        return record

    def _check_bytes(self) -> None:
        # The table is STRICT, but a page that was damaged is not.
        stored: tuple[object, ...] = (self.hash, self.record)
        if not all(isinstance(column, bytes) for column in stored):
            raise damaged(self.seq, "its bytes are missing")

    def _check_hash(self) -> None:
        self._check_bytes()
        if self.hash != record_hash(self.record):
            raise damaged(self.seq, "its bytes are not those that were hashed")

    def _check_copies(self, record: Envelope) -> None:
        names = COLUMNS.split(", ")
        for name, column, copied in zip(names, self._columns(), _copies(record), strict=False):
            if column != copied:
                raise damaged(self.seq, f"column {name} says {column!r}, the record {copied!r}")

    def _columns(self) -> tuple[int | str | None, ...]:
        return (
            self.seq,
            self.event_id,
            self.stream,
            self.version,
            self.transaction_id,
            self.target,
            self.type,
            self.schema_version,
            self.at,
        )


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of the ledger: what the next record has to name."""

    seq: int
    hash: str


#: The tail of a ledger without records.
NOTHING = Tail(0, GENESIS)


def damaged(seq: int, cause: str) -> LedgerDamaged:
    """The error for a record that does not add up."""
    return LedgerDamaged(
        f"cannot trust the ledger: record {seq}: {cause}",
        remedy="compare the ledger with its last copy, then restore it; keep the damaged file as evidence",
    )


def insert(connection: sqlite3.Connection, row: Row) -> None:
    """Append ``row`` inside the caller's transaction."""
    connection.execute(_INSERT, (*row._columns(), row.hash, row.subtrees, row.record))


def select(connection: sqlite3.Connection, tail: str, parameters: Sequence[int | str] = ()) -> list[Row]:
    """The rows that the SQL ``tail`` (WHERE, ORDER BY, LIMIT) picks; all of them, so that no cursor stays open."""
    return [Row(*columns) for columns in select_columns(connection, tail, parameters)]


def select_columns(connection: sqlite3.Connection, tail: str, parameters: Sequence[int | str] = ()) -> list[Columns]:
    """As ``select``, for those who look at many."""
    return connection.execute(f"{_SELECT} {tail}", parameters).fetchall()


def select_stream(connection: sqlite3.Connection, stream: str) -> list[Row]:
    """The rows of one stream, oldest first."""
    return select(connection, "WHERE stream = ? ORDER BY version", (stream,))


def last_version(connection: sqlite3.Connection, stream: str) -> int:
    """How many records ``stream`` has."""
    found: int | None = connection.execute("SELECT max(version) FROM events WHERE stream = ?", (stream,)).fetchone()[0]
    return found or 0


def read_tail(connection: sqlite3.Connection) -> Tail:
    """The last record's place and hash, after looking whether it adds up and follows the one before it."""
    rows = select(connection, "ORDER BY seq DESC LIMIT 2")
    if not rows:
        return NOTHING
    last = rows[0]
    record = last.decode_any()
    before = NOTHING
    if len(rows) > 1:
        rows[1]._check_bytes()
        before = Tail(rows[1].seq, rows[1].hash.hex())
    check_link(before, record)
    return Tail(last.seq, last.hash.hex())


def check_link(before: Tail, record: Envelope) -> None:
    """Raise LedgerDamaged unless ``record`` directly follows ``before``."""
    if record.seq != before.seq + 1:
        raise damaged(before.seq + 1, "it is missing")
    if record.previous != before.hash:
        raise damaged(record.seq, "it does not name the hash of the record before it")


def _copies(record: Envelope) -> tuple[int, str, str, int, str | None, str | None, str, int, str]:
    return (
        record.seq,
        record.event_id,
        record.stream,
        record.version,
        record.transaction,
        record.target,
        record.type,
        record.schema_version,
        record.at,
    )

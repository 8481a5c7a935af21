"""Seals and keys as they are stored: signed checkpoints, and which key was in force when."""

import sqlite3
from collections.abc import Iterable

from ledger.checkpoint import Checkpoint, Seal, origin_of
from ledger.errors import LedgerDamaged
from ledger.events import KeyRotated, LedgerCreated
from ledger.rows import Row, damaged, select

_SELECT = "SELECT size, checkpoint, signature FROM seals"
# The condition is that of the partial index, to the letter: INDEXED BY fails rather than scan the history.
_WITH_KEYS = "INDEXED BY events_with_keys WHERE type IN ('key.rotated', 'ledger.created')"


def put(connection: sqlite3.Connection, seal: Seal, at: str) -> None:
    """Append ``seal``, signed at the moment ``at``, inside the caller's transaction."""
    values = (seal.checkpoint.size, seal.checkpoint.text, seal.signature, at)
    connection.execute("INSERT INTO seals (size, checkpoint, signature, at) VALUES (?, ?, ?, ?)", values)


def last_seal(connection: sqlite3.Connection) -> Seal | None:
    """The newest seal; raises LedgerDamaged if it is not one."""
    found = _select(connection, "ORDER BY size DESC LIMIT 1", ())
    return found[0] if found else None


def seals_after(connection: sqlite3.Connection, size: int) -> list[Seal]:
    """The seals of more than ``size`` records, oldest first."""
    return _select(connection, "WHERE size > ? ORDER BY size", (size,))


def first_seal_of(connection: sqlite3.Connection, seq: int) -> Seal | None:
    """The oldest seal that record ``seq`` is under; None while it is not."""
    found = _select(connection, "WHERE size >= ? ORDER BY size LIMIT 1", (seq,))
    return found[0] if found else None


def sizes(connection: sqlite3.Connection) -> list[int]:
    """The sizes of all seals, ascending."""
    return [size for (size,) in connection.execute("SELECT size FROM seals ORDER BY size").fetchall()]


def texts(connection: sqlite3.Connection, after: int, until: int) -> dict[int, str]:
    """What the seals of more than ``after`` and up to ``until`` records say, unread, by their size."""
    select = "SELECT size, checkpoint FROM seals WHERE size > ? AND size <= ?"
    return dict(connection.execute(select, (after, until)).fetchall())


def find_seals(connection: sqlite3.Connection, wanted: Iterable[int]) -> list[Seal]:
    """The seals of these sizes, in this order; raises LedgerDamaged for one that is not a checkpoint."""
    return [seal for size in wanted for seal in _select(connection, "WHERE size = ?", (size,))]


def find_seal(connection: sqlite3.Connection, size: int) -> Seal | None:
    """The seal of exactly ``size`` records."""
    found = _select(connection, "WHERE size = ?", (size,))
    return found[0] if found else None


def read_origin(connection: sqlite3.Connection) -> str:
    """What this ledger is called in its checkpoints."""
    rows = select(connection, "WHERE seq = 1")
    if not rows:
        raise damaged(1, "it is missing")
    first = rows[0].decode_any()
    return origin_of(first.host_id, first.event_id)


def key_in_force(connection: sqlite3.Connection, size: int) -> str | None:
    """The public key that signs checkpoints of ``size`` records; None if there is none yet."""
    rows = select(connection, f"{_WITH_KEYS} AND seq <= ? ORDER BY seq DESC LIMIT 1", (size,))
    return _key(rows[0]) if rows else None


def _key(row: Row) -> str | None:
    event = row.decode().event
    return event.key if isinstance(event, KeyRotated | LedgerCreated) else None


def _select(connection: sqlite3.Connection, tail: str, parameters: tuple[int, ...]) -> list[Seal]:
    return [_seal(*columns) for columns in connection.execute(f"{_SELECT} {tail}", parameters).fetchall()]


def _seal(size: int, text: str, signature: str) -> Seal:
    try:
        checkpoint = Checkpoint.parse(text)
    except ValueError as error:
        raise seal_damaged(size, str(error)) from error
    if checkpoint.size != size:
        raise seal_damaged(size, f"it says {checkpoint.size}")
    return Seal(checkpoint, signature)


def seal_damaged(size: int, cause: str) -> LedgerDamaged:
    """The error for a signed checkpoint that does not add up."""
    return LedgerDamaged(
        f"cannot trust the ledger: the checkpoint of {size} records: {cause}",
        remedy="compare the ledger with its last copy and with the checkpoints kept elsewhere; keep it as evidence",
    )

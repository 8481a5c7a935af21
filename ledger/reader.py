"""The ledger as it is read: by people, projections and auditors, while the engine runs or long after."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ledger import schema
from ledger.codec import AnyRecord
from ledger.errors import LedgerUnusable
from ledger.events import JsonObject
from ledger.index import (
    TargetRow,
    TransactionRow,
    open_rows,
    owing_rows,
    select_transactions,
    settled_states,
    target_rows,
    waiting_rows,
)
from ledger.lifecycle import State
from ledger.rows import select, select_columns

if TYPE_CHECKING:
    from ledger.checkpoint import Seal
    from ledger.plain import PlainRecord
    from ledger.proof import Proof
    from ledger.verify import VerifyReport
    from ledger.vouch import Evidence

__all__ = ["LedgerReader", "TransactionRow"]

_PAGE = 256
#: No record has a higher number.
_LAST = (1 << 63) - 1


class LedgerReader:
    """A look at the ledger that changes nothing.

    - Needs no lock and never waits for the engine; the engine never waits for a reader.
    - Sees every record that was committed when a page of records is fetched; never half a commit.
    - Never writes, never checkpoints. On a read-only file system it reads a ledger that was closed, and refuses one
      whose write-ahead log still holds records.
    - Leaves no cursor half read: each page is complete in memory before its first record is handed out.
    - Shows the records of a newer version as they are (RawRecord) rather than refusing.
    - Not for use from several threads at once.

    Raises LedgerMissing, LedgerNewer, LedgerDamaged (not a ledger, or a record that does not add up) and
    LedgerUnusable (cannot be read).
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the ledger in ``directory``."""
        path = directory / schema.LEDGER_FILE
        schema.require_sqlite(sqlite3.sqlite_version_info)
        schema.require_file(path)
        with _explained("open ledger", path), ExitStack() as undo:
            connection = schema.connect_reader(path)
            undo.callback(connection.close)
            schema.check_identity(connection, path)
            undo.pop_all()
        return cls(connection, path)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def last_seq(self) -> int:
        """The place of the last record; 0 in a ledger without records."""
        with self._reading():
            found: int | None = self._connection.execute("SELECT max(seq) FROM events").fetchone()[0]
        return found or 0

    def records(
        self,
        *,
        after: int = 0,
        until: int | None = None,
        transaction: str | None = None,
        target: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[AnyRecord]:
        """The records with ``after`` < seq ≤ ``until``, of one transaction or target if named, at most ``limit``."""
        low, high = after, _LAST if until is None else until
        left = limit
        where, named = _where(transaction, target)
        tail = f"{where} ORDER BY seq {'DESC' if newest_first else 'ASC'} LIMIT ?"
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            with self._reading():
                page = select(self._connection, tail, (low, high, *named, size))
            for row in page:
                yield row.decode_any()
            if len(page) < size:
                return
            left = None if left is None else left - size
            if newest_first:
                high = page[-1].seq - 1
            else:
                low = page[-1].seq

    def plain_records(
        self,
        *,
        after: int = 0,
        until: int | None = None,
        transaction: str | None = None,
        target: str | None = None,
        limit: int,
        newest_first: bool = False,
    ) -> "Iterator[PlainRecord]":
        """As ``records``, at most ``limit`` of them in one page, for those who show them: several times as fast."""
        from ledger.plain import read_plain

        where, named = _where(transaction, target)
        tail = f"{where} ORDER BY seq {'DESC' if newest_first else 'ASC'} LIMIT ?"
        with self._reading():
            found = select_columns(self._connection, tail, (after, _LAST if until is None else until, *named, limit))
        # Each is done with before the next one is decoded, so that all of them use the same memory.
        return map(read_plain, found)

    def seqs(self, after: int, until: int, transaction: str | None = None, target: str | None = None) -> list[int]:
        """The numbers of the records with ``after`` < seq ≤ ``until`` of one transaction or target, in order."""
        where, named = _where(transaction, target)
        with self._reading():
            found = self._connection.execute(f"SELECT seq FROM events {where} ORDER BY seq", (after, until, *named))  # noqa: S608 constants only
            return [seq for (seq,) in found.fetchall()]

    def transactions(
        self, *, state: State | None = None, open_only: bool = False, limit: int | None = None
    ) -> list[TransactionRow]:
        """The transactions at a glance, newest first."""
        if open_only:
            with self._reading():
                rows = open_rows(self._connection)
            rows = [row for row in rows if state in (None, row.state)]
            rows.sort(key=lambda row: row.begun_seq, reverse=True)
            return rows[:limit]
        where = "" if state is None else "WHERE state = ?"
        named = () if state is None else (state.value,)
        with self._reading():
            # LIMIT -1 is SQLite's way to say: all.
            tail = f"{where} ORDER BY begun_seq DESC LIMIT ?"
            return select_transactions(self._connection, tail, (*named, -1 if limit is None else limit))

    def waiting(self) -> list[TransactionRow]:
        """The plans that wait to be approved or run, oldest first."""
        with self._reading():
            return waiting_rows(self._connection)

    def owing(self) -> list[TransactionRow]:
        """The emergencies that nobody has answered for yet, oldest first."""
        with self._reading():
            return owing_rows(self._connection)

    def last_settled(self, target: str) -> TargetRow | None:
        """What the last transaction that ended left of ``target``, and which that was; None if there was none."""
        with self._reading():
            return next(iter(target_rows(self._connection, target)), None)

    def find_transactions(self, prefix: str) -> list[TransactionRow]:
        """The transactions whose identifier starts with ``prefix``, in the order of their identifiers."""
        with self._reading():
            # U+10FFFF sorts after every letter that an identifier may have.
            tail = "WHERE transaction_id >= ? AND transaction_id < ? ORDER BY transaction_id"
            return select_transactions(self._connection, tail, (prefix, prefix + "\U0010ffff"))

    def settled(self, target: str) -> JsonObject | None:
        """The state in which the last transaction that ended left ``target``; None if nothing is known or left."""
        with self._reading():
            return settled_states(target_rows(self._connection, target)).get(target)

    def settled_targets(self) -> dict[str, JsonObject]:
        """The settled state of every target of which something is there."""
        with self._reading():
            return settled_states(target_rows(self._connection))

    def count_transactions(self) -> int:
        """How many transactions the ledger's index has."""
        with self._reading():
            found: int = self._connection.execute("SELECT count(*) FROM transactions").fetchone()[0]
        return found

    def verify(self, evidence: "Evidence | None" = None) -> "VerifyReport":
        """Recompute every hash, link, column and node and the ledger's own index; hold them against ``evidence``.

        Raises LedgerDamaged that names the first record which does not add up.
        """
        from ledger.ranges import cores  # here, for most who read do not verify
        from ledger.verify import verify

        with self._reading():
            return verify(self._connection, evidence, self.path, cores())

    def seals(self) -> "list[Seal]":
        """The signed checkpoints, oldest first."""
        from ledger.seals import seals_after

        with self._reading():
            return seals_after(self._connection, 0)

    def seal_of(self, seq: int) -> "Seal | None":
        """The oldest signed checkpoint that covers record ``seq``; None while none does."""
        from ledger.seals import first_seal_of

        with self._reading():
            return first_seal_of(self._connection, seq)

    def last_seal(self) -> "Seal | None":
        """The newest signed checkpoint."""
        from ledger.seals import last_seal

        with self._reading():
            return last_seal(self._connection)

    def key_at(self, size: int) -> str | None:
        """The public key that signs checkpoints of ``size`` records; None if there is none yet."""
        from ledger.seals import key_in_force

        with self._reading():
            return key_in_force(self._connection, size)

    def prove(self, seq: int) -> "Proof":
        """The proof that record ``seq`` is in the ledger as it was last signed; raises NotSealed."""
        from ledger.prove import prove

        with self._reading():
            return prove(self._connection, seq)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with _explained("read ledger", self.path):
            yield


def _where(transaction: str | None, target: str | None) -> tuple[str, list[str]]:
    """The condition on a range of records, of one transaction or target if named, each by an index."""
    where, named = "WHERE seq > ? AND seq <= ?", []
    for column, value in (("stream", transaction), ("target", target)):
        if value is not None:
            where += f" AND {column} = ?"
            named.append(value)
    return where, named


@contextmanager
def _explained(action: str, path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        log = path.with_name(f"{path.name}-wal")
        is_empty = not log.exists() or log.stat().st_size == 0  # SQLite has made a new one to find nothing in it
        codes = [getattr(one, "sqlite_errorcode", 0) & 0xFF for one in (error, error.__context__)]
        if is_empty and sqlite3.SQLITE_IOERR in codes:
            raise LedgerUnusable(
                f"cannot {action} {os.fspath(path)}: {log.name} was removed while an engine is at work",
                remedy="let that engine end, which still has it open and puts its records back; never remove that file",
            ) from error
        raise schema.explain(error, f"{action} {os.fspath(path)}") from error

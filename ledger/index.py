"""The ledger's own index: where each transaction stands, and the settled state of each target.

It is a fold of the records and is written in the same commit, so that recovery finds what is open without reading the
history. ``Stream`` is that fold; ``TransactionRow`` and ``TargetRow`` are what it leaves in the tables.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from ledger.authority import Approval
from ledger.codec import Record, canonical
from ledger.errors import LedgerDamaged
from ledger.events import JsonObject, TransactionBegun, TransactionEvent, TransactionPlanned
from ledger.lifecycle import ENDS, State, TransactionStatus, apply

_TRANSACTION_COLUMNS = "transaction_id, kind, target, state, begun_seq, last_seq, reason, ticket, approval"
_NAMES = _TRANSACTION_COLUMNS.split(", ")
_SELECT_TRANSACTIONS = f"SELECT {_TRANSACTION_COLUMNS} FROM transactions"  # noqa: S608 constants only
# The condition is that of the partial index, to the letter: INDEXED BY fails rather than scan the history.
_OPEN = "INDEXED BY open_transactions WHERE state IN ('forward', 'unwinding', 'stuck') ORDER BY target"
_PUT_TRANSACTION = (
    f"INSERT INTO transactions ({_TRANSACTION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 constants only
    "ON CONFLICT (transaction_id) DO UPDATE SET state = excluded.state, begun_seq = excluded.begun_seq, "
    "last_seq = excluded.last_seq, "
    "reason = excluded.reason, ticket = excluded.ticket, approval = excluded.approval"
)
# The conditions are those of the partial indexes, to the letter.
_WAITING = "WHERE state IN ('planned', 'approved') ORDER BY begun_seq"
#: The column ``approval`` has, beside the approval if there is one, until when one is due. (In a text within JSON the
#: quotes would be escaped.)
_OWING = """WHERE approval GLOB '*"owed":*' ORDER BY begun_seq"""
_PUT_TARGET = (
    "INSERT INTO targets (target, state, transaction_id, seq) VALUES (?, ?, ?, ?) ON CONFLICT (target) DO UPDATE "
    "SET state = excluded.state, transaction_id = excluded.transaction_id, seq = excluded.seq "
    "WHERE excluded.seq > targets.seq"  # what is said of a transaction after its end changes no target
)

#: A line of the table as it is stored: transaction, kind, target, state, begun_seq, last_seq, reason, ticket, approval.
IndexLine = tuple[str, str, str, str, int, int, str | None, str | None, str | None]


@dataclass(frozen=True, slots=True)
class TransactionRow:
    """A transaction at a glance: ``begun_seq`` is where it began, or, as long as it waits, where it was planned.

    ``last_seq`` is its last record, or the one that ended it: what people say of an emergency later does not count.
    ``owed`` is until when (UTC) it has to be approved, if it began as an emergency that nobody has answered for yet.
    """

    transaction: str
    kind: str
    target: str
    state: State
    begun_seq: int
    last_seq: int
    reason: str | None
    ticket: str | None
    approval: Approval | None
    owed: str | None = None


@dataclass(frozen=True, slots=True)
class TargetRow:
    """The state in which ``transaction`` left ``target`` at record ``seq``; None where nothing is left of it."""

    target: str
    state: JsonObject | None
    transaction: str
    seq: int


@dataclass(frozen=True, slots=True)
class Stream:
    """A transaction as its records tell it; ``version`` counts them, ``last_seq`` is the place of the last.

    ``begun`` is the order that it serves: as it began, or, as long as it waits, as it was planned. ``ended_seq`` is the
    place of the record that ended it: an answer to an emergency may follow.
    """

    transaction: str
    begun: TransactionBegun | TransactionPlanned
    status: TransactionStatus
    begun_seq: int
    last_seq: int
    version: int
    ended_seq: int | None = None

    @property
    def row(self) -> TransactionRow:
        """The line of the index for this transaction."""
        begun = self.begun
        return TransactionRow(
            transaction=self.transaction,
            kind=begun.kind,
            target=begun.target,
            state=self.status.state,
            begun_seq=self.begun_seq,
            last_seq=self.ended_seq or self.last_seq,
            reason=begun.reason,
            ticket=begun.ticket,
            approval=self.status.approval,
            owed=None if self.status.owed is None else self.status.owed.settle_by,
        )

    @property
    def settled(self) -> TargetRow | None:
        """What the transaction did to the state of its target; None before its end, and if it was rejected."""
        if self.ended_seq is None or self.status.state is State.REJECTED:
            return None
        return TargetRow(self.begun.target, self.status.settled, self.transaction, self.ended_seq)


def follow(stream: Stream | None, transaction: str, event: TransactionEvent, seq: int) -> Stream:
    """The stream after ``event`` at ``seq``; raises IllegalEvent if the event cannot follow."""
    status = apply(None if stream is None else stream.status, event)
    if stream is None:
        if not isinstance(event, TransactionBegun | TransactionPlanned):
            raise AssertionError("only transaction.begun and transaction.planned can be first")
        return Stream(transaction, event, status, begun_seq=seq, last_seq=seq, version=1)
    if type(event) is TransactionBegun:
        return Stream(transaction, event, status, seq, seq, stream.version + 1)
    ended = seq if stream.ended_seq is None and status.state in ENDS else stream.ended_seq
    return Stream(transaction, stream.begun, status, stream.begun_seq, seq, stream.version + 1, ended)


def fold(records: Iterable[Record]) -> Stream | None:
    """The stream that ``records``, all of one transaction, add up to."""
    stream: Stream | None = None
    for record in records:
        event = record.event
        if record.transaction is not None and isinstance(event, TransactionEvent):
            stream = follow(stream, record.transaction, event, record.seq)
    return stream


def put(connection: sqlite3.Connection, stream: Stream, before: Stream | None = None) -> None:
    """Bring the index up to ``stream``, inside the transaction that appends its events.

    ``before`` is the stream that the index is known to have; then only what differs is written. A column that is set,
    if only to what it was, has each index that it is in written anew: three pages more to sync in most commits.
    """
    line = _line(stream.row)
    if before is None or not _change(connection, _line(before.row), line):
        connection.execute(_PUT_TRANSACTION, line)
    settled = stream.settled
    if settled is not None:
        state = None if settled.state is None else canonical(settled.state).decode()
        connection.execute(_PUT_TARGET, (settled.target, state, settled.transaction, settled.seq))


def _change(connection: sqlite3.Connection, old: IndexLine, new: IndexLine) -> bool:
    """Write what differs; False if there was no such line."""
    changed = [(name, value) for name, value, was in zip(_NAMES, new, old, strict=True) if value != was]
    if not changed:
        return True
    assignments = ", ".join(f"{name} = ?" for name, _ in changed)
    statement = f"UPDATE transactions SET {assignments} WHERE transaction_id = ?"  # noqa: S608 names of columns only
    return connection.execute(statement, (*(value for _, value in changed), old[0])).rowcount == 1


def _line(row: TransactionRow) -> IndexLine:
    begun = (row.transaction, row.kind, row.target, row.state.value, row.begun_seq, row.last_seq)
    return (*begun, row.reason, row.ticket, spell_approval(row.approval, row.owed))


def spell_approval(approval: Approval | None, owed: str | None) -> str | None:
    """As it is stored: the approval that was given, and until when one is owed."""
    spelt: JsonObject = {} if approval is None else approval.model_dump(mode="json")
    if owed is not None:
        spelt = {**spelt, "owed": owed}
    return canonical(spelt).decode() if spelt else None


def lines(connection: sqlite3.Connection) -> dict[str, IndexLine]:
    """All lines as they are stored, by their transaction."""
    return {line[0]: line for line in connection.execute(_SELECT_TRANSACTIONS).fetchall()}


def open_rows(connection: sqlite3.Connection) -> list[TransactionRow]:
    """The open transactions, in the time that they take and not the history."""
    return select_transactions(connection, _OPEN)


def waiting_rows(connection: sqlite3.Connection) -> list[TransactionRow]:
    """The plans that wait to be approved or run, oldest first."""
    return select_transactions(connection, _WAITING)


def owing_rows(connection: sqlite3.Connection) -> list[TransactionRow]:
    """The emergencies that nobody has answered for yet, oldest first."""
    return select_transactions(connection, _OWING)


def rows_of(connection: sqlite3.Connection, target: str) -> list[TransactionRow]:
    """Every transaction of ``target``, newest first."""
    return select_transactions(connection, "WHERE target = ? ORDER BY begun_seq DESC", (target,))


def select_transactions(
    connection: sqlite3.Connection, tail: str, parameters: tuple[int | str, ...] = ()
) -> list[TransactionRow]:
    """The transactions that the SQL ``tail`` picks."""
    found = connection.execute(f"{_SELECT_TRANSACTIONS} {tail}", parameters).fetchall()
    try:
        return [_transaction_row(*columns) for columns in found]
    except ValueError as error:
        raise _damaged(f"transactions: {error}") from error


def target_rows(connection: sqlite3.Connection, target: str | None = None) -> list[TargetRow]:
    """The settled state of every target, or of ``target`` alone."""
    select = "SELECT target, state, transaction_id, seq FROM targets"
    if target is None:
        found = connection.execute(f"{select} ORDER BY target").fetchall()
    else:
        found = connection.execute(f"{select} WHERE target = ?", (target,)).fetchall()
    try:
        return [TargetRow(name, None if text is None else json.loads(text), by, seq) for name, text, by, seq in found]
    except ValueError as error:
        raise _damaged(f"targets: {error}") from error


def settled_states(rows: Iterable[TargetRow]) -> dict[str, JsonObject]:
    """The targets of which something is there, with their state."""
    return {row.target: row.state for row in rows if row.state is not None}


def _transaction_row(
    transaction: str,
    kind: str,
    target: str,
    state: str,
    begun_seq: int,
    last_seq: int,
    reason: str | None,
    ticket: str | None,
    approval: str | None,
) -> TransactionRow:
    begun = (transaction, kind, target, State(state), begun_seq, last_seq, reason, ticket)
    kept: JsonObject = {} if approval is None else json.loads(approval)
    owed = kept.pop("owed", None)
    allowed = Approval.model_validate(kept) if kept else None
    return TransactionRow(*begun, allowed, None if owed is None else str(owed))


def _damaged(cause: str) -> LedgerDamaged:
    return LedgerDamaged(
        f"cannot trust the ledger: its index of {cause}",
        remedy="compare the ledger with its last copy, then restore it; keep the damaged file as evidence",
    )

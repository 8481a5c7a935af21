"""The ledger's own index: where each transaction stands, and the settled state of each target.

It is a fold of the records and is written in the same commit, so that recovery finds what is open without reading the
history. ``Stream`` is that fold; ``TransactionRow`` and ``TargetRow`` are what it leaves in the tables.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from ledger.codec import Record, canonical
from ledger.errors import LedgerDamaged
from ledger.events import Approval, JsonObject, TransactionBegun, TransactionEvent
from ledger.lifecycle import State, TransactionStatus, apply

_TRANSACTION_COLUMNS = "transaction_id, kind, target, state, begun_seq, last_seq, reason, ticket, approval"
_SELECT_TRANSACTIONS = f"SELECT {_TRANSACTION_COLUMNS} FROM transactions"  # noqa: S608 constants only
# The condition is that of the partial index, to the letter: INDEXED BY fails rather than scan the history.
_OPEN = "INDEXED BY open_transactions WHERE state IN ('forward', 'unwinding', 'stuck') ORDER BY target"
_PUT_TRANSACTION = (
    f"INSERT INTO transactions ({_TRANSACTION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 constants only
    "ON CONFLICT (transaction_id) DO UPDATE SET state = excluded.state, last_seq = excluded.last_seq"
)
_PUT_TARGET = (
    "INSERT INTO targets (target, state, transaction_id, seq) VALUES (?, ?, ?, ?) ON CONFLICT (target) DO UPDATE "
    "SET state = excluded.state, transaction_id = excluded.transaction_id, seq = excluded.seq"
)

#: A line of the table as it is stored: transaction, kind, target, state, begun_seq, last_seq, reason, ticket, approval.
IndexLine = tuple[str, str, str, str, int, int, str | None, str | None, str | None]


@dataclass(frozen=True, slots=True)
class TransactionRow:
    """A transaction at a glance: ``begun_seq`` and ``last_seq`` are its first and last records."""

    transaction: str
    kind: str
    target: str
    state: State
    begun_seq: int
    last_seq: int
    reason: str | None
    ticket: str | None
    approval: Approval | None


@dataclass(frozen=True, slots=True)
class TargetRow:
    """The state in which ``transaction`` left ``target`` at record ``seq``; None where nothing is left of it."""

    target: str
    state: JsonObject | None
    transaction: str
    seq: int


@dataclass(frozen=True, slots=True)
class Stream:
    """A transaction as its records tell it; ``version`` counts them, ``last_seq`` is the place of the last."""

    transaction: str
    begun: TransactionBegun
    status: TransactionStatus
    begun_seq: int
    last_seq: int
    version: int

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
            last_seq=self.last_seq,
            reason=begun.reason,
            ticket=begun.ticket,
            approval=begun.approval,
        )

    @property
    def settled(self) -> TargetRow | None:
        """What the transaction did to the state of its target; None while it is open, or if it was rejected."""
        if self.status.is_open or self.status.state is State.REJECTED:
            return None
        return TargetRow(self.begun.target, self.status.settled, self.transaction, self.last_seq)


def follow(stream: Stream | None, transaction: str, event: TransactionEvent, seq: int) -> Stream:
    """The stream after ``event`` at ``seq``; raises IllegalEvent if the event cannot follow."""
    status = apply(None if stream is None else stream.status, event)
    if isinstance(event, TransactionBegun):
        return Stream(transaction, event, status, begun_seq=seq, last_seq=seq, version=1)
    if stream is None:
        raise AssertionError("only transaction.begun can be first")
    return Stream(transaction, stream.begun, status, stream.begun_seq, seq, stream.version + 1)


def fold(records: Iterable[Record]) -> Stream | None:
    """The stream that ``records``, all of one transaction, add up to."""
    stream: Stream | None = None
    for record in records:
        event = record.event
        if record.transaction is not None and isinstance(event, TransactionEvent):
            stream = follow(stream, record.transaction, event, record.seq)
    return stream


def put(connection: sqlite3.Connection, stream: Stream) -> None:
    """Bring the index up to ``stream``, inside the transaction that appends its events."""
    row = stream.row
    approval = None if row.approval is None else canonical(row.approval.model_dump(mode="json")).decode()
    begun = (row.transaction, row.kind, row.target, row.state.value, row.begun_seq, row.last_seq)
    connection.execute(_PUT_TRANSACTION, (*begun, row.reason, row.ticket, approval))
    settled = stream.settled
    if settled is not None:
        state = None if settled.state is None else canonical(settled.state).decode()
        connection.execute(_PUT_TARGET, (settled.target, state, settled.transaction, settled.seq))


def lines(connection: sqlite3.Connection) -> dict[str, IndexLine]:
    """All lines as they are stored, by their transaction."""
    return {line[0]: line for line in connection.execute(_SELECT_TRANSACTIONS).fetchall()}


def open_rows(connection: sqlite3.Connection) -> list[TransactionRow]:
    """The open transactions, in the time that they take and not the history."""
    return select_transactions(connection, _OPEN)


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
    allowed = None if approval is None else Approval.model_validate_json(approval)
    return TransactionRow(transaction, kind, target, State(state), begun_seq, last_seq, reason, ticket, allowed)


def _damaged(cause: str) -> LedgerDamaged:
    return LedgerDamaged(
        f"cannot trust the ledger: its index of {cause}",
        remedy="compare the ledger with its last copy, then restore it; keep the damaged file as evidence",
    )

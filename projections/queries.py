"""The questions that the command line asks.

Those about a few transactions are answered from the ledger itself, in the time that those take; those about the whole
history from the projections, whose tables are imported only there: ``status`` must start quickly. Both give the same
lines.
"""

from itertools import islice
from typing import TYPE_CHECKING

from ledger.codec import AnyRecord
from ledger.index import TransactionRow
from ledger.lifecycle import WAITING, State
from ledger.names import transaction_of
from ledger.reader import LedgerReader
from projections.current_state import TargetLine, is_same, name_of, settled_of
from projections.fields import body, inner, text
from projections.history import Story, TransactionLine, tell

if TYPE_CHECKING:
    from projections.projector import Projector
    from projections.releases import ReleaseLine
    from projections.tables import Cell


# --- from the ledger itself -------------------------------------------------------------------------------------------


def find_transactions(reader: LedgerReader, prefix: str) -> list[str]:
    """The transactions whose identifier starts with ``prefix``."""
    return [row.transaction for row in reader.find_transactions(prefix)]


def story(reader: LedgerReader, transaction: str) -> Story | None:
    """A transaction with its steps; None if there is none of that name."""
    told: Story | None = None
    for record in reader.records(transaction=transaction):
        told = tell(told, record)
    return told


def recent_transactions(
    reader: LedgerReader, *, target: str | None = None, open_only: bool = False, limit: int | None = None
) -> list[TransactionLine]:
    """The last ``limit`` transactions, or all, newest first."""
    rows = [row for row in reader.transactions(open_only=open_only) if target in (None, row.target)]
    rows = [row for row in rows if row.state not in WAITING]
    stories = (story(reader, row.transaction) for row in rows)
    return list(islice((told.line for told in stories if told), limit))


def last_transaction(reader: LedgerReader, target: str) -> TransactionLine | None:
    """The last transaction of ``target`` that recorded anything, ended or not; a plan that waits is none yet."""
    until: int | None = None
    while record := next(reader.records(target=target, until=until, newest_first=True, limit=1), None):
        told = story(reader, record.transaction) if record.transaction else None
        if told is None or told.line.state not in WAITING:
            return told.line if told else None
        until = record.seq - 1
    return None


def current_targets(reader: LedgerReader, kind: str) -> dict[str, TargetLine]:
    """The targets of a kind ("jail", "template", "pool") of which something is there, by name."""
    lines = {}
    rows = reader.transactions()
    for target, stored in reader.settled_targets().items():
        if target.startswith(f"{kind}:"):
            line = _target_line(reader, target, [row for row in rows if row.target == target])
            settled = settled_of(stored)
            if line is not None and settled is not None:
                lines[name_of(target)] = line
    return lines


def recorded_fingerprint(reader: LedgerReader, release: str) -> str | None:
    """What the storage said of ``release`` when it was taken; None if the ledger does not know it."""
    for record in reader.records(transaction=transaction_of(release)):
        fact = inner(body(record), "fact")
        if text(fact, "fact") == "snapshot-taken" and text(fact, "release") == release:
            return text(fact, "fingerprint")
    return None


def _target_line(reader: LedgerReader, target: str, rows: list[TransactionRow]) -> TargetLine | None:
    """Back from the newest to the transaction that brought what is there; ``rows`` are those of ``target``."""
    ended = (row for row in rows if row.state in (State.COMMITTED, State.ROLLED_BACK))
    found: TargetLine | None = None
    for row in sorted(ended, key=lambda row: row.last_seq, reverse=True):
        begun, last = _record(reader, row.begun_seq), _record(reader, row.last_seq)
        told = tell(None, begun) if begun else None
        if told is None or last is None:
            break
        after = told.line.after if row.state is State.COMMITTED else told.line.before
        if after is None:
            break
        if found is None:
            found = TargetLine(target, after, last.at, row.transaction, last.at, row.transaction)
        elif not is_same(found.settled, after):
            break
        found = TargetLine(target, found.settled, last.at, row.transaction, found.settled_at, found.settled_by)
        if told.line.before is None or not is_same(told.line.before, after):
            break
    return found


def _record(reader: LedgerReader, seq: int) -> AnyRecord | None:
    return next(reader.records(after=seq - 1, until=seq), None)


# --- from the projections ---------------------------------------------------------------------------------------------


def all_transactions(
    projector: "Projector", *, target: str | None = None, limit: int | None = None
) -> list[TransactionLine]:
    """The last ``limit`` transactions, or all, newest first; a plan that waits is none yet."""
    from projections.tables import TRANSACTIONS

    begun = [("state <> ?", state) for state in sorted(WAITING)]
    where, named = _conditions(*begun, ("target = ?", target))
    return TRANSACTIONS.find(projector.database, where, named, order="begun_seq DESC", limit=limit)


def all_targets(projector: "Projector", kind: str) -> dict[str, TargetLine]:
    """The targets of a kind of which something is there, by name."""
    from projections.tables import TARGETS

    found = TARGETS.find(projector.database, "target LIKE ?", [f"{kind}:%"], order="target")
    return {name_of(line.target): line for line in found}


def all_releases(projector: "Projector") -> "list[ReleaseLine]":
    """Every release that was ever taken, by template, oldest first."""
    from projections.tables import RELEASES

    return RELEASES.find(projector.database, order="template, rowid")


def _conditions(*pairs: tuple[str, "Cell"]) -> "tuple[str | None, list[Cell]]":
    asked = [(condition, value) for condition, value in pairs if value is not None]
    return " AND ".join(condition for condition, _ in asked) or None, [value for _, value in asked]

"""What the ledger has recorded of a release, whatever became of it on the host."""

from commands.transactions.plan import plan_from_json
from ledger.errors import LedgerNewer, UnknownTransaction
from ledger.events import StepSucceeded
from ledger.facts import SnapshotTaken
from ledger.lifecycle import State
from ledger.names import ReleaseName, template_of, transaction_of
from ledger.writer import LedgerWriter


def recorded_fingerprint(ledger: LedgerWriter, release: ReleaseName) -> str | None:
    """What the storage said of ``release`` when it was taken; None if this ledger does not know it."""
    try:
        records = ledger.records(transaction_of(release))
    except UnknownTransaction:
        return None
    for record in records:
        fact = record.event.fact if isinstance(record.event, StepSucceeded) else None
        if isinstance(fact, SnapshotTaken) and fact.release == release:
            return fact.fingerprint
    return None


def is_recorded_as_there(ledger: LedgerWriter, release: ReleaseName) -> bool:
    """Whether ``release`` was taken for good, and no transaction has destroyed it."""
    if recorded_fingerprint(ledger, release) is None:
        return False
    if ledger.status(transaction_of(release)).state is not State.COMMITTED:
        return False
    return not any(
        row.state is State.COMMITTED and _destroyed(ledger, row.transaction) == release
        for row in ledger.transactions_of(f"release:{template_of(release)}")
    )


def _destroyed(ledger: LedgerWriter, transaction: str) -> ReleaseName | None:
    """The release that a transaction was about; None if that cannot be read."""
    try:
        return plan_from_json(ledger.status(transaction).plan).released
    except LedgerNewer:
        return None

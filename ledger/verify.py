"""The whole ledger, recomputed.

Nothing that is stored is believed: every record is hashed again, every link, column and place in its stream looked at,
every transaction folded, and the ledger's own index compared with what the records add up to.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

from ledger.checkpoint import origin_of
from ledger.codec import AnyRecord, RawRecord, Record
from ledger.errors import IllegalEvent, LedgerDamaged
from ledger.events import KeyRotated, LedgerCreated, TransactionEvent
from ledger.index import Stream, TargetRow, TransactionRow, follow, select_transactions, target_rows
from ledger.merkle import Frontier, leaf_hash
from ledger.rows import NOTHING, Row, Tail, check_link, damaged, read_tail, select
from ledger.schema import check_objects
from ledger.seals import seals_after
from ledger.skim import Skimmer
from ledger.vouch import Evidence, Found, Vouched, require_vouched

_PAGE = 500


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found sound. ``head`` is the hash of the last record: whoever kept an older one can compare.

    ``unknown`` counts the records of a newer version: their place in the chain was verified, their meaning was not.
    ``vouched`` is what signatures say of it; None if nobody asked.
    """

    records: int
    transactions: int
    open_transactions: int
    unknown: int
    head: str
    vouched: Vouched | None = None


@dataclass(slots=True)
class _Recount:
    """What the records seen so far add up to."""

    tail: Tail = NOTHING
    frontier: Frontier = field(default_factory=Frontier)
    versions: dict[str, int] = field(default_factory=dict)
    open: dict[str, Stream] = field(default_factory=dict)
    ended: dict[str, TransactionRow] = field(default_factory=dict)
    targets: dict[str, TargetRow] = field(default_factory=dict)
    #: Transactions with a record that we cannot read, and the targets whose settled state they may have changed.
    unknown_transactions: set[str] = field(default_factory=set)
    unknown_targets: set[str | None] = field(default_factory=set)
    unknown: int = 0
    #: The roots of the tree at these sizes are kept in ``found``.
    wanted: frozenset[int] = frozenset()
    found: Found = field(default_factory=Found)
    skimmer: Skimmer = field(default_factory=Skimmer)

    @property
    def transactions(self) -> dict[str, TransactionRow]:
        """What the index of transactions has to say."""
        return {**self.ended, **{name: stream.row for name, stream in self.open.items()}}

    def take(self, row: Row) -> None:
        """Check ``row`` and add it; raises LedgerDamaged."""
        event = self.skimmer.skim(row, self.tail)
        if event is None:
            record = row.decode_any()
            check_link(self.tail, record)
            self._count(record.seq, record.stream, record.version)
            self._follow(record)
            self._note(record)
            self.skimmer.learn(row, record)
        else:
            self._count(row.seq, row.stream, row.version)
            if row.stream not in self.unknown_transactions:
                self._fold(row.seq, row.stream, event)
        if row.subtrees != b"".join(self.frontier.add(leaf_hash(row.record))):
            raise damaged(row.seq, "the subtrees stored with it are not those of the records")
        if row.seq in self.wanted:
            self.found.roots[row.seq] = self.frontier.root()
        self.tail = Tail(row.seq, row.hash.hex())

    def _count(self, seq: int, stream: str, number: int) -> None:
        version = self.versions.get(stream, 0) + 1
        if number != version:
            raise damaged(seq, f"it is number {number} of {stream}, not {version}")
        self.versions[stream] = version

    def _note(self, record: AnyRecord) -> None:
        """Keep what the signatures will be held against."""
        if record.seq == 1:
            self.found.origin = origin_of(record.host_id, record.event_id)
        if isinstance(record, Record) and isinstance(record.event, KeyRotated | LedgerCreated):
            self.found.keys.append((record.seq, record.event))

    def _follow(self, record: AnyRecord) -> None:
        transaction = record.transaction
        if isinstance(record, RawRecord):
            self.unknown += 1
            if transaction is not None:
                self.unknown_transactions.add(transaction)
                self.unknown_targets.add(record.target)
                self.open.pop(transaction, None)
        elif transaction is None:
            if isinstance(record.event, TransactionEvent):
                raise damaged(record.seq, f"{record.type} stands outside of any transaction")
        elif transaction not in self.unknown_transactions:
            self._fold(record.seq, transaction, record.event)

    def _fold(self, seq: int, transaction: str, event: object) -> None:
        if not isinstance(event, TransactionEvent):
            raise damaged(seq, f"the stream of transaction {transaction} holds an event of the ledger")
        if transaction in self.ended:
            raise damaged(seq, f"transaction {transaction} had already ended")
        try:
            stream = follow(self.open.pop(transaction, None), transaction, event, seq)
        except IllegalEvent as error:
            raise damaged(seq, str(error)) from error
        if stream.status.is_over:
            self.ended[transaction] = stream.row
        else:  # a plan that waits, a transaction at work, or an emergency that somebody has yet to answer for
            self.open[transaction] = stream
        if stream.settled is not None and stream.settled.seq == seq:
            self.targets[stream.begun.target] = stream.settled


def verify(connection: sqlite3.Connection, evidence: Evidence | None = None) -> VerifyReport:
    """Recompute everything, and hold it against the signatures if ``evidence`` says how.

    Raises LedgerDamaged that names the first record which does not add up. The writer may go on meanwhile: what is
    verified is the ledger at the moment of the call.
    """
    check_objects(connection)
    _check_pages(connection)
    # One short snapshot of the index and its end; the records before that end cannot change under us.
    connection.execute("BEGIN")
    try:
        end = read_tail(connection)
        transactions = {row.transaction: row for row in select_transactions(connection, "")}
        targets = {row.target: row for row in target_rows(connection)}
        seals = seals_after(connection, 0)
    finally:
        connection.execute("ROLLBACK")
    kept = () if evidence is None else evidence.sizes
    recount = _Recount(wanted=frozenset([*(seal.checkpoint.size for seal in seals), *kept]))
    for row in _pages(connection, end.seq):
        recount.take(row)
    if recount.tail != end:
        raise damaged(recount.tail.seq + 1, "it is missing")
    vouched = require_vouched(end.seq, seals, recount.found, evidence)
    _compare_transactions(transactions, recount)
    _compare_targets(targets, recount)
    return VerifyReport(
        records=end.seq,
        transactions=len(transactions),
        open_transactions=sum(stream.status.is_open for stream in recount.open.values()),
        unknown=recount.unknown,
        head=end.hash,
        vouched=vouched,
    )


def _check_pages(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise LedgerDamaged(
            f"cannot trust the ledger: SQLite finds {found}",
            remedy="restore the ledger from its last copy; keep the damaged file as evidence",
        )


def _pages(connection: sqlite3.Connection, until: int) -> Iterator[Row]:
    after = 0
    while page := select(connection, "WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (after, until, _PAGE)):
        yield from page
        after = page[-1].seq


def _compare_transactions(stored: dict[str, TransactionRow], recount: _Recount) -> None:
    recounted = recount.transactions
    for transaction in sorted(stored.keys() | recounted.keys()):
        if transaction in recount.unknown_transactions:
            continue
        found, expected = stored.get(transaction), recounted.get(transaction)
        if found != expected:
            seq = expected.last_seq if expected is not None else found.last_seq if found is not None else 0
            raise damaged(seq, f"the index of transactions is wrong about {transaction}")


def _compare_targets(stored: dict[str, TargetRow], recount: _Recount) -> None:
    for target in sorted(stored.keys() | recount.targets.keys()):
        if target in recount.unknown_targets:
            continue
        found, expected = stored.get(target), recount.targets.get(target)
        if found != expected:
            seq = expected.seq if expected is not None else found.seq if found is not None else 0
            raise damaged(seq, f"the index of targets is wrong about {target}")

"""What records add up to: where each transaction stands, what settled each target, and what they say of keys.

The sums of a range that does not start with the first record rest on its start as it is stored, and put off what the
range alone cannot judge: records of transactions that began before it, and of the ledger itself. ``join`` holds both
against the ranges before.
"""

from dataclasses import dataclass, field
from typing import Self

from ledger import index
from ledger.checkpoint import origin_of
from ledger.codec import AnyRecord, RawRecord, Record
from ledger.course import Courses, Place
from ledger.errors import IllegalEvent, LedgerDamaged
from ledger.events import KeyRotated, LedgerCreated, TransactionBegun, TransactionEvent, TransactionPlanned
from ledger.index import IndexLine
from ledger.lifecycle import State
from ledger.merkle import Frontier
from ledger.rows import Tail, damaged
from ledger.skim import Frame, Purpose
from ledger.vouch import Found


@dataclass(slots=True)
class Opened:
    """A transaction that is not over: its line in the index so far, where it stands, and the frame of its records.

    It may still wait, or have ended and owe an approval; then ``last_seq`` is the place of its end.
    """

    place: Place
    kind: str
    target: str
    purpose: Purpose
    approval: str | None
    begun_seq: int
    last_seq: int
    version: int = 1
    frame: Frame | None = None

    def line(self, transaction: str) -> IndexLine:
        """Its line in the index."""
        named = (transaction, self.kind, self.target, self.place.status.state.value)
        return (*named, self.begun_seq, self.last_seq, self.purpose.reason, self.purpose.ticket, self.approval)


@dataclass(frozen=True, slots=True)
class Settling:
    """The last transaction to settle a target: where it began and ended, and which of its two ends holds."""

    transaction: str
    begun_seq: int
    last_seq: int
    is_after: bool


@dataclass(slots=True)
class Sums:
    """What a range of records after ``start`` adds up to; plain values, to be handed from process to process.

    ``frontier`` is the right edge of the tree at ``start``, then at ``tail``.
    """

    start: Tail
    start_frontier: Frontier
    tail: Tail
    frontier: Frontier
    open: dict[str, Opened] = field(default_factory=dict)
    ended: dict[str, IndexLine] = field(default_factory=dict)
    targets: dict[str, Settling] = field(default_factory=dict)
    #: How many records each other stream has: transactions that have ended or cannot be followed, and the ledger's own.
    versions: dict[str, int] = field(default_factory=dict)
    #: Transactions with a record that we cannot read, and the targets whose settled state they may have changed.
    unknown_transactions: set[str] = field(default_factory=set)
    unknown_targets: set[str | None] = field(default_factory=set)
    unknown: int = 0
    found: Found = field(default_factory=Found)
    put_off: list[AnyRecord] = field(default_factory=list)
    error: LedgerDamaged | None = None

    @classmethod
    def failed(cls, after: int, error: LedgerDamaged) -> Self:
        """Of a range after that record whose start cannot be told."""
        nowhere = Tail(after, "")
        return cls(nowhere, Frontier(), nowhere, Frontier(), error=error)

    def knows(self, stream: str) -> bool:
        """Whether the stream has begun here."""
        return stream in self.open or stream in self.versions

    def index(self) -> dict[str, IndexLine]:
        """What the index of transactions has to say."""
        return {**self.ended, **{name: opened.line(name) for name, opened in self.open.items()}}

    def join(self, later: "Sums") -> None:
        """Add the range that follows; raises LedgerDamaged that names the first record which does not add up."""
        is_continued = (later.start, later.start_frontier) == (self.tail, self.frontier)
        if not is_continued and later.error is None:
            raise damaged(later.start.seq, "what is stored of it is not what the records before it add up to")
        courses = Courses()
        twice = [name for name in (*later.open, *later.versions) if self.knows(name)]
        for record in later.put_off:
            self.follow(record, courses)
        if later.error is not None:
            raise later.error
        if twice:
            begun = later.ended[twice[0]][4] if twice[0] in later.ended else later.start.seq + 1
            raise damaged(begun, f"transaction {twice[0]} had already begun")
        self.open |= later.open
        self.ended |= later.ended
        self.versions |= later.versions
        for target, settling in later.targets.items():
            self.settle(target, settling)
        self.unknown_transactions |= later.unknown_transactions
        self.unknown_targets |= later.unknown_targets
        self.unknown += later.unknown
        self.found.roots |= later.found.roots
        self.found.sound |= later.found.sound
        self.tail, self.frontier = later.tail, later.frontier

    def settle(self, target: str, settling: Settling) -> None:
        """Keep the last one."""
        before = self.targets.get(target)
        if before is None or before.last_seq < settling.last_seq:
            self.targets[target] = settling

    def follow(self, record: AnyRecord, courses: Courses) -> None:
        """Add a record whose bytes, link and columns were found right."""
        self._count(record)
        if record.seq == 1:
            self.found.origin = origin_of(record.host_id, record.event_id)
        if isinstance(record, Record) and isinstance(record.event, KeyRotated | LedgerCreated):
            self.found.keys.append((record.seq, record.event))
        transaction = record.transaction
        if isinstance(record, RawRecord):
            self.unknown += 1
            if transaction is not None:
                self._lose(transaction, record)
        elif transaction is None:
            if isinstance(record.event, TransactionEvent):
                raise damaged(record.seq, f"{record.type} stands outside of any transaction")
        elif transaction not in self.unknown_transactions:
            self.fold(record.seq, transaction, record.event, courses)

    def _count(self, record: AnyRecord) -> None:
        opened = self.open.get(record.stream)
        version = (self.versions.get(record.stream, 0) if opened is None else opened.version) + 1
        if record.version != version:
            raise damaged(record.seq, f"it is number {record.version} of {record.stream}, not {version}")
        if opened is None:
            self.versions[record.stream] = version

    def _lose(self, transaction: str, record: RawRecord) -> None:
        self.unknown_transactions.add(transaction)
        self.unknown_targets.add(record.target)
        opened = self.open.pop(transaction, None)
        if opened is not None:
            self.versions[transaction] = opened.version + 1

    def fold(self, seq: int, transaction: str, event: object, courses: Courses) -> None:
        """Add an event; raises LedgerDamaged."""
        if not isinstance(event, TransactionEvent):
            raise damaged(seq, f"the stream of transaction {transaction} holds an event of the ledger")
        if transaction in self.ended:
            raise damaged(seq, f"transaction {transaction} had already ended")
        opened = self.open.get(transaction)
        if opened is None:
            self.begin(seq, transaction, event, courses)
            return
        self.advance(seq, transaction, opened, event, None, courses)

    def advance(
        self,
        seq: int,
        transaction: str,
        opened: Opened,
        event: TransactionEvent,
        number: int | None,
        courses: Courses,
    ) -> None:
        """Add the next event of a transaction; events of one ``number`` are alike. Raises LedgerDamaged."""
        try:
            place = courses.follow(opened.place, event, number)
        except IllegalEvent as error:
            raise damaged(seq, str(error)) from error
        if opened.place.is_alone:
            self._advance_alone(seq, transaction, opened, event, place)
            return
        opened.version += 1
        opened.last_seq = seq
        opened.place = place
        if place.has_ended:
            self._settle_end(transaction, opened)
            self._end(transaction, opened)

    def _advance_alone(self, seq: int, transaction: str, opened: Opened, event: TransactionEvent, place: Place) -> None:
        """A plan that waits may begin, and an emergency may be answered after its end."""
        had_ended, opened.place = opened.place.has_ended, place
        opened.version += 1
        if not had_ended:
            opened.last_seq = seq
        if isinstance(event, TransactionBegun):
            opened.begun_seq, opened.purpose = seq, Purpose(event.reason, event.ticket)
        opened.approval = _spell_approval(event, place)
        if place.has_ended and not had_ended:
            self._settle_end(transaction, opened)
        if place.is_over:
            self._end(transaction, opened)

    def begin(
        self,
        seq: int,
        transaction: str,
        event: TransactionEvent,
        courses: Courses,
        purpose: Purpose | None = None,
        number: int | None = None,
    ) -> None:
        """Add the first event of a transaction, with the ``purpose`` that skimming has found. Raises LedgerDamaged."""
        try:
            place = courses.begin(event, number)
        except IllegalEvent as error:
            raise damaged(seq, str(error)) from error
        if not isinstance(event, TransactionBegun | TransactionPlanned):
            raise AssertionError("only transaction.begun and transaction.planned can be first")
        why = purpose or Purpose(event.reason, event.ticket)
        self.versions.pop(transaction, None)
        approval = _spell_approval(event, place)
        self.open[transaction] = Opened(place, event.kind, event.target, why, approval, seq, seq)

    def _settle_end(self, transaction: str, opened: Opened) -> None:
        state = opened.place.status.state
        if state is not State.REJECTED:
            is_after = state is State.COMMITTED
            self.settle(opened.target, Settling(transaction, opened.begun_seq, opened.last_seq, is_after))

    def _end(self, transaction: str, opened: Opened) -> None:
        del self.open[transaction]
        self.versions[transaction] = opened.version
        self.ended[transaction] = opened.line(transaction)


def _spell_approval(event: TransactionEvent, place: Place) -> str | None:
    """As the index has it. What begins says itself what was approved: its status may be shared with others."""
    given = event.approval if isinstance(event, TransactionBegun) else place.status.approval
    owed = place.status.owed
    return index.spell_approval(given, None if owed is None else owed.settle_by)

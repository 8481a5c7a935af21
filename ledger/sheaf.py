"""Records on their way into the ledger, to be committed together."""

from ledger.codec import Record
from ledger.events import LedgerEvent, TransactionBegun, TransactionEvent, TransactionPlanned
from ledger.merkle import Frontier
from ledger.pen import Pen
from ledger.rows import Row, Tail


class Sheaf:
    """The next records after ``tail``, each linked to the one before; ``frontier`` is the tree with them in it."""

    def __init__(self, pen: Pen, tail: Tail, frontier: Frontier) -> None:
        self._pen = pen
        self.tail = tail
        self.frontier = frontier.copy()
        self.records: list[Record] = []
        self.rows: list[Row] = []
        self._begun: TransactionBegun | TransactionPlanned | None = None

    def add(
        self,
        version: int,
        event: TransactionEvent | LedgerEvent,
        transaction: str | None = None,
        begun: TransactionBegun | TransactionPlanned | None = None,
    ) -> None:
        """Write the next record; raises IllegalEvent for an event that cannot be told."""
        last = self.records[-1] if self.records else None
        if last is not None and begun is self._begun and last.transaction == transaction:
            record = self._pen.next_record(last, self.tail, version, event)
        else:
            record = self._pen.record(self.tail, version, event, transaction, begun)
        self._begun = begun
        row = Row.of(record, self.frontier)
        self.tail = Tail(row.seq, row.hash.hex())
        self.records.append(record)
        self.rows.append(row)

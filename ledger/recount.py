"""A range of records, recounted.

Nothing that is stored is believed: each record is hashed again, its link, its columns, its place in the stream and its
subtrees are looked at, and each transaction is folded.
"""

from collections.abc import Mapping, Sequence

from ledger.checkpoint import Checkpoint
from ledger.codec import LEDGER_STREAM, AnyRecord
from ledger.course import Courses
from ledger.events import TransactionBegun
from ledger.growth import Growth
from ledger.merkle import Frontier
from ledger.rows import Columns, Row, Tail, check_link, damaged
from ledger.skim import Known, Skimmer
from ledger.sums import Opened, Sums


class Recount:
    """Recounts a range of records, page by page."""

    def __init__(self, start: Tail, frontier: Frontier, origin: str, seals: Mapping[int, str], wanted: frozenset[int]):
        """After ``start``, where the tree has ``frontier``.

        ``seals`` are the texts of the stored checkpoints by their size; the roots at the sizes ``wanted`` are kept.
        """
        self.sums = Sums(start, frontier, start, frontier)
        self._growth = Growth(frontier)
        self._origin = origin
        self._seals = seals
        self._wanted = wanted
        self._skimmer = Skimmer()
        self._courses = Courses()
        self._put_off: set[str] = {LEDGER_STREAM} if start.seq else set()

    def take(self, page: Sequence[Columns]) -> None:
        """Check a page of rows and add it; raises LedgerDamaged."""
        sums, recognise, courses = self.sums, self._skimmer.recognise, self._courses
        grown = self._growth.add(_records(page))
        first = seq = sums.tail.seq
        hashed = sums.tail.hash
        for row, subtrees in zip(page, grown, strict=True):
            seq += 1
            stream = row[2]
            opened = sums.open.get(stream)
            known = None
            if opened is not None and opened.frame is not None and row[3] == opened.version + 1:
                known = recognise(row, opened.frame, seq, hashed)
            if opened is None or known is None:
                self._look(row, seq, hashed)
            else:
                sums.advance(seq, stream, opened, known.event, known.number, courses)
            if row[10] != subtrees:
                raise damaged(seq, "the subtrees stored with it are not those of the records")
            hashed = row[9].hex()
            if seq in self._seals or seq in self._wanted:
                self._look_at_root(seq, self._growth.root(seq - first))
        sums.tail, sums.frontier = Tail(seq, hashed), self._growth.frontier()

    def _look(self, row: Columns, seq: int, previous: str) -> None:
        """Add a record that does not merely go on with its transaction."""
        sums, stream = self.sums, row[2]
        opened = sums.open.get(stream)
        skimmed = self._skimmer.skim(row, seq, previous)
        if skimmed is None or not self._is_next(opened, row, skimmed[0]):
            self._decode(row, Tail(seq - 1, previous))
            return
        known, frame, purpose = skimmed
        if opened is None:
            sums.begin(seq, stream, known.event, self._courses, purpose, known.number)
            sums.open[stream].frame = frame
        else:
            opened.frame = frame
            sums.advance(seq, stream, opened, known.event, known.number, self._courses)

    def _is_next(self, opened: Opened | None, row: Columns, known: Known) -> bool:
        begins = isinstance(known.event, TransactionBegun)
        if opened is not None:  # what begins after it has waited is held against its plan, and so decoded
            return bool(row[3] == opened.version + 1) and not begins
        is_first = row[3] == 1 and begins
        return is_first and row[2] not in self._put_off and not self.sums.knows(row[2])

    def _decode(self, columns: Columns, before: Tail) -> None:
        row = Row(*columns)
        record = row.decode_any()
        check_link(before, record)
        if self._is_put_off(record):
            self._put_off.add(record.stream)
            self.sums.put_off.append(record)
        else:
            self.sums.follow(record, self._courses)
        self._skimmer.learn(columns, record)

    def _is_put_off(self, record: AnyRecord) -> bool:
        if record.stream in self._put_off:
            return True
        return self.sums.start.seq > 0 and record.version != 1 and not self.sums.knows(record.stream)

    def _look_at_root(self, seq: int, root: bytes) -> None:
        found = self.sums.found
        if self._seals.get(seq) == Checkpoint(self._origin, seq, root).text:
            found.sound.add(seq)
        if seq in self._wanted or seq not in found.sound:
            found.roots[seq] = root


def _records(page: Sequence[Columns]) -> list[bytes]:
    stored: list[object] = [row[11] for row in page]  # in a page that was damaged it may be anything
    return [record if isinstance(record, bytes) else b"" for record in stored]

"""Which records are of a period, and what each says, one line a record: read from the ledger itself when asked for.

Times are the host's, and its clock may have been set back, so the records of a period need not be those between two
numbers. But between two turns of the clock they are: each such stretch is searched by halves, and read by its numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from operator import attrgetter

from ledger.reader import LedgerReader
from projections.asof import last_until, stretches
from projections.questions import Connection, Row
from projections.timeline import LogLine, entry

COLUMNS = tuple(field.name for field in fields(LogLine))
_CELLS = attrgetter(*COLUMNS)
_PAGE = 2000


@dataclass(frozen=True, slots=True)
class LogScope:
    """Which records: written in a period (an empty text is no bound), of one target or transaction, or all."""

    since: str = ""
    until: str = ""
    target: str | None = None
    transaction: str | None = None


def log(reader: LedgerReader, tables: Connection, scope: LogScope, limit: int = -1) -> list[Row]:
    """The records of the scope, at most the last ``limit``, in order; -1 for all. ``tables`` tell the turns."""
    found: list[Row] = []
    for first, last in _ranges(reader, tables, scope):
        left = limit - len(found) if limit >= 0 else last
        for line in _lines(reader, scope, first, last, left):
            found.append(dict(zip(COLUMNS, _CELLS(line), strict=True)))
        if len(found) == limit:
            break
    return found[::-1]


def seqs_of(reader: LedgerReader, tables: Connection, scope: LogScope) -> list[int]:
    """The numbers of the records of the scope, in order."""
    ranges = list(_ranges(reader, tables, scope))[::-1]
    if scope.target is None and scope.transaction is None:
        return [seq for first, last in ranges for seq in range(first, last + 1)]
    return [seq for first, last in ranges for seq in reader.seqs(first - 1, last, scope.transaction, scope.target)]


def _lines(reader: LedgerReader, scope: LogScope, first: int, last: int, left: int) -> Iterator[LogLine]:
    """At most ``left`` lines of a range, the newest first."""
    while left > 0 and first <= last:
        size = min(left, _PAGE)
        page = reader.plain_records(
            after=first - 1,
            until=last,
            transaction=scope.transaction,
            target=scope.target,
            limit=size,
            newest_first=True,
        )
        lines = [entry(record) for record in page]
        yield from lines
        if len(lines) < size:
            return
        left, last = left - size, lines[-1].seq - 1


def _ranges(reader: LedgerReader, tables: Connection, scope: LogScope) -> Iterator[tuple[int, int]]:
    """The first and the last record of each stretch of the period, the newest stretch first."""
    for one in stretches(tables):
        low = one.first
        if scope.since > one.at:
            low = last_until(reader, scope.since, one, is_before=True) + 1
        high = last_until(reader, scope.until, one, is_before=True) if scope.until else one.last
        if low <= high:
            yield low, high

"""Which records are of a period, and what each says, one line a record.

Times are the host's, and its clock may have been set back, so the records of a period need not be those between two
numbers. But between two turns of the clock they are: each such stretch is searched by halves, and read by its numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from projections.asof import last_until, stretches
from projections.questions import Connection, Row
from projections.timeline import LogLine

COLUMNS = tuple(field.name for field in fields(LogLine))
#: What else picks records, each by its own index with the number.
_FILTERS = {"target": "target = :target", "transaction": "transaction_id = :transaction"}


@dataclass(frozen=True, slots=True)
class LogScope:
    """Which records: written in a period (an empty text is no bound), of one target or transaction, or all."""

    since: str = ""
    until: str = ""
    target: str | None = None
    transaction: str | None = None


def log(tables: Connection, scope: LogScope, limit: int = -1) -> list[Row]:
    """The records of the scope, at most the last ``limit``, in order; -1 for all."""
    found: list[Row] = []
    text = _select(", ".join(COLUMNS), scope)
    for first, last in _ranges(tables, scope):
        left = -1 if limit < 0 else limit - len(found)
        if left == 0:
            break
        cursor = tables.execute(text, _bound(scope, first, last, left))
        found += [dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()]
    return found[::-1]


def seqs_of(tables: Connection, scope: LogScope) -> list[int]:
    """The numbers of the records of the scope, in order."""
    found: list[int] = []
    for first, last in _ranges(tables, scope):
        found += [seq for (seq,) in tables.execute(_select("seq", scope), _bound(scope, first, last, -1))]
    return found[::-1]


def _ranges(tables: Connection, scope: LogScope) -> Iterator[tuple[int, int]]:
    """The first and the last record of each stretch of the period, the newest stretch first."""
    for first, last in stretches(tables):
        low = first if not scope.since else last_until(tables, scope.since, first, last, is_before=True) + 1
        high = last if not scope.until else last_until(tables, scope.until, first, last, is_before=True)
        if low <= high:
            yield low, high


def _select(columns: str, scope: LogScope) -> str:
    named = (condition for name, condition in _FILTERS.items() if getattr(scope, name) is not None)
    where = " AND ".join(("seq BETWEEN :first AND :last", *named))
    return f"SELECT {columns} FROM log WHERE {where} ORDER BY seq DESC LIMIT :limit"  # noqa: S608 constants only


def _bound(scope: LogScope, first: int, last: int, limit: int) -> Row:
    named = {"target": scope.target, "transaction": scope.transaction}
    return {"first": first, "last": last, "limit": limit, **named}

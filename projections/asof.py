"""What was so at a moment of the past: the state of every target after the last record of that moment or before.

Records are in an order that is proved, their times are the host's word, and its clock may have been set back. So a
moment stands for a place in the ledger: the last record, by its number, that was not written later. All that is told is
the state there, which is the fold of a beginning of the ledger, as it really was.
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ledger.reader import LedgerReader
from projections.current_state import Settled, is_same

_TARGETS = """WITH RECURSIVE found (target) AS (
    SELECT min(target) FROM changes
    UNION ALL
    SELECT (SELECT min(target) FROM changes WHERE target > found.target) FROM found WHERE found.target IS NOT NULL
) SELECT target FROM found WHERE target IS NOT NULL"""
_TURNS = "SELECT seq, at FROM turns ORDER BY seq DESC"
_LAST = "SELECT seq FROM position"
_BEFORE = """SELECT c.transaction_id, c.kind, c.state, c.begun_at, c.ended_seq, c.ended_at, t.before, t.after
FROM changes AS c JOIN transactions AS t ON t.transaction_id = c.transaction_id
WHERE c.target = ? AND c.begun_seq <= ? AND c.planned_at IS NOT c.begun_at ORDER BY c.begun_seq DESC"""


@dataclass(frozen=True, slots=True)
class Standing:
    """A target as it stood.

    - ``settled`` is how the last transaction that had ended left it: ``by``, at record ``seq``; None where nothing was.
    - ``since`` and ``brought_by`` tell when and by which transaction its release came.
    - ``open`` is the transaction that was under way on it, if any: between the two ends that it names.
    """

    target: str
    settled: Settled | None
    seq: int | None
    by: str | None
    settled_at: str | None
    since: str | None
    brought_by: str | None
    open: str | None = None
    open_kind: str | None = None
    open_since: str | None = None


class Stretch(NamedTuple):
    """The records ``first`` to ``last``, between two turns of the clock; ``first`` is of the moment ``at``."""

    first: int
    last: int
    at: str


def place_of(reader: LedgerReader, tables: sqlite3.Connection, at: str) -> int:
    """The number of the last record that was not written after ``at`` (UTC as recorded); 0 for none."""
    begun = next((one for one in stretches(tables) if one.at <= at), None)
    return 0 if begun is None else last_until(reader, at, begun)


def stretches(tables: sqlite3.Connection) -> Iterator[Stretch]:
    """The stretches of the log, as far as the tables go, the newest first; time goes on in each."""
    position = tables.execute(_LAST).fetchone()
    last: int = position[0] if position else 0
    for first, at in tables.execute(_TURNS).fetchall():
        yield Stretch(first, last, at)
        last = first - 1


def last_until(reader: LedgerReader, at: str, stretch: Stretch, *, is_before: bool = False) -> int:
    """The last record of ``stretch`` that was written by ``at``, or before it; the one before it if none was."""
    low, high = stretch.first - 1, stretch.last
    while low < high:
        middle = (low + high + 1) // 2
        (found,) = reader.plain_records(after=middle - 1, until=middle, limit=1)
        if found.at < at or (found.at == at and not is_before):
            low = middle
        else:
            high = middle - 1
    return low


def standings_at(tables: sqlite3.Connection, seq: int) -> list[Standing]:
    """Every target of which something was there or under way after record ``seq``."""
    found = (_standing(tables, target, seq) for (target,) in tables.execute(_TARGETS).fetchall())
    return [one for one in found if one is not None]


def _standing(tables: sqlite3.Connection, target: str, seq: int) -> Standing | None:
    under_way: tuple[str, str, str] | None = None
    found: Standing | None = None
    for name, kind, state, begun_at, ended_seq, ended_at, before, after in tables.execute(_BEFORE, (target, seq)):
        if ended_seq is None or ended_seq > seq:
            under_way = under_way or (name, kind, begun_at)
            continue
        if state == "rejected":
            continue
        near, far = _settled(before), _settled(after)
        settled = far if state == "committed" else near
        if found is None:
            found = Standing(target, settled, ended_seq, name, ended_at, ended_at, name)
        elif settled is None or found.settled is None or not is_same(found.settled, settled):
            break
        else:
            found = Standing(target, found.settled, found.seq, found.by, found.settled_at, ended_at, name)
        if settled is None or near is None or not is_same(near, settled):
            break
    if found is None and under_way is None:
        return None
    standing = found or Standing(target, None, None, None, None, None, None)
    if under_way is None:
        return standing if standing.settled is not None else None
    return _with_open(standing, under_way)


def _with_open(standing: Standing, under_way: tuple[str, str, str]) -> Standing:
    return Standing(
        standing.target,
        standing.settled,
        standing.seq,
        standing.by,
        standing.settled_at,
        standing.since,
        standing.brought_by,
        *under_way,
    )


def _settled(stored: str | None) -> Settled | None:
    if stored is None:
        return None
    values = json.loads(stored)
    return Settled(**{**values, "past": tuple(values["past"])})

"""The questions of auditors, as SQL over the projections: the same for the command line and for the browser.

Each takes ``:since`` and ``:until`` (UTC as recorded; an empty text is no bound) and ``:limit`` (-1 for all). Lists are
newest first. Every one of them is served by an index; a test reads the plans.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from projections.changes import SHARES
from projections.marks import BEGAN, UNAPPROVED

#: What the questions are put to: the tables of the projections.
Connection = sqlite3.Connection
Cell = str | int | None
Row = dict[str, Cell]

_PERIOD = "begun_at >= :since AND begun_at < coalesce(nullif(:until, ''), '9999')"
_COMMON = "transaction_id, kind, target, state, begun_at, login"
_ORDER = "ORDER BY begun_at DESC, begun_seq DESC LIMIT :limit"
_SHARE_COLUMNS = (*SHARES.values(), "undo_ns", "other_ns")


@dataclass(frozen=True, slots=True)
class Question:
    """A question by its verb; ``title`` is what it asks. ``{target}`` in ``sql`` is where one target may be named."""

    name: str
    title: str
    sql: str

    def text(self, *, of_target: bool = False) -> str:
        """The SQL, of all targets or of ``:target``."""
        return self.sql.format(target="AND target = :target" if of_target else "")


def _each(verdict: str, condition: str) -> str:
    """The changes of one verdict in their order, so that many need no sorting."""
    return f"""SELECT * FROM (SELECT {_COMMON}, begun_seq, approval, approved_by, approved_at, approval_meaning,
ticket, reason FROM changes WHERE approval = '{verdict}' AND {_PERIOD} {{target}} AND {condition} {_ORDER})"""  # noqa: S608 constants only


_NOT_UPSET = "state <> 'rejected' AND kind NOT IN ('mount', 'restore')"
_UNION = "\nUNION ALL\n"

QUESTIONS = (
    Question(
        "all-changes",
        "Every change: its outcome, its approval and its downtime",
        f"""SELECT {_COMMON}, begun_seq, ended_at, duration_ns, downtime_ns, {", ".join(_SHARE_COLUMNS)}, down_at,
unwind_ns, from_release, to_release, approval, approved_by, approved_at, "window", recovered, cause, ticket, reason
FROM changes WHERE {_PERIOD} {{target}} {_ORDER}""",  # noqa: S608 constants only
    ),
    Question(
        "who",
        "Who changed what, how often, and how it ended",
        f"""SELECT login, uid, login_uid, sum(begun) AS begun,
coalesce(sum(begun) FILTER (WHERE state = 'committed'), 0) AS committed,
coalesce(sum(begun) FILTER (WHERE state = 'rolled-back'), 0) AS rolled_back,
coalesce(sum(begun) FILTER (WHERE state IN ('forward', 'unwinding', 'stuck')), 0) AS unfinished,
count(DISTINCT target) AS targets, min(first_at) AS first_at, max(last_at) AS last_at
FROM (SELECT login, uid, login_uid, target, state, count(*) AS begun, min(begun_at) AS first_at,
max(begun_at) AS last_at FROM changes INDEXED BY changes_by_person WHERE {_PERIOD} {{target}} AND {BEGAN}
GROUP BY login, uid, login_uid, target, state)
GROUP BY login, uid, login_uid ORDER BY begun DESC, login, uid LIMIT :limit""",  # noqa: S608 constants only
    ),
    Question(
        "failed",
        "Changes that failed: rolled back, refused or stuck",
        f"""SELECT {_COMMON}, ended_at, downtime_ns, unwind_ns, recovered, cause, ticket
FROM changes WHERE state IN ('rolled-back', 'rejected', 'stuck') AND {_PERIOD} {{target}} {_ORDER}""",  # noqa: S608
    ),
    Question(
        "downtime",
        "The downtime of each change, and where it went",
        f"""SELECT {_COMMON}, from_release, to_release, down_at, downtime_ns, {", ".join(_SHARE_COLUMNS)}
FROM changes WHERE downtime_ns IS NOT NULL AND {_PERIOD} {{target}} {_ORDER}""",  # noqa: S608 constants only
    ),
    Question(
        "rollbacks",
        "Rollbacks, and how long it took to be as before",
        f"""SELECT * FROM (SELECT {_COMMON}, begun_seq, 'by the engine' AS how, unwind_ns AS took_ns, downtime_ns,
cause AS why FROM changes INDEXED BY changes_unwound WHERE unwind_at IS NOT NULL AND {_PERIOD} {{target}} {_ORDER})
UNION ALL
SELECT * FROM (SELECT {_COMMON}, begun_seq, 'by an operator' AS how, duration_ns AS took_ns, downtime_ns,
reason AS why FROM changes WHERE kind = 'rollback' AND unwind_at IS NULL AND {_PERIOD} {{target}} {_ORDER})
{_ORDER}""",  # noqa: S608 constants only
    ),
    Question(
        "unapproved",
        "Changes that nobody else had approved when they began",
        _UNION.join(_each(verdict, _NOT_UPSET) for verdict in UNAPPROVED) + f"\n{_ORDER}",
    ),
    Question(
        "outside-window",
        "Changes begun outside of their maintenance window, or in a freeze",
        f"""SELECT {_COMMON}, "window", window_name, basis, approved_by, approval, ticket, reason
FROM changes WHERE "window" IN ('outside', 'frozen') AND {_PERIOD} {{target}} {_ORDER}""",  # noqa: S608 constants only
    ),
    Question(
        "open",
        "What has not ended, waits for approval or owes one",
        f"""SELECT * FROM (SELECT {_COMMON}, begun_seq, approval, settle_by, cause FROM changes
WHERE state IN ('forward', 'unwinding', 'stuck', 'planned', 'approved') AND {_PERIOD} {{target}} {_ORDER})
UNION
SELECT * FROM (SELECT {_COMMON}, begun_seq, approval, settle_by, cause FROM changes
WHERE approval = 'owed' AND {_PERIOD} {{target}} {_ORDER})
{_ORDER}""",  # noqa: S608 constants only
    ),
    Question(
        "population",
        "Every change that was begun, oldest first",
        f"""SELECT transaction_id, begun_seq, begun_at, target, kind, state, login, uid, login_uid, ended_at, approval,
approved_by, ticket, reason FROM changes WHERE {_PERIOD} {{target}} AND {BEGAN}
ORDER BY begun_at, begun_seq LIMIT :limit""",  # noqa: S608 constants only
    ),
)
BY_NAME = {question.name: question for question in QUESTIONS}

DOWNTIME_BY_TARGET = f"""SELECT target, count(*), max(downtime_ns), sum(downtime_ns),
{", ".join(f"sum({column})" for column in _SHARE_COLUMNS)} FROM changes INDEXED BY changes_with_downtime
WHERE downtime_ns IS NOT NULL AND {_PERIOD} {{target}} GROUP BY target"""  # noqa: S608 constants only
DOWNTIME_OF_RANK = f"""SELECT downtime_ns FROM changes INDEXED BY changes_by_downtime
WHERE downtime_ns IS NOT NULL AND {_PERIOD} AND target = :target
ORDER BY downtime_ns LIMIT 1 OFFSET :rank"""  # noqa: S608 constants only
DOWNTIME_UP_TO = """SELECT count(*) FROM changes INDEXED BY changes_by_downtime
WHERE downtime_ns IS NOT NULL AND target = :target AND downtime_ns > :more AND downtime_ns <= :most"""
BY_STATE = f"""SELECT state, count(*) AS changes FROM changes INDEXED BY changes_by_state
WHERE {_PERIOD} {{target}} AND {BEGAN} GROUP BY state"""  # noqa: S608 constants only
FIRST = f"SELECT min(begun_at) AS at FROM changes WHERE {_PERIOD} {{target}}"  # noqa: S608 constants only
APPROVALS_BY = f"""SELECT approved_by AS login, count(*) AS approved FROM changes INDEXED BY changes_by_approver
WHERE approved_by IS NOT NULL AND approval <> 'disapproved' AND {_PERIOD} {{target}} GROUP BY approved_by"""  # noqa: S608 constants only
DECISIONS_BY = """SELECT login, count(*) AS decided FROM decisions INDEXED BY decisions_by_moment
WHERE at >= :since AND at < coalesce(nullif(:until, ''), '9999') {target} GROUP BY login"""


@dataclass(frozen=True, slots=True)
class Scope:
    """Of which changes a question is asked: begun in a period, of one target or all; at most ``limit``, -1 for all."""

    since: str = ""
    until: str = ""
    target: str | None = None
    limit: int = -1


def columns_of(tables: Connection, text: str) -> tuple[str, ...]:
    """The names of the columns of an answer, without asking for it."""
    nothing = {"since": "", "until": "", "target": None, "limit": 0}
    return tuple(column[0] for column in tables.execute(text, nothing).description)


def ask(tables: Connection, name: str, scope: Scope) -> list[Row]:
    """The answer to the question of that name."""
    return list(_rows(tables, BY_NAME[name].text(of_target=scope.target is not None), scope))


PEOPLE_KEYS = (
    "login",
    "uid",
    "login_uid",
    "begun",
    "committed",
    "rolled_back",
    "unfinished",
    "targets",
    "first_at",
    "last_at",
    "approved",
    "decided",
)


def people(tables: Connection, scope: Scope) -> list[Row]:
    """Who began what, with the approvals that each gave and the stuck transactions that each decided on."""
    people: list[Row] = [{**row, "approved": 0, "decided": 0} for row in ask(tables, "who", scope)]
    for text, key in ((APPROVALS_BY, "approved"), (DECISIONS_BY, "decided")):
        for row in _rows(tables, text.format(target="AND target = :target" if scope.target else ""), scope):
            first = next((person for person in people if person["login"] == row["login"]), None)
            if first is None:
                people.append(first := _nobody_yet(row["login"]))
            first[key] = row[key]
    return people


def by_state(tables: Connection, scope: Scope) -> dict[str, int]:
    """How many changes that began stand where."""
    text = BY_STATE.format(target="AND target = :target" if scope.target else "")
    found: dict[str, int] = dict(tables.execute(text, _bound(scope)).fetchall())
    return found


def first_begun(tables: Connection, scope: Scope) -> str | None:
    """When the first change of the scope began."""
    text = FIRST.format(target="AND target = :target" if scope.target else "")
    found: str | None = tables.execute(text, _bound(scope)).fetchone()[0]
    return found


def _nobody_yet(login: Cell) -> Row:
    """One who began nothing, but said something."""
    counts = dict.fromkeys(("begun", "committed", "rolled_back", "unfinished", "targets", "approved", "decided"), 0)
    return {"login": login, "uid": None, "login_uid": None, **counts, "first_at": None, "last_at": None}


@dataclass(frozen=True, slots=True)
class Downtime:
    """The downtimes of one target, in nanoseconds: nearest-rank percentiles, and the sum by step."""

    target: str
    changes: int
    p50_ns: int
    p95_ns: int
    max_ns: int
    total_ns: int
    shares: dict[str, int]


def downtimes(tables: Connection, scope: Scope) -> list[Downtime]:
    """The downtimes of each target."""
    text = DOWNTIME_BY_TARGET.format(target="AND target = :target" if scope.target else "")
    found = []
    for target, count, longest, total, *shares in tables.execute(text, _bound(scope)).fetchall():
        middle, late = (_of_rank(tables, target, rank(count, percent), scope) for percent in (50, 95))
        by_step = dict(zip(_SHARE_COLUMNS, shares, strict=True))
        found.append(Downtime(target, count, middle, late, longest, total, by_step))
    return found


def _of_rank(tables: Connection, target: str, place: int, scope: Scope) -> int:
    bound = {**_bound(scope), "target": target, "rank": place}
    found: int = tables.execute(DOWNTIME_OF_RANK, bound).fetchone()[0]
    return found


def rank(count: int, percent: int) -> int:
    """Where, from 0, the nearest-rank percentile of ``count`` ordered values is: at least ``percent`` are not above."""
    return max(0, -(-count * percent // 100) - 1)


def _rows(tables: Connection, text: str, scope: Scope) -> Iterator[Row]:
    cursor = tables.execute(text, _bound(scope))
    names = [column[0] for column in cursor.description]
    for row in cursor.fetchall():
        yield dict(zip(names, row, strict=True))


def _bound(scope: Scope) -> Row:
    return {"since": scope.since, "until": scope.until, "target": scope.target, "limit": scope.limit}


def counts_up_to(tables: Connection, target: str, bounds_ns: Sequence[int]) -> list[int]:
    """How many downtimes of a target, ever, were not longer than each of the bounds."""
    counts: list[int] = []
    for more, most in pairwise((-1, *bounds_ns)):
        found = tables.execute(DOWNTIME_UP_TO, {"target": target, "more": more, "most": most}).fetchone()[0]
        counts.append(found + (counts[-1] if counts else 0))
    return counts

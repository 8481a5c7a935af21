"""What auditors ask of a transaction beyond its story: on whose word it began, when it was down, when it turned back.

The records of policy (plans that wait, approvals, windows) are read as plain JSON, so that those of a newer version say
what they can.
"""

from dataclasses import dataclass, replace

from ledger.authority import Approval
from ledger.plain import PlainRecord
from projections.fields import body, flag, inner, text
from projections.history import ENDINGS

#: What the word of others on a change is worth. ``retroactive`` was given after it began, but in time; ``late`` was not
#: in time; ``owed`` is an emergency that nobody has answered for, ``awaiting`` a plan that has not begun; ``recovery``
#: is never asked.
VERDICTS = (
    "approved",
    "self-approved",
    "retroactive",
    "late",
    "owed",
    "disapproved",
    "not-required",
    "missing",
    "awaiting",
    "recovery",
)
#: What tells a change from a plan that waits, or was refused, and so never began; in SQL, of the marks of ``changes``.
BEGAN = "(planned_at IS NULL OR basis IS NOT NULL)"
#: Those that ``unapproved`` shows.
UNAPPROVED = ("missing", "not-required", "self-approved", "retroactive", "late", "owed", "disapproved")


@dataclass(frozen=True, slots=True)
class Marks:
    """What a change needs of its records beyond their story."""

    begun_seq: int | None = None
    begun_at: str | None = None
    ended_seq: int | None = None
    approval: str = "missing"
    approved_by: str | None = None
    approved_at: str | None = None
    approval_meaning: str | None = None
    planned_by: str | None = None
    planned_at: str | None = None
    settle_by: str | None = None
    window: str | None = None
    window_name: str | None = None
    basis: str | None = None
    down_at: str | None = None
    unwind_at: str | None = None
    unwind_clock: str | None = None
    unwind_ns: int | None = None


#: All others leave no marks.
_MARKING = frozenset(
    {
        "step.started",
        "transaction.planned",
        "transaction.begun",
        "approval.given",
        "approval.refused",
        "unwind.started",
        *ENDINGS,
    }
)
_BASES = {"none-required": "not-required", "emergency": "owed", "recovery": "recovery"}


def mark(marks: Marks, record: PlainRecord) -> Marks:
    """The marks after ``record``; most records leave none."""
    if record.type not in _MARKING:
        return marks
    match record.type:
        case "step.started" if marks.down_at is None and text(body(record), "kind") == "stop_jail":
            return replace(marks, down_at=record.at)
        case "transaction.planned":
            planner = text(inner(body(record), "by"), "login") or record.actor.login
            return replace(marks, approval="awaiting", planned_by=planner, planned_at=record.at)
        case "transaction.begun":
            return _begin(marks, record)
        case "approval.given" | "approval.refused":
            return _answer(marks, record)
        case "unwind.started":
            return replace(marks, unwind_at=record.at, unwind_clock=f"{record.monotonic_ns} {record.boot_id}")
        case _ if record.type in ENDINGS:
            return _end(marks, record)
        case _:
            return marks


def _begin(marks: Marks, record: PlainRecord) -> Marks:
    authority = inner(body(record), "authority")
    window = inner(authority, "window")
    basis = text(authority, "basis")
    given = record.approval
    approval = _BASES.get(basis or "", "missing") if given is None else _worth(given, basis, record)
    by, at, meaning = (
        (marks.approved_by, marks.approved_at, marks.approval_meaning)
        if given is None
        else (given.by, given.at, given.meaning)
    )
    return replace(
        marks,
        begun_seq=record.seq,
        begun_at=record.at,
        approval=approval,
        approved_by=by,
        approved_at=at,
        approval_meaning=meaning,
        planned_by=text(inner(authority, "planned_by"), "login") or marks.planned_by,
        settle_by=text(authority, "settle_by"),
        window=text(window, "state"),
        window_name=text(window, "name"),
        basis=basis,
    )


def _worth(given: Approval, basis: str | None, record: PlainRecord) -> str:
    """The verdict on an approval that was given before the beginning, or is said to have been."""
    if basis == "self" or (basis is None and given.by == record.actor.login):
        return "self-approved"
    # To the second, for that is how some approvals are spelt.
    # Where the policy was asked, the approval stands before the beginning in the log, whatever the clock says.
    return "approved" if basis == "second-person" or given.at[:19] <= record.at[:19] else "late"


def _answer(marks: Marks, record: PlainRecord) -> Marks:
    """A person's word on a plan that waits, or on an emergency."""
    event = body(record)
    by, at = text(inner(event, "by"), "login") or record.actor.login, text(event, "at") or record.at
    said = replace(marks, approved_by=by, approved_at=at, approval_meaning=text(event, "reason"))
    if record.type == "approval.refused":
        return replace(said, approval="disapproved")
    if text(event, "basis") == "self":
        return replace(said, approval="self-approved")
    if not flag(event, "retroactive"):
        return said  # it counts once the plan begins
    return replace(said, approval="late" if flag(event, "late") else "retroactive")


def _end(marks: Marks, record: PlainRecord) -> Marks:
    unwind_ns = marks.unwind_ns
    if record.type == "transaction.rolled-back" and marks.unwind_clock is not None:
        reading, _, boot = marks.unwind_clock.partition(" ")
        unwind_ns = record.monotonic_ns - int(reading) if boot == record.boot_id else None
    return replace(marks, ended_seq=record.seq, unwind_ns=unwind_ns)

"""What auditors ask of a transaction beyond its story: on whose word it began, when it was down, when it turned back.

The records of policy (plans that wait, approvals, windows) are read as plain JSON, so that those of a newer version say
what they can.
"""

from dataclasses import dataclass, replace

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


_BASES = {"none-required": "not-required", "emergency": "owed", "recovery": "recovery"}


def mark(marks: Marks, record: PlainRecord) -> Marks:
    """The marks after ``record``; most records leave none."""
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
    marks = replace(
        marks,
        begun_seq=record.seq,
        begun_at=record.at,
        basis=basis,
        window=text(window, "state"),
        window_name=text(window, "name"),
        settle_by=text(authority, "settle_by"),
        planned_by=text(inner(authority, "planned_by"), "login") or marks.planned_by,
    )
    given = record.approval
    if given is None:
        return replace(marks, approval=_BASES.get(basis or "", "missing"))
    by_self = basis == "self" or (basis is None and given.by == record.actor.login)
    # To the second, for that is how some approvals are spelt.
    # Where the policy was asked, the approval stands before the beginning in the log, whatever the clock says.
    in_time = basis == "second-person" or given.at[:19] <= record.at[:19]
    verdict = "self-approved" if by_self else "approved" if in_time else "late"
    return replace(marks, approval=verdict, approved_by=given.by, approved_at=given.at, approval_meaning=given.meaning)


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
    marks = replace(marks, ended_seq=record.seq)
    if record.type != "transaction.rolled-back" or marks.unwind_clock is None:
        return marks
    reading, _, boot = marks.unwind_clock.partition(" ")
    return replace(marks, unwind_ns=record.monotonic_ns - int(reading) if boot == record.boot_id else None)

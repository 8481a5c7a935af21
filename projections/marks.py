"""What auditors ask of a transaction beyond its story: on whose word it began, when it was down, when it turned back.

The records of policy (plans that wait, approvals, windows) are read as plain JSON, so that those of a newer version say
what they can.
"""

from dataclasses import dataclass

from ledger.plain import PlainRecord
from projections.fields import flag, inner, text
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


@dataclass(slots=True)
class Marks:
    """What a change needs of its records beyond their story; ``mark`` goes on with them."""

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
MARKING = frozenset(
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


def mark(marks: Marks, record: PlainRecord) -> None:
    """Go on with ``record``."""
    match record.type:
        case "step.started":
            if marks.down_at is None and record.event.get("kind") == "stop_jail":
                marks.down_at = record.at
        case "transaction.planned":
            marks.planned_by = text(inner(record.event, "by"), "login") or record.actor.login
            marks.approval, marks.planned_at = "awaiting", record.at
        case "transaction.begun":
            _begin(marks, record)
        case "approval.given" | "approval.refused":
            _answer(marks, record)
        case "unwind.started":
            marks.unwind_at, marks.unwind_clock = record.at, f"{record.monotonic_ns} {record.boot_id}"
        case kind if kind in ENDINGS:
            _end(marks, record)


def _begin(marks: Marks, record: PlainRecord) -> None:
    authority = inner(record.event, "authority")
    window = inner(authority, "window")
    marks.begun_seq, marks.begun_at = record.seq, record.at
    marks.basis, marks.settle_by = text(authority, "basis"), text(authority, "settle_by")
    marks.window, marks.window_name = text(window, "state"), text(window, "name")
    marks.planned_by = text(inner(authority, "planned_by"), "login") or marks.planned_by
    given = record.approval
    if given is None:
        marks.approval = _BASES.get(marks.basis or "", "missing")
        return
    by_self = marks.basis == "self" or (marks.basis is None and given.by == record.actor.login)
    # To the second, for that is how some approvals are spelt.
    # Where the policy was asked, the approval stands before the beginning in the log, whatever the clock says.
    in_time = marks.basis == "second-person" or given.at[:19] <= record.at[:19]
    marks.approval = "self-approved" if by_self else "approved" if in_time else "late"
    marks.approved_by, marks.approved_at, marks.approval_meaning = given.by, given.at, given.meaning


def _answer(marks: Marks, record: PlainRecord) -> None:
    """A person's word on a plan that waits, or on an emergency."""
    event = record.event
    marks.approved_by = text(inner(event, "by"), "login") or record.actor.login
    marks.approved_at, marks.approval_meaning = text(event, "at") or record.at, text(event, "reason")
    if record.type == "approval.refused":
        marks.approval = "disapproved"
    elif text(event, "basis") == "self":
        marks.approval = "self-approved"
    elif flag(event, "retroactive"):  # else it counts once the plan begins
        marks.approval = "late" if flag(event, "late") else "retroactive"


def _end(marks: Marks, record: PlainRecord) -> None:
    marks.ended_seq = record.seq
    if record.type == "transaction.rolled-back" and marks.unwind_clock is not None:
        reading, _, boot = marks.unwind_clock.partition(" ")
        marks.unwind_ns = record.monotonic_ns - int(reading) if boot == record.boot_id else None

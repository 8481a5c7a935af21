"""What became of each step of a transaction: one line a step, folded from its records."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ledger.events import JsonObject
from ledger.lifecycle import StepState
from projections.fields import Told, flag, inner, number, text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: The fields of a line by their names.
Values = dict[str, Any]
#: As plain text: a member of an enumeration takes SQLite much longer to store.
STEP_STATES = {
    "step.started": StepState.STARTED.value,
    "step.succeeded": StepState.SUCCEEDED.value,
    "step.failed": StepState.FAILED.value,
    "step.skipped": StepState.SKIPPED.value,
    "step.undo-started": StepState.UNDO_STARTED.value,
    "step.undone": StepState.UNDONE.value,
    "step.undo-failed": StepState.UNDO_FAILED.value,
}


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of a transaction, numbered from 1: its last attempt, and its undo.

    ``before`` and ``after`` are the two ends of the recorded ``fact``; ``observed`` says that recovery found the step
    done, or its undo unnecessary.
    """

    transaction_id: str
    step: int
    kind: str
    state: str = StepState.PENDING.value
    attempt: int = 0
    started_at: str | None = None
    duration_ns: int | None = None
    fact: str | None = None
    before: str | None = None
    after: str | None = None
    error: str | None = None
    observed: bool = False
    undo_attempt: int = 0
    undo_started_at: str | None = None
    undo_duration_ns: int | None = None
    undo_error: str | None = None


def values_of(line: "DataclassInstance") -> Values:
    """The fields of a line by their names."""
    return {field.name: getattr(line, field.name) for field in fields(line)}


#: What a step is before it has started.
_PENDING = values_of(StepLine("", 0, ""))


def pending(transaction: str, place: int, kind: str) -> Values:
    """A step that has not started."""
    return {**_PENDING, "transaction_id": transaction, "step": place, "kind": kind}


def start(step: Values, record: Told, event: JsonObject) -> Values:
    """A step that ``record`` starts: nothing is left of an attempt before."""
    return {
        **_PENDING,
        "transaction_id": step["transaction_id"],
        "step": step["step"],
        "kind": step["kind"],
        "state": STEP_STATES["step.started"],
        "attempt": number(event, "attempt") or step["attempt"] + 1,
        "started_at": record.at,
    }


def go_on(step: Values, record: Told, event: JsonObject) -> None:
    """What ``record`` says of a step, started or not."""
    step["state"] = STEP_STATES[record.type]
    match record.type:
        case "step.succeeded":
            fact = inner(event, "fact")
            step["duration_ns"], step["observed"] = number(event, "duration_ns"), flag(event, "observed") or False
            step["fact"] = text(fact, "fact")
            step["before"], step["after"] = text(fact, "before"), text(fact, "after")
        case "step.failed":
            step["duration_ns"], step["error"] = number(event, "duration_ns"), text(event, "error")
        case "step.skipped":
            step["error"] = text(event, "reason")
        case "step.undo-started":
            step["undo_attempt"] = number(event, "attempt") or step["undo_attempt"] + 1
            step["undo_started_at"], step["undo_error"] = record.at, None
        case "step.undone":
            step["undo_duration_ns"], step["observed"] = number(event, "duration_ns"), flag(event, "observed") or False
        case _:
            step["undo_duration_ns"], step["undo_error"] = number(event, "duration_ns"), text(event, "error")

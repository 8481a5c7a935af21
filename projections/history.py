"""What became of each transaction and of each of its steps: a pure fold of records.

The fold follows the types of the events and nothing else, so that the records of a newer version do not stop it: what
it does not know leaves the lines as they are and is counted in ``newer_events``. For all that this version can write it
arrives where ``ledger.lifecycle`` does, which the tests hold it to; nothing is ever decided from it.
"""

from collections.abc import Container
from dataclasses import dataclass, fields
from typing import Any

from ledger.events import JsonObject
from ledger.lifecycle import ENDS, State, StepState
from projections.current_state import Settled, settled_of
from projections.fields import Told, body, flag, inner, is_newer, number, text, texts

#: As plain text: a member of an enumeration takes SQLite much longer to store.
_STATES = {
    "unwind.started": State.UNWINDING.value,
    "transaction.committed": State.COMMITTED.value,
    "transaction.rolled-back": State.ROLLED_BACK.value,
    "transaction.rejected": State.REJECTED.value,
    "transaction.stuck": State.STUCK.value,
}
#: The fields of a line by their names.
Values = dict[str, Any]
#: A plan that waits holds no target; nothing of it is done yet.
WAITING = ("planned", "approved")
#: What ends a transaction, unless it is the refusal of a plan; an answer to an emergency may still follow.
ENDINGS = ("transaction.committed", "transaction.rolled-back", "transaction.rejected")
#: What a transaction begins with; what was planned begins twice.
BEGINNINGS = ("transaction.begun", "transaction.planned")
_ANSWERS = ("approval.given", "approval.refused")
_CHOICES = {
    "continue": State.FORWARD.value,
    "accept-planned": State.FORWARD.value,
    "unwind": State.UNWINDING.value,
    "accept-before": State.UNWINDING.value,
}
_STEP_STATES = {
    "step.started": StepState.STARTED.value,
    "step.succeeded": StepState.SUCCEEDED.value,
    "step.failed": StepState.FAILED.value,
    "step.skipped": StepState.SKIPPED.value,
    "step.undo-started": StepState.UNDO_STARTED.value,
    "step.undone": StepState.UNDONE.value,
    "step.undo-failed": StepState.UNDO_FAILED.value,
}


@dataclass(frozen=True, slots=True)
class TransactionLine:
    """One transaction. ``login`` and ``login_uid`` are of the one who began it; ``at`` fields are UTC as recorded.

    ``before`` and ``after`` are the two ends of the plan; which of them holds, ``state`` says. Durations are None where
    no clock spans them. ``recovered`` counts the decisions of recovery.
    """

    transaction_id: str
    kind: str
    target: str
    state: str
    begun_seq: int
    begun_at: str
    last_seq: int
    last_at: str
    ended_at: str | None
    uid: int
    login: str
    login_uid: int | None
    invoked: str
    host_id: str
    engine_version: str
    reason: str | None
    ticket: str | None
    approved_by: str | None
    steps: int
    before: Settled | None
    after: Settled | None
    cause: str | None = None
    duration_ns: int | None = None
    downtime_ns: int | None = None
    recovered: int = 0
    newer_events: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the transaction still holds its target."""
        return self.state not in (*ENDS, *WAITING)

    @property
    def from_release(self) -> str | None:
        """The release at the near end, if the target has releases."""
        return self.before.release if self.before else None

    @property
    def to_release(self) -> str | None:
        """The release at the far end, if the target has releases."""
        return self.after.release if self.after else None


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


@dataclass(frozen=True, slots=True)
class Story:
    """A transaction with its steps, in order."""

    line: TransactionLine
    steps: tuple[StepLine, ...]


def tell(story: Story | None, record: Told) -> Story | None:
    """The story after ``record``, which is of the same transaction; None as long as it has no beginning."""
    if record.type in BEGINNINGS:
        return Draft.begin(record).story()
    if story is None:
        return None
    draft = Draft.of(story)
    draft.add(record)
    return draft.story()


class Draft:
    """A story that goes on. Its values lie open: lines are made of them only when the story is told.

    ``steps`` are the values of its steps, by the names of their fields.
    """

    def __init__(self, line: Values, steps: list[Values]) -> None:
        self._line = line
        self._told: TransactionLine | None = None
        self._has_ended = line["ended_at"] is not None
        self.steps = steps

    @property
    def state(self) -> str:
        """Where the transaction stands."""
        state: str = self._line["state"]
        return state

    @classmethod
    def begin(cls, record: Told) -> "Draft":
        """The story that begins with ``record``.

        What was planned begins with the whole plan once more: then nothing of the plan's own story is left.
        """
        return cls(*_begin(record, body(record)))

    @classmethod
    def of(cls, story: Story) -> "Draft":
        """``story``, to go on with."""
        return cls(_values(story.line), [_values(step) for step in story.steps])

    def line(self) -> TransactionLine:
        """The transaction so far."""
        if self._told is None:
            self._told = TransactionLine(**self._line)
        return self._told

    def story(self) -> Story:
        """The story so far."""
        return Story(self.line(), tuple(StepLine(**step) for step in self.steps))

    def has_fact(self, kinds: Container[str]) -> bool:
        """Whether one of the steps has told a fact of one of ``kinds``."""
        return any(step["fact"] in kinds for step in self.steps)

    def add(self, record: Told) -> str | None:
        """Go on with ``record``, which begins nothing; returns the kind of fact of its step, if it has one."""
        event, line = body(record), self._line
        self._told = None
        if self._has_ended:
            self._answer(record, event)
            return None
        line["last_seq"], line["last_at"] = record.seq, record.at
        if is_newer(record):
            line["newer_events"] += 1
        if record.type in _STEP_STATES:
            return self._change_step(record, event)
        self._advance(record, event)
        return None

    def _advance(self, record: Told, event: JsonObject) -> None:
        line = self._line
        if record.type == "recovery.decided":
            line["recovered"] += 1
            return
        if record.type in _ANSWERS:
            self._answer(record, event)
            return
        if record.type == "operator.decided":
            line["state"] = _CHOICES.get(text(event, "choice") or "", self.state)
            return
        state = _STATES.get(record.type)
        if state is None:
            return
        line["state"] = state
        if cause := text(event, "cause"):
            line["cause"] = cause
        if state in ENDS:
            line["ended_at"] = record.at
            self._has_ended = True
            line["duration_ns"], line["downtime_ns"] = number(event, "duration_ns"), number(event, "downtime_ns")

    def _answer(self, record: Told, event: JsonObject) -> None:
        """A person's word on a plan that waits, or afterwards on what was an emergency."""
        line, by = self._line, text(inner(event, "by"), "login") or record.actor.login
        if record.type == "approval.given":
            line["approved_by"] = by
            if self.state in WAITING:
                line["state"] = WAITING[1]
        elif record.type == "approval.refused" and self.state in WAITING:
            line["state"] = State.REJECTED.value
            line["cause"], line["ended_at"] = f"refused by {by}: {text(event, 'reason')}", record.at
            self._has_ended = True

    def _change_step(self, record: Told, event: JsonObject) -> str | None:
        place = number(event, "step")
        if place is None or not 1 <= place <= len(self.steps):
            return None
        step = self.steps[place - 1]
        if record.type == "step.started":
            attempt = number(event, "attempt") or step["attempt"] + 1
            self.steps[place - 1] = _started(step, attempt, record.at)
            return None
        step["state"] = _STEP_STATES[record.type]
        _note(step, record, event)
        fact: str | None = step["fact"]
        return fact


def _note(step: Values, record: Told, event: JsonObject) -> None:
    """What ``record`` says of a step that was started before."""
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


def _begin(record: Told, event: JsonObject) -> tuple[Values, list[Values]]:
    transaction = record.transaction or ""
    kinds = texts(event, "steps")
    actor = record.actor
    line: Values = {
        "transaction_id": transaction,
        "kind": text(event, "kind") or "unknown",
        "target": record.target or text(event, "target") or "unknown",
        "state": State.FORWARD.value if record.type == "transaction.begun" else WAITING[0],
        "begun_seq": record.seq,
        "begun_at": record.at,
        "last_seq": record.seq,
        "last_at": record.at,
        "ended_at": None,
        "uid": actor.uid,
        "login": actor.login,
        "login_uid": actor.login_uid,
        "invoked": " ".join(actor.invoked),
        "host_id": record.host_id,
        "engine_version": record.engine_version,
        "reason": record.reason,
        "ticket": record.ticket,
        "approved_by": record.approval.by if record.approval else None,
        "steps": len(kinds),
        "before": settled_of(inner(event, "before")),
        "after": settled_of(inner(event, "after")),
        "recovered": 0,
        "newer_events": int(is_newer(record)),
    }
    return line, [
        {**_PENDING, "transaction_id": transaction, "step": place, "kind": kind} for place, kind in enumerate(kinds, 1)
    ]


def _started(step: Values, attempt: int, at: str) -> Values:
    """A step that begins anew: nothing is left of an attempt before."""
    return {
        **_PENDING,
        "transaction_id": step["transaction_id"],
        "step": step["step"],
        "kind": step["kind"],
        "state": StepState.STARTED.value,
        "attempt": attempt,
        "started_at": at,
    }


def _values(line: TransactionLine | StepLine) -> Values:
    return {field.name: getattr(line, field.name) for field in fields(line)}


#: What a step is before it has started.
_PENDING = _values(StepLine("", 0, ""))

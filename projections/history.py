"""What became of each transaction and of each of its steps: a pure fold of records.

The fold follows the types of the events and nothing else, so that the records of a newer version do not stop it: what
it does not know leaves the lines as they are and is counted in ``newer_events``. For all that this version can write it
arrives where ``ledger.lifecycle`` does, which the tests hold it to; nothing is ever decided from it.
"""

from collections.abc import Container
from dataclasses import dataclass

from ledger.events import JsonObject
from ledger.lifecycle import ENDS, State
from projections.current_state import Settled, settled_of
from projections.fields import Told, body, inner, is_newer, number, text, texts
from projections.steps import STEP_STATES, StepLine, Values, go_on, pending, start, values_of

#: As plain text: a member of an enumeration takes SQLite much longer to store.
_STATES = {
    "unwind.started": State.UNWINDING.value,
    "transaction.committed": State.COMMITTED.value,
    "transaction.rolled-back": State.ROLLED_BACK.value,
    "transaction.rejected": State.REJECTED.value,
    "transaction.stuck": State.STUCK.value,
}
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
        return cls(values_of(story.line), [values_of(step) for step in story.steps])

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
        if record.type in STEP_STATES:
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
        if record.type == "step.started":
            self.steps[place - 1] = start(self.steps[place - 1], record, event)
            return None
        step = self.steps[place - 1]
        go_on(step, record, event)
        fact: str | None = step["fact"]
        return fact


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
    return line, [pending(transaction, place, kind) for place, kind in enumerate(kinds, 1)]

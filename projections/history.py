"""What became of each transaction and of each of its steps: a pure fold of records.

The fold follows the types of the events and nothing else, so that the records of a newer version do not stop it: what
it does not know leaves the lines as they are and is counted in ``newer_events``. For all that this version can write it
arrives where ``ledger.lifecycle`` does, which the tests hold it to; nothing is ever decided from it.
"""

from dataclasses import dataclass, replace
from typing import Any

from ledger.events import JsonObject
from ledger.lifecycle import ENDS, State, StepState
from projections.current_state import Settled, settled_of
from projections.fields import Told, body, flag, inner, is_newer, number, text, texts

_STATES = {
    "unwind.started": State.UNWINDING,
    "transaction.committed": State.COMMITTED,
    "transaction.rolled-back": State.ROLLED_BACK,
    "transaction.rejected": State.REJECTED,
    "transaction.stuck": State.STUCK,
}
#: A plan that waits holds no target; nothing of it is done yet.
WAITING = ("planned", "approved")
#: What ends a transaction, unless it is the refusal of a plan; an answer to an emergency may still follow.
ENDINGS = ("transaction.committed", "transaction.rolled-back", "transaction.rejected")
#: What a transaction begins with; what was planned begins twice.
BEGINNINGS = ("transaction.begun", "transaction.planned")
_ANSWERS = ("approval.given", "approval.refused")
_CHOICES = {
    "continue": State.FORWARD,
    "accept-planned": State.FORWARD,
    "unwind": State.UNWINDING,
    "accept-before": State.UNWINDING,
}
_STEP_STATES = {
    "step.started": StepState.STARTED,
    "step.succeeded": StepState.SUCCEEDED,
    "step.failed": StepState.FAILED,
    "step.skipped": StepState.SKIPPED,
    "step.undo-started": StepState.UNDO_STARTED,
    "step.undone": StepState.UNDONE,
    "step.undo-failed": StepState.UNDO_FAILED,
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
    state: str = StepState.PENDING
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
    draft = Draft.begin(record)
    if draft is None and story is not None:
        draft = Draft(story)
        draft.add(record)
    return None if draft is None else draft.story()


class Draft:
    """A story that goes on. What changes is kept aside: lines are made only when the story is told."""

    def __init__(self, story: Story) -> None:
        self._line = story.line
        self._steps = list(story.steps)
        self._news: dict[str, Any] = {}
        self._step_news: dict[int, dict[str, Any]] = {}
        self._has_ended = story.line.ended_at is not None
        self.state = story.line.state

    @classmethod
    def begin(cls, record: Told) -> "Draft | None":
        """The story that begins with ``record``; None if none does.

        What was planned begins with the whole plan once more: then nothing of the plan's own story is left.
        """
        return cls(_begin(record, body(record))) if record.type in BEGINNINGS else None

    def story(self) -> Story:
        """The story so far."""
        if self._news:
            self._line = replace(self._line, **self._news)
            self._news = {}
        for place, news in self._step_news.items():
            self._steps[place] = replace(self._steps[place], **news)
        self._step_news = {}
        return Story(self._line, tuple(self._steps))

    def add(self, record: Told) -> str | None:
        """Go on with ``record``, which begins nothing; returns the kind of fact of its step, if it has one."""
        event, news = body(record), self._news
        if self._has_ended:
            self._answer(record, event)
            return None
        news["last_seq"], news["last_at"] = record.seq, record.at
        if is_newer(record):
            news["newer_events"] = news.get("newer_events", self._line.newer_events) + 1
        if record.type in _STEP_STATES:
            return self._change_step(record, event)
        self._advance(record, event)
        return None

    def _advance(self, record: Told, event: JsonObject) -> None:
        news = self._news
        if record.type == "recovery.decided":
            news["recovered"] = news.get("recovered", self._line.recovered) + 1
            return
        if record.type in _ANSWERS:
            self._answer(record, event)
            return
        if record.type == "operator.decided":
            news["state"] = self.state = _CHOICES.get(text(event, "choice") or "", self.state)
            return
        state = _STATES.get(record.type)
        if state is None:
            return
        news["state"] = self.state = state
        if cause := text(event, "cause"):
            news["cause"] = cause
        if state in ENDS:
            news["ended_at"] = record.at
            self._has_ended = True
            news["duration_ns"], news["downtime_ns"] = number(event, "duration_ns"), number(event, "downtime_ns")

    def _answer(self, record: Told, event: JsonObject) -> None:
        """A person's word on a plan that waits, or afterwards on what was an emergency."""
        news, by = self._news, text(inner(event, "by"), "login") or record.actor.login
        if record.type == "approval.given":
            news["approved_by"] = by
            if self.state in WAITING:
                news["state"] = self.state = WAITING[1]
        elif record.type == "approval.refused" and self.state in WAITING:
            news["state"] = self.state = State.REJECTED
            news["cause"], news["ended_at"] = f"refused by {by}: {text(event, 'reason')}", record.at
            self._has_ended = True

    def _change_step(self, record: Told, event: JsonObject) -> str | None:
        number_of = number(event, "step")
        if number_of is None or not 1 <= number_of <= len(self._steps):
            return None
        place = number_of - 1
        step = self._steps[place]
        news = self._step_news.setdefault(place, {})
        if record.type == "step.started":
            attempt = number(event, "attempt") or news.get("attempt", step.attempt) + 1
            state = _STEP_STATES[record.type]
            self._steps[place] = StepLine(step.transaction_id, step.step, step.kind, state, attempt, record.at)
            news.clear()
            return None
        undo_attempt: int = news.get("undo_attempt", step.undo_attempt)
        news |= _step_news(record, event, undo_attempt)
        fact: str | None = news.get("fact", step.fact)
        return fact


def _step_news(record: Told, event: JsonObject, undo_attempt: int) -> dict[str, Any]:
    duration_ns, observed = number(event, "duration_ns"), flag(event, "observed") or False
    news: dict[str, Any] = {"state": _STEP_STATES[record.type]}
    match record.type:
        case "step.succeeded":
            fact = inner(event, "fact")
            news |= {"duration_ns": duration_ns, "observed": observed}
            news |= {"fact": text(fact, "fact"), "before": text(fact, "before"), "after": text(fact, "after")}
        case "step.failed":
            news |= {"duration_ns": duration_ns, "error": text(event, "error")}
        case "step.skipped":
            news |= {"error": text(event, "reason")}
        case "step.undo-started":
            attempt = number(event, "attempt") or undo_attempt + 1
            news |= {"undo_attempt": attempt, "undo_started_at": record.at, "undo_error": None}
        case "step.undone":
            news |= {"undo_duration_ns": duration_ns, "observed": observed}
        case _:
            news |= {"undo_duration_ns": duration_ns, "undo_error": text(event, "error")}
    return news


def _begin(record: Told, event: JsonObject) -> Story:
    transaction = record.transaction or ""
    kinds = texts(event, "steps")
    actor = record.actor
    line = TransactionLine(
        transaction_id=transaction,
        kind=text(event, "kind") or "unknown",
        target=record.target or text(event, "target") or "unknown",
        state=State.FORWARD if record.type == "transaction.begun" else WAITING[0],
        begun_seq=record.seq,
        begun_at=record.at,
        last_seq=record.seq,
        last_at=record.at,
        ended_at=None,
        uid=actor.uid,
        login=actor.login,
        login_uid=actor.login_uid,
        invoked=" ".join(actor.invoked),
        host_id=record.host_id,
        engine_version=record.engine_version,
        reason=record.reason,
        ticket=record.ticket,
        approved_by=record.approval.by if record.approval else None,
        steps=len(kinds),
        before=settled_of(inner(event, "before")),
        after=settled_of(inner(event, "after")),
        newer_events=int(is_newer(record)),
    )
    return Story(line, tuple(StepLine(transaction, place, kind) for place, kind in enumerate(kinds, 1)))

"""What became of each transaction and of each of its steps: a pure fold of records.

The fold follows the types of the events and nothing else, so that the records of a newer version do not stop it: what
it does not know leaves the lines as they are and is counted in ``newer_events``. For all that this version can write it
arrives where ``ledger.lifecycle`` does, which the tests hold it to; nothing is ever decided from it.
"""

from dataclasses import dataclass, replace

from ledger.codec import AnyRecord, RawRecord
from ledger.events import JsonObject
from ledger.lifecycle import ENDS, State, StepState
from projections.current_state import Settled, settled_of
from projections.fields import body, flag, inner, number, text, texts

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


def tell(story: Story | None, record: AnyRecord) -> Story | None:
    """The story after ``record``, which is of the same transaction; None as long as it has no beginning."""
    event = body(record)
    if record.type in ("transaction.begun", "transaction.planned"):
        return _begin(record, event)  # what was planned begins with the whole plan once more
    if story is None:
        return None
    if story.line.ended_at is not None:
        return replace(story, line=_answer(story.line, record, event))
    newer = story.line.newer_events + isinstance(record, RawRecord)
    line = replace(story.line, last_seq=record.seq, last_at=record.at, newer_events=newer)
    if record.type in _STEP_STATES:
        return Story(line, _put(story.steps, record, event))
    return replace(story, line=_advance(line, record, event))


def _begin(record: AnyRecord, event: JsonObject) -> Story:
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
        newer_events=int(isinstance(record, RawRecord)),
    )
    return Story(line, tuple(StepLine(transaction, place, kind) for place, kind in enumerate(kinds, 1)))


def _advance(line: TransactionLine, record: AnyRecord, event: JsonObject) -> TransactionLine:
    if record.type == "recovery.decided":
        return replace(line, recovered=line.recovered + 1)
    if record.type.startswith("approval."):
        return _answer(line, record, event)
    if record.type == "operator.decided":
        return replace(line, state=_CHOICES.get(text(event, "choice") or "", line.state))
    state = _STATES.get(record.type)
    if state is None:
        return line
    line = replace(line, state=state, cause=text(event, "cause") or line.cause)
    if state not in ENDS:
        return line
    return replace(
        line, ended_at=record.at, duration_ns=number(event, "duration_ns"), downtime_ns=number(event, "downtime_ns")
    )


def _answer(line: TransactionLine, record: AnyRecord, event: JsonObject) -> TransactionLine:
    """A person's word on a plan that waits, or afterwards on what was an emergency."""
    by = text(inner(event, "by"), "login") or record.actor.login
    if record.type == "approval.given":
        return replace(line, approved_by=by, state=WAITING[1] if line.state in WAITING else line.state)
    if record.type == "approval.refused" and line.state in WAITING:
        cause = f"refused by {by}: {text(event, 'reason')}"
        return replace(line, state=State.REJECTED, cause=cause, ended_at=record.at)
    return line


def _put(steps: tuple[StepLine, ...], record: AnyRecord, event: JsonObject) -> tuple[StepLine, ...]:
    place = number(event, "step")
    return tuple(_change(step, record, event) if step.step == place else step for step in steps)


def _change(step: StepLine, record: AnyRecord, event: JsonObject) -> StepLine:
    step = replace(step, state=_STEP_STATES[record.type])
    duration_ns = number(event, "duration_ns")
    match record.type:
        case "step.started":
            attempt = number(event, "attempt") or step.attempt + 1
            return StepLine(step.transaction_id, step.step, step.kind, step.state, attempt, record.at)
        case "step.succeeded":
            fact = inner(event, "fact")
            step = replace(step, duration_ns=duration_ns, observed=flag(event, "observed") or False)
            return replace(step, fact=text(fact, "fact"), before=text(fact, "before"), after=text(fact, "after"))
        case "step.failed":
            return replace(step, duration_ns=duration_ns, error=text(event, "error"))
        case "step.skipped":
            return replace(step, error=text(event, "reason"))
        case "step.undo-started":
            attempt = number(event, "attempt") or step.undo_attempt + 1
            return replace(step, undo_attempt=attempt, undo_started_at=record.at, undo_error=None)
        case "step.undone":
            return replace(step, undo_duration_ns=duration_ns, observed=flag(event, "observed") or False)
        case _:
            return replace(step, undo_duration_ns=duration_ns, undo_error=text(event, "error"))

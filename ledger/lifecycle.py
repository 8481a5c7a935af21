"""The life of a transaction as one pure function: ``(status, event) -> status``.

The writer asks it before every append (an event that does not fit is refused), recovery folds a stream with it to learn
where a transaction stands, and the projections feed on the same fold. There is no second opinion.

::

    begun ──> forward ──────────────> committed
                 │  └──> rejected          (no step has started)
                 └─────> unwinding ──> rolled back
                 any ──> stuck ──(a person)──> forward | unwinding | committed | rolled back

    planned ──> approved ──> begun         (exactly as planned, and never without its approval)
        └──────────┴───────> rejected

A plan that waits holds no target. What began as an emergency owes an approval, which may be given or refused once it
has ended.
"""

from dataclasses import replace
from typing import TypeVar, assert_never

from ledger.errors import IllegalEvent
from ledger.events import (
    ApprovalGiven,
    ApprovalRefused,
    OperatorDecided,
    RebootObserved,
    RebootRequested,
    RecoveryDecided,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    StepUndoFailed,
    StepUndone,
    StepUndoStarted,
    TransactionBegun,
    TransactionCommitted,
    TransactionEvent,
    TransactionPlanned,
    TransactionRejected,
    TransactionRolledBack,
    TransactionStuck,
    UnwindStarted,
)
from ledger.status import ENDS, WAITING, State, StepState, TransactionStatus, begin
from ledger.waiting import answer, leave_the_queue, require_fresh_authority, wait

__all__ = ["ENDS", "WAITING", "State", "StepState", "TransactionStatus", "apply"]

T = TypeVar("T")

#: What most events are. To ask pydantic's classes one by one whether an event is theirs takes longer than all the rest.
_OF_STEPS = frozenset(
    {StepStarted, StepSucceeded, StepFailed, StepSkipped, StepUndoStarted, StepUndone, StepUndoFailed}
)
_MOVING = frozenset({State.FORWARD, State.UNWINDING})


def apply(status: TransactionStatus | None, event: TransactionEvent) -> TransactionStatus:
    """The status after ``event``.

    Raises IllegalEvent if the event cannot follow.
    """
    if status is None:
        if isinstance(event, TransactionPlanned):
            return wait(event)
        if not isinstance(event, TransactionBegun):
            raise IllegalEvent(f"cannot record {event.type}: its transaction has not begun")
        require_fresh_authority(event)
        return begin(event)
    if status.state in _MOVING and type(event) in _OF_STEPS:
        return _advance(status, event)
    if isinstance(event, ApprovalGiven | ApprovalRefused):
        return answer(status, event)
    if status.planned is not None and status.state in WAITING:
        return leave_the_queue(status, status.planned, event)
    if isinstance(event, TransactionBegun | TransactionPlanned):
        raise IllegalEvent(f"cannot record {event.type}: the transaction has already begun")
    if not status.is_open:
        raise IllegalEvent(f"cannot record {event.type}: the transaction is {status.state}")
    if status.state is State.STUCK and not isinstance(event, OperatorDecided | RecoveryDecided):
        raise IllegalEvent(f"cannot record {event.type}: the transaction is stuck until an operator decides")
    return _advance(status, event)


def _advance(status: TransactionStatus, event: TransactionEvent) -> TransactionStatus:
    match event:
        case StepStarted() | StepSucceeded() | StepFailed() | StepSkipped():
            return _run_step(status, event)
        case StepUndoStarted() | StepUndone() | StepUndoFailed():
            return _undo_step(status, event)
        case UnwindStarted():
            _require(status.state is State.FORWARD, event, "only a transaction that goes forward can turn back")
            return replace(status, state=State.UNWINDING, unwound=True, cause=event.cause)
        case TransactionCommitted():
            done = status.state is State.FORWARD and status.next_forward is None
            _require(status.accepted == "planned" or done, event, "not every step has succeeded")
            return replace(status, state=State.COMMITTED)
        case TransactionRolledBack():
            clear = status.state is State.UNWINDING and status.next_undo is None
            _require(status.accepted == "before" or clear, event, "not every step is undone")
            return replace(status, state=State.ROLLED_BACK, cause=event.cause)
        case TransactionRejected():
            untouched = all(step is StepState.PENDING for step in status.steps)
            _require(status.state is State.FORWARD and untouched, event, "a step has already started")
            return replace(status, state=State.REJECTED, cause=event.cause)
        case TransactionStuck():
            return replace(status, state=State.STUCK, cause=event.cause)
        case OperatorDecided():
            return _decide(status, event)
        case RebootRequested():
            return replace(status, reboot_from=event.boot_id)
        case RebootObserved():
            _require(status.reboot_from is not None, event, "no reboot was requested")
            return replace(status, reboot_from=None)
        case RecoveryDecided():
            return status
        case TransactionBegun() | TransactionPlanned() | ApprovalGiven() | ApprovalRefused():
            raise IllegalEvent(f"cannot record {event.type}: the transaction is {status.state}")
        case _:
            assert_never(event)


def _run_step(
    status: TransactionStatus, event: StepStarted | StepSucceeded | StepFailed | StepSkipped
) -> TransactionStatus:
    index = _index(status, event)
    _require(status.state is State.FORWARD, event, f"the transaction is {status.state}")
    step = status.steps[index]
    match event:
        case StepStarted():
            _require(status.next_forward == event.step, event, "an earlier step is not done, or this one already is")
            ready = step in (StepState.PENDING, StepState.STARTED, StepState.UNDONE)
            _require(ready, event, f"the step is {step}")
            _require(event.attempt == status.attempts[index] + 1, event, f"attempt {event.attempt} is out of turn")
            steps, attempts = _put(status.steps, index, StepState.STARTED), _put(status.attempts, index, event.attempt)
            return _moved(status, steps, attempts, status.undo_attempts)
        case StepSucceeded() | StepFailed():
            _require(step is StepState.STARTED, event, f"the step is {step}")
            _require(event.attempt == status.attempts[index], event, f"attempt {event.attempt} is out of turn")
            succeeded = isinstance(event, StepSucceeded)
            return _with_step(status, index, StepState.SUCCEEDED if succeeded else StepState.FAILED)
        case StepSkipped():
            _require(step is StepState.PENDING, event, f"the step is {step}")
            _require(status.next_forward == event.step, event, "an earlier step is not done")
            return _with_step(status, index, StepState.SKIPPED)
        case _:
            assert_never(event)


def _undo_step(status: TransactionStatus, event: StepUndoStarted | StepUndone | StepUndoFailed) -> TransactionStatus:
    index = _index(status, event)
    step = status.steps[index]
    if status.state is State.FORWARD:
        # Going forward, only the half-done step in flight may be taken back, to be run again.
        _require(status.in_flight == event.step, event, "the transaction goes forward and this step is not in flight")
    else:
        _require(status.next_undo == event.step, event, "a later step is not undone yet, or this one already is")
    match event:
        case StepUndoStarted():
            attempts = status.undo_attempts
            _require(event.attempt == attempts[index] + 1, event, f"attempt {event.attempt} is out of turn")
            steps, attempts = _put(status.steps, index, StepState.UNDO_STARTED), _put(attempts, index, event.attempt)
            return _moved(status, steps, status.attempts, attempts)
        case StepUndone():
            return _with_step(status, index, StepState.UNDONE)
        case StepUndoFailed():
            _require(step is StepState.UNDO_STARTED, event, f"the step is {step}")
            return _with_step(status, index, StepState.UNDO_FAILED)
        case _:
            assert_never(event)


def _decide(status: TransactionStatus, event: OperatorDecided) -> TransactionStatus:
    _require(status.state is State.STUCK, event, "the transaction is not stuck")
    match event.choice:
        case "continue":
            _require(not status.unwound, event, "the transaction has turned back; it can only be unwound further")
            return replace(status, state=State.FORWARD, accepted=None)
        case "unwind":
            return replace(status, state=State.UNWINDING, unwound=True, accepted=None)
        case "accept-planned":
            return replace(status, state=State.FORWARD, accepted="planned")
        case "accept-before":
            return replace(status, state=State.UNWINDING, unwound=True, accepted="before")
        case _:
            assert_never(event.choice)


def _index(
    status: TransactionStatus,
    event: StepStarted | StepSucceeded | StepFailed | StepSkipped | StepUndoStarted | StepUndone | StepUndoFailed,
) -> int:
    _require(1 <= event.step <= len(status.steps), event, f"the plan has no step {event.step}")
    _require(status.kinds[event.step - 1] == event.kind, event, f"step {event.step} is {status.kinds[event.step - 1]}")
    return event.step - 1


def _with_step(status: TransactionStatus, index: int, step: StepState) -> TransactionStatus:
    return _moved(status, _put(status.steps, index, step), status.attempts, status.undo_attempts)


def _moved(
    status: TransactionStatus, steps: tuple[StepState, ...], attempts: tuple[int, ...], undo_attempts: tuple[int, ...]
) -> TransactionStatus:
    """``replace``, which this is called for with most events, at a third of its cost."""
    return TransactionStatus(
        status.kind,
        status.target,
        status.plan,
        status.before,
        status.after,
        status.kinds,
        status.state,
        steps,
        attempts,
        undo_attempts,
        status.unwound,
        status.cause,
        status.accepted,
        status.reboot_from,
        status.planned,
        status.approval,
        status.owed,
    )


def _put(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])


def _require(condition: bool, event: TransactionEvent, cause: str) -> None:
    if not condition:
        raise IllegalEvent(f"cannot record {event.type}: {cause}")

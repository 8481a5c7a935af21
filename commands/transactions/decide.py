"""The two decisions that bring an interrupted transaction to an end: which way, and what to do with a step.

Both are pure. The first looks at the log and the clock, the second at the log and a probe. The engine uses the second
for every unwinding, so that a step that failed, a step that was interrupted and a step that is merely taken back all
go through the same undo.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from commands.drivers.base import Presence
from commands.steps.step import Phase
from commands.transactions.plan import Plan
from ledger.lifecycle import State, StepState, TransactionStatus


class Way(StrEnum):
    """Which end recovery steers for."""

    FORWARD = "forward"
    BACK = "back"


class Action(StrEnum):
    """What to do with one step."""

    RUN = "run"
    UNDO_THEN_RUN = "undo, then run"
    RECORD_SUCCEEDED = "record as succeeded"
    UNDO = "undo"
    RECORD_UNDONE = "record as undone"
    STUCK = "stop and ask a person"


@dataclass(frozen=True, slots=True)
class Course:
    """A way, and why."""

    way: Way
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """An action, and why."""

    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the way depends on besides the status: read from the log and the clock, never from the plan."""

    rebooted: bool
    forward_recoveries: int
    seconds_since_stop: float | None


def choose_way(status: TransactionStatus, plan: Plan, now: Circumstances) -> Course:
    """Whether an open transaction is finished or taken back."""
    if status.state is State.UNWINDING:
        return Course(Way.BACK, f"it was already being taken back: {status.cause}")
    number = status.in_flight or status.next_forward
    if number is None:
        return Course(Way.FORWARD, "every step has succeeded")
    if plan.step(number).phase is Phase.PREPARE:
        return Course(Way.BACK, "it was interrupted before anything was stopped")
    if status.steps[number - 1] is StepState.FAILED:
        return Course(Way.BACK, f"step {number} had failed")
    if now.rebooted:
        return Course(Way.BACK, "the machine went down in the middle of the switch")
    if now.forward_recoveries > 0:
        return Course(Way.BACK, "a recovery has already tried to finish it")
    if now.seconds_since_stop is not None and now.seconds_since_stop > plan.budget_s:
        return Course(Way.BACK, f"more than {plan.budget_s:g} s have passed since the switch began")
    return Course(Way.FORWARD, "the switch had begun and nothing speaks against the new root")


def choose_action(step: StepState, way: Way, presence: Presence) -> Decision:
    """What to do with a step that may be done, half done or not done at all."""
    if presence is Presence.FOREIGN:
        return Decision(Action.STUCK, "what is there is neither the former nor the planned state")
    if way is Way.BACK or step is StepState.UNDO_STARTED:
        if presence is Presence.ABSENT:
            return Decision(Action.RECORD_UNDONE, "nothing of it is there")
        return Decision(Action.UNDO, f"it is {'there' if presence is Presence.PRESENT else 'half done'}")
    match presence:
        case Presence.ABSENT:
            return Decision(Action.RUN, "it has not happened")
        case Presence.PARTIAL:
            return Decision(Action.UNDO_THEN_RUN, "it is half done")
        case Presence.PRESENT:
            return Decision(Action.RECORD_SUCCEEDED, "it has happened")
        case _:
            assert_never(presence)

"""Where a transaction and its steps stand."""

from dataclasses import dataclass
from enum import StrEnum

from ledger.authority import Approval, Authority
from ledger.events import JsonObject, TransactionBegun, TransactionPlanned


class State(StrEnum):
    """Where a transaction stands."""

    PLANNED = "planned"
    APPROVED = "approved"
    FORWARD = "forward"
    UNWINDING = "unwinding"
    STUCK = "stuck"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled-back"
    REJECTED = "rejected"


class StepState(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNDO_STARTED = "undo-started"
    UNDONE = "undone"
    UNDO_FAILED = "undo-failed"


#: The three ends, and the refusal; nothing may follow.
ENDS = frozenset({State.COMMITTED, State.ROLLED_BACK, State.REJECTED})
#: A plan that has not begun: it holds no target.
WAITING = frozenset({State.PLANNED, State.APPROVED})
_DONE = frozenset({StepState.SUCCEEDED, StepState.SKIPPED})
_CLEAR = frozenset({StepState.PENDING, StepState.UNDONE, StepState.SKIPPED})


@dataclass(frozen=True, slots=True)
class TransactionStatus:
    """A transaction, folded from its events. ``steps`` and the attempts are indexed from 0, events count from 1."""

    kind: str
    target: str
    plan: JsonObject
    before: JsonObject | None
    after: JsonObject | None
    kinds: tuple[str, ...]
    state: State
    steps: tuple[StepState, ...]
    attempts: tuple[int, ...]
    undo_attempts: tuple[int, ...]
    unwound: bool = False
    cause: str | None = None
    accepted: str | None = None
    reboot_from: str | None = None
    #: The plan as it waited, kept until it begins; None once it has begun, and where it never waited.
    planned: TransactionPlanned | None = None
    approval: Approval | None = None
    #: On whose word an emergency began, as long as it is not approved of or disapproved; None when nothing is owed.
    owed: Authority | None = None

    @property
    def is_open(self) -> bool:
        """Whether the transaction still holds its target."""
        return self.state not in ENDS and self.state not in WAITING

    @property
    def is_over(self) -> bool:
        """Whether nothing may follow any more."""
        return self.state in ENDS and self.owed is None

    @property
    def settled(self) -> JsonObject | None:
        """The state of the target once the transaction has ended."""
        return self.after if self.state is State.COMMITTED else self.before

    @property
    def in_flight(self) -> int | None:
        """The number of the step whose effect is uncertain or only half there, or None."""
        uncertain = (StepState.STARTED, StepState.FAILED, StepState.UNDO_STARTED, StepState.UNDO_FAILED)
        return next((n for n, step in enumerate(self.steps, 1) if step in uncertain), None)

    @property
    def next_forward(self) -> int | None:
        """The number of the next step to run, or None when all are done."""
        return next((n for n, step in enumerate(self.steps, 1) if step not in _DONE), None)

    @property
    def next_undo(self) -> int | None:
        """The number of the next step to undo, last first, or None when nothing is left."""
        left = [n for n, step in enumerate(self.steps, 1) if step not in _CLEAR]
        return left[-1] if left else None


def begin(event: TransactionBegun | TransactionPlanned) -> TransactionStatus:
    """The status at the first record: every step is still to come."""
    count = len(event.steps)
    authority = event.authority if isinstance(event, TransactionBegun) else None
    return TransactionStatus(
        kind=event.kind,
        target=event.target,
        plan=event.plan,
        before=event.before,
        after=event.after,
        kinds=event.steps,
        state=State.FORWARD,
        steps=(StepState.PENDING,) * count,
        attempts=(0,) * count,
        undo_attempts=(0,) * count,
        approval=event.approval,
        owed=authority if authority is not None and authority.settle_by is not None else None,
    )

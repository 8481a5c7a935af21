"""A transaction in the hands of the engine, and how it ended."""

from dataclasses import dataclass, field

from commands.errors import Interrupted, TransactionFailed, TransactionIsStuck
from commands.remedies import for_stuck
from commands.transactions.plan import JailSettled, Plan
from ledger.errors import LedgerUnusable
from ledger.events import TransactionEvent
from ledger.lifecycle import State, TransactionStatus, apply


@dataclass(slots=True)
class Run:
    """One transaction in the hands of the engine; the ``…_ns`` are monotonic readings of this boot."""

    plan: Plan
    status: TransactionStatus | None = None
    queue: list[TransactionEvent] = field(default_factory=list)
    began_ns: int | None = None
    stopped_ns: int | None = None
    served_ns: int | None = None
    #: What the operator may want to know of the step that failed: told, and not stored.
    hint: str = ""

    @property
    def known(self) -> TransactionStatus:
        """The status, once the transaction has begun."""
        if self.status is None:
            raise LedgerUnusable(f"cannot go on with transaction {self.plan.transaction}: it has not begun")
        return self.status

    @property
    def downtime_ns(self) -> int | None:
        """From the stop of the jail until it served again; None where nothing was stopped, or no clock spans it."""
        if self.stopped_ns is None or self.served_ns is None:
            return None
        return self.served_ns - self.stopped_ns

    @property
    def was_down(self) -> bool:
        """Whether the plan found a deployed jail that did not run."""
        steps = self.plan.steps
        return isinstance(self.plan.before, JailSettled) and all(step.kind != "stop_jail" for step in steps)

    def note(self, *events: TransactionEvent) -> None:
        """Queue events for the next commit; the status runs ahead of the ledger by exactly the queue."""
        for event in events:
            self.status = apply(self.status, event)
            self.queue.append(event)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a transaction ended."""

    transaction: str
    target: str
    state: State
    cause: str | None
    downtime_ns: int | None
    duration_ns: int | None
    interrupted: bool = False
    warning: str | None = None
    was_down: bool = False
    hint: str = ""

    def raise_unless_committed(self) -> None:
        """Turn a failure into the error with its exit code."""
        if self.state is State.COMMITTED:
            return
        if self.state is State.STUCK:
            raise TransactionIsStuck(
                f"cannot finish transaction {self.transaction} of {self.target}, nor take it back: {self.cause}",
                remedy=for_stuck(self.transaction),
            )
        error = Interrupted if self.interrupted else TransactionFailed
        raise error(
            f"transaction {self.transaction} of {self.target} was rolled back: {self.cause}",
            remedy="; ".join(filter(None, (self._former_state, self.hint))),
        )

    @property
    def _former_state(self) -> str:
        if not self.was_down:
            return "the former state holds; nothing needs to be cleaned up"
        return (
            f"the former state holds: {self._name} did not run before and does not run now; "
            f"see `rootswap tx show {self.transaction}`, then `rootswap jail start {self._name}`"
        )

    @property
    def _name(self) -> str:
        return self.target.partition(":")[2]

"""The engine: carries a plan out, or takes it back, one durable intent at a time.

The outcome of a step and the intent of the next one go into one commit, so a transaction of N steps costs N+1 commits.
Outcomes wait in the run's queue until the next intent takes them along; nothing is told to the observer before it is
durable. Recovery drives the same loops from wherever the log says that a transaction stands.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from commands.drivers.base import Drivers
from commands.errors import HostUnreachable
from commands.steps.step import Phase, Step
from commands.transactions.decide import Action, Way, choose_action
from commands.transactions.interrupt import Interrupt
from commands.transactions.plan import Plan, Purpose, plan_to_json
from commands.transactions.run import Outcome, Run
from ledger.codec import Record
from ledger.errors import AppendFailed, LedgerUnusable, RootswapError
from ledger.events import (
    JsonObject,
    StepFailed,
    StepStarted,
    StepSucceeded,
    StepUndoFailed,
    StepUndone,
    StepUndoStarted,
    TransactionBegun,
    TransactionCommitted,
    TransactionRejected,
    TransactionRolledBack,
    TransactionStuck,
    UnwindStarted,
)
from ledger.facts import FactBase
from ledger.lifecycle import State, StepState
from ledger.writer import LedgerWriter

T = TypeVar("T")
Observer = Callable[[Plan, Record], None]
#: Asked before anything begins: the purpose with the authority for it, or Refused.
Gate = Callable[[Plan, Purpose], Purpose]


class Engine:
    """Runs plans against the drivers, with the ledger as the only memory.

    One engine holds the ledger; several plans may run at a time, each in its own thread and on its own target. An error
    of the ledger ends the run at once and leaves the transaction open for recovery, because without a
    durable intent nothing may be done to the host.
    """

    def __init__(
        self,
        ledger: LedgerWriter,
        drivers: Drivers,
        interrupt: Interrupt,
        observer: Observer,
        seal: Callable[[], str | None] = lambda: None,
        gate: Gate = lambda _plan, purpose: purpose,
    ) -> None:
        self.ledger = ledger
        self.drivers = drivers
        self.interrupt = interrupt
        self._observer = observer
        self._seal = seal
        self._gate = gate

    def execute(self, plan: Plan, purpose: Purpose) -> Outcome:
        """Begin the transaction, if the gate lets it, and bring it to one of its ends. Raises what the gate raises."""
        admitted = self._gate(plan, purpose)
        run = Run(plan, self.ledger.find_status(plan.transaction))
        run.note(_begun(plan, admitted))
        return self.go_forward(run)

    def go_forward(self, run: Run) -> Outcome:
        """Run the steps that are left; unwind at the first that fails or when a signal asks for it in time."""
        while (number := run.known.next_forward) is not None:
            step = run.plan.step(number)
            if self._asked_to_stop(run, number):
                return self._stop_early(run)
            self._start(run, number, step)
            if not self._run(run, number, step):
                return self.unwind(run, f"step {number} ({step.kind}) failed: {self._error(run)}")
        committed = TransactionCommitted(duration_ns=self._since(run.began_ns), downtime_ns=run.downtime_ns)
        return self._end(run, committed)

    def unwind(self, run: Run, cause: str) -> Outcome:
        """Undo what there is of every step, last first, each after a look at what is really there."""
        if run.known.state is State.FORWARD:
            run.note(UnwindStarted(cause=cause))
        while (number := run.known.next_undo) is not None:
            stuck = self.take_back(run, number, Way.BACK)
            if stuck is not None:
                return stuck
        run.note(
            TransactionRolledBack(
                cause=run.known.cause or cause, duration_ns=self._since(run.began_ns), downtime_ns=run.downtime_ns
            )
        )
        return self.finish(run)

    def take_back(self, run: Run, number: int, way: Way) -> Outcome | None:
        """Probe one step and undo what is there of it. Returns the outcome if that gets the transaction stuck."""
        step = run.plan.step(number)
        state = run.known.steps[number - 1]
        presence, error = _attempt(lambda: step.probe(self.drivers))
        if presence is None:
            return self.get_stuck(run, f"step {number} ({step.kind}) cannot be probed: {error}")
        decision = choose_action(state, way, presence)
        if decision.action is Action.STUCK:
            return self.get_stuck(run, f"step {number} ({step.kind}{_place(step)}): {decision.reason}")
        if decision.action is Action.RECORD_UNDONE:
            run.note(StepUndone(step=number, kind=step.kind, duration_ns=None, observed=True))
            return None
        attempt = run.known.undo_attempts[number - 1] + 1
        run.note(StepUndoStarted(step=number, kind=step.kind, attempt=attempt))
        self.flush(run)
        return self._undo(run, number, step)

    def get_stuck(self, run: Run, cause: str) -> Outcome:
        """Record that a person must decide."""
        run.note(TransactionStuck(cause=cause))
        return self.finish(run)

    def flush(self, run: Run) -> None:
        """Make the queue durable, in one commit, and tell the observer. A LedgerError ends the run at once."""
        try:
            records = self.ledger.append(run.plan.transaction, *run.queue)
        except AppendFailed as error:
            if run.began_ns is None:
                raise
            raise LedgerUnusable(
                f"cannot go on with transaction {run.plan.transaction} of {run.plan.target}, which stays open: "
                f"{error.message}",
                remedy=f"{error.remedy or 'mend the ledger'}; then run `rootswap recover`",
            ) from error
        run.queue.clear()
        if run.began_ns is None:
            run.began_ns = records[0].monotonic_ns
        for record in records:
            if isinstance(record.event, StepStarted) and record.event.kind == "stop_jail" and run.stopped_ns is None:
                run.stopped_ns = record.monotonic_ns
            self._observer(run.plan, record)

    def _start(self, run: Run, number: int, step: Step) -> None:
        attempt = run.known.attempts[number - 1] + 1
        run.note(StepStarted(step=number, kind=step.kind, attempt=attempt))
        self.flush(run)

    def _run(self, run: Run, number: int, step: Step) -> bool:
        attempt = run.known.attempts[number - 1]
        begun = self.drivers.clock.monotonic_ns()

        def change() -> FactBase:
            try:
                step.run(self.drivers)
            except RootswapError as error:
                run.hint = error.remedy
                raise
            return step.fact(self.drivers)

        fact, error = _attempt(change)
        ended = self.drivers.clock.monotonic_ns()
        common = {"step": number, "kind": step.kind, "attempt": attempt, "duration_ns": ended - begun}
        if fact is None:
            run.note(StepFailed.model_validate({**common, "error": error}))
            return False
        if step.kind in ("start_jail", "check_health"):
            run.served_ns = ended
        run.note(StepSucceeded.model_validate({**common, "fact": fact}))
        return True

    def _undo(self, run: Run, number: int, step: Step) -> Outcome | None:
        begun = self.drivers.clock.monotonic_ns()

        def take_back() -> bool:
            step.undo(self.drivers)
            return True

        _, error = _attempt(take_back)
        ended = self.drivers.clock.monotonic_ns()
        if error is not None:
            run.note(StepUndoFailed(step=number, kind=step.kind, error=error, duration_ns=ended - begun))
            return self.get_stuck(run, f"step {number} ({step.kind}) cannot be undone: {error}")
        if step.kind == "stop_jail":
            run.served_ns = ended
        run.note(StepUndone(step=number, kind=step.kind, duration_ns=ended - begun))
        return None

    def _asked_to_stop(self, run: Run, number: int) -> bool:
        if self.interrupt.signal is None:
            return False
        begins = run.plan.switch_begins
        return run.plan.step(number).phase is Phase.PREPARE or number == begins

    def _stop_early(self, run: Run) -> Outcome:
        cause = f"interrupted by {self.interrupt.signal} before the point of no return"
        if all(step is StepState.PENDING for step in run.known.steps):
            run.note(TransactionRejected(cause=cause))
            return self.finish(run)
        return self.unwind(run, cause)

    def _end(self, run: Run, event: TransactionCommitted) -> Outcome:
        run.note(event)
        outcome = self.finish(run)
        try:
            _, trouble = _attempt(lambda: self.clean_up(run.plan))
        except HostUnreachable as error:
            trouble = error.message
        return outcome if trouble is None else replace(outcome, warning=_joined(trouble, outcome.warning))

    def clean_up(self, plan: Plan) -> bool:
        """After the commit: destroy what the plan has put out of use. Recovery does the same for what is left."""
        for step in plan.steps:
            if step.kind == "retire_release":
                self.drivers.storage.empty_trash(plan.transaction)
            elif step.kind == "forget_release":
                self.drivers.storage.destroy_release(step.release)
            elif step.kind == "build_template" and step.base is not None:
                self.drivers.storage.destroy_template(step.template, step.base)
        return True

    def finish(self, run: Run) -> Outcome:
        """Make the last events durable, seal the ledger with them and say how the transaction stands."""
        self.flush(run)
        ended_ns = self._since(run.began_ns)
        warning = self._seal()
        return Outcome(
            transaction=run.plan.transaction,
            target=run.plan.target,
            state=run.known.state,
            cause=run.known.cause,
            downtime_ns=run.downtime_ns,
            duration_ns=ended_ns,
            interrupted=self.interrupt.signal is not None and run.known.state is not State.COMMITTED,
            was_down=run.was_down,
            warning=warning,
            hint=run.hint,
        )

    def _since(self, began_ns: int | None) -> int | None:
        return None if began_ns is None else self.drivers.clock.monotonic_ns() - began_ns

    @staticmethod
    def _error(run: Run) -> str:
        last = run.queue[-1]
        return last.error if isinstance(last, StepFailed) else "unknown"


def _attempt(action: Callable[[], T]) -> tuple[T | None, str | None]:
    """The result of an action, or what went wrong: the one place where any exception becomes an outcome.

    Raises HostUnreachable, and nothing else.
    """
    try:
        return action(), None
    except HostUnreachable:
        raise  # neither forward nor back can be gone: the transaction stays open until the host is there again
    except RootswapError as error:
        return None, error.message
    except Exception as error:  # noqa: BLE001 whatever a step does, its transaction must still be taken back
        return None, f"unexpected {type(error).__name__}: {error}"


def _joined(*warnings: str | None) -> str | None:
    return "; ".join(warning for warning in warnings if warning) or None


def _place(step: Step) -> str:
    """Where on the host to look for what a step has met."""
    path = getattr(step, "path", None)
    return f" at {path}" if isinstance(path, str) else ""


def ordered(plan: Plan, purpose: Purpose) -> dict[str, object]:
    """What the first record of a transaction says of its plan, whether it waits or begins."""
    stored = plan_to_json(plan)
    return {
        "kind": plan.kind,
        "target": plan.target,
        "steps": tuple(step.kind for step in plan.steps),
        "before": _object(stored, "before"),
        "after": _object(stored, "after"),
        "plan": stored,
        "reason": purpose.reason,
        "ticket": purpose.ticket,
        "approval": purpose.approval,
    }


def _begun(plan: Plan, purpose: Purpose) -> TransactionBegun:
    return TransactionBegun.model_validate({**ordered(plan, purpose), "authority": purpose.authority})


def _object(stored: JsonObject, key: str) -> JsonObject | None:
    value = stored[key]
    return value if isinstance(value, dict) else None

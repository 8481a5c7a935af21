"""Recovery: settle every open transaction, then put back what a reboot has taken away.

It reads the plans from the ledger, asks ``decide`` which way and what to do, writes each decision before acting on it,
and drives the engine's own loops. It may itself be killed at any point and run again: the second run finds the log and
the host as they are and goes on from there. Running it when nothing is open changes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

from commands.config import Config
from commands.drivers.base import JailSpec, JailState, Presence
from commands.errors import DriverError, UsageError
from commands.transactions.decide import Action, Circumstances, Course, Way, choose_action, choose_way
from commands.transactions.engine import Engine
from commands.transactions.plan import (
    JailSettled,
    Plan,
    PoolSettled,
    Purpose,
    jail_settled,
    plan_from_json,
    template_settled,
)
from commands.transactions.planners import Seen, plan_mount, plan_restore
from commands.transactions.run import Outcome, Run
from ledger.codec import Record
from ledger.errors import UnknownTransaction
from ledger.events import (
    OperatorDecided,
    RecoveryDecided,
    RecoveryStarted,
    StepStarted,
    StepSucceeded,
    TransactionBegun,
    TransactionCommitted,
    TransactionRolledBack,
)
from ledger.lifecycle import State, TransactionStatus
from ledger.names import template_of

Choice = Literal["continue", "unwind", "accept-planned", "accept-before"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a recovery did: one outcome for each transaction that it settled or began, and what is still stuck.

    ``warnings`` tell of leftovers that could not be removed; they stand in nobody's way.
    """

    settled: tuple[Outcome, ...]
    restored: tuple[Outcome, ...]
    stuck: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class Recoverer:
    """Recovers on one engine. ``new_id`` draws transaction ids for the restoring transactions."""

    def __init__(self, engine: Engine, config: Config, boot_id: str, new_id: Callable[[], str]) -> None:
        self._engine = engine
        self._ledger = engine.ledger
        self._drivers = engine.drivers
        self._config = config
        self._boot_id = boot_id
        self._new_id = new_id

    def recover(self) -> Recovery:
        """Settle the pool's transaction first, mount the pool, settle the others, then restore what a reboot took."""
        found = self._ledger.open_transactions()
        work = {name: status for name, status in found.items() if status.state is not State.STUCK}
        if work:
            self._ledger.note(RecoveryStarted(boot_id=self._boot_id, open=tuple(sorted(work))))
        pool_first = sorted(work, key=lambda name: not work[name].target.startswith("pool:"))
        settled: list[Outcome] = []
        restored: list[Outcome] = []
        for name in pool_first:
            if not work[name].target.startswith("pool:") and not restored:
                restored.extend(self._mount_pool())
            settled.append(self._settle(name, work[name]))
        if not restored:
            restored.extend(self._mount_pool())
        warnings: tuple[str, ...] = ()
        troubles: list[DriverError] = []
        if self._pool_is_up():
            restored.extend(self._restore_jails(troubles))
            warnings = self._discard_leftovers()
        if troubles:
            raise troubles[0]
        return Recovery(tuple(settled), tuple(restored), tuple(sorted(self._stuck())), warnings)

    def resolve(self, transaction: str, choice: Choice, by: str, why: str) -> Outcome:
        """Carry out a person's word on a stuck transaction.

        ``continue`` and ``unwind`` go on from where it stands, looking before each act; ``accept-planned`` and
        ``accept-before`` touch nothing and take the person's word for the state of the host.
        Raises UsageError when the transaction is not stuck.
        """
        status = self._ledger.open_transactions().get(transaction)
        if status is None or status.state is not State.STUCK:
            raise UsageError(
                f"cannot resolve transaction {transaction}: it is not stuck", remedy="see `rootswap tx list`"
            )
        if choice == "continue" and status.unwound:
            raise UsageError(
                f"cannot continue transaction {transaction}: it has already turned back",
                remedy="choose --choice unwind",
            )
        run = self._run_of(transaction, status)
        run.note(OperatorDecided(choice=choice, by=by, why=why))
        match choice:
            case "accept-planned":
                run.note(TransactionCommitted(duration_ns=None, downtime_ns=None))
            case "accept-before":
                run.note(TransactionRolledBack(cause=f"accepted by {by}: {why}", duration_ns=None, downtime_ns=None))
            case "unwind":
                return self._engine.unwind(run, f"decided by {by}: {why}")
            case "continue":
                return self._go_on(run, Course(Way.FORWARD, f"decided by {by}: {why}"))
        return self._engine.finish(run)

    def _settle(self, transaction: str, status: TransactionStatus) -> Outcome:
        run = self._run_of(transaction, status)
        course = choose_way(status, run.plan, self._circumstances(transaction))
        return self._go_on(run, course)

    def _go_on(self, run: Run, course: Course) -> Outcome:
        number = run.known.in_flight
        if course.way is Way.BACK:
            run.note(RecoveryDecided(step=number, presence=None, action="go back", reason=course.reason))
            return self._engine.unwind(run, f"recovery: {course.reason}")
        if number is None:
            run.note(RecoveryDecided(step=None, presence=None, action="go forward", reason=course.reason))
            return self._engine.go_forward(run)
        return self._take_up(run, number, course)

    def _take_up(self, run: Run, number: int, course: Course) -> Outcome:
        step = run.plan.step(number)
        presence = step.probe(self._drivers)
        decision = choose_action(run.known.steps[number - 1], course.way, presence)
        run.note(
            RecoveryDecided(
                step=number,
                presence=presence.value,
                action=f"go forward: {decision.action}",
                reason=f"{course.reason}; {decision.reason}",
            )
        )
        match decision.action:
            case Action.STUCK:
                return self._engine.get_stuck(run, self._engine.found_foreign(number, step, decision.reason))
            case Action.RECORD_SUCCEEDED:
                attempt = run.known.attempts[number - 1]
                run.note(
                    StepSucceeded.model_validate(
                        {"step": number, "kind": step.kind, "attempt": attempt, "duration_ns": None, "observed": True,
                         "fact": step.fact(self._drivers)}
                    )
                )  # fmt: skip
            case Action.UNDO_THEN_RUN | Action.UNDO | Action.RECORD_UNDONE:
                stuck = self._engine.take_back(run, number, Way.FORWARD)
                if stuck is not None:
                    return stuck
            case Action.RUN:
                pass
        return self._engine.go_forward(run)

    def _run_of(self, transaction: str, status: TransactionStatus) -> Run:
        records = self._ledger.records(transaction)
        run = Run(plan_from_json(status.plan), status)
        # A plan that waited for its approval has records before its beginning.
        begun = next(record for record in records if isinstance(record.event, TransactionBegun))
        run.began_ns = _monotonic(begun, self._boot_id) or 0
        stopped = _first_stop(records)
        run.stopped_ns = _monotonic(stopped, self._boot_id) if stopped else None
        return run

    def _circumstances(self, transaction: str) -> Circumstances:
        records = self._ledger.records(transaction)
        forward = sum(
            isinstance(record.event, RecoveryDecided) and record.event.action.startswith("go forward")
            for record in records
        )
        stopped = _first_stop(records)
        since = None
        if stopped is not None:
            since = (self._drivers.clock.now() - datetime.fromisoformat(stopped.at)).total_seconds()
        return Circumstances(records[-1].boot_id != self._boot_id, forward, since)

    def _pool_settled(self) -> PoolSettled | None:
        stored = self._ledger.settled("pool:main")
        return None if stored is None else PoolSettled.model_validate(stored)

    def _pool_is_up(self) -> bool:
        settled = self._pool_settled()
        return settled is not None and self._drivers.storage.pool_mounted(settled.pool) is Presence.PRESENT

    def _mount_pool(self) -> Sequence[Outcome]:
        settled = self._pool_settled()
        busy = any(status.target == "pool:main" for status in self._ledger.open_transactions().values())
        if settled is None or busy or self._pool_is_up():
            return ()
        return (self._begin(plan_mount(self._new_id(), settled), "mount the pool after a reboot"),)

    def _restore_jails(self, troubles: list[DriverError]) -> Sequence[Outcome]:
        """Restore every jail that no transaction is open on. One that cannot be looked at keeps no other one down."""
        busy = {status.target for status in self._ledger.open_transactions().values()}
        outcomes = []
        for target, stored in sorted(self._ledger.settled_targets().items()):
            settled = jail_settled(stored) if target.startswith("jail:") and target not in busy else None
            if settled is None:
                continue
            try:
                plan = self._restoring(settled)
            except DriverError as error:
                troubles.append(error)
                continue
            if plan is not None:
                outcomes.append(self._begin(plan, "restore the jail as it was settled"))
        return outcomes

    def _restoring(self, settled: JailSettled) -> Plan | None:
        """The plan that brings a jail back; None where all is well, or where somebody else's mount is in the way."""
        seen = self._see(settled.deployment.jail)
        source = self._drivers.storage.root_source(settled.deployment.release)
        if seen.mounted and not self._drivers.mounts.holds(settled.deployment.jail.root, source):
            return None  # `status` tells it, and nothing is started on it
        if seen.mounted and (seen.running or not settled.running):
            return None
        return plan_restore(self._new_id(), self._config, settled, seen)

    def _see(self, jail: JailSpec) -> Seen:
        running = self._drivers.jails[jail.driver].state(jail) is JailState.RUNNING
        return Seen(running=running, mounted=self._drivers.mounts.layers(jail.root) > 0)

    def _begin(self, plan: Plan, reason: str) -> Outcome:
        return self._engine.execute(plan, Purpose(reason=reason))

    def _discard_leftovers(self) -> tuple[str, ...]:
        """Finish the clean-up of committed transactions. What no transaction of this ledger has made stays."""
        storage = self._drivers.storage
        discards: list[Callable[[], None]] = [
            partial(storage.empty_trash, by) for by in storage.trash() if self._committed(by)
        ]
        discards += [partial(storage.destroy_release, name) for name in self._remains()]
        for template, head in storage.templates():
            settled = template_settled(self._ledger.settled(f"template:{template}"))
            if settled is not None and settled.head != head and self._committed(head):
                discards.append(partial(storage.destroy_template, template, head))
        warnings = []
        for discard in discards:
            try:
                discard()
            except DriverError as error:
                warnings.append(error.message)
        return tuple(warnings)

    def _remains(self) -> Sequence[str]:
        """What is left of releases that were given up last, of each template, before the clean-up got to it."""
        found = []
        for template in {template_of(name) for name in self._drivers.storage.releases()}:
            last = self._ledger.last_settled(f"release:{template}")
            plan = None if last is None else plan_from_json(self._ledger.status(last.transaction).plan)
            gone = plan.released if plan is not None and self._committed(plan.transaction) else None
            if gone and self._drivers.storage.release_presence(gone) is Presence.PARTIAL:
                found.append(gone)
        return found

    def _committed(self, transaction: str) -> bool:
        try:
            return self._ledger.status(transaction).state is State.COMMITTED
        except UnknownTransaction:
            return False

    def _stuck(self) -> list[str]:
        found = self._ledger.open_transactions()
        return [name for name, status in found.items() if status.state is State.STUCK]


def _first_stop(records: Sequence[Record]) -> Record | None:
    stops = (
        record
        for record in records
        if isinstance(record.event, StepStarted) and record.event.kind in ("stop_jail", "remount_root")
    )
    return next(stops, None)


def _monotonic(record: Record, boot_id: str) -> int | None:
    return record.monotonic_ns if record.boot_id == boot_id else None

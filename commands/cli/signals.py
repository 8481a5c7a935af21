"""Signals while a transaction runs: a wish to stop is noted for the engine, and the person hears what will happen.

Before the point of no return the engine takes everything back; after it, it finishes. Handlers do next to nothing: they
set a word and queue a line. They are real handlers, never SIG_IGN, which the jails that we start would inherit.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from commands.cli.progress import Progress
from commands.transactions.interrupt import Interrupt
from commands.transactions.plan import Plan
from ledger.codec import Record
from ledger.events import StepStarted, UnwindStarted
from ledger.lifecycle import ENDS

_ENDINGS = frozenset(f"transaction.{end}" for end in (*ENDS, "stuck"))
_STOPPING = (signal.SIGINT, signal.SIGTERM)


class Course:
    """Where the transactions of this process stand, as far as an interruption is concerned."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}
        self._past: set[str] = set()
        self._back: set[str] = set()
        self._over = False

    def observe(self, plan: Plan, record: Record) -> None:
        """Take note of a record."""
        event = record.event
        begins = plan.switch_begins
        self._plans[plan.transaction] = plan
        if event.type in _ENDINGS:
            self._plans.pop(plan.transaction)
            self._over = True
        elif isinstance(event, UnwindStarted):
            self._back.add(plan.transaction)
        elif isinstance(event, StepStarted) and begins is not None and event.step >= begins:
            self._past.add(plan.transaction)

    def words(self) -> str:
        """What an interruption will lead to now."""
        if not self._plans:
            return "all is done already" if self._over else "stopping before anything is changed"
        return "; ".join(self._fate(plan) for plan in list(self._plans.values()))

    def _fate(self, plan: Plan) -> str:
        name = plan.target.partition(":")[2]
        if plan.transaction in self._back:
            return f"{name} is already being taken back"
        if plan.transaction in self._past:
            return f"{name} is past the point of no return and will be finished"
        if plan.switch_begins is None:
            return f"transaction {plan.transaction} of {name} will be taken back"
        return f"{name} has not been stopped yet, its transaction {plan.transaction} will be taken back"


@contextmanager
def watched(interrupt: Interrupt, progress: Progress, course: Course) -> Iterator[None]:
    """Let SIGINT and SIGTERM set ``interrupt``, and SIGHUP do nothing.

    After the block a signal does nothing any more: what remains is to print the account and to exit with its code.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if interrupt.signal is not None:
            progress.say(f"rootswap: {name}: already stopping, {course.words()}")
            return
        interrupt.signal = name
        progress.say(f"rootswap: {name}: {course.words()}")

    def hang_up(_number: int, _frame: FrameType | None) -> None:
        """The terminal is gone; the transaction is not."""

    # nohup, and shells without job control, start us with signals ignored: so they are, but not by what we start.
    ignored = [number for number in (*_STOPPING, signal.SIGHUP, signal.SIGQUIT) if _is_ignored(number)]
    for number in (*_STOPPING, signal.SIGHUP, *ignored):
        signal.signal(number, stop if number in _STOPPING and number not in ignored else hang_up)
    try:
        yield
    finally:
        for number in _STOPPING:
            signal.signal(number, hang_up)


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN

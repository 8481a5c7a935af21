"""Live progress on stderr: what the ledger has recorded, as it records it.

The engine only puts records into a queue; a thread of its own prints them. A terminal that is slow, stopped or gone
can therefore never lengthen a downtime. On a terminal the last line is alive: the step, how long it takes, and the
clock of the downtime.
"""

import os
import sys
import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

from commands.cli import output
from commands.steps.step import Step
from commands.steps.stop_jail import StopJail
from commands.transactions.plan import Plan
from ledger.codec import Record
from ledger.events import (
    RecoveryDecided,
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

#: How often the live line is drawn, and when people without a terminal hear that a step still runs.
_TICK_S = 0.1
_STILL_S = 15.0
#: How long we wait at the end for a terminal that does not take our lines.
_PATIENCE_S = 2.0
#: The width of a terminal that does not say.
_COLUMNS = 80


@dataclass(slots=True)
class _Shown:
    """What is shown of one transaction; the ``…_ns`` are monotonic."""

    plan: Plan
    label: str
    doing: str | None = None
    since_ns: int = 0
    told_ns: int = 0
    stopped_ns: int | None = None


class Progress:
    """The observer of an engine; a context manager, so that the last lines are out before the result is printed."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Plan, Record] | str | None] = SimpleQueue()
        self._shown: dict[str, _Shown] = {}
        self._is_live = output.is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._thread = Thread(target=self._print, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._queue.put(None)
        self._thread.join(_PATIENCE_S)

    def observe(self, plan: Plan, record: Record) -> None:
        """Take note of a record; called by the engine, from any of its threads."""
        self._queue.put((plan, record))

    def say(self, text: str) -> None:
        """Print a line between the others; safe in a signal handler."""
        self._queue.put(text)

    # --- the printing thread ---

    def _print(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=_TICK_S)
            except Empty:
                self._tick()
                continue
            if item is None:
                self._line(None)
                return
            self._line(item if isinstance(item, str) else self._told(*item))
            if self._is_live and self._queue.empty():
                self._tick()

    def _line(self, text: str | None) -> None:
        if self._is_live:
            output.write_raw(sys.stderr, "\r\x1b[K")
        if text is not None:
            output.note(text)

    def _tick(self) -> None:
        now = time.monotonic_ns()
        busy = [shown for shown in self._shown.values() if shown.doing is not None]
        if self._is_live:
            live = "  ".join(_live(shown, now) for shown in busy)
            if live:
                output.write_raw(sys.stderr, "\r" + live[: _columns() - 1] + "\x1b[K")
            return
        for shown in busy:
            if now - shown.told_ns > _STILL_S * 1e9:
                shown.told_ns = now
                output.note(
                    f"{shown.label} {shown.doing} … still running after {output.duration(now - shown.since_ns)}"
                )

    def _told(self, plan: Plan, record: Record) -> str | None:
        """The line about a record, if there is one; keeps what is shown up to date."""
        shown = self._shown.get(plan.transaction)
        if shown is None:
            label = f"[{plan.target.partition(':')[2]} {plan.transaction}]"
            shown = self._shown[plan.transaction] = _Shown(plan, label)
        told = _words(shown, record)
        return None if told is None else f"{shown.label} {told}"


def _words(shown: _Shown, record: Record) -> str | None:
    event = record.event
    count = len(shown.plan.steps)
    match event:
        case TransactionBegun():
            return f"{event.kind} {event.target.partition(':')[2]}: {count} step{'' if count == 1 else 's'}"
        case StepStarted():
            if event.kind == "stop_jail" and shown.stopped_ns is None:
                shown.stopped_ns = record.monotonic_ns
            _begin(shown, f"{event.step}/{count} {event.kind}", record)
        case StepUndoStarted():
            _begin(shown, f"undo {event.step}/{count} {event.kind}", record)
        case StepSucceeded():
            killed = _killed(shown.plan.step(event.step), event)
            done = _done(event.duration_ns, is_seen=event.observed)
            return _end(shown, f"{event.step}/{count} {event.kind}", f"{done}{killed}")
        case StepFailed():
            return _end(shown, f"{event.step}/{count} {event.kind}", f"failed: {event.error}")
        case StepUndone():
            end = "nothing to undo" if event.observed else f"undone {output.duration(event.duration_ns)}"
            return _end(shown, f"undo {event.step}/{count} {event.kind}", end)
        case StepUndoFailed():
            return _end(shown, f"undo {event.step}/{count} {event.kind}", f"failed: {event.error}")
        case UnwindStarted():
            return f"turning back: {event.cause}"
        case RecoveryDecided():
            return f"recovery: {event.action}, since {event.reason}"
        case TransactionCommitted():
            return _end(shown, "committed", _clocks(event.downtime_ns, event.duration_ns))
        case TransactionRolledBack():
            return _end(shown, "rolled back", _clocks(event.downtime_ns, event.duration_ns))
        case TransactionStuck() | TransactionRejected():
            return _end(shown, "stuck" if isinstance(event, TransactionStuck) else "rejected", event.cause)
        case _:
            pass
    return None


def _begin(shown: _Shown, doing: str, record: Record) -> None:
    shown.doing = doing
    shown.since_ns = shown.told_ns = record.monotonic_ns


def _end(shown: _Shown, doing: str, end: str) -> str:
    shown.doing = None
    return f"{doing} … {end}" if end else doing


def _done(duration_ns: int | None, *, is_seen: bool) -> str:
    return "found done" if is_seen else f"done {output.duration(duration_ns)}"


def _killed(step: Step, event: StepSucceeded) -> str:
    """What is told of a jail that did not heed its stop signal: the timeout was downtime for nothing."""
    if not isinstance(step, StopJail) or not step.was_killed(event.duration_ns):
        return ""
    jail = step.jail
    return f", killed: it did not end by {jail.stop_signal} within {jail.stop_timeout_s:g} s"


def _clocks(downtime_ns: int | None, duration_ns: int | None) -> str:
    told = [] if duration_ns is None else [f"after {output.duration(duration_ns)}"]
    if downtime_ns is not None:
        told.append(f"down for {output.milliseconds(downtime_ns)}")
    return ", ".join(told)


def _live(shown: _Shown, now: int) -> str:
    down = "" if shown.stopped_ns is None else f", down {(now - shown.stopped_ns) / 1e9:.1f} s"
    return f"{shown.label} {shown.doing} … {(now - shown.since_ns) / 1e9:.1f} s{down}"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS

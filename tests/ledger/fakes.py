"""A clock that ticks, identifiers that count, and events to write down."""

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from ledger.codec import Actor, Origin
from ledger.events import (
    StepStarted,
    StepSucceeded,
    StepUndone,
    StepUndoStarted,
    TransactionBegun,
    TransactionCommitted,
    TransactionEvent,
    TransactionRolledBack,
    UnwindStarted,
)
from ledger.facts import JailStopped
from ledger.writer import LedgerWriter

ACTOR = Actor(uid=0, login="paul", login_uid=1001, invoked=("rootswap", "upgrade", "web"), tty="pts/0")
ORIGIN = Origin(host_id="host-1", boot_id="boot-1", engine_version="0.1.0", actor=ACTOR)
START = datetime(2026, 3, 14, 1, 59, 26, 535897, tzinfo=UTC)
TX = "aaaa0001"
KIND = "StopJail"


class FakeClock:
    """Each look at the time is a millisecond later than the one before."""

    def __init__(self, start: datetime = START) -> None:
        self.moment = start
        self.ticks = 0

    def now(self) -> datetime:
        self.moment += timedelta(milliseconds=1)
        return self.moment

    def monotonic_ns(self) -> int:
        self.ticks += 1_000_000
        return self.ticks

    def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.ticks += int(seconds * 1e9)


class CountedIds:
    """Event identifiers 1, 2, 3 …, or those after ``last``."""

    def __init__(self, last: int = 0) -> None:
        self._numbers = count(last + 1)

    def __call__(self) -> str:
        return f"{next(self._numbers):032x}"


def create(directory: Path) -> LedgerWriter:
    """A new ledger, or the one that is there."""
    return LedgerWriter.create(directory, ORIGIN, FakeClock())


def reopen(directory: Path) -> LedgerWriter:
    """The ledger that is there."""
    return LedgerWriter.open(directory, ORIGIN, FakeClock())


def begun(target: str = "jail:web", steps: int = 2, *, padding: int = 0) -> TransactionBegun:
    """An order with as many steps."""
    return TransactionBegun(
        kind="upgrade",
        target=target,
        steps=(KIND,) * steps,
        before={"release": "base@aaaa0000"},
        after={"release": "base@aaaa0001"},
        plan={"padding": "x" * padding},
        reason="CVE-2026-1",
        ticket="OPS-7",
    )


def started(step: int, attempt: int = 1) -> StepStarted:
    """The intent of a step."""
    return StepStarted(step=step, kind=KIND, attempt=attempt)


def succeeded(step: int, attempt: int = 1) -> StepSucceeded:
    """The good end of a step."""
    fact = JailStopped(before="running", after="stopped", jail="web")
    return StepSucceeded(step=step, kind=KIND, attempt=attempt, fact=fact, duration_ns=1000)


def committed() -> TransactionCommitted:
    """The good end."""
    return TransactionCommitted(duration_ns=5000, downtime_ns=1000)


def whole_upgrade(target: str = "jail:web") -> tuple[TransactionEvent, ...]:
    """From begun to committed, two steps."""
    return (begun(target), started(1), succeeded(1), started(2), succeeded(2), committed())


def whole_unwinding(target: str = "jail:web") -> tuple[TransactionEvent, ...]:
    """From begun to rolled back, after one step."""
    return (
        begun(target),
        started(1),
        succeeded(1),
        UnwindStarted(cause="health check failed"),
        StepUndoStarted(step=1, kind=KIND, attempt=1),
        StepUndone(step=1, kind=KIND, duration_ns=1000),
        TransactionRolledBack(cause="health check failed", duration_ns=5000, downtime_ns=None),
    )

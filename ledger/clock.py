"""Time, from one injected source.

Three readings that must not be mixed up: ``now`` names a moment for people (and may jump when the clock is set),
``monotonic_ns`` measures durations within one boot, ``sleep`` waits.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the engine and the ledger need to know of time."""

    def now(self) -> datetime:
        """The wall clock, in UTC, microseconds."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary moment of this boot; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait at least that long."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """The wall clock, in UTC, microseconds."""
        return datetime.now(UTC)

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        """Wait at least that long."""
        time.sleep(seconds)

"""Maintenance windows and freezes: what they say at a moment, and when the next window opens. Pure.

A window opens and closes by the clock on the wall, and the clock on the wall is set twice a year:

- A time that the clock jumps over is the moment of the jump. A window whose both ends are jumped over does not open.
- A time that comes twice is the first of the two. A window that opened before the change, and closes after it, is an
  hour longer or shorter than on other days, as the night is.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from ledger.authority import WindowState

_DAY = timedelta(days=1)
#: A window opens on a day of the week, so it opens within so many days, one of them jumped over.
_HORIZON_DAYS = 15
#: Freezes that follow each other: so many at most are gone through for the next opening.
_PATIENCE = 1000


@dataclass(frozen=True, slots=True)
class Window:
    """Open on ``days`` (0 is Monday) from ``opens`` to ``closes``, both since midnight, by the clock in ``zone``."""

    name: str
    days: frozenset[int]
    opens: timedelta
    closes: timedelta
    zone: tzinfo

    def opening(self, day: date) -> tuple[datetime, datetime] | None:
        """From when to when (UTC) the window of that day is open; None if it does not open."""
        if day.weekday() not in self.days:
            return None
        over_midnight = _DAY if self.closes <= self.opens else timedelta()
        opens = _moment(day, self.opens, self.zone)
        closes = _moment(day, self.closes + over_midnight, self.zone)
        return (opens, closes) if opens < closes else None

    def openings(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The openings that are not over at ``now``, in order."""
        today = now.astimezone(self.zone).date()
        for number in range(-2, _HORIZON_DAYS):
            found = self.opening(today + number * _DAY)
            if found is not None and now < found[1]:
                yield found


@dataclass(frozen=True, slots=True)
class Freeze:
    """No changes from ``begins`` until before ``ends``."""

    name: str
    begins: datetime
    ends: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Calendar:
    """All windows and freezes that hold for a target. Without a window, any time will do that is not frozen."""

    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()

    def look(self, now: datetime) -> WindowState:
        """What the calendar says at ``now``."""
        freeze = self._freeze(now)
        if freeze is not None:
            return WindowState(state="frozen", name=freeze.name, note=freeze.reason, next=self._next_words(now))
        if not self.windows:
            return WindowState(state="unrestricted")
        window = self._open_window(now)
        if window is not None:
            return WindowState(state="inside", name=window.name)
        return WindowState(state="outside", next=self._next_words(now))

    def next_allowed(self, now: datetime) -> tuple[datetime, Window | None] | None:
        """The first moment from ``now`` on at which a change may be made, and its window; None if none is in sight."""
        for _ in range(_PATIENCE):
            freeze = self._freeze(now)
            if freeze is not None:
                now = freeze.ends
                continue
            window = self._open_window(now)
            if window is not None or not self.windows:
                return now, window
            coming = [found for window in self.windows if (found := next(window.openings(now), None))]
            if not coming:
                return None
            now = min(coming)[0]
        return None

    def _freeze(self, now: datetime) -> Freeze | None:
        return next((one for one in self.freezes if one.begins <= now < one.ends), None)

    def _open_window(self, now: datetime) -> Window | None:
        return next((one for one in self.windows if any(opens <= now for opens, _ in one.openings(now))), None)

    def _next_words(self, now: datetime) -> str | None:
        found = self.next_allowed(now)
        if found is None:
            return None
        moment, window = found
        zone = window.zone if window else self.windows[0].zone if self.windows else UTC
        return moment.astimezone(zone).isoformat(timespec="minutes")


def _moment(day: date, since_midnight: timedelta, zone: tzinfo) -> datetime:
    """The first moment (UTC) at which the clock in ``zone`` shows that time of that day, or a later one."""
    wall = datetime.combine(day, time()) + since_midnight
    first = wall.replace(tzinfo=zone).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return first
    # The clock jumps over it. With the offsets of both sides we get a moment on either side of the jump.
    second = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    low, high = sorted((int(first.timestamp()), int(second.timestamp())))
    jump = bisect_left(range(low, high), True, key=lambda at: _shown(at, zone) >= wall)
    return datetime.fromtimestamp(low + jump, UTC)


def _shown(at: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None)

"""Windows and freezes by the clock on the wall, over both changes of the year."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from commands.config import Config
from commands.policy.rules import rules_for
from commands.policy.windows import Calendar, Freeze, Window
from ledger.clock import SystemClock

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
#: The nights in which the clock is set: 02:00 → 03:00 on the 29th of March, 03:00 → 02:00 on the 25th of October 2026.
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)
EVERY_DAY = frozenset(range(7))


def window(opens: str, closes: str, days: frozenset[int] = EVERY_DAY, zone: ZoneInfo = AMSTERDAM) -> Window:
    def since_midnight(text: str) -> timedelta:
        return timedelta(hours=int(text[:2]), minutes=int(text[3:]))

    return Window("night", days, since_midnight(opens), since_midnight(closes), zone)


def opening(one: Window, day: date) -> list[str] | None:
    found = one.opening(day)
    return None if found is None else [f"{moment:%d %H:%M}" for moment in found]


@pytest.mark.parametrize(
    ("opens", "closes", "utc"),
    [
        ("01:00", "04:00", ["29 00:00", "29 02:00"]),  # an hour shorter than written, as the night is
        ("02:30", "04:00", ["29 01:00", "29 02:00"]),  # begins in the gap: opens when the clock jumps
        ("01:00", "02:30", ["29 00:00", "29 01:00"]),  # ends in the gap: closes when the clock jumps
        ("02:10", "02:50", None),  # lies in the gap: the clock never shows any of it
        ("03:00", "04:00", ["29 01:00", "29 02:00"]),  # begins with the first time after the gap
        ("02:00", "03:00", None),  # is the gap
    ],
)
def test_in_spring_a_time_that_is_jumped_over_is_the_moment_of_the_jump(
    opens: str, closes: str, utc: list[str] | None
) -> None:
    assert opening(window(opens, closes), SPRING) == utc


@pytest.mark.parametrize(
    ("opens", "closes", "utc"),
    [
        ("01:00", "04:00", ["24 23:00", "25 03:00"]),  # an hour longer than written
        ("02:30", "04:00", ["25 00:30", "25 03:00"]),  # begins in the hour that comes twice: the first time
        ("01:00", "02:30", ["24 23:00", "25 00:30"]),  # ends in it: the first time
        ("02:15", "02:45", ["25 00:15", "25 00:45"]),  # lies in it: opens once
        ("02:45", "02:15", ["25 00:45", "26 01:15"]),  # ends on the next day
    ],
)
def test_in_autumn_a_time_that_comes_twice_is_the_first_of_the_two(opens: str, closes: str, utc: list[str]) -> None:
    assert opening(window(opens, closes), AUTUMN) == utc


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    calendar = Calendar((window("22:00", "02:00", frozenset({4})),))  # Fridays
    friday, saturday = datetime(2026, 6, 5, tzinfo=AMSTERDAM), datetime(2026, 6, 6, tzinfo=AMSTERDAM)
    moments = (friday.replace(hour=1), friday.replace(hour=22), saturday.replace(hour=1), saturday.replace(hour=2))
    assert [calendar.look(moment).state for moment in moments] == ["outside", "inside", "inside", "outside"]


@pytest.mark.parametrize(
    ("now", "state", "following"),
    [
        ("2026-03-28T20:59:59Z", "outside", "2026-03-28T22:00+01:00"),
        ("2026-03-28T21:00:00Z", "inside", None),
        ("2026-03-29T00:59:59Z", "inside", None),  # 01:59:59, a second before the jump
        ("2026-03-29T01:59:59Z", "inside", None),  # 03:59:59
        ("2026-03-29T02:00:00Z", "outside", "2026-03-29T22:00+02:00"),
        ("2026-10-24T19:59:59Z", "outside", "2026-10-24T22:00+02:00"),
        ("2026-10-25T00:30:00Z", "inside", None),  # 02:30 for the first time
        ("2026-10-25T01:30:00Z", "inside", None),  # 02:30 for the second time
        ("2026-10-25T02:59:59Z", "inside", None),  # 03:59:59
        ("2026-10-25T03:00:00Z", "outside", "2026-10-25T22:00+01:00"),
    ],
)
def test_over_both_changes_of_the_clock_a_configured_window_is_open_when_the_wall_says_so(
    now: str, state: str, following: str | None
) -> None:
    config = Config.model_validate(
        {
            "policy": {
                "time_zone": "Europe/Amsterdam",
                "windows": {"night": {"opens": "22:00", "closes": "04:00"}},
            }
        }
    )
    with freeze_time(now):
        found = rules_for(config, "upgrade", "jail:web").calendar.look(SystemClock().now())
    assert (found.state, found.next) == (state, following)


@pytest.mark.parametrize(
    ("now", "state", "following"),
    [
        ("2026-03-29T00:30:00Z", "outside", "2026-03-29T03:00+02:00"),  # 02:30 does not exist: the jump to 03:00
        ("2026-03-29T01:00:00Z", "inside", None),
        ("2026-10-25T00:29:59Z", "outside", "2026-10-25T02:30+02:00"),  # the first 02:30, by its offset
        ("2026-10-25T00:30:00Z", "inside", None),
        ("2026-10-25T01:15:00Z", "inside", None),  # 02:15 again: the window has opened already
    ],
)
def test_a_refusal_names_the_opening_with_the_offset_that_holds_then(
    now: str, state: str, following: str | None
) -> None:
    with freeze_time(now):
        found = Calendar((window("02:30", "05:00"),)).look(SystemClock().now())
    assert (found.state, found.next) == (state, following)


def test_a_whole_day_is_a_window_and_has_23_or_25_hours_when_the_clock_is_set() -> None:
    for day, hours in ((SPRING, 23), (AUTUMN, 25), (date(2026, 6, 1), 24)):
        for closes in ("00:00", "24:00"):
            found = window("00:00", closes).opening(day)
            assert found is not None
            assert found[1] - found[0] == timedelta(hours=hours)


def test_a_freeze_holds_within_a_window_and_outside_of_one_and_ends_at_its_end() -> None:
    freeze = Freeze("sales", datetime(2026, 11, 27, tzinfo=UTC), datetime(2026, 11, 28, tzinfo=UTC), "Black Friday")
    free, frozen = Calendar((), (freeze,)), datetime(2026, 11, 27, 12, tzinfo=UTC)
    found = free.look(frozen)
    assert (found.state, found.name, found.note, found.next) == (
        "frozen", "sales", "Black Friday", "2026-11-28T00:00+00:00"
    )  # fmt: skip
    assert free.look(freeze.ends).state == "unrestricted"
    assert free.look(freeze.begins - timedelta(microseconds=1)).state == "unrestricted"
    nightly = Calendar((window("22:00", "04:00"),), (freeze,))
    assert nightly.look(datetime(2026, 11, 27, 22, tzinfo=UTC)).state == "frozen"
    # The freeze ends at 01:00 in Amsterdam, in the middle of a window: that is the next moment, not the next opening.
    assert nightly.look(frozen).next == "2026-11-28T01:00+01:00"


def test_freezes_that_follow_each_other_are_gone_through() -> None:
    days = [datetime(2026, 12, day, tzinfo=UTC) for day in (1, 10, 20)]
    freezes = tuple(Freeze(f"f{n}", days[n], days[n + 1], "no") for n in range(2))
    assert Calendar((), freezes).look(days[0]).next == "2026-12-20T00:00+00:00"


def test_a_window_that_never_opens_has_no_next_opening() -> None:
    found = Calendar((window("02:00", "03:00", frozenset()),)).look(datetime(2026, 6, 1, tzinfo=UTC))
    assert (found.state, found.next) == ("outside", None)


ZONES = st.sampled_from(
    ["Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "UTC"]
)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))
TIMES = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")


@given(ZONES, MOMENTS, TIMES, TIMES, st.frozensets(st.integers(0, 6), min_size=1))
def test_the_next_moment_that_is_named_is_allowed_and_none_before_it_is(
    zone: str, now: datetime, opens: str, closes: str, days: frozenset[int]
) -> None:
    calendar = Calendar((window(opens, closes, days, ZoneInfo(zone)),))
    found = calendar.next_allowed(now)
    assert found is not None
    moment, _ = found
    assert calendar.look(moment).state == "inside"
    assert now <= moment <= now + timedelta(days=15)
    between = (moment - now) / 20
    for number in range(20):
        if now + number * between < moment:
            assert calendar.look(now + number * between).state == "outside"


@given(ZONES, MOMENTS, TIMES, TIMES)
def test_away_from_the_changes_a_window_is_open_exactly_when_the_wall_says_so(
    zone: str, now: datetime, opens: str, closes: str
) -> None:
    place = ZoneInfo(zone)
    offsets = {(now + timedelta(hours=hours)).astimezone(place).utcoffset() for hours in range(-50, 51, 5)}
    if len(offsets) > 1:
        return
    shown = f"{now.astimezone(place):%H:%M}"
    inside = opens <= shown < closes if opens < closes else shown >= opens or shown < closes
    assert (Calendar((window(opens, closes, zone=place),)).look(now).state == "inside") == inside

"""What ``[policy]`` and ``[jail.NAME.policy]`` must fulfil beyond the shape of each key: pure."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from commands.config.shapes import FreezeConfig, JailPolicyConfig, PolicyConfig, WindowConfig

Found = Iterator[tuple[tuple[str, ...], str]]


def in_policy(policy: PolicyConfig) -> Found:
    """Every mistake in ``[policy]``: the key in it, and what is wrong."""
    yield from _in_zone(policy.time_zone)
    yield from _in_calendar(policy.windows, policy.freezes)


def in_jail_policy(policy: JailPolicyConfig) -> Found:
    """Every mistake in ``[jail.NAME.policy]``."""
    if policy.anytime and policy.windows:
        yield ("anytime",), "it takes all windows away, and there are windows beside it; leave one of the two out"
    yield from _in_calendar(policy.windows, policy.freezes)


def _in_calendar(windows: Mapping[str, WindowConfig], freezes: Mapping[str, FreezeConfig]) -> Found:
    for name, window in windows.items():
        yield from ((("windows", name, *path), text) for path, text in _in_window(window))
    for name, freeze in freezes.items():
        if freeze.begins >= freeze.ends:
            yield ("freezes", name, "ends"), "it is not after the beginning"


def _in_window(window: WindowConfig) -> Found:
    if not window.days:
        yield ("days",), "it is empty, so the window never opens; leave it out for every day"
    if window.opens == "24:00":
        yield ("opens",), "24:00 can only be an end; write 00:00 of the next day"
    if window.time_zone is not None:
        yield from _in_zone(window.time_zone)


def _in_zone(name: str) -> Found:
    if name == "UTC":  # known even to a machine without time zones
        return
    from zoneinfo import ZoneInfo, available_timezones  # here, for most have none, and the list takes long

    try:
        ZoneInfo(name)
        return
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        pass
    known = available_timezones()
    if not known:
        yield ("time_zone",), "this machine has no time zones; install the package tzdata, or write UTC"
        return
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "zones are called as in Europe/Amsterdam"
    yield ("time_zone",), f"there is no time zone {name[:60]!r}; {hint}"

"""The rules that hold for a target, as the configuration gives them. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from hashlib import sha256

from commands.config import Config, FreezeConfig, JailPolicyConfig, PolicyConfig, WindowConfig
from commands.config.shapes import DAYS
from commands.policy.windows import Calendar, Freeze, Window
from ledger.names import template_of

#: What changes a jail, or takes away what a jail could be rolled back to. To build or upgrade a template changes
#: nothing that serves: its release is approved when a jail is to run on it.
ASKED = frozenset({"deploy", "upgrade", "rollback", "start", "stop", "destroy-release"})
#: What puts back what was settled before: never asked, for a machine has to come up again at night.
RECOVERING = frozenset({"mount", "restore"})


@dataclass(frozen=True, slots=True)
class Rules:
    """What is asked of a change. ``digest`` is the SHA-256 of the configuration that says so."""

    require_approval: bool
    self_approval: bool
    calendar: Calendar
    plan_expires: timedelta
    settle_within: timedelta
    digest: str


def rules_for(config: Config, kind: str, target: str) -> Rules:
    """The rules for a transaction of that kind on that target."""
    policy = config.policy
    own, approval, self_approval = _own(config, target)
    asked = kind in ASKED
    windows = _windows(policy, own) if target.startswith("jail:") else ()
    freezes = (*_freezes(policy.freezes), *_freezes(own.freezes))
    return Rules(
        require_approval=asked and approval,
        self_approval=self_approval,
        calendar=Calendar(windows, freezes) if asked else Calendar(),
        plan_expires=timedelta(hours=policy.plan_expires_h),
        settle_within=timedelta(hours=policy.settle_within_h),
        digest=_digest(policy, own),
    )


def _own(config: Config, target: str) -> tuple[JailPolicyConfig, bool, bool]:
    """What the target says for itself, whether it wants approvals, and whether one may approve one's own.

    A release is guarded as the strictest of the jails of its template.
    """
    policy = config.policy
    noun, _, name = target.partition(":")
    jails = [jail.policy for key, jail in config.jail.items() if noun == "jail" and key == name]
    beside = [
        jail.policy for jail in config.jail.values() if noun == "release" and jail.template in (name, template_of(name))
    ]
    own = jails[0] if jails else JailPolicyConfig()
    asking = jails or [*beside, JailPolicyConfig()]
    approval = any(_or(one.require_approval, policy.require_approval) for one in asking)
    return own, approval, all(_or(one.self_approval, policy.self_approval) for one in asking)


def _or(own: bool | None, general: bool) -> bool:
    return general if own is None else own


def _windows(policy: PolicyConfig, own: JailPolicyConfig) -> tuple[Window, ...]:
    if own.anytime:
        return ()
    found = own.windows or policy.windows
    return tuple(_window(name, window, policy.time_zone) for name, window in sorted(found.items()))


def _window(name: str, window: WindowConfig, time_zone: str) -> Window:
    return Window(
        name=name,
        days=frozenset(DAYS.index(day) for day in window.days),
        opens=_since_midnight(window.opens),
        closes=_since_midnight(window.closes),
        zone=_zone(window.time_zone or time_zone),
    )


def _freezes(freezes: Mapping[str, FreezeConfig]) -> tuple[Freeze, ...]:
    return tuple(Freeze(name, one.begins, one.ends, one.reason) for name, one in sorted(freezes.items()))


def _since_midnight(text: str) -> timedelta:
    hours, minutes = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def _digest(policy: PolicyConfig, own: JailPolicyConfig) -> str:
    stored = json.dumps([policy.model_dump(mode="json"), own.model_dump(mode="json")], sort_keys=True)
    return sha256(stored.encode()).hexdigest()

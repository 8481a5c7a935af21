"""Crash at every effect of every transaction on a fake LVM: host and ledger end on one of the two ends.

A crash at a look, or before an effect, leaves what a crash after the effect or append before it leaves: so only the
points after effects and appends are gone through here.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.lifecycle import State
from tests.recovery.lvm_site import LvmSite
from tests.recovery.test_crash_points import Stage, check, ends_of
from tests.site import Script

#: How many crash points each scenario has: after each effect and after each append.
POINTS = {
    "init": 3,
    "build": 18,
    "upgrade-template": 22,
    "deploy": 34,
    "upgrade": 17,
    "upgrade to a broken release": 29,
    "rollback": 17,
    "destroy-release": 12,
}


@pytest.mark.parametrize("rebooted", [False, True], ids=["same boot", "after a reboot"])
@pytest.mark.parametrize("name", POINTS)
def test_recovery_from_a_crash_at_every_effect_reaches_one_of_the_two_ends(
    name: str, rebooted: bool, fast_directory: Path, record_points: Callable[[str, int], None]
) -> None:
    stage = Stage(name, fast_directory, LvmSite)
    before, after = ends_of(stage)
    count = 0
    ends: set[State | None] = set()
    while True:
        count += 1
        stage.restore()
        script = Script(count, only="after ")
        if stage.play(script):
            break
        if rebooted:
            stage.site.reboot()
        assert stage.recover()
        point = f"{name}: {script.seen[-1]}"
        ends.add(check(stage, before, after, point))
        first = stage.site.host(), stage.last_seq()
        assert stage.recover()
        assert (stage.site.host(), stage.last_seq()) == first, f"a second recovery changed something after {point}"
        stage.done()
    record_points(f"fake lvm: {name}{' + reboot' if rebooted else ''}", count - 1)
    assert State.COMMITTED in ends or name == "upgrade to a broken release"
    assert ends & {State.ROLLED_BACK, State.REJECTED, None}
    assert count - 1 == POINTS[name], "the number of crash points has changed: is a call no longer gated?"

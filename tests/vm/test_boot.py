"""A boot, with systemd as the first process: what was open is settled, and what is stuck is said aloud."""

import json

import pytest

from tests.vm.machine import GuestFailed, Machine
from tests.vm.saved import Saved
from tests.vm.site import HOME
from tests.vm.system import PRIVATE

ROOT = f"{HOME}/jails/web/root"


def cut_at(machine: Machine, step: str) -> None:
    """Upgrade the jail, and cut the power once the intent of a step was acknowledged."""
    program = machine.start(
        "env", "-C", f"/{PRIVATE}/src", f"/{PRIVATE}/bin/python", "-m", "tests.vm.inside.acknowledged", "sound", "0"
    )
    program.line()  # what it sees
    program.say("go\n")
    while (line := program.line()) is not None:
        told = json.loads(line)
        if (told["type"], told["step"]) == ("step.started", step):
            machine.cut()
            return
    raise AssertionError(f"the upgrade was over before {step}")


@pytest.mark.parametrize("driver", ["btrfs"])
def test_a_boot_takes_an_interrupted_upgrade_back_and_starts_the_jail(driver: str, settled: Saved) -> None:
    site = settled.resume(driver)
    machine = site.machine
    cut_at(machine, "start_jail")
    machine.boot()
    assert machine.run("systemctl", "is-active", "rootswap-recover.service").stdout == "active\n"
    seen = site.look()
    assert (seen.page, seen.faults()) == ("one", [])
    assert "rolled-back" in [state for state, target in seen.transactions.values() if target == "jail:web"]


@pytest.mark.parametrize("driver", ["btrfs"])
def test_a_jail_whose_upgrade_is_stuck_is_not_started_and_the_boot_says_so(driver: str, settled: Saved) -> None:
    site = settled.resume(driver)
    machine = site.machine
    machine.run("sh", "-c", f"echo 'tmpfs {ROOT} tmpfs defaults 0 0' >>/etc/fstab; sync")
    cut_at(machine, "remount_root")
    machine.boot()
    assert machine.run("systemctl", "is-failed", "rootswap-recover.service").stdout == "failed\n"
    journal = machine.run("journalctl", "-b", "-u", "rootswap-recover.service", "-o", "cat").stdout
    assert "stuck" in journal
    assert "stuck" in site.rootswap("status", expect=3).stdout
    with pytest.raises(GuestFailed):
        site.page()
    assert machine.run("findmnt", "-n", "-o", "FSTYPE", ROOT).stdout == "tmpfs\n"

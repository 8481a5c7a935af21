"""What ZFS and LVM are held to beyond the contract, in the guest: `make test-vm-drivers`."""

import pytest

from tests.vm.machine import Machine
from tests.vm.saved import Saved
from tests.vm.site import Site
from tests.vm.system import PRIVATE
from tests.vm.test_contracts import run_inside


@pytest.mark.parametrize("driver", ["lvm", "zfs"])
def test_the_driver_is_right_about_the_real_one(machine: Machine, driver: str) -> None:
    run_inside(machine, driver, f"tests/vm/inside/real_{driver}.py")


@pytest.mark.parametrize("driver", ["lvm"])
def test_an_upgrade_is_refused_when_metadata_runs_short_and_when_it_has_run_out(driver: str, settled: Saved) -> None:
    site = settled.resume(driver)
    before = site.look()
    fill_metadata(site, 85)
    short = site.rootswap("upgrade", "web", expect=1).stderr
    assert "KiB of metadata left" in short
    fill_metadata(site, 100)
    full = site.rootswap("upgrade", "web", expect=1).stderr
    assert "cannot use thin pool vg/pool: it is metadata_read_only" in full
    print(short, full)
    after = site.look(before.last)
    assert (after.page, after.faults(), after.kept, after.places) == ("one", [], before.kept, before.places)


def fill_metadata(site: Site, percent: int) -> None:
    """Fill the metadata of the guest's thin pool, at least so far."""
    argv = [f"/{PRIVATE}/bin/python", "-m", "tests.vm.inside.fill_metadata", str(percent)]
    print(site.machine.run(*argv, cwd=f"/{PRIVATE}/src").stdout)

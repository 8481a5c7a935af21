"""A thin pool of LVM without room for metadata can make no snapshot, and one that ran out of it has to be repaired."""

import pytest

from tests.vm.saved import Saved
from tests.vm.site import Site
from tests.vm.system import PRIVATE


def fill(site: Site, percent: int) -> None:
    """Fill the metadata of the pool, at least so far."""
    argv = [f"/{PRIVATE}/bin/python", "-m", "tests.vm.inside.fill_metadata", str(percent)]
    print(site.machine.run(*argv, cwd=f"/{PRIVATE}/src").stdout)


@pytest.mark.parametrize("driver", ["lvm"])
def test_an_upgrade_is_refused_when_metadata_runs_short_and_when_it_has_run_out(driver: str, settled: Saved) -> None:
    site = settled.resume(driver)
    before = site.look()
    fill(site, 85)
    refused = site.rootswap("upgrade", "web", expect=1).stderr
    print(refused)
    fill(site, 100)
    full = site.rootswap("upgrade", "web", expect=1).stderr
    print(full)
    after = site.look(before.last)
    assert (after.page, after.faults(), after.kept, after.places) == ("one", [], before.kept, before.places)

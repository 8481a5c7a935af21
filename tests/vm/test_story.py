"""The whole story of a jail, from the command line, on each storage that the guest has for real."""

import pytest

from tests.vm.machine import Machine
from tests.vm.site import BACKENDS, SITE, Site


@pytest.mark.parametrize("driver", BACKENDS)
def test_a_jail_is_deployed_upgraded_rolled_back_and_saved_from_a_broken_release(machine: Machine, driver: str) -> None:
    site = Site(machine, BACKENDS[driver])
    site.settle()
    assert site.page() == "one"
    assert site.rootswap("doctor").stdout.endswith("all is well\n")
    site.rootswap("upgrade", "web", "--reason", "the second release")
    assert site.page() == "two"
    site.rootswap("rollback", "web")
    assert site.page() == "one"
    site.rootswap("template", "upgrade", "tiny", "--script", f"{SITE}/to-broken")
    failed = site.rootswap("upgrade", "web", "--reason", "a broken release", expect=1)
    assert "was rolled back" in failed.stderr
    assert site.page() == "one"
    site.rootswap("recover")
    assert "the ledger is sound" in site.rootswap("audit", "verify").stdout
    assert site.look().faults() == []

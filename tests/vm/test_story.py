"""The whole story of a jail, from the command line, on each storage that the guest has for real."""

import pytest

from tests.vm.saved import Saved
from tests.vm.site import BACKENDS, SITE


@pytest.mark.parametrize("driver", BACKENDS)
def test_a_jail_is_deployed_upgraded_rolled_back_and_saved_from_a_broken_release(settled: Saved, driver: str) -> None:
    site = settled.resume(driver)
    assert site.page() == "one"
    assert site.rootswap("doctor").stdout.endswith("all is well\n")
    site.rootswap("upgrade", "web", "--reason", "the second release")
    assert site.page() == "two"
    site.rootswap("rollback", "web")
    assert site.page() == "one"
    site.rootswap("template", "upgrade", "tiny", "--script", f"{SITE}/to-broken")
    site.configure(patience_s=5)
    failed = site.rootswap("upgrade", "web", "--reason", "a broken release", expect=1)
    assert "was rolled back" in failed.stderr
    assert site.page() == "one"
    site.rootswap("recover")
    assert "the ledger is sound" in site.rootswap("audit", "verify").stdout
    assert site.look().faults() == []

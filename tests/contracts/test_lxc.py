"""What LXC in particular has to do right."""

from pathlib import Path

import pytest

from commands.drivers.base import JailSpec, JailState
from commands.drivers.host import LocalHost
from commands.drivers.lxc import LxcJails
from commands.errors import DriverError
from tests.contracts.jail_fixtures import jail_site

pytestmark = pytest.mark.real


def test_preflight_says_what_lxc_could_not_be_told(tmp_path: Path) -> None:
    jails = LxcJails(LocalHost(), str(tmp_path))
    spec = JailSpec(driver="lxc", name="web", root="/", command=("nginx",))
    with pytest.raises(DriverError, match="not an absolute path"):
        jails.preflight(spec)


def test_settings_that_lxc_cannot_read_fail_the_start_and_hide_no_state(tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    settings.write_text("lxc.bogus.key = 1\n")
    with jail_site(tmp_path, "lxc") as site:
        wrong = site.spec(settings=str(settings))
        with pytest.raises(DriverError, match="cannot start jail"):
            site.jails.start(wrong)
        assert site.jails.state(wrong) is JailState.STOPPED
        site.jails.stop(wrong)
        site.jails.start(site.spec())
        assert site.jails.state(site.spec()) is JailState.RUNNING

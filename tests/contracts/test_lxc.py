"""What LXC in particular has to do right."""

from pathlib import Path

import pytest

from commands.drivers.base import JailSpec
from commands.drivers.host import LocalHost
from commands.drivers.lxc import LxcJails
from commands.errors import DriverError

pytestmark = pytest.mark.real


def test_preflight_says_what_lxc_could_not_be_told(tmp_path: Path) -> None:
    jails = LxcJails(LocalHost(), str(tmp_path))
    spec = JailSpec(driver="lxc", name="web", root="/", command=("nginx",))
    with pytest.raises(DriverError, match="not an absolute path"):
        jails.preflight(spec)

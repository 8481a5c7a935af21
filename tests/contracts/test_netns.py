"""Whether the bridge of a jail is there, asked before the jail is stopped."""

import shutil

import pytest

from commands.drivers.base import JailSpec, Network
from commands.drivers.host import LocalHost
from commands.drivers.netns import require_link
from commands.errors import DriverError

SPEC = JailSpec(driver="lxc", name="web", root="/nowhere", command=("/bin/true",))


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip(8)")
def test_a_bridge_that_is_not_there_is_named_with_a_remedy() -> None:
    for link in ("rswap-nobridge", "-h"):
        with pytest.raises(DriverError, match="there is no bridge") as caught:
            require_link(LocalHost(), SPEC.model_copy(update={"network": Network(kind="veth", link=link)}))
        assert "network.link" in caught.value.remedy
    for good in (Network(), Network(kind="veth"), Network(kind="veth", link="lo")):
        require_link(LocalHost(), SPEC.model_copy(update={"network": good}))

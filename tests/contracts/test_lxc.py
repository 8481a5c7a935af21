"""What LXC in particular has to do right."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from commands.drivers.base import Completed, JailSpec, Network
from commands.drivers.host import LocalHost
from commands.drivers.lxc import LxcJails
from commands.errors import DriverError
from tests.contracts.jail_fixtures import JailSite, jail_site

pytestmark = pytest.mark.real


@pytest.fixture
def site(tmp_path: Path) -> Iterator[JailSite]:
    with jail_site(tmp_path, "lxc") as made:
        yield made


class InNetwork(LocalHost):
    """Runs everything in a network namespace: LXC finds its sockets there, and its bridge in the /sys of it."""

    SCRIPT = (
        "mount --rbind /sys/fs/cgroup /mnt && mount -t sysfs sysfs /sys && mount --rbind /mnt /sys/fs/cgroup"
        ' && umount -l /mnt && exec "$@"'
    )

    def __init__(self, name: str) -> None:
        super().__init__()
        self._inside = ["nsenter", f"--net=/run/netns/{name}", "unshare", "--mount", "--propagation", "private"]

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        return super().run([*self._inside, "/bin/sh", "-c", self.SCRIPT, "sh", *argv], **options)


@pytest.fixture
def network() -> Iterator[InNetwork]:
    made = LocalHost()
    if made.run(["ip", "netns", "add", "rswap-test"], check=False).status != 0:
        pytest.skip("no network namespaces here")
    try:
        host = InNetwork("rswap-test")
        if host.run(["ip", "link", "add", "name", "rsbr0", "type", "bridge"], check=False).status != 0:
            pytest.skip("no bridges here")
        host.run(["ip", "address", "add", "10.99.0.1/24", "dev", "rsbr0"])
        host.run(["ip", "link", "set", "rsbr0", "up"])
        yield host
    finally:
        made.run(["ip", "netns", "del", "rswap-test"])


def test_a_jail_can_have_an_interface_of_its_own_on_a_bridge(tmp_path: Path, network: InNetwork) -> None:
    with jail_site(tmp_path, "lxc", network) as site:
        interface = Network(kind="veth", link="rsbr0", interface="net0", address="10.99.0.2/24", gateway="10.99.0.1")
        spec = site.spec(network=interface)
        site.jails.start(spec)
        routes = site.jails.execute(spec, ["/bin/cat", "/proc/net/route"], 5.0).stdout.splitlines()
        assert [line.split()[:3] for line in routes[1:2]] == [["net0", "00000000", "0100630A"]]
        network.run(["ping", "-c1", "-W2", "10.99.0.2"]) if network.run(
            ["which", "ping"], check=False
        ).status == 0 else None
        site.jails.stop(spec)
        assert "veth" not in network.run(["ip", "-o", "link", "show", "master", "rsbr0"]).stdout


def test_preflight_says_what_lxc_could_not_be_told(tmp_path: Path) -> None:
    jails = LxcJails(LocalHost(), str(tmp_path))
    spec = JailSpec(driver="lxc", name="web", root="/", command=("nginx",))
    with pytest.raises(DriverError, match="not an absolute path"):
        jails.preflight(spec)

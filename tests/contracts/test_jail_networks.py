"""A jail with an interface of its own, under every runtime, in a network that the test has made for itself."""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from commands.drivers.base import Completed, JailState, Network
from commands.drivers.host import LocalHost
from commands.errors import DriverError
from tests.contracts.jail_fixtures import RUNTIMES, eventually, jail_site

pytestmark = pytest.mark.real

BRIDGE = "rsbr0"


class InNetwork(LocalHost):
    """Runs everything where only the test's own network is seen: by the kernel, in /sys, and by ip(8) in /run/netns."""

    #: A /sys of that network, and the control groups as they were.
    HOLD = (
        "mount --rbind /sys/fs/cgroup /mnt && mount -t sysfs sysfs /sys && mount --rbind /mnt /sys/fs/cgroup"
        " && umount -l /mnt && mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && echo ready && exec sleep 600"
    )

    def __init__(self) -> None:
        super().__init__()
        unshare = ["unshare", "--net", "--mount", "--propagation", "private"]
        self.holder = subprocess.Popen([*unshare, "/bin/sh", "-c", self.HOLD], stdout=subprocess.PIPE)
        assert self.holder.stdout is not None
        if self.holder.stdout.readline() != b"ready\n":
            pytest.skip("no network namespaces here")

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        return super().run(["nsenter", "-t", str(self.holder.pid), "--net", "--mount", *argv], **options)

    def stat(self, path: str, **options: Any) -> Any:
        return super().stat(path.replace("/run/netns/", f"/proc/{self.holder.pid}/root/run/netns/"), **options)


@pytest.fixture
def network() -> Iterator[InNetwork]:
    """A network of its own with a bridge in it."""
    host = InNetwork()
    try:
        if host.run(["ip", "link", "add", "name", BRIDGE, "type", "bridge"], check=False).status != 0:
            pytest.skip("no bridges here")
        host.run(["ip", "address", "add", "10.99.0.1/24", "dev", BRIDGE])
        host.run(["ip", "link", "set", BRIDGE, "up"])
        yield host
    finally:
        host.holder.kill()
        host.holder.wait()


def interfaces(network: InNetwork) -> str:
    """What is attached to the bridge."""
    return network.run(["ip", "-o", "link", "show", "master", BRIDGE]).stdout


@pytest.mark.parametrize("driver", RUNTIMES)
def test_a_jail_can_have_an_interface_of_its_own_on_a_bridge(tmp_path: Path, network: InNetwork, driver: str) -> None:
    with jail_site(tmp_path, driver, network) as site:
        interface = Network(kind="veth", link=BRIDGE, interface="net0", address="10.99.0.2/24", gateway="10.99.0.1")
        spec = site.spec(network=interface)
        site.jails.preflight(spec)
        for _ in range(2):
            site.jails.start(spec)
            routes = site.jails.execute(spec, ["/bin/cat", "/proc/net/route"], 5.0).stdout.splitlines()
            assert [line.split()[:3] for line in routes[1:2]] == [["net0", "00000000", "0100630A"]]
            network.run(["/bin/busybox", "ping", "-c1", "-W5", "10.99.0.2"])
            site.jails.stop(spec)
            assert eventually(lambda: interfaces(network) == "")


@pytest.mark.parametrize("driver", ["oci", "nspawn"])
def test_what_a_killed_start_has_left_of_a_network_is_in_nobodys_way(
    tmp_path: Path, network: InNetwork, driver: str
) -> None:
    with jail_site(tmp_path, driver, network) as site:
        spec = site.spec(network=Network(kind="veth", link=BRIDGE, address="10.99.0.2/24"))
        site.jails.start(spec)
        (first,) = [site.first_process(spec)]
        network.run(["/bin/sh", "-c", f"kill -KILL {first}"])
        assert eventually(lambda: site.jails.state(spec) is JailState.STOPPED)
        assert interfaces(network) != "", "the network stays until somebody stops or starts the jail"
        site.jails.start(spec)
        network.run(["/bin/busybox", "ping", "-c1", "-W5", "10.99.0.2"])


@pytest.mark.parametrize("driver", ["oci", "nspawn"])
def test_a_bridge_that_is_not_there_is_told_and_leaves_nothing(tmp_path: Path, network: InNetwork, driver: str) -> None:
    with jail_site(tmp_path, driver, network) as site:
        spec = site.spec(network=Network(kind="veth", link="nobridge"))
        with pytest.raises(DriverError, match=r"cannot make the network of jail rswap-test: .*nobridge"):
            site.jails.start(spec)
        assert site.jails.state(spec) is JailState.STOPPED
        assert network.run(["ip", "netns", "list"]).stdout == ""

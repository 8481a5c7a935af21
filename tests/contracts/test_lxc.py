"""What LXC in particular has to do right."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from commands.drivers.base import Completed, JailSpec, JailState, Network, Source
from commands.drivers.host import LocalHost
from commands.drivers.lxc import LxcJails
from commands.errors import DriverError, ToolTimedOut
from tests.contracts.jail_fixtures import SERVE, LxcSite, eventually, lxc_site

pytestmark = pytest.mark.real

#: Leaves a child behind that ignores everything but SIGKILL.
STUBBORN = "trap '' TERM INT HUP; while :; do sleep 1; done"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LxcSite]:
    with lxc_site(tmp_path) as made:
        yield made


def left_in(spec: JailSpec) -> list[str]:
    """The processes whose root is the root of the jail, found without any help from LXC or cgroups."""
    wanted = os.stat(spec.root)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            root = os.stat(process / "root")
            if (root.st_dev, root.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(process.name)
    return found


def test_the_running_jail_holds_no_file_of_the_engine(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with lxc_site(tmp_path, LocalHost(lock_fd=lock)) as site:
        spec = site.spec()
        site.jails.start(spec)
        for process in (site.first_process(spec), site.monitor(spec)):
            files = [os.readlink(file) for file in Path(f"/proc/{process}/fd").iterdir()]
            assert files, "nothing was looked at"
            assert str(tmp_path / "lock") not in files
        os.close(lock)
        with open(tmp_path / "lock") as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_command_gets_its_words_as_they_are(site: LxcSite) -> None:
    words = ["two  words", 'a "quoted" one', "$HOME `id` \\ '", "", "--name=other", "#"]
    script = f'for word; do echo "<$word>"; done >/data/words; {SERVE}'
    site.jails.start(site.spec(command=("/bin/sh", "-c", script, "sh", *words)))
    assert eventually((site.data / "words").exists)
    time.sleep(0.05)
    assert (site.data / "words").read_text().splitlines() == [f"<{word}>" for word in words]


def test_the_root_is_read_only_and_the_volume_is_not(site: LxcSite) -> None:
    spec = site.spec()
    site.jails.start(spec)
    assert site.jails.execute(spec, ["/bin/sh", "-c", ": >/bin/new"], 5.0).status != 0
    assert site.jails.execute(spec, ["/bin/sh", "-c", ": >/data/new && : >/run/new && : >/tmp/new"], 5.0).status == 0
    assert (site.data / "new").exists()
    assert not (site.root / "run" / "new").exists()


def test_the_environment_is_the_jails_own(site: LxcSite) -> None:
    environment = (("GREETING", 'say "hello" '), ("PATH", "/bin"))
    spec = site.spec(f"/bin/env >/data/env; {SERVE}", environment=environment)
    site.jails.start(spec)
    asked = site.jails.execute(spec, ["/bin/env"], 5.0).stdout.splitlines()
    assert eventually(lambda: (site.data / "env").exists() and "container=" in (site.data / "env").read_text())
    for lines in (asked, (site.data / "env").read_text().splitlines()):
        assert 'GREETING=say "hello" ' in lines
        assert "PATH=/bin" in lines
        assert not [line for line in lines if line.startswith(("HOME=", "TZ=", "LC_ALL="))]


def test_root_in_a_jail_may_not_do_everything(site: LxcSite) -> None:
    spec = site.spec()
    site.jails.start(spec)
    printed = site.jails.execute(spec, ["/bin/setpriv", "--dump"], 5.0).stdout
    held = next(line for line in printed.splitlines() if line.startswith("Capability bounding set"))
    assert "chown" in held
    assert not {"sys_admin", "sys_module", "mknod", "net_admin"} & set(held.replace(" ", "").split(":")[1].split(","))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT"])
def test_the_jail_is_told_to_stop_by_its_own_signal(site: LxcSite, name: str) -> None:
    short = name.removeprefix("SIG")
    script = f"trap 'echo {short} >/data/told; exit 0' {short}; echo up >/data/up; while :; do sleep 10 & wait $!; done"
    spec = site.spec(script, stop_signal=name)
    site.jails.start(spec)
    assert eventually((site.data / "up").exists)
    site.jails.stop(spec)
    assert (site.data / "told").read_text() == f"{short}\n"
    assert not left_in(spec)


def test_a_jail_that_does_not_listen_is_killed_after_the_timeout(site: LxcSite) -> None:
    spec = site.spec(STUBBORN, stop_timeout_s=0.4)
    site.jails.start(spec)
    before = time.monotonic()
    site.jails.stop(spec)
    assert 0.4 <= time.monotonic() - before < 5
    assert not left_in(spec)
    assert site.jails.state(spec) is JailState.STOPPED


@pytest.mark.parametrize("whose", ["first_process", "monitor"])
def test_a_killed_jail_is_stopped_and_starts_again(site: LxcSite, whose: str) -> None:
    spec = site.spec()
    for _ in range(3):
        site.jails.start(spec)
        os.kill(getattr(site, whose)(spec), signal.SIGKILL)
        assert eventually(lambda: not left_in(spec))
        assert eventually(lambda: site.jails.state(spec) is JailState.STOPPED)
        assert not site.jails.runs_on(spec, Source("bind", spec.root))


def orphaned(site: LxcSite) -> JailSpec:
    """A jail whose processes outlive its LXC monitor: changing the user gives up the signal at the parent's death."""
    become = ("/bin/setpriv", "--reuid=65534", "--clear-groups")
    spec = site.spec(command=(*become, "/bin/sh", "-c", STUBBORN))
    site.jails.start(spec)
    first = site.first_process(spec)
    assert eventually(lambda: os.stat(f"/proc/{first}").st_uid == 65534)
    time.sleep(0.05)
    os.kill(site.monitor(spec), signal.SIGKILL)
    time.sleep(0.1)
    assert str(first) in left_in(spec), "the jail died with its monitor: this test tests nothing"
    return spec


def test_a_jail_that_outlived_its_monitor_is_not_called_stopped_but_can_be(site: LxcSite) -> None:
    spec = orphaned(site)
    assert site.jails.state(spec) is JailState.STOPPING
    site.jails.stop(spec)
    assert not left_in(spec)
    assert site.jails.state(spec) is JailState.STOPPED


def test_a_start_kills_what_outlived_the_monitor(site: LxcSite) -> None:
    spec = orphaned(site)
    before = set(left_in(spec))
    site.jails.start(spec)
    assert not before & set(left_in(spec))
    assert site.jails.runs_on(spec, Source("bind", spec.root))


def test_a_jail_of_the_same_name_in_another_directory_is_not_met(site: LxcSite, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with lxc_site(tmp_path / "second") as second:
        ours, theirs = site.spec(), second.spec(STUBBORN, stop_timeout_s=0.0)
        site.jails.start(ours)
        assert second.jails.state(theirs) is JailState.STOPPED
        second.jails.start(theirs)
        second.jails.stop(theirs)
        assert second.jails.state(theirs) is JailState.STOPPED
        assert site.jails.runs_on(ours, Source("bind", ours.root))


def test_a_command_that_is_not_there_is_told_in_lxcs_own_words(site: LxcSite) -> None:
    spec = site.spec(command=("/bin/nothing",))
    with pytest.raises(DriverError, match=r"cannot start jail rswap-test: No such file.*/bin/nothing"):
        site.jails.start(spec)
    assert site.jails.state(spec) is JailState.STOPPED
    site.jails.start(site.spec())


def test_a_command_in_the_jail_dies_at_its_timeout(site: LxcSite) -> None:
    spec = site.spec()
    site.jails.start(spec)
    with pytest.raises(ToolTimedOut):
        site.jails.execute(spec, ["/bin/sh", "-c", "echo up >/data/up; sleep 61; :"], 0.3)
    assert (site.data / "up").exists()
    asleep = [Path(f"/proc/{process}/cmdline").read_bytes() for process in left_in(spec)]
    assert b"sleep\x0061\x00" not in asleep


def test_a_jail_that_is_slow_to_be_buried_is_started_anew_and_not_taken_for_running(site: LxcSite) -> None:
    spec = site.spec(stop_timeout_s=0.0)
    for _ in range(3):
        site.jails.start(spec)
        before = site.first_process(spec)
        with pytest.raises(ToolTimedOut):  # leaves a process that only the host's init can reap
            site.jails.execute(spec, ["/bin/sleep", "62"], 0.1)
        site.jails.stop(spec)
        site.jails.start(spec)
        assert site.jails.runs_on(spec, Source("bind", spec.root))
        assert site.first_process(spec) != before
        site.jails.stop(spec)
        assert site.jails.state(spec) is JailState.STOPPED


def test_the_administrators_settings_have_the_last_word(site: LxcSite) -> None:
    settings = site.directory / "settings"
    settings.write_text("lxc.environment = FROM=settings\nlxc.uts.name = renamed\n")
    spec = site.spec(settings=str(settings))
    site.jails.preflight(spec)
    site.jails.start(spec)
    assert "FROM=settings" in site.jails.execute(spec, ["/bin/env"], 5.0).stdout
    name = site.jails.execute(spec, ["/bin/cat", "/proc/sys/kernel/hostname"], 5.0).stdout
    assert name.strip() == "renamed"
    settings.chmod(0o666)
    with pytest.raises(DriverError, match="others than root can change it"):
        site.jails.preflight(spec)


def test_a_changed_jail_starts_as_it_is_now(site: LxcSite) -> None:
    for word in ("old", "new"):
        spec = site.spec(environment=(("WORD", word),))
        site.jails.start(spec)
        assert f"WORD={word}\n" in site.jails.execute(spec, ["/bin/env"], 5.0).stdout
        site.jails.stop(spec)


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
    with lxc_site(tmp_path, network) as site:
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

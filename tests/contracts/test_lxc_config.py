"""The text that LXC is given, and what it says in return; no LXC needed."""

import pytest

from commands.drivers.base import JailSpec, JailState, MountedVolume, Network
from commands.drivers.lxc import first_error, parsed_info
from commands.drivers.lxc_config import rendered
from commands.errors import DriverError

SPEC = JailSpec(driver="lxc", name="web", root="/roots/web", command=("/bin/true",))


def lines(**changes: object) -> list[str]:
    return rendered(SPEC.model_copy(update=changes), "/lxc/web").splitlines()


def volume(path: str, source: str = "/pool/v") -> tuple[MountedVolume, ...]:
    return (MountedVolume(name="v", source=source, path=path),)


def test_the_root_is_mounted_read_only_and_left_alone_by_lxc() -> None:
    assert {'lxc.rootfs.path = "dir:/roots/web"', 'lxc.rootfs.options = "ro"', 'lxc.rootfs.managed = "0"'} <= set(
        lines()
    )


def test_blanks_and_backslashes_of_a_path_are_escaped_as_in_fstab() -> None:
    expected = 'lxc.mount.entry = "/pool/a\\040b\\134c srv/my\\040data none bind,rw 0 0"'
    assert expected in lines(volumes=volume("/srv/my data", "/pool/a b\\c"))


def test_an_outer_volume_is_mounted_before_an_inner_one() -> None:
    both = (*volume("/var/log", "/pool/inner"), *volume("/var", "/pool/outer"))
    entries = [line for line in lines(volumes=both) if "/pool/" in line]
    assert ["outer" in line for line in entries] == [True, False]


def test_a_volume_at_tmp_takes_the_place_of_the_scratch_space() -> None:
    entries = [line for line in lines(volumes=volume("/tmp")) if " tmp " in line]
    assert entries == ['lxc.mount.entry = "/pool/v tmp none bind,rw 0 0"']


@pytest.mark.parametrize("path", ["/", "srv", "/srv/../etc", "/proc", "/dev/shm", "/sys/fs", "/run/app", "/tmp/x"])
def test_a_volume_that_could_not_be_seen_is_refused(path: str) -> None:
    with pytest.raises(DriverError, match="no place for one"):
        lines(volumes=volume(path))


@pytest.mark.parametrize(
    "changes",
    [
        {"root": "/a\nlxc.hook.pre-start = /bin/evil"},
        {"stop_signal": "SIGTERM\nlxc.hook.stop = /bin/evil"},
        {"environment": (("A", "b\nlxc.hook.start = /bin/evil"),)},
        {"volumes": volume("/srv", "/pool/v\nlxc.hook.mount = /bin/evil")},
        {"network": Network(kind="veth", link="br0\nlxc.hook.destroy = /bin/evil")},
    ],
)
def test_no_value_can_become_a_second_line(changes: dict[str, object]) -> None:
    with pytest.raises(DriverError, match="control character"):
        lines(**changes)


def test_the_settings_come_last() -> None:
    assert lines(settings="/etc/mine.conf")[-1] == 'lxc.include = "/etc/mine.conf"'


def test_only_a_jail_with_a_network_of_its_own_may_administer_it() -> None:
    assert any("net_admin" in line for line in lines())
    own = lines(network=Network(kind="veth", address="fd00::2/64", gateway="fd00::1"))
    assert not any("net_admin" in line for line in own)
    assert {'lxc.net.0.ipv6.address = "fd00::2/64"', 'lxc.net.0.ipv6.gateway = "fd00::1"'} <= set(own)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("State:          RUNNING\nPID:            22308\n", (JailState.RUNNING, 22308)),
        ("State:          STOPPED\n", (JailState.STOPPED, None)),
        ("State:          STARTING\nPID:            7\n", (JailState.STARTING, 7)),
        ("State:          ABORTING\n", (JailState.STOPPING, None)),
        ("State:          FROZEN\nPID:            7\n", (JailState.RUNNING, 7)),
        ("", (JailState.STOPPED, None)),
    ],
)
def test_the_answer_of_lxc_info_is_understood(output: str, expected: tuple[JailState, int | None]) -> None:
    assert parsed_info(output) == expected


def test_the_cause_is_told_and_not_its_consequences() -> None:
    log = """\
lxc-start web 20261123222119.104 ERROR    confile - ../src/lxc/confile.c:get_config_unsupported_key:170 - Invalid argument - Unsupported config key "lxc.seccomp"
lxc-start web 20261123222117.517 ERROR    af_unix - ../src/lxc/af_unix.c:lxc_abstract_unix_recv_fds_iov:218 - Connection reset by peer - Failed to receive response
lxc-start web 20261123222119.134 ERROR    start - ../src/lxc/start.c:start:2197 - No such file or directory - Failed to exec "/usr/sbin/nginxx"
lxc-start web 20261123222119.134 ERROR    sync - ../src/lxc/sync.c:sync_wait:34 - An error occurred in another process (expected sequence number 7)
"""  # noqa: E501 as LXC writes it
    assert first_error(log) == 'No such file or directory - Failed to exec "/usr/sbin/nginxx"'
    assert first_error("nothing of the kind") == ""

"""The command lines for systemd-nspawn; no nspawn needed."""

import pytest

from commands.drivers.base import JailSpec, MountedVolume, Network
from commands.drivers.nspawn_command import enter_command, machine_of, start_command, unit_command
from commands.errors import DriverError

SPEC = JailSpec(driver="nspawn", name="web", root="/roots/web", command=("/bin/x", "--boot", ""), settings="/etc/w")


def command(settings: str = "", network: str | None = None, **changes: object) -> list[str]:
    return start_command(SPEC.model_copy(update=changes), "/nspawn/web", settings, network)


def volume(path: str, source: str = "/pool/v") -> tuple[MountedVolume, ...]:
    return (MountedVolume(name="v", source=source, path=path),)


def test_the_root_is_read_only_and_nothing_is_registered_or_looked_up() -> None:
    made = command()
    assert {"--directory=/roots/web", "--read-only", "--register=no", "--keep-unit", "--settings=no"} <= set(made)
    assert not [word for word in made if word.startswith("--tmpfs")], "EINVAL for /run, and the rest is there"


def test_the_command_comes_last_and_stays_as_it_is() -> None:
    assert command()[-4:] == ["--", "/bin/x", "--boot", ""]


def test_colons_and_backslashes_of_a_volume_are_escaped() -> None:
    assert r"--bind=/pool/a\:b:/srv/c\\d" in command(volumes=volume("/srv/c\\d", "/pool/a:b"))


def test_an_outer_volume_is_mounted_before_an_inner_one() -> None:
    both = (*volume("/var/log", "/pool/inner"), *volume("/var", "/pool/outer"))
    binds = [word for word in command(volumes=both) if word.startswith("--bind")]
    assert binds == ["--bind=/pool/outer:/var", "--bind=/pool/inner:/var/log"]


@pytest.mark.parametrize("path", ["/", "srv", "/srv/../etc", "/proc", "/dev/shm", "/run/app", "/run", "/run/"])
def test_a_volume_that_could_not_be_seen_is_refused(path: str) -> None:
    with pytest.raises(DriverError, match="cannot mount a volume"):
        command(volumes=volume(path))


def test_only_a_jail_with_a_network_of_its_own_may_administer_it() -> None:
    (dropped,) = [word for word in command() if word.startswith("--drop-capability=")]
    assert "CAP_NET_ADMIN" in dropped and "CAP_SYS_ADMIN" in dropped
    own = command(network="/run/netns/x")
    assert "--network-namespace-path=/run/netns/x" in own
    veth = start_command(SPEC.model_copy(update={"network": Network(kind="veth")}), "/nspawn/web", "", "/run/netns/x")
    assert not [word for word in veth if word.startswith("--drop-capability=") and "NET_ADMIN" in word]


def test_the_settings_come_after_our_own_options() -> None:
    made = command("# mine\n\n--hostname=other\n  --setenv=A=b c \n")
    at = made.index("--")
    assert made[at - 2 : at] == ["--hostname=other", "--setenv=A=b c"]


@pytest.mark.parametrize(
    "line", ["--directory=/", "--image=/x", "--register=yes", "--boot", "--dir=/", "-D/", "/bin/sh", "--", "--Evil"]
)
def test_settings_that_would_lead_rootswap_astray_are_refused(line: str) -> None:
    with pytest.raises(DriverError, match="cannot use /etc/w"):
        command(line)


def test_two_jails_of_one_name_are_two_machines() -> None:
    assert machine_of(SPEC, "/nspawn/web") != machine_of(SPEC, "/elsewhere/web")
    odd = SPEC.model_copy(update={"name": "a_b.c-"})
    assert machine_of(odd, "/nspawn/a_b.c-").startswith("a-b-c-"), "what a host may be called"


def test_a_service_of_systemd_keeps_its_cgroup_to_itself() -> None:
    made = unit_command("rootswap-web.service", "jail web", ["systemd-nspawn", "-x"])
    assert {"--unit=rootswap-web.service", "--property=Delegate=yes", "--collect"} <= set(made)
    assert made[-3:] == ["--", "systemd-nspawn", "-x"]


def test_a_command_enters_a_jail_with_its_environment_and_its_capabilities() -> None:
    spec = SPEC.model_copy(update={"environment": (("A", "b c"),)})
    made = enter_command(spec, "/cg", 7, 0b1001, "/usr/sbin/chroot", ["id", "-u"])
    assert made[3:7] == ["sh", "/cg", "7", "-all,+chown,+fowner"]
    assert made[-5:] == ["A=b c", "/usr/sbin/chroot", "/proc/7/root", "id", "-u"]

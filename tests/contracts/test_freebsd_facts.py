"""What tells FreeBSD from Linux, one boot from the next, and how roots are built there."""

from pathlib import Path
from typing import Any

import pytest

from commands.config import load
from commands.drivers.base import JailSpec, JailState, MountedVolume, Recipe
from commands.drivers.builders_freebsd import FreeBsdBuilder, build_jail
from commands.drivers.platform import boot_id_of, parsed_boottime, system_of
from commands.drivers.roots import inspect_root
from commands.errors import DriverError, Interrupted
from tests.fakes.host import FakeHost, Hang
from tests.fakes.jail_site import ROOT, JailSite, jail_site
from tests.fakes.world import FakeFreeBSD

HEAD = "/rs/templates/web"


@pytest.fixture
def site() -> JailSite:
    return jail_site()


def recipe(**values: Any) -> Recipe:
    return Recipe.model_validate({"method": "inside", "file": "/root/upgrade.sh", **values})


def build(site: JailSite, recipe: Recipe, root: str = HEAD) -> None:
    FreeBsdBuilder(site.host).build(recipe, root, lambda: False)


# --- the system and its boots -----------------------------------------------------------------------------------------


def test_the_system_is_that_of_the_host_and_not_of_the_machine_that_python_runs_on() -> None:
    assert system_of(FakeHost(FakeFreeBSD("freebsd"))) == "FreeBSD"
    assert system_of(FakeHost(FakeFreeBSD("linux"))) == "Linux"


def test_a_boot_keeps_its_identity_when_the_clock_is_set_and_the_next_boot_has_another(site: JailSite) -> None:
    first = boot_id_of(site.host)
    assert first == "1795353924.180917"
    site.world.state.more["clock was set by"] = 86400
    assert boot_id_of(site.host) == first
    site.world.reboot()
    assert boot_id_of(site.host) != first


def test_where_the_kernel_keeps_nothing_for_us_the_boot_time_has_to_do(site: JailSite) -> None:
    site.world.state.more["kenv is refused"] = True
    first = boot_id_of(site.host)
    assert boot_id_of(site.host) == first
    site.world.state.more["clock was set by"] = 1
    assert boot_id_of(site.host) != first


def test_two_boots_in_the_same_second_differ_by_their_microseconds() -> None:
    assert parsed_boottime("{ sec = 12, usec = 7 } Thu Jan  1 00:00:12 1970\n") == "12.000007"
    with pytest.raises(DriverError, match=r"cannot tell this boot from the next: kern.boottime is 'unknown'"):
        parsed_boottime("unknown\n")


def test_the_usual_places_are_those_of_hier_7(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "rootswap.toml"
    file.write_text('[storage]\nkeep_free = "1G"\n')
    monkeypatch.setattr("sys.platform", "freebsd15")
    config = load(str(file)).config
    assert (config.state_directory, config.storage.path) == ("/var/db/rootswap", "/var/db/rootswap/pool")
    file.write_text('state_directory = "/data"\n[storage]\npath = "/elsewhere"\n')
    config = load(str(file)).config
    assert (config.state_directory, config.storage.path) == ("/data", "/elsewhere")


def test_a_root_needs_dev_the_volumes_and_the_program_and_none_of_linux_places(site: JailSite) -> None:
    site.sh(f"mkdir -p {HEAD}/bin; touch {HEAD}/bin/sh")
    volume = MountedVolume(name="home", source="/x", path="/home")
    jail = JailSpec(driver="jail", name="web", root=ROOT, command=("/bin/sh", "/etc/rc"), volumes=(volume,))
    with pytest.raises(DriverError, match="its command /bin/sh is not executable"):
        inspect_root(site.host, HEAD, jail, "FreeBSD")
    site.sh(f"chmod 755 {HEAD}/bin/sh")
    inspect_root(site.host, HEAD, jail, "FreeBSD")
    site.sh(f"rm -rf {HEAD}/home")
    with pytest.raises(DriverError, match=r"/home: no such|home"):
        inspect_root(site.host, HEAD, jail, "FreeBSD")


# --- building ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["debian", "apt"])
def test_the_recipes_of_debian_are_refused(site: JailSite, method: str) -> None:
    with pytest.raises(DriverError, match=f"the method {method} is Debian's"):
        FreeBsdBuilder(site.host).preflight(recipe(method=method, suite="bookworm", file=None))


def test_a_distribution_set_is_unpacked_by_the_systems_own_tar_after_its_sum_was_checked(site: JailSite) -> None:
    site.world.write("/root/base.txz", b"archive")
    wrong = recipe(method="tar", file="/root/base.txz", sha256="0" * 64)
    with pytest.raises(DriverError, match=r"cannot use /root/base.txz: its SHA-256 is .*, the recipe wants 000"):
        build(site, wrong)
    assert not any(argv[0] == "tar" for argv in site.host.ran)
    build(site, recipe(method="tar", file="/root/base.txz"))
    assert site.host.ran[-1] == ("tar", "-xpf", "/root/base.txz", "-C", HEAD)


def test_a_script_runs_in_a_jail_of_its_own_and_nothing_of_it_is_left(site: JailSite) -> None:
    site.world.write("/root/upgrade.sh", b"pkg upgrade -y\n")
    build(site, recipe())
    (ran,) = [argv for argv in site.host.ran if argv[0] == "jexec"]
    assert ran[1] == build_jail(HEAD)
    assert ran[-1] == "pkg upgrade -y\n"
    assert "rootswap-build" not in site.sh("jls -n name")
    assert site.sh(f"mount -p | grep {HEAD}/dev") == ""


def test_a_script_that_fails_or_is_interrupted_leaves_nothing_running_either(site: JailSite) -> None:
    site.world.write("/root/upgrade.sh", b"pkg upgrade -y\n")
    for trouble in (Hang, Interrupted("cannot finish: interrupted by a signal")):

        def strike(argv: tuple[str, ...], trouble: Any = trouble) -> None:
            if argv[0] == "jexec":
                raise trouble

        site.host.hooks = [strike]
        with pytest.raises((DriverError, Interrupted)):
            build(site, recipe())
        assert "rootswap-build" not in site.sh("jls -n name")
        assert site.sh(f"mount -p | grep {HEAD}/dev") == ""


def test_what_a_killed_engine_has_left_in_a_root_is_cleared(site: JailSite) -> None:
    site.sh(f"mount -t devfs devfs {HEAD}/dev; jail -c name={build_jail(HEAD)} path={HEAD} persist")
    builder = FreeBsdBuilder(site.host)
    for _ in range(2):
        builder.clear(HEAD)
        assert "rootswap-build" not in site.sh("jls -n name")
        assert site.sh(f"mount -p | grep {HEAD}/dev") == ""
    assert site.jails.state(site.spec()) is JailState.STOPPED
    assert site.mounted() == [ROOT]


def test_the_release_of_the_base_system_is_told_among_the_packages(site: JailSite) -> None:
    assert FreeBsdBuilder(site.host).packages(HEAD) == {}
    site.sh(f"mkdir -p {HEAD}/bin")
    site.world.write(f"{HEAD}/bin/freebsd-version", b'#!/bin/sh\nUSERLAND_VERSION="15.1-RELEASE-p1"\n')
    assert FreeBsdBuilder(site.host).packages(HEAD) == {"FreeBSD": "15.1-RELEASE-p1"}
    site.sh(f"mkdir -p {HEAD}/var/db/pkg; touch {HEAD}/var/db/pkg/local.sqlite")
    assert FreeBsdBuilder(site.host).packages(HEAD) == {"FreeBSD": "15.1-RELEASE-p1", "nginx": "1.28.0,3"}

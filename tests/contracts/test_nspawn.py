"""What systemd-nspawn in particular has to do right."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from commands.drivers.base import Completed, JailState, MountedVolume, Source, Stat
from commands.drivers.cgroups import cgroup_mount, with_private_view
from commands.drivers.host import LocalHost
from commands.drivers.jail_layout import cgroup_of
from commands.drivers.nspawn import NspawnJails
from commands.errors import DriverError
from tests.contracts.jail_fixtures import JailSite, eventually, jail_site, remove_cgroups

pytestmark = pytest.mark.real


@pytest.fixture
def site(tmp_path: Path) -> Iterator[JailSite]:
    if Path("/run/systemd/system").exists():
        pytest.skip("where systemd runs, it starts the jails")
    with jail_site(tmp_path, "nspawn") as made:
        yield made


def group(site: JailSite) -> Path:
    """The cgroup of a start."""
    return Path(str(cgroup_mount(LocalHost())), cgroup_of(str(site.home)), "launch")


class Meddler(LocalHost):
    """A host on which something happens right before nspawn is launched."""

    def __init__(self, meddle: Any) -> None:
        super().__init__()
        self._meddle = meddle

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        if "systemd-nspawn" in argv and len(argv) > 3:
            self._meddle()
        return super().run(argv, **options)


def test_a_start_that_was_announced_and_never_made_is_half_way_and_can_be_taken_back(site: JailSite) -> None:
    spec = site.spec()
    group(site).mkdir(parents=True)  # an engine was killed here
    assert site.jails.state(spec) is JailState.STARTING
    site.jails.stop(spec)
    assert site.jails.state(spec) is JailState.STOPPED
    assert not group(site).exists()
    group(site).mkdir(parents=True)
    site.jails.start(spec)
    assert site.jails.runs_on(spec, Source("bind", spec.root))


def test_a_start_that_was_taken_back_starts_nothing_however_late_it_comes(site: JailSite) -> None:
    spec = site.spec()
    late = NspawnJails(Meddler(lambda: site.jails.stop(spec)), str(site.directory / "nspawn"))
    with pytest.raises(DriverError, match="somebody has taken the start back"):
        late.start(spec)
    time.sleep(0.5)
    assert not site.left_in(spec)
    assert site.jails.state(spec) is JailState.STOPPED


def test_an_engine_that_was_killed_right_after_the_launch_leaves_a_jail_that_is_starting(site: JailSite) -> None:
    class Killed(BaseException):
        pass

    class Mortal(LocalHost):
        def run(self, argv: Sequence[str], **options: Any) -> Completed:
            completed = super().run(argv, **options)
            if "systemd-nspawn" in argv and len(argv) > 3:
                raise Killed
            return completed

    spec = site.spec()
    with pytest.raises(Killed):
        NspawnJails(Mortal(), str(site.directory / "nspawn")).start(spec)
    assert site.jails.state(spec) in (JailState.STARTING, JailState.RUNNING)
    site.jails.start(spec)
    assert site.jails.runs_on(spec, Source("bind", spec.root))
    site.jails.stop(spec)
    with pytest.raises(Killed):
        NspawnJails(Mortal(), str(site.directory / "nspawn")).start(spec)
    site.jails.stop(spec)
    assert not site.left_in(spec)
    assert site.jails.state(spec) is JailState.STOPPED


def test_a_root_that_nspawn_does_not_take_is_told_in_its_own_words(site: JailSite) -> None:
    (site.root / "usr").rmdir()
    spec = site.spec()
    with pytest.raises(DriverError, match=r"cannot start jail rswap-test: .*/usr/"):
        site.jails.start(spec)
    assert site.jails.state(spec) is JailState.STOPPED


def test_a_volume_where_nspawn_has_things_of_its_own_is_refused_before_anything_happens(site: JailSite) -> None:
    volume = MountedVolume(name="run", source=str(site.data), path="/run")
    with pytest.raises(DriverError, match="at /run: nspawn needs it"):
        site.jails.preflight(site.spec(volumes=(volume,)))
    site.made.clear()


def test_nspawn_hears_of_no_other_settings_than_those_named(site: JailSite) -> None:
    Path(f"{site.root}.nspawn").write_text("[Exec]\nHostname=evil\n")
    spec = site.spec()
    site.jails.start(spec)
    name = site.jails.execute(spec, ["/bin/cat", "/proc/sys/kernel/hostname"], 5.0).stdout
    assert name.strip() == "rswap-test"


class UnderSystemd(LocalHost):
    """A host that seems to be run by systemd: a service is a process in a cgroup where systemd would put it."""

    def __init__(self) -> None:
        super().__init__()
        self.units: list[str] = []

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        return super().stat("/run" if path == "/run/systemd/system" else path, follow=follow)

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        if argv[0] == "systemctl" or argv[:2] == ["systemd-run", "--version"]:
            return Completed(0, "", "")
        if argv[0] != "systemd-run":
            return super().run(argv, **options)
        (unit,) = [word.removeprefix("--unit=") for word in argv if word.startswith("--unit=")]
        self.units.append(unit)
        service = f"{cgroup_mount(self)}/rootswap.slice/{unit}"
        script = 'mkdir -p "$1"; echo 0 >"$1/cgroup.procs" || exit 1; shift; "$@" >/dev/null 2>&1 &'
        command = with_private_view(argv[list(argv).index("--") + 1 :])
        return super().run(["/bin/sh", "-c", script, "sh", service, *command], holds_lock=False)


def test_where_systemd_runs_a_jail_is_a_service_of_it(site: JailSite) -> None:
    host = UnderSystemd()
    jails = NspawnJails(host, str(site.directory / "nspawn"))
    spec = site.spec()
    jails.preflight(spec)
    assert jails.state(spec) is JailState.STOPPED
    try:
        for _ in range(2):
            jails.start(spec)
            assert jails.runs_on(spec, Source("bind", spec.root))
            assert jails.execute(spec, ["/bin/sh", "-c", "exit 7"], 5.0).status == 7
            jails.stop(spec)
            assert jails.state(spec) is JailState.STOPPED
            assert not site.left_in(spec)
        (site.root / "usr").rmdir()
        with pytest.raises(DriverError, match="it ended at once") as told:
            jails.start(spec)
        assert host.units[0] in told.value.remedy
        assert len(set(host.units)) == 1
    finally:
        assert eventually(lambda: remove_cgroups("rootswap.slice"))

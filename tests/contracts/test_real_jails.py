"""What every runtime has to do right for real: the same jail behaves alike under each of them."""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from commands.drivers.base import JailSpec, JailState, Source
from commands.drivers.cgroups import cgroup_mount
from commands.drivers.host import LocalHost
from commands.drivers.jail_layout import cgroup_of
from commands.errors import DriverError, ToolTimedOut
from ledger.clock import SystemClock
from tests.contracts.jail_fixtures import RUNTIMES, SERVE, JailSite, command_of, eventually, jail_site, status_of
from tests.contracts.real import sh

pytestmark = pytest.mark.real

#: Leaves a child behind that ignores everything but SIGKILL.
STUBBORN = "trap '' TERM INT HUP; echo up >/data/up; while :; do sleep 1; done"

#: Runtimes with a process that watches over the jail for as long as it runs; runc leaves none.
WATCHED = ("lxc", "nspawn")


@pytest.fixture(params=RUNTIMES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JailSite]:
    """Each runtime in turn."""
    with jail_site(tmp_path, request.param) as made:
        yield made


@pytest.fixture(params=WATCHED)
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JailSite]:
    """Each runtime that has a monitor."""
    with jail_site(tmp_path, request.param) as made:
        yield made


@pytest.mark.parametrize("driver", RUNTIMES)
def test_what_outlives_a_start_holds_no_file_of_the_engine_and_is_no_child_of_it(tmp_path: Path, driver: str) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with jail_site(tmp_path, driver, LocalHost(lock_fd=lock)) as site:
        spec = site.spec()
        site.jails.start(spec)
        parent = site.monitor(spec) if driver in WATCHED else site.first_process(spec)
        assert status_of(parent, "PPid") != [str(os.getpid())]
        os.close(lock)
        # Whoever still held it, were it a helper of the runtime's, would keep the next engine out.
        with open(tmp_path / "lock") as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_command_gets_its_words_as_they_are(site: JailSite) -> None:
    words = ["two  words", 'a "quoted" one', "$HOME `id` \\ '", "", "--name=other", "#"]
    script = f'for word; do echo "<$word>"; done >/data/words; {SERVE}'
    site.jails.start(site.spec(command=("/bin/sh", "-c", script, "sh", *words)))
    assert eventually((site.data / "words").exists)
    time.sleep(0.05)
    assert (site.data / "words").read_text().splitlines() == [f"<{word}>" for word in words]


def test_the_root_is_read_only_and_the_volume_is_not(site: JailSite) -> None:
    spec = site.spec()
    site.jails.start(spec)
    assert site.jails.execute(spec, ["/bin/sh", "-c", ": >/bin/new"], 5.0).status != 0
    assert site.jails.execute(spec, ["/bin/sh", "-c", ": >/data/new && : >/run/new && : >/tmp/new"], 5.0).status == 0
    assert (site.data / "new").exists()
    assert not (site.root / "run" / "new").exists()


def test_the_environment_is_the_jails_own(site: JailSite) -> None:
    environment = (("GREETING", 'say "hello" '), ("PATH", "/bin"))
    spec = site.spec(f"/bin/env >/data/env; {SERVE}", environment=environment)
    site.jails.start(spec)
    asked = site.jails.execute(spec, ["/bin/env"], 5.0).stdout.splitlines()
    assert eventually(lambda: (site.data / "env").exists() and "container=" in (site.data / "env").read_text())
    for lines in (asked, (site.data / "env").read_text().splitlines()):
        assert 'GREETING=say "hello" ' in lines
        assert "PATH=/bin" in lines
        assert not [line for line in lines if line.startswith(("TZ=", "LC_ALL="))], "the engine's own"


def test_root_in_a_jail_may_not_do_everything(site: JailSite) -> None:
    spec = site.spec()
    site.jails.start(spec)
    printed = site.jails.execute(spec, ["/bin/setpriv", "--dump"], 5.0).stdout
    held = next(line for line in printed.splitlines() if line.startswith("Capability bounding set"))
    assert "chown" in held
    assert not {"sys_admin", "sys_module", "mknod", "net_admin"} & set(held.replace(" ", "").split(":")[1].split(","))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT"])
def test_the_jail_is_told_to_stop_by_its_own_signal(site: JailSite, name: str) -> None:
    short = name.removeprefix("SIG")
    script = f"trap 'echo {short} >/data/told; exit 0' {short}; echo up >/data/up; while :; do sleep 10 & wait $!; done"
    spec = site.spec(script, stop_signal=name)
    site.jails.start(spec)
    assert eventually((site.data / "up").exists)
    site.jails.stop(spec)
    assert (site.data / "told").read_text() == f"{short}\n"
    assert not site.left_in(spec)


def test_a_jail_that_does_not_listen_is_killed_after_the_timeout(site: JailSite) -> None:
    spec = site.spec(STUBBORN, stop_timeout_s=0.4)
    site.jails.start(spec)
    assert eventually((site.data / "up").exists)  # until then a signal ends it
    before = time.monotonic()
    site.jails.stop(spec)
    assert 0.4 <= time.monotonic() - before < 5
    assert not site.left_in(spec)
    assert site.jails.state(spec) is JailState.STOPPED


def test_a_jail_whose_first_process_was_killed_is_stopped_and_starts_again(site: JailSite) -> None:
    spec = site.spec()
    for _ in range(3):
        site.jails.start(spec)
        os.kill(site.first_process(spec), signal.SIGKILL)
        assert eventually(lambda: not site.left_in(spec))
        assert eventually(lambda: site.jails.state(spec) is JailState.STOPPED)
        assert not site.jails.runs_on(spec, Source("bind", spec.root))


def test_a_jail_whose_monitor_was_killed_is_not_called_running_and_starts_again(watched: JailSite) -> None:
    spec = watched.spec()
    for _ in range(3):
        watched.jails.start(spec)
        assert watched.jails.runs_on(spec, Source("bind", spec.root))
        os.kill(watched.monitor(spec), signal.SIGKILL)
        assert eventually(lambda: watched.jails.state(spec) in (JailState.STOPPED, JailState.STOPPING))
        assert not watched.jails.runs_on(spec, Source("bind", spec.root))


def orphaned(site: JailSite) -> JailSpec:
    """A jail whose processes outlive its monitor: changing the user gives up the signal at the parent's death."""
    become = ("/bin/setpriv", "--reuid=65534", "--clear-groups")
    spec = site.spec(command=(*become, "/bin/sh", "-c", STUBBORN))
    site.jails.start(spec)
    first = site.first_process(spec)
    assert eventually(lambda: os.stat(f"/proc/{first}").st_uid == 65534)
    time.sleep(0.05)
    os.kill(site.monitor(spec), signal.SIGKILL)
    time.sleep(0.1)
    assert first in site.left_in(spec), "the jail died with its monitor: this test tests nothing"
    return spec


def test_a_jail_that_outlived_its_monitor_is_not_called_stopped_but_can_be(watched: JailSite) -> None:
    site, spec = watched, orphaned(watched)
    assert site.jails.state(spec) is JailState.STOPPING
    site.jails.stop(spec)
    assert not site.left_in(spec)
    assert site.jails.state(spec) is JailState.STOPPED


def test_a_start_kills_what_outlived_the_monitor(watched: JailSite) -> None:
    site, spec = watched, orphaned(watched)
    before = set(site.left_in(spec))
    site.jails.start(spec)
    assert not before & set(site.left_in(spec))
    assert site.jails.runs_on(spec, Source("bind", spec.root))


def test_a_jail_of_the_same_name_in_another_directory_is_not_met(site: JailSite, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with jail_site(tmp_path / "second", site.driver) as second:
        ours, theirs = site.spec(), second.spec(STUBBORN, stop_timeout_s=0.0)
        site.jails.start(ours)
        assert second.jails.state(theirs) is JailState.STOPPED
        second.jails.start(theirs)
        second.jails.stop(theirs)
        assert second.jails.state(theirs) is JailState.STOPPED
        assert site.jails.runs_on(ours, Source("bind", ours.root))


def test_a_command_that_is_not_there_is_told_in_the_runtimes_own_words(site: JailSite) -> None:
    spec = site.spec(command=("/bin/nothing",))
    with pytest.raises(DriverError, match=r"(?i)cannot start jail rswap-test: (?=.*no such file)(?=.*/bin/nothing)"):
        site.jails.start(spec)
    assert site.jails.state(spec) is JailState.STOPPED
    site.jails.start(site.spec())


def test_a_command_in_the_jail_dies_at_its_timeout(site: JailSite) -> None:
    spec = site.spec()
    site.jails.start(spec)
    with pytest.raises(ToolTimedOut):
        site.jails.execute(spec, ["/bin/sh", "-c", "echo up >/data/up; sleep 61; :"], 1.0)
    assert (site.data / "up").exists()
    assert eventually(lambda: b"sleep\x0061\x00" not in [command_of(process) for process in site.left_in(spec)])


def test_a_jail_that_is_slow_to_be_buried_is_started_anew_and_not_taken_for_running(site: JailSite) -> None:
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


def test_a_changed_jail_starts_as_it_is_now(site: JailSite) -> None:
    for word in ("old", "new"):
        spec = site.spec(environment=(("WORD", word),))
        site.jails.start(spec)
        assert f"WORD={word}\n" in site.jails.execute(spec, ["/bin/env"], 5.0).stdout
        site.jails.stop(spec)


#: Settings that give the jail another host name, in the words of each runtime.
RENAMED = {
    "lxc": "lxc.uts.name = renamed\n",
    "oci": '{"hostname": "renamed"}',
    "nspawn": "# as nspawn's own options\n--hostname=renamed\n",
}


def test_the_administrators_settings_have_the_last_word(site: JailSite) -> None:
    settings = site.directory / "settings"
    settings.write_text(RENAMED[site.driver])
    spec = site.spec(settings=str(settings))
    site.jails.preflight(spec)
    site.jails.start(spec)
    name = site.jails.execute(spec, ["/bin/cat", "/proc/sys/kernel/hostname"], 5.0).stdout
    assert name.strip() == "renamed"


@pytest.mark.parametrize("hostile", ["writable", "not root's", "a symlink", "gone"])
def test_settings_that_others_than_root_could_change_are_refused(site: JailSite, hostile: str) -> None:
    settings = site.directory / "settings"
    settings.write_text(RENAMED[site.driver])
    match hostile:
        case "writable":
            settings.chmod(0o666)
        case "not root's":
            os.chown(settings, 65534, 65534)
        case "a symlink":
            settings = settings.with_name("link")
            settings.symlink_to("settings")
        case _:
            settings.unlink()
    with pytest.raises(DriverError, match=r"cannot use .*/(settings|link)"):
        site.jails.preflight(site.spec(settings=str(settings)))
    site.made.clear()


def test_a_command_in_the_jail_may_do_what_the_jail_may_and_no_more(site: JailSite) -> None:
    spec = site.spec()
    site.jails.start(spec)
    (own,) = status_of(site.first_process(spec), "CapBnd")
    asked = site.jails.execute(spec, ["/bin/cat", "/proc/self/status"], 5.0).stdout
    (bound, effective) = (line.split()[1] for line in asked.splitlines() if line.startswith(("CapBnd", "CapEff")))
    assert bound == effective == own


def test_a_jail_that_ends_by_itself_is_stopped_and_starts_again(site: JailSite) -> None:
    spec = site.spec("exit 3")
    for _ in range(2):
        with suppress(DriverError):  # it may be gone before the start has returned, which is a reason to say so
            site.jails.start(spec)
        assert eventually(lambda: site.jails.state(spec) is JailState.STOPPED)
        assert not site.left_in(spec)
    site.jails.start(site.spec())


def test_an_empty_cgroup_that_was_left_behind_is_no_jail_and_in_nobodys_way(site: JailSite) -> None:
    spec = site.spec()
    site.jails.start(spec)
    site.jails.stop(spec)
    assert site.jails.state(spec) is JailState.STOPPED
    top = Path(str(cgroup_mount(site.host)), cgroup_of(str(site.home)))
    for group in (top, *(path for path in top.glob("**/") if path != top)):
        (group / "left behind").mkdir(exist_ok=True)
    assert site.jails.state(spec) is JailState.STOPPED
    site.jails.start(spec)
    assert site.jails.runs_on(spec, Source("bind", spec.root))


#: LXC keeps only what is written to the console; the others have none that is kept.
TO_WHAT_IS_KEPT = "[ ! -w /dev/console ] || exec >/dev/console 2>&1; "


@pytest.fixture(params=["oci", "nspawn"])
def keeping(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JailSite]:
    """Each runtime whose jails write their output to a file of ours."""
    with jail_site(tmp_path, request.param) as made:
        yield made


def test_what_a_jail_prints_is_kept_over_its_starts(keeping: JailSite) -> None:
    spec = keeping.spec(f"echo out; echo err >&2; {SERVE}")
    output = keeping.home / "output"

    def printed() -> list[str]:  # nspawn may have a word of its own to say
        return [line for line in output.read_text().splitlines() if line in ("out", "err")] if output.exists() else []

    keeping.jails.start(spec)
    assert eventually(lambda: printed() == ["out", "err"])
    keeping.jails.stop(spec)
    keeping.jails.start(spec)
    assert eventually(lambda: printed() == ["out", "err"] * 2)
    assert output.stat().st_mode & 0o777 == 0o600


def test_the_last_words_of_a_jail_are_those_of_its_last_start_few_and_printable(site: JailSite) -> None:
    spec = site.spec(f"{TO_WHAT_IS_KEPT}echo of the first start; {SERVE}")
    assert site.jails.last_words(spec) == ()
    site.jails.start(spec)
    assert eventually(lambda: site.jails.last_words(spec) == ("of the first start",))
    site.jails.stop(spec)
    lines = ["one", "two", r"\033[31mred\a", "x" * 3000, "five", "six"]
    script = "\n".join(f"printf '{line}\\n'" for line in lines)
    spec = site.spec(f"{TO_WHAT_IS_KEPT}{script}\n{SERVE}")
    site.jails.start(spec)
    assert eventually(lambda: site.jails.last_words(spec)[-1:] == ("six",))
    assert site.jails.last_words(spec) == ("two", "?[31mred?", "x" * 3000, "five", "six")
    site.jails.stop(spec)
    assert site.jails.last_words(spec)[-1] == "six", "they outlive the jail"


def test_the_last_words_of_a_jail_that_ends_at_once_are_told(site: JailSite) -> None:
    spec = site.spec(f"{TO_WHAT_IS_KEPT}echo no such address; exit 1")
    with suppress(DriverError):  # a start may be over before the jail is
        site.jails.start(spec)
    assert eventually(lambda: site.jails.last_words(spec) == ("no such address",))


def test_what_is_kept_of_an_endless_output_has_an_end(keeping: JailSite) -> None:
    line = "x" * 4095
    script = f"i=0; while [ $i -lt 6000 ]; do echo {line}; i=$((i+1)); done; echo last >/data/last; {SERVE}"
    spec = keeping.spec(script)
    keeping.jails.start(spec)
    assert eventually((keeping.data / "last").exists, 30)
    kept = [keeping.home / name for name in ("output", "output.1")]
    sizes = [path.stat().st_size for path in kept if path.exists()]
    assert sizes and all(size <= 9 << 20 for size in sizes), sizes
    assert sum(sizes) < 6000 * 4096


def test_a_jail_whose_output_finds_no_room_runs_on(keeping: JailSite) -> None:
    script = (
        "while [ ! -e /data/told ]; do sleep 0.01; done; i=0; while [ $i -lt 3000 ]; do echo line; i=$((i+1)); done"
    )
    spec = keeping.spec(f"{script}; echo done >/data/done; {SERVE}")
    keeping.jails.start(spec)
    (keeping.home / "output").unlink(missing_ok=True)
    (keeping.home / "output").mkdir()
    (keeping.data / "told").touch()
    assert eventually((keeping.data / "done").exists, 10)
    keeping.jails.stop(spec)
    (keeping.home / "output").rmdir()


@contextmanager
def frozen(directory: Path) -> Iterator[Callable[[bool], None]]:
    """A file system on which whoever writes hangs in the kernel while it is frozen; it is thawed in any case."""
    image = directory.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    sh("mkfs.ext4", "-q", "-F", str(image))
    sh("mount", "-o", "loop", str(image), str(directory))
    held: list[bool] = []

    def freeze(wanted: bool) -> None:
        sh("fsfreeze", "--freeze" if wanted else "--unfreeze", str(directory))
        held[:] = [wanted]

    try:
        yield freeze
    finally:
        if held == [True]:
            freeze(False)
        assert eventually(lambda: subprocess.run(["umount", str(directory)], check=False).returncode == 0)


class Hasty(SystemClock):
    """A clock on which ten seconds are over soon."""

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() * 20


def test_a_process_that_hangs_in_the_kernel_is_told_of_and_not_waited_for_endlessly(keeping: JailSite) -> None:
    with frozen(keeping.data) as freeze:
        spec = keeping.spec("echo up >/data/up; while :; do echo x >/data/x; sleep 0.01; done", stop_timeout_s=0.0)
        keeping.jails.start(spec)
        assert eventually((keeping.data / "x").exists)
        freeze(True)
        assert eventually(lambda: any("D" in status_of(pid, "State") for pid in keeping.left_in(spec)))
        hasty = RUNTIMES[keeping.driver][0](LocalHost(), str(keeping.directory / keeping.driver), Hasty())
        with pytest.raises(DriverError, match="some of its processes cannot be killed") as told:
            hasty.stop(spec)
        assert "hangs in the kernel" in told.value.remedy
        assert hasty.state(spec) is not JailState.STOPPED
        freeze(False)
        keeping.jails.stop(spec)
        assert not keeping.left_in(spec)
        assert keeping.jails.state(spec) is JailState.STOPPED

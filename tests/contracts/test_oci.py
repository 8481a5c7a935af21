"""What OCI containers in particular have to do right."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from commands.drivers.base import Completed, JailSpec, JailState, Source
from commands.drivers.host import LocalHost
from commands.drivers.oci import OciJails
from commands.errors import DriverError, ToolMissing, ToolTimedOut
from tests.contracts.jail_fixtures import SERVE, JailSite, command_of, eventually, jail_site

pytestmark = pytest.mark.real


@pytest.fixture
def site(tmp_path: Path) -> Iterator[JailSite]:
    with jail_site(tmp_path, "oci") as made:
        yield made


def runc(site: JailSite, *arguments: str) -> None:
    """What an administrator would type."""
    argv = ["runc", "--root", str(site.home / "state"), *arguments]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def bundle(site: JailSite, spec: JailSpec) -> None:
    """Leave the bundle of a jail that was started once."""
    site.jails.start(spec)
    site.jails.stop(spec)


def test_a_jail_that_somebody_started_by_hand_is_seen_and_stopped(site: JailSite) -> None:
    spec = site.spec()
    bundle(site, spec)
    runc(site, "run", "--detach", "--bundle", str(site.home), spec.name)
    assert site.jails.state(spec) is JailState.RUNNING
    assert site.jails.runs_on(spec, Source("bind", spec.root))
    site.jails.stop(spec)
    assert not site.left_in(spec)


def test_a_paused_jail_is_half_way_refused_in_words_and_goes_on_when_it_is_started(site: JailSite) -> None:
    spec = site.spec()
    site.jails.start(spec)
    first = site.first_process(spec)
    runc(site, "pause", spec.name)
    assert site.jails.state(spec) is JailState.STARTING
    assert not site.jails.runs_on(spec, Source("bind", spec.root))
    with pytest.raises(DriverError, match="it is paused") as refused:
        site.jails.preflight(spec)
    assert "resume rswap-test" in refused.value.remedy
    site.jails.start(spec)
    assert site.jails.state(spec) is JailState.RUNNING
    assert site.first_process(spec) == first


def test_a_paused_jail_is_told_to_stop_before_it_is_killed(site: JailSite) -> None:
    script = "trap 'echo told >/data/told; exit 0' TERM; echo up >/data/up; while :; do sleep 10 & wait $!; done"
    spec = site.spec(script)
    site.jails.start(spec)
    assert eventually((site.data / "up").exists)
    runc(site, "pause", spec.name)
    site.jails.stop(spec)
    assert (site.data / "told").exists()
    assert not site.left_in(spec)


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_a_container_that_was_created_and_never_started_is_half_way(site: JailSite, verb: str) -> None:
    spec = site.spec()
    bundle(site, spec)
    runc(site, "create", "--bundle", str(site.home), spec.name)
    assert site.jails.state(spec) is JailState.STARTING
    getattr(site.jails, verb)(spec)
    assert site.jails.state(spec) is (JailState.RUNNING if verb == "start" else JailState.STOPPED)


@pytest.mark.parametrize("left", ["of a reboot", "empty", "torn"])
def test_a_state_directory_that_is_stale_does_not_keep_a_jail_from_starting(site: JailSite, left: str) -> None:
    spec = site.spec()
    site.jails.start(spec)
    state = site.home / "state" / spec.name
    shutil.copytree(state, site.directory / "kept", ignore=shutil.ignore_patterns("*.fifo"))
    site.jails.stop(spec)
    shutil.copytree(site.directory / "kept", state)
    if left != "of a reboot":
        (state / "state.json").unlink()
    if left == "torn":
        (state / "state.json").write_text('{"id": "rswap-')
    assert site.jails.state(spec) is JailState.STOPPED
    assert not site.jails.runs_on(spec, Source("bind", spec.root))
    site.jails.start(spec)
    assert site.jails.runs_on(spec, Source("bind", spec.root))
    site.jails.stop(spec)
    assert not state.exists()


def test_a_runtime_that_is_killed_while_it_starts_a_jail_leaves_nothing_that_counts_as_running(site: JailSite) -> None:
    spec = site.spec()
    bundle(site, spec)
    argv = ["runc", "--root", str(site.home / "state"), "run", "--detach", "--bundle", str(site.home), spec.name]
    seen = set()
    for delay_ms in (5, 15, 25, 35, 45, 55, 65, 80):
        null = subprocess.DEVNULL
        with subprocess.Popen(argv, stdin=null, stdout=null, stderr=null) as process:
            time.sleep(delay_ms / 1000)
            process.send_signal(signal.SIGKILL)
        time.sleep(0.05)
        state = site.jails.state(spec)
        seen.add(state)
        if state is JailState.STOPPED:
            assert not site.left_in(spec), f"after {delay_ms} ms"
        site.jails.start(spec)
        assert site.jails.runs_on(spec, Source("bind", spec.root))
        site.jails.stop(spec)
        assert not site.left_in(spec)
    assert JailState.STOPPED in seen


def test_a_container_of_somebody_elses_of_the_same_name_is_not_met(site: JailSite) -> None:
    spec = site.spec()
    bundle(site, spec)
    config = (site.home / "config.json").read_text().replace("/payload", "/theirs")
    (site.directory / "theirs").mkdir()
    (site.directory / "theirs" / "config.json").write_text(config)
    theirs = ["runc", "--root", str(site.directory / "their-state")]
    subprocess.run([*theirs, "run", "-d", "-b", str(site.directory / "theirs"), spec.name], check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        assert site.jails.state(spec) is JailState.STOPPED
        before = site.first_process(spec)
        site.jails.start(spec)
        site.jails.stop(spec)
        assert site.first_process(spec) == before
    finally:
        subprocess.run([*theirs, "delete", "--force", spec.name], check=True)


def test_a_runtime_that_is_not_installed_is_told_with_its_package(site: JailSite) -> None:
    with pytest.raises(ToolMissing, match="nothing-of-the-kind is not installed") as refused:
        site.jails.preflight(site.spec(runtime="nothing-of-the-kind"))
    assert refused.value.exit_code == 69
    site.made.clear()


def test_a_runtime_that_others_can_change_is_not_run(site: JailSite) -> None:
    program = site.directory / "runtime"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o777)
    with pytest.raises(DriverError, match="others than root can change it"):
        site.jails.preflight(site.spec(runtime=str(program)))
    site.made.clear()


class Impatient(LocalHost):
    """A host on which no command may take long."""

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        options["timeout_s"] = min(options.get("timeout_s", 60.0), 0.5)
        return super().run(argv, **options)


def hanging(site: JailSite, verb: str) -> str:
    """A runtime that hangs at one of its verbs."""
    program = site.directory / f"hangs-at-{verb}"
    program.write_text(f'#!/bin/sh\ncase " $* " in *" {verb} "*) sleep 60 ;; esac\nexec runc "$@"\n')
    program.chmod(0o755)
    return str(program)


def test_a_runtime_that_hangs_at_the_start_is_given_up_and_the_jail_is_stopped(site: JailSite) -> None:
    spec = site.spec(runtime=hanging(site, "run"), start_timeout_s=0.3)
    with pytest.raises(ToolTimedOut):
        site.jails.start(spec)
    assert site.jails.state(spec) is JailState.STOPPED
    site.jails.start(site.spec())


def test_a_runtime_that_hangs_when_it_is_told_to_stop_the_jail_does_not_keep_it_alive(site: JailSite) -> None:
    shared = without_process_namespace(site)
    site.jails.start(site.spec(settings=shared))
    jails = OciJails(Impatient(), str(site.directory / "oci"))
    spec = site.spec(settings=shared, runtime=hanging(site, "kill"))
    jails.stop(spec)
    assert jails.state(spec) is JailState.STOPPED
    assert not site.left_in(spec)


def test_a_jail_that_shares_the_process_numbers_of_the_host_is_told_by_its_runtime(site: JailSite) -> None:
    script = "trap 'echo told >/data/told; exit 0' TERM; echo up >/data/up; while :; do sleep 10 & wait $!; done"
    spec = site.spec(script, settings=without_process_namespace(site))
    site.jails.start(spec)
    assert eventually((site.data / "up").exists)
    site.jails.stop(spec)
    assert (site.data / "told").exists()
    assert not site.left_in(spec)


def without_process_namespace(site: JailSite) -> str:
    settings = site.directory / "settings.json"
    settings.write_text('{"linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}]}}')
    return str(settings)


def test_a_late_command_dies_though_its_runtime_was_killed_before_it_told_its_number(site: JailSite) -> None:
    site.jails.start(site.spec())
    site.jails.execute(site.spec(), ["/bin/true"], 10)  # the number that this leaves is not the one
    program = site.directory / "forgets-numbers"
    program.write_text(
        "#!/bin/sh\nfor w; do\n  shift\n"
        '  [ "$last" = --pid-file ] || [ "$w" = --pid-file ] || set -- "$@" "$w"\n  last=$w\ndone\n'
        'exec runc "$@"\n'
    )
    program.chmod(0o755)
    forgetful = site.spec(runtime=str(program))
    with pytest.raises(ToolTimedOut):
        site.jails.execute(forgetful, ["/bin/sh", "-c", "echo up >/data/up; sleep 63 & sleep 63"], 1.0)
    assert (site.data / "up").exists()
    assert eventually(lambda: b"sleep\x0063\x00" not in [command_of(process) for process in site.left_in(forgetful)])
    assert site.jails.runs_on(forgetful, Source("bind", forgetful.root))


def test_what_a_killed_runtime_has_mounted_over_itself_keeps_no_jail_from_stopping(site: JailSite) -> None:
    spec = site.spec()
    site.jails.start(spec)
    own = site.home / "state" / spec.name / "runc.x1y2z3"
    own.touch()
    subprocess.run(["mount", "--bind", str(shutil.which("runc")), str(own)], check=True)
    site.jails.stop(spec)
    assert site.jails.state(spec) is JailState.STOPPED
    assert not own.exists()
    site.jails.start(spec)


def test_a_runtime_that_answers_nonsense_is_an_error_and_not_a_state(site: JailSite) -> None:
    site.jails.start(site.spec())
    program = site.directory / "nonsense"
    program.write_text("#!/bin/sh\necho 'I am fine'\n")
    program.chmod(0o755)
    with pytest.raises(DriverError, match="cannot understand the state"):
        site.jails.state(site.spec(runtime=str(program)))
    site.spec()


def test_crun_takes_the_same_calls(site: JailSite) -> None:
    if shutil.which("crun") is None:
        pytest.skip("needs crun")
    if not int(Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0], 16) & 1 << 24:
        pytest.skip("crun needs CAP_SYS_RESOURCE, which this root does not hold")
    spec = site.spec(f"echo hello; {SERVE}", runtime="crun")
    for _ in range(2):
        site.jails.preflight(spec)
        site.jails.start(spec)
        assert site.jails.runs_on(spec, Source("bind", spec.root))
        assert site.jails.execute(spec, ["/bin/sh", "-c", "exit 7"], 5.0).status == 7
        assert eventually(lambda: "hello" in (site.home / "output").read_text())
        site.jails.stop(spec)
        assert site.jails.state(spec) is JailState.STOPPED
        assert not site.left_in(spec)
    assert os.listdir(site.home / "state") == []

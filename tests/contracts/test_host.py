"""LocalHost, natively: the commands that it runs."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from commands.drivers.host import STDERR_BYTES, STDOUT_BYTES, LocalHost
from commands.errors import DriverError, Interrupted, ToolMissing, ToolTimedOut

PYTHON = sys.executable


@pytest.fixture
def host() -> LocalHost:
    return LocalHost()


def python(source: str) -> list[str]:
    return [PYTHON, "-c", textwrap.dedent(source)]


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_command_tells_its_status_and_both_outputs(host: LocalHost) -> None:
    done = host.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.status, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_command_sees_nothing_of_our_environment_but_what_is_meant_for_it(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD_NOT", "x")
    lines = host.run(["env"], environment={"LISTEN_FDS": "1", "TZ": "CET"}).stdout.splitlines()
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert sorted(lines) == ["LC_ALL=C", "LISTEN_FDS=1", path, "TZ=CET"]


def test_a_command_has_no_input_a_session_of_its_own_and_a_plain_umask(host: LocalHost) -> None:
    before = os.umask(0o077)
    try:
        done = host.run(["sh", "-c", "cat; umask; echo $$; ps -o sid= -p $$ || cut -d' ' -f6 /proc/$$/stat"])
    finally:
        os.umask(before)
    umask, pid, session = done.stdout.split()
    assert (umask, pid) == ("0022", session)


def test_a_failure_is_told_with_the_tool_its_subcommand_and_its_last_words(host: LocalHost) -> None:
    with pytest.raises(DriverError, match=r"^cannot run sh: two; three; four$"):
        host.run(["sh", "-c", "for n in one two three '' four; do echo $n >&2; done; exit 1"])
    with pytest.raises(DriverError, match=r"^cannot run false: its exit status was 1$"):
        host.run(["false"])
    with pytest.raises(DriverError, match=r"^cannot run sh: it was killed by signal 9$"):
        host.run(["sh", "-c", "kill -9 $$"])
    with pytest.raises(DriverError, match=r"^cannot run git rev-parse: "):
        host.run(["git", "rev-parse", "--nonsense-option", "x"], environment={"GIT_DIR": "/nonexistent"})


def test_a_tool_that_is_missing_is_told_with_its_package(host: LocalHost) -> None:
    with pytest.raises(ToolMissing) as missing:
        host.run(["lxc-there-is-no-such-tool"])
    assert missing.value.remedy == "install the package lxc"


def test_a_file_that_cannot_be_executed_is_a_driver_error(host: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("x")
    with pytest.raises(DriverError, match="permission denied") as denied:
        host.run([str(tmp_path / "tool")])
    assert not isinstance(denied.value, ToolMissing)


def test_much_output_does_not_deadlock_and_its_end_is_kept(host: LocalHost) -> None:
    source = f"""
        import sys
        for n in range(3):
            sys.stderr.write("e" * {STDERR_BYTES}); sys.stdout.write("o" * {STDOUT_BYTES // 2})
        sys.stderr.write("end"); sys.stdout.write("end")
    """
    done = host.run(python(source))
    assert len(done.stdout) == STDOUT_BYTES
    assert len(done.stderr) == STDERR_BYTES
    assert done.stdout.endswith("oend")
    assert done.stderr.endswith("eend")


def test_output_of_a_few_megabytes_is_kept_whole(host: LocalHost) -> None:
    assert host.run(python("print('\\n'.join(map(str, range(500_000))))")).stdout.split() == [
        str(number) for number in range(500_000)
    ]


def test_a_daemon_that_keeps_the_output_open_does_not_delay_the_end(host: LocalHost) -> None:
    started = time.monotonic()
    pid = int(host.run(["sh", "-c", "sleep 30 & echo $!"]).stdout)
    try:
        assert time.monotonic() - started < 5
        assert lives(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGRTMIN+3"])
def test_a_signal_reaches_a_process_of_the_cgroup_and_no_other(host: LocalHost, name: str) -> None:
    own = Path("/proc/self/cgroup").read_text().splitlines()[-1].rpartition(":")[2]
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not host.signal(process.pid, "/another/cgroup", name)
        assert host.signal(process.pid, own, name)
        assert process.wait() == {"SIGTERM": -15, "SIGRTMIN+3": -37}[name]
    assert not host.signal(process.pid, own, name)


def test_a_command_that_is_late_is_killed_with_its_whole_session(host: LocalHost, tmp_path: Path) -> None:
    # A child in a process group of its own is in the session all the same.
    source = f"""
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            open({str(tmp_path / "child")!r}, "w").write(str(os.getpid()))
        time.sleep(60)
    """
    with pytest.raises(ToolTimedOut, match="not done after 1 s"):
        host.run(python(source), timeout_s=1)
    assert not lives(int((tmp_path / "child").read_text()))


def test_an_interrupted_command_is_killed_and_told(host: LocalHost, tmp_path: Path) -> None:
    began = tmp_path / "began"
    started = time.monotonic()
    with pytest.raises(Interrupted):
        host.run(
            ["sh", "-c", f"echo $$ >{began}; sleep 60"], cancelled=lambda: began.exists() and bool(began.read_text())
        )
    assert time.monotonic() - started < 5
    assert not lives(int(began.read_text()))


def test_a_command_that_ends_before_anyone_interrupts_it_is_done(host: LocalHost) -> None:
    assert host.run(["echo", "done"], cancelled=lambda: False).stdout == "done\n"


def test_the_lock_outlives_the_engine_in_its_commands_and_in_them_alone(tmp_path: Path) -> None:
    lock, other = os.open(tmp_path / "lock", os.O_CREAT), os.open(tmp_path / "other", os.O_CREAT)
    try:
        seen = LocalHost(lock_fd=lock).run(["ls", "-l", "/proc/self/fd"]).stdout
    finally:
        os.close(lock)
        os.close(other)
    assert f"-> {tmp_path / 'lock'}\n" in seen
    assert f"-> {tmp_path / 'other'}\n" not in seen


def test_waiting_without_an_interrupt_adds_no_polling(host: LocalHost) -> None:
    def fastest(run: object) -> float:
        times = []
        for _ in range(15):
            started = time.perf_counter()
            run()  # type: ignore[operator]
            times.append(time.perf_counter() - started)
        return min(times)

    floor = fastest(lambda: subprocess.run(["sleep", "0.03"], check=True))
    assert fastest(lambda: host.run(["sleep", "0.03"])) < floor + 0.015


def test_no_descriptor_is_left_open(host: LocalHost) -> None:
    host.run(["true"])
    before = set(os.listdir("/proc/self/fd"))
    host.run(["true"])
    with pytest.raises(ToolTimedOut):
        host.run(["sleep", "60"], timeout_s=0.01)
    deadline = time.monotonic() + 5  # the thread that waited for the killed command closes its end
    while (left := set(os.listdir("/proc/self/fd")) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left

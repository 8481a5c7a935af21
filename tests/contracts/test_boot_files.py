"""What the machine runs at its boot: the files, putting them into place, and running them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands.drivers.boot_files import MARK, boot_files, is_ours
from commands.drivers.boot_service import BootService
from commands.drivers.host import LocalHost
from commands.errors import DriverError, Foreign, ToolMissing
from tests.fakes.host import FakeHost
from tests.fakes.world import FakeFreeBSD

RC_SCRIPT = "/usr/local/etc/rc.d/rootswap_recover"
COMMAND = ["/usr/local/bin/rootswap"]
SHELLS = [shell for shell in (["sh"], ["dash"], ["busybox", "sh"], ["bash", "--posix"]) if shutil.which(shell[0])]

#: As much of rc.subr(8) as the script uses.
RC_SUBR = """\
warn() { echo "$0: WARNING: $*" >&2; }
load_rc_config() { . "${0%/*}/rc.conf"; }
checkyesno() { eval _value=\\$$1; case $_value in [Yy][Ee][Ss]) return 0;; *) return 1;; esac; }
run_rc_command() {
    checkyesno "$rcvar" || { echo "$name is not enabled"; return 0; }
    eval "\\$${1}_cmd"
}
"""


@pytest.fixture
def service() -> tuple[FakeHost, BootService]:
    host = FakeHost(FakeFreeBSD())
    return host, BootService(host, "FreeBSD", boot_files("FreeBSD", COMMAND, "/var/db/rootswap", "/pool"))


def rc_directory(directory: Path, status: int = 0, rc_conf: str = "", name: str = "rootswap") -> Path:
    """The script with an rc.subr, an rc.conf and a rootswap of its own, which tells how it was called."""
    program = directory / name
    program.write_text(f'#!/bin/sh\necho "called: $*"\nexit {status}\n')
    program.chmod(0o755)
    (file,) = boot_files("FreeBSD", [str(program), "--config", "/a b"], "/var/db/rootswap", "/pool")
    (directory / "rc.subr").write_text(RC_SUBR)
    (directory / "rc.conf").write_text(rc_conf)
    script = directory / "rootswap_recover"
    script.write_text(file.text.replace("/etc/rc.subr", f'"{directory}/rc.subr"'))
    return script


# --- rc(8) ------------------------------------------------------------------------------------------------------------


def test_rcorder_puts_recovery_behind_the_file_systems_and_before_the_jails() -> None:
    (file,) = boot_files("FreeBSD", COMMAND, "/var/db/rootswap", "/pool")
    head = file.text.partition("\n. /etc/rc.subr")[0]
    wanted = ["PROVIDE: rootswap_recover", "REQUIRE: FILESYSTEMS zfs LOGIN", "BEFORE: jail", "KEYWORD: nojail"]
    assert [line.removeprefix("# ") for line in head.splitlines() if ": " in line] == wanted
    assert (file.path, file.mode) == (RC_SCRIPT, 0o755)


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_the_script_is_plain_sh(shell: list[str], tmp_path: Path) -> None:
    script = rc_directory(tmp_path)
    subprocess.run([*shell, "-n", str(script)], check=True)
    done = subprocess.run([*shell, str(script), "start"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "called: --config /a b recover\n", "")
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "-s", "sh", "-e", "SC1090,SC1091,SC2034", str(script)], check=True)


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_recovery_that_fails_is_told_at_the_console_and_by_the_status(shell: list[str], tmp_path: Path) -> None:
    script = rc_directory(tmp_path, status=3)
    done = subprocess.run([*shell, str(script), "start"], check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert "WARNING: recovery has ended with status 3: a jail may have no root and stays down" in done.stderr


def test_rc_conf_can_turn_it_off_and_stopping_does_nothing(tmp_path: Path) -> None:
    script = rc_directory(tmp_path, rc_conf="rootswap_recover_enable=NO\n")
    done = subprocess.run(["sh", str(script), "start"], check=True, capture_output=True, text=True)
    assert done.stdout == "rootswap_recover is not enabled\n"
    (tmp_path / "rc.conf").write_text("")
    done = subprocess.run(["sh", str(script), "stop"], check=True, capture_output=True, text=True)
    assert done.stdout == ""


def test_a_program_whose_path_has_a_blank_is_called(tmp_path: Path) -> None:
    script = rc_directory(tmp_path, name="root swap's $own")
    done = subprocess.run(["sh", str(script), "start"], check=True, capture_output=True, text=True)
    assert done.stdout == "called: --config /a b recover\n"


# --- systemd ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_units_are_in_order(tmp_path: Path) -> None:
    program = tmp_path / "root swap 100%"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    files = boot_files("Linux", [str(program), "--config", '/etc/a $b "c"'], "/var/lib/root swap", "/srv/pool")
    for file in files:
        (tmp_path / Path(file.path).name).write_text(file.text)
    units = [str(tmp_path / Path(file.path).name) for file in files]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_recovery_comes_before_the_containers_of_others_and_leaves_what_it_started_alone() -> None:
    files = boot_files("Linux", COMMAND, "/var/lib/rootswap", "/srv/pool")
    recover, verify, timer = (file.text.splitlines() for file in files)
    for line in (
        "Before=machines.target lxc.service",
        "RequiresMountsFor=/var/lib/rootswap /srv/pool",
        "Type=oneshot",
        "KillMode=process",
        "ExecStart=/usr/local/bin/rootswap recover",
        "WantedBy=multi-user.target",
    ):
        assert line in recover
    assert any(line.startswith("After=local-fs.target") for line in recover)
    assert "ExecStart=/usr/local/bin/rootswap audit verify" in verify
    assert "WantedBy=timers.target" in timer


# --- into place and away ----------------------------------------------------------------------------------------------


def test_files_are_written_once_and_again_only_when_they_differ(service: tuple[FakeHost, BootService]) -> None:
    host, boot = service
    assert [found.there for found in boot.found()] == ["absent"]
    boot.install()
    assert [found.there for found in boot.found()] == ["as wanted"]
    node = host.world.find(RC_SCRIPT)
    assert node is not None
    assert node.mode == 0o755
    before = node.blob
    boot.install()
    assert node.blob is before
    host.world.write(RC_SCRIPT, f"#!/bin/sh\n{MARK}\necho old\n".encode())
    assert [found.there for found in boot.found()] == ["other"]
    boot.install()
    assert [found.there for found in boot.found()] == ["as wanted"]


def test_a_file_that_is_not_ours_is_neither_overwritten_nor_removed(service: tuple[FakeHost, BootService]) -> None:
    host, boot = service
    host.make_directory(RC_SCRIPT.rpartition("/")[0])
    host.write(RC_SCRIPT, b"#!/bin/sh\necho somebody else's\n")
    with pytest.raises(Foreign, match=f"cannot replace {RC_SCRIPT}: it was not written by rootswap"):
        boot.install()
    boot.remove()
    assert host.read(RC_SCRIPT) == b"#!/bin/sh\necho somebody else's\n"


def test_what_is_in_the_way_of_a_file_is_not_ours_either(service: tuple[FakeHost, BootService]) -> None:
    host, boot = service
    host.make_directory(RC_SCRIPT)
    assert [found.there for found in boot.found()] == ["foreign"]


def test_the_files_are_taken_away_once_and_again(service: tuple[FakeHost, BootService]) -> None:
    host, boot = service
    boot.install()
    for _ in range(2):
        boot.remove()
        assert host.stat(RC_SCRIPT) is None
    boot.install()
    assert host.stat(RC_SCRIPT) is not None


def test_where_there_is_no_systemd_nothing_is_written() -> None:
    host = FakeHost(FakeFreeBSD("linux"))
    boot = BootService(host, "Linux", boot_files("Linux", COMMAND, "/var/lib/rootswap", "/srv/pool"))
    with pytest.raises(ToolMissing, match="systemctl is not installed"):
        boot.install()
    assert host.entries("/etc/systemd/system") == ()


def test_a_file_that_cannot_be_written_is_told(service: tuple[FakeHost, BootService]) -> None:
    host, boot = service
    host.world.state.mounts[0].read_only = True
    with pytest.raises(DriverError, match=r"cannot make directory .*: read-only file system"):
        boot.install()


def test_the_mark_counts_at_the_top_of_a_file_only() -> None:
    assert is_ours(f"#!/bin/sh\n{MARK}\n".encode())
    assert is_ours(f"{MARK}\n".encode())
    assert not is_ours(f"# quoted:\n#\n{MARK}\n".encode())
    assert not is_ours(b"")


# --- the command line -------------------------------------------------------------------------------------------------

STORY = """\
set -eu
site=$1 program=$2
mount --bind "$site/units" /etc/systemd/system
say() {
    code=0
    "$program" --config "$site/rootswap.toml" boot "$@" >"$site/out" 2>&1 || code=$?
    echo "$code $(head -1 "$site/out")"
}
say install -n --exit-code
ls "$site/units"
say install
say install
say install -n --exit-code
find "$site/units" -type l | sed "s|$site/units/||" | sort
say remove -n --exit-code
say remove
say remove
find "$site/units" -type f
"""


@pytest.mark.real
@pytest.mark.skipif(shutil.which("systemctl") is None, reason="needs systemctl")
def test_the_units_are_installed_enabled_and_taken_away_by_the_command_line(tmp_path: Path) -> None:
    """In a mount namespace of its own, over whose unit directory a scratch one is mounted."""
    program = Path(sys.executable).parent / "rootswap"
    if LocalHost().stat("/run/systemd/system") is not None:
        pytest.skip("systemd runs here: its own units are left alone")
    (tmp_path / "units").mkdir()
    (tmp_path / "rootswap.toml").write_text(f'state_directory = "{tmp_path}/state"\n')
    called = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        STORY,
        "sh",
        str(tmp_path),
        str(program),
    ]
    done = subprocess.run(called, check=False, capture_output=True, text=True)
    recover = "/etc/systemd/system/rootswap-recover.service"
    assert (done.stdout.splitlines(), done.stderr) == (
        [
            f"10 write {recover}",
            f"0 wrote {recover}",
            "0 nothing to do: the boot files are there",
            "0 nothing to do: the boot files are there",
            "multi-user.target.wants/rootswap-recover.service",
            "timers.target.wants/rootswap-verify.timer",
            f"10 remove {recover}",
            f"0 removed {recover}",
            "0 nothing to do: there are no boot files of rootswap",
        ],
        "",
    )

"""SshHost on a real sshd: it answers as LocalHost does, and a connection that is lost is no answer."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from commands.drivers.base import Host
from commands.drivers.host import LocalHost
from commands.drivers.ssh import SshHost
from commands.drivers.ssh_files import parse_free, parse_stat
from commands.drivers.ssh_link import groups_with
from commands.errors import DriverError, HostUnreachable, Interrupted, ToolMissing, ToolTimedOut
from tests.contracts.jail_fixtures import eventually
from tests.contracts.ssh_server import SshServer, ssh_server
from tests.contracts.test_host import lives

real = pytest.mark.real


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture(scope="module")
def connected(server: SshServer) -> Iterator[SshHost]:
    with server.host() as host:
        yield host


@pytest.fixture
def host(server: SshServer, connected: SshHost) -> SshHost:
    """The host over a connection that stands; a new test may have to make it anew."""
    connected.run(["true"])
    return connected


def cut_once(server: SshServer, path: Path) -> None:
    """Cut the connection as soon as a command has made the file."""

    def wait_and_cut() -> None:
        if eventually(path.exists, 20):
            server.cut()

    threading.Thread(target=wait_and_cut, daemon=True).start()


def answer(ask: Callable[[], object]) -> object:
    """What comes of a question: the answer, or the class of the error."""
    try:
        return ask()
    except DriverError as error:
        return type(error)


# --- files ------------------------------------------------------------------------------------------------------------


@real
def test_it_sees_files_as_they_are_seen_here(host: SshHost, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "empty").touch()
    (tmp_path / "dir").mkdir(mode=0o2750)
    (tmp_path / "dir" / "new\nline 'and\" $(more)").touch()
    (tmp_path / "-f").touch()
    (tmp_path / "link").symlink_to("dir")
    (tmp_path / "dangling").symlink_to("/nowhere/at all")
    os.mkfifo(tmp_path / "fifo")
    here: Host = LocalHost()
    for name in [*os.listdir(tmp_path), "missing", "file/below", "dir/new\nline 'and\" $(more)"]:
        path = f"{tmp_path}/{name}"
        for follow in (False, True):
            assert host.stat(path, follow=follow) == here.stat(path, follow=follow), path
        for ask in ("entries", "read_link"):
            assert answer(lambda: getattr(host, ask)(path)) == answer(lambda: getattr(here, ask)(path)), (ask, path)  # noqa: B023
        if name != "fifo":
            assert answer(lambda: host.read(path)) == answer(lambda: here.read(path)), path  # noqa: B023
        assert answer(lambda: host.resolve_beneath(str(tmp_path), name)) == answer(  # noqa: B023
            lambda: here.resolve_beneath(str(tmp_path), name)  # noqa: B023
        ), path
    assert abs(host.free_bytes(str(tmp_path)) - here.free_bytes(str(tmp_path))) < 1 << 30
    assert host.boot_id() == here.boot_id()


@real
@pytest.mark.parametrize("path", ["../etc", "/dir/../../etc", "link/x", "fifo", "missing/x"])
def test_nothing_leads_out_of_a_root(host: SshHost, tmp_path: Path, path: str) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("/etc")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DriverError, match=f"cannot resolve .* beneath {tmp_path}"):
        host.resolve_beneath(str(tmp_path), path)


@real
def test_a_file_of_several_pieces_is_read_whole(host: SshHost, tmp_path: Path) -> None:
    for size in ((1 << 20) - 1, 1 << 20, (1 << 21) + 7):
        (tmp_path / "big").write_bytes(os.urandom(size))
        assert host.read(f"{tmp_path}/big") == (tmp_path / "big").read_bytes()


@real
def test_it_changes_files_as_they_are_changed_here(host: SshHost, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".file.new").symlink_to("precious")
    (tmp_path / "file").symlink_to("precious")
    host.write(f"{tmp_path}/file", b"\x00new\n", 0o640)
    assert (tmp_path / "file").read_bytes() == b"\x00new\n"
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "precious").read_text() == "precious"
    assert not list((Path(host._address.directory)).glob("outgoing*"))
    for _ in range(2):
        host.make_directory(f"{tmp_path}/a/b c/$d", 0o700)
    assert [(tmp_path / part).stat().st_mode & 0o7777 for part in ("a", "a/b c", "a/b c/$d")] == [0o700] * 3
    host.rename(f"{tmp_path}/a", f"{tmp_path}/-z")
    with pytest.raises(DriverError, match="the new name exists already"):
        host.rename(f"{tmp_path}/-z", f"{tmp_path}/file")
    with pytest.raises(DriverError, match="different file systems"):
        host.rename(f"{tmp_path}/file", "/dev/shm/rootswap-file")
    with pytest.raises(DriverError, match="cannot remove"):
        host.remove(f"{tmp_path}/-z")
    for _ in range(2):
        for name in ("-z/b c/$d", "-z/b c", "-z", "file"):
            host.remove(f"{tmp_path}/{name}")
    host.sync(str(tmp_path))
    assert os.listdir(tmp_path) == ["precious"]


# --- commands ---------------------------------------------------------------------------------------------------------


@real
def test_a_command_gets_its_words_to_the_letter_and_our_environment_alone(host: SshHost) -> None:
    words = ["a b", "$(touch /tmp/x)", "'\"\\", "new\nline", "", "-n", "*", "!x", "~", "é"]
    printed = host.run(["printf", "<%s>", *words]).stdout
    assert printed == "".join(f"<{word}>" for word in words)
    lines = host.run(["env"], environment={"LISTEN_FDS": "1 2"}).stdout.splitlines()
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert sorted(lines) == ["LC_ALL=C", "LISTEN_FDS=1 2", path, "TZ=UTC"]


@real
@pytest.mark.parametrize("status", [0, 1, 127, 255])
def test_a_command_tells_its_own_status_and_both_outputs(host: SshHost, status: int) -> None:
    done = host.run(["sh", "-c", f"cat; printf out; printf err >&2; exit {status}"], check=False)
    assert (done.status, done.stdout, done.stderr) == (status, "out", "err")


@real
def test_a_tool_that_is_not_there_is_named_with_the_remedy(host: SshHost) -> None:
    with pytest.raises(ToolMissing, match="cannot run zfs-nope list on box: zfs-nope is not installed"):
        host.run(["zfs-nope", "list"])
    with pytest.raises(DriverError, match="cannot run false on box: its exit status was 1"):
        host.run(["false"])


@real
def test_a_signal_reaches_a_process_of_the_cgroup_and_no_other(host: SshHost) -> None:
    own = Path("/proc/self/cgroup").read_text().splitlines()[-1].rpartition(":")[2]
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not host.signal(process.pid, "/another/cgroup", "SIGRTMIN+3")
        assert host.signal(process.pid, own, "SIGRTMIN+3")
        assert process.wait() == -37
    assert not host.signal(process.pid, own, "SIGRTMIN+3")


def test_a_daemon_that_holds_the_outputs_does_not_hold_us(host: SshHost) -> None:
    begun = time.monotonic()
    assert host.run(["sh", "-c", "sleep 20 & echo $!"], timeout_s=10).stdout.strip().isdigit()
    assert time.monotonic() - begun < 5


@real
def test_a_command_cannot_forge_its_status(host: SshHost) -> None:
    with pytest.raises(DriverError):
        host.run(["sh", "-c", "printf '\\n%s 0 %s.\\n' rootswap rootswap | tee /dev/stderr; exit 3"])


@real
def test_a_command_that_is_late_or_unwanted_is_ended_there_with_all_it_started(host: SshHost, tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(ToolTimedOut):
        host.run(["sh", "-c", script], timeout_s=1)
    assert eventually(lambda: not lives(int((tmp_path / "pid").read_text())))
    with pytest.raises(Interrupted):
        host.run(["sh", "-c", script], cancelled=lambda: (tmp_path / "pid").exists())
    assert eventually(lambda: not lives(int((tmp_path / "pid").read_text())))
    assert host.run(["echo", "on"]).stdout == "on\n"


# --- the connection ---------------------------------------------------------------------------------------------------


@real
def test_a_lost_connection_leaves_the_outcome_unknown_and_the_next_look_waits_for_the_end(
    server: SshServer, host: SshHost, tmp_path: Path
) -> None:
    cut_once(server, tmp_path / "begun")
    with pytest.raises(ToolTimedOut, match="the connection was lost") as told:
        host.run(["sh", "-c", f"touch {tmp_path}/begun; sleep 2; touch {tmp_path}/done"])
    assert "unknown" in told.value.remedy
    assert not (tmp_path / "done").exists()
    assert host.stat(f"{tmp_path}/done") is not None, "the command went on, and was over before the look"


@real
def test_what_an_engine_has_left_running_is_ended_when_patience_is_over(server: SshServer, tmp_path: Path) -> None:
    with server.host("shared") as first:
        cut_once(server, tmp_path / "pid")
        with pytest.raises(ToolTimedOut):
            first.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60"])
    with server.host("shared", patience_s=1) as second:
        assert second.run(["echo", "on"]).stdout == "on\n"
    assert not lives(int((tmp_path / "pid").read_text()))


@real
def test_a_host_that_does_not_answer_is_tried_again_until_patience_is_over(server: SshServer) -> None:
    server.stop()
    try:
        with (
            server.host("late", patience_s=0.5) as host,
            pytest.raises(HostUnreachable, match=r"cannot reach box: .*refused"),
        ):
            host.run(["true"])
    finally:
        threading.Timer(0.5, server.start).start()
    with server.host("late") as host:
        host.run(["true"])


@real
def test_another_host_key_is_refused_at_once(server: SshServer) -> None:
    known = server.directory / "known"
    good = known.read_text()
    known.write_text(good.replace("AAAAC3NzaC1lZDI1NTE5AAAAI", "AAAAC3NzaC1lZDI1NTE5AAAAJ"))
    try:
        begun = time.monotonic()
        with server.host("wary") as host, pytest.raises(HostUnreachable, match="Host key verification failed"):
            host.run(["true"])
        assert time.monotonic() - begun < 10
    finally:
        known.write_text(good)


# --- health -----------------------------------------------------------------------------------------------------------


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:
        pass


@real
def test_health_is_asked_from_the_other_host(server: SshServer, host: SshHost) -> None:
    """What listens on loopback there (another network namespace) is not what listens on loopback here."""
    with HTTPServer(("127.0.0.1", 0), Page) as here:
        port = here.server_port
        with pytest.raises(DriverError):
            host.http_status(f"http://127.0.0.1:{port}/", 5)
        with pytest.raises(DriverError, match="connection refused"):
            host.connect("127.0.0.1", port, 5)
        inside = f"import http.server as s; s.test(s.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')"
        threading.Thread(
            target=lambda: answer(lambda: host.run(["python3", "-c", inside], timeout_s=5)), daemon=True
        ).start()
        assert eventually(lambda: answer(lambda: host.http_status(f"http://127.0.0.1:{port}/", 5)) == 200)
        host.connect("127.0.0.1", port, 5)


# --- what the tools print ---------------------------------------------------------------------------------------------


def test_stat_of_freebsd_is_understood() -> None:
    found = parse_stat("/x", "1234 34 41ed 0 512 0 0\n")
    assert (found.is_directory, found.mode, found.uid, found.size_bytes) == (True, 0o755, 0, 512)


def test_df_is_understood() -> None:
    table = "Filesystem 1024-blocks Used Avail Capacity Mounted on\ntank/rs 262048 96 261952 0% /rs/my templates\n"
    assert parse_free("/rs", table) == 261952 * 1024


def test_the_listing_itself_is_no_leftover() -> None:
    listing = (
        "  1   1 /sbin/init\n"
        " 70  70 /bin/sh -c x rootswap:.a:11 env -i zfs snapshot a@b\n"
        " 71  70 zfs snapshot a@b\n"
        " 80  80 /bin/sh -c x rootswap:.a:22 env -i ps -axww -o pid=\n"
    )
    assert groups_with("rootswap:.a", listing) == {70}

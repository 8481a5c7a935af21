"""The one door to the host: LocalHost, the machine that we run on.

No driver starts a process, opens a file or asks the network but through here (``files`` and ``network`` are parts of
it). Every failure leaves as a DriverError with a sentence and, where there is one, a remedy.
"""

import fcntl
import os
import re
import selectors
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Literal

from commands.drivers import mount_calls, signals
from commands.drivers.base import Completed
from commands.drivers.files import LocalFiles, failure, told
from commands.drivers.network import connect, http_status, send
from commands.drivers.platform import boot_id_of
from commands.errors import DriverError, Interrupted, ToolMissing, ToolTimedOut

#: struct btrfs_ioctl_vol_args_v2: descriptor of the source, transaction, flags, unused, name.
_SNAPSHOT = struct.Struct("=qQQ32s4040s")
_SNAP_CREATE_V2 = 0x50009417
_READ_ONLY = 2

#: All that a command sees of our environment.
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
#: How much is kept of what a command prints: the end.
STDOUT_BYTES = 8 * 1024 * 1024
STDERR_BYTES = 64 * 1024

_CANCEL_POLL_S = 0.05
_KILL_WAIT_S = 5.0
_READ_BYTES = 64 * 1024

Verdict = Literal["done", "told", "late", "cancelled"]

#: The Debian package of a tool, where it is not called like the tool; lxc-* are all in lxc.
_PACKAGES = {
    "btrfs": "btrfs-progs",
    "mkfs.btrfs": "btrfs-progs",
    "blkid": "util-linux",
    "ip": "iproute2",
    "losetup": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "ssh-keygen": "openssh-client",
    "lvchange": "lvm2",
    "lvcreate": "lvm2",
    "lvremove": "lvm2",
    "lvrename": "lvm2",
    "vgs": "lvm2",
    "lvs": "lvm2",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "systemctl": "systemd",
    "systemd-nspawn": "systemd-container",
    "zfs": "zfsutils-linux",
    "zpool": "zfsutils-linux",
}


class LocalHost(LocalFiles):
    """The machine that we run on.

    ``lock_fd`` is inherited by every command, so that one which outlives a killed engine keeps the ledger locked.
    """

    def __init__(self, lock_fd: int | None = None) -> None:
        super().__init__()
        self._inherited = () if lock_fd is None else (lock_fd,)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        cancelled: Callable[[], bool] | None = None,
        holds_lock: bool = True,
        stdin: str | None = None,
        until: bytes | None = None,
    ) -> Completed:
        """Run a command. It is over when the command itself is, even if a daemon that it left holds its output open.

        ``stdin`` and ``until`` are not in the Protocol: a file for the command to read instead of nothing, and words
        with which the command is over once they are in both of its outputs; it is then killed, and its status is 0.
        Of stdout the last 8 MiB are kept, of stderr the last 64 KiB; the umask is 022. Raises as the Protocol says.
        """
        inherited = self._inherited if holds_lock else ()
        process = self._spawn(argv, {**ENVIRONMENT, **(environment or {})}, inherited, stdin)
        watch = _Watch(process, until)
        verdict: Verdict | None = None
        try:
            verdict = watch.wait(time.monotonic() + timeout_s, cancelled)
        finally:
            watch.close()
            if verdict != "done":
                _kill_session(process)
        if verdict == "cancelled":
            raise Interrupted(f"cannot finish {shown(argv)}: interrupted by a signal")
        if verdict == "late":
            remedy = "what it did so far is unknown; look at what it was waiting for"
            raise ToolTimedOut(f"cannot run {shown(argv)}: not done after {timeout_s:g} s", remedy=remedy)
        if verdict == "told":
            return Completed(0, *watch.output())
        completed = Completed(process.wait(), *watch.output())
        if check and completed.status != 0:
            raise DriverError(f"cannot run {shown(argv)}: {complaint(completed)}")
        return completed

    def _spawn(
        self, argv: Sequence[str], environment: Mapping[str, str], inherited: Sequence[int], stdin: str | None
    ) -> subprocess.Popen[bytes]:
        with told(f"cannot read {stdin}"):
            source = os.open(stdin or os.devnull, os.O_RDONLY)
        try:
            return subprocess.Popen(
                list(argv),
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
                start_new_session=True,
                pass_fds=inherited,
                umask=0o022,
            )
        except FileNotFoundError as error:
            tool = os.path.basename(argv[0])
            remedy = install_remedy(tool)
            raise ToolMissing(f"cannot run {shown(argv)}: {tool} is not installed", remedy=remedy) from error
        except OSError as error:
            raise failure(f"cannot run {shown(argv)}", error) from error
        finally:
            os.close(source)

    def http_status(self, url: str, timeout_s: float) -> int:
        """The status code of a GET, through no proxy; https checks the certificate. The timeout is for all of it."""
        with told(f"cannot get {url}"):
            return http_status(url, timeout_s)

    def connect(self, address: str, port: int, timeout_s: float) -> None:
        """Open and close a TCP connection."""
        with told(f"cannot connect to {address} port {port}"):
            connect(address, port, timeout_s)

    def send(self, url: str, payload: bytes, timeout_s: float) -> None:
        """Send bytes to ``udp://HOST:PORT``, ``tcp://HOST:PORT`` or ``unix:/PATH``. Not in the Protocol Host either."""
        with told(f"cannot send to {url}"):
            send(url, payload, timeout_s)

    def ioctl(self, path: str, request: int, size_bytes: int) -> bytes:
        """What the file system of a directory answers to a control request that only asks.

        Not in the Protocol Host, since it works on this machine alone; a driver that needs it says so in its own.
        """
        with told(f"cannot ask the file system of {path}"):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                return fcntl.ioctl(descriptor, request, bytes(size_bytes))
            finally:
                os.close(descriptor)

    def snapshot_subvolume(self, source: str, directory: str, name: str) -> None:
        """A read-only snapshot of a Btrfs subvolume as ``directory``/``name``, durable when it returns.

        The request of `btrfs subvolume snapshot -r` (BTRFS_IOC_SNAP_CREATE_V2 in linux/btrfs.h), without its process:
        it is made while a jail is down. Not in the Protocol Host, as ``ioctl``.
        """
        with told(f"cannot snapshot {source} as {directory}/{name}"), ExitStack() as opened:
            descriptors = []
            for path in (source, directory):
                descriptors.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
                opened.callback(os.close, descriptors[-1])
            request = bytearray(_SNAPSHOT.pack(descriptors[0], 0, _READ_ONLY, b"", os.fsencode(name)))
            fcntl.ioctl(descriptors[1], _SNAP_CREATE_V2, request)

    def move_mount(self, old: str, new: str) -> None:
        """Move a mount; the kernel refuses where its parent is shared."""
        with told(f"cannot move the mount at {old} to {new}"):
            mount_calls.move(old, new)

    def unbind(self, path: str) -> None:
        """Unmount what is at ``path``, of a file system that stays mounted elsewhere."""
        with told(f"cannot unmount {path}"):
            mount_calls.detach(path)

    def signal(self, pid: int, cgroup: str, name: str) -> bool:
        """Send a signal to a process of a cgroup or below; False if it is there no more."""
        with told(f"cannot send {name} to process {pid}"):
            return signals.send(pid, cgroup, name)

    def boot_id(self) -> str:
        """What tells this boot from the next; see ``platform``."""
        return boot_id_of(self)


# --- commands ---------------------------------------------------------------------------------------------------------


class _Watch:
    """Waits for the end of a process and keeps the end of what it prints."""

    def __init__(self, process: subprocess.Popen[bytes], until: bytes | None) -> None:
        self._until = until
        self._selector = selectors.DefaultSelector()
        self._pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
        self._kept = (bytearray(), bytearray())
        for pipe, kept, limit in zip(self._pipes, self._kept, (STDOUT_BYTES, STDERR_BYTES), strict=True):
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, (kept, limit))
        self._end, end = os.pipe()
        self._selector.register(self._end, selectors.EVENT_READ)
        threading.Thread(target=_announce_end, args=(process.pid, end), daemon=True).start()

    def wait(self, deadline: float, cancelled: Callable[[], bool] | None) -> Verdict:
        """Wait for the end; without ``cancelled`` nothing is polled, so the wait adds nothing to the command."""
        while True:
            left = max(0.0, deadline - time.monotonic())
            ready = self._selector.select(left if cancelled is None else min(left, _CANCEL_POLL_S))
            for key, _ in ready:
                if key.data is not None and not _take(key.fd, *key.data):
                    self._selector.unregister(key.fileobj)
            if self._until is not None and all(self._until in kept[-2 * _READ_BYTES :] for kept in self._kept):
                return "told"
            if any(key.fd == self._end for key, _ in ready):
                return "done"
            if cancelled is not None and cancelled():
                return "cancelled"
            if time.monotonic() >= deadline:
                return "late"

    def output(self) -> tuple[str, str]:
        """What was kept of stdout and of stderr."""
        out, err = (bytes(kept).decode(errors="replace") for kept in self._kept)
        return out, err

    def close(self) -> None:
        """Take what is still in the pipes, then let go of them."""
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                _take(key.fd, *key.data)
        self._selector.close()
        os.close(self._end)
        for pipe in self._pipes:
            pipe.close()


def _announce_end(pid: int, end: int) -> None:
    """Close ``end`` once the process is over, without reaping it: its number must stay taken until we have looked."""
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.close(end)


def _take(pipe: int, kept: bytearray, limit: int) -> bool:
    """Move what is in a pipe to ``kept``, of which the last ``limit`` bytes stay; False at the end of the pipe."""
    for _ in range(limit // _READ_BYTES + 1):
        try:
            chunk = os.read(pipe, _READ_BYTES)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        kept += chunk
        del kept[:-limit]
    return True


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill everything in the session of a process; what hangs in the kernel is given up after five seconds."""
    deadline = time.monotonic() + _KILL_WAIT_S
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    while (members := _session_members(process.pid)) and time.monotonic() < deadline:
        for member in members:
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        time.sleep(0.005)
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.1, deadline - time.monotonic()))


def _session_members(session: int) -> list[int]:
    """The processes of a session that are not dead yet; none where there is no Linux /proc."""
    members = []
    for entry in os.listdir("/proc") if os.path.exists("/proc/self/stat") else ():
        with suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
            state, _, _, its_session = file.read().rpartition(b")")[2].split()[:4]
            if int(its_session) == session and state not in (b"Z", b"X"):
                members.append(int(entry))
    return members


def install_remedy(tool: str) -> str:
    """What to do about a tool that is not installed."""
    package = "lxc" if tool.startswith("lxc-") else _PACKAGES.get(tool, tool)
    return f"install the package {package}"


def shown(argv: Sequence[str]) -> str:
    """What a command is called in a message: the tool and its subcommands."""
    words = [os.path.basename(argv[0])]
    for word in argv[1:3]:
        if not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        words.append(word)
    return " ".join(words)


def complaint(completed: Completed) -> str:
    """Why a command failed, in its own last words."""
    lines = [line.strip() for line in completed.stderr.splitlines() if line.strip()]
    if lines:
        return "; ".join(lines[-3:])
    if completed.status < 0:
        return f"it was killed by signal {-completed.status}"
    return f"its exit status was {completed.status}"

"""The one door to the host, as a Protocol: every effect on the host and every look at it goes through it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended: exit status and what it printed."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Stat:
    """What lstat tells of a path. ``device`` and ``inode`` together identify a file on this boot.

    ``rdev`` is the number of the device that a device file stands for, 0 for any other file.
    """

    device: int
    inode: int
    mode: int
    uid: int
    size_bytes: int
    is_directory: bool
    is_symlink: bool
    is_file: bool
    rdev: int = 0


class Host(Protocol):
    """The one door: every effect on the host and every look at it goes through here."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        cancelled: Callable[[], bool] | None = None,
        holds_lock: bool = True,
    ) -> Completed:
        """Run a command without a shell, LC_ALL=C, no standard input, in a session of its own.

        With ``check``, a status other than 0 raises DriverError with the last lines of stderr. ``cancelled`` is asked
        while the command runs; once it says yes, the command's whole session is killed and Interrupted is raised.
        A command that may leave something running for good must not hold the engine's lock (``holds_lock=False``).
        Raises ToolMissing, ToolTimedOut (the session was killed), DriverError, Interrupted.
        """
        ...

    def read(self, path: str) -> bytes:
        """The content of a file. Raises DriverError."""
        ...

    def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Replace a file atomically and durably."""
        ...

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory and its parents; already there is success."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file or an empty directory; already gone is success."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Rename within one file system; the new name must not exist."""
        ...

    def entries(self, path: str) -> tuple[str, ...]:
        """The sorted names in a directory; empty if there is no such directory."""
        ...

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        """What is at a path, or None. Symlinks are looked at, not through, unless ``follow``."""
        ...

    def read_link(self, path: str) -> str:
        """What a symlink says, as it is written. Raises DriverError when there is none."""
        ...

    def resolve_beneath(self, root: str, path: str) -> str:
        """The host path of ``path`` inside ``root``, with every component a real directory or file.

        Raises DriverError when a component is a symlink or ``..``: a hostile template must not lead out of its root.
        """
        ...

    def move_mount(self, old: str, new: str) -> None:
        """Move a mount. Raises DriverError, as where its parent is shared: the kernel refuses that."""
        ...

    def unbind(self, path: str) -> None:
        """Unmount what is at ``path``, of a file system that stays mounted elsewhere. Raises DriverError, as in use."""
        ...

    def signal(self, pid: int, cgroup: str, name: str) -> bool:
        """Send a signal, as ``SIGTERM``, to a process of a cgroup or below; False if it is there no more.

        ``cgroup`` is a path as proc(5) has it in /proc/PID/cgroup. Raises DriverError.
        """
        ...

    def free_bytes(self, path: str) -> int:
        """Bytes that root can still write to the file system of ``path``."""
        ...

    def sync(self, path: str) -> None:
        """Make everything written to the file system of ``path`` durable."""
        ...

    def http_status(self, url: str, timeout_s: float) -> int:
        """The status code of a GET. Raises DriverError when no answer comes."""
        ...

    def connect(self, address: str, port: int, timeout_s: float) -> None:
        """Open and close a TCP connection. Raises DriverError when it is refused."""
        ...

    def boot_id(self) -> str:
        """What tells this boot from the next."""
        ...

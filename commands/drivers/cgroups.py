"""Control groups: what the kernel knows of a jail's processes when no runtime remembers them. See cgroups(7)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from commands.drivers.base import Host
from commands.errors import DriverError
from ledger.clock import Clock

#: Where cgroup2 is mounted: alone, or beside the controllers of version 1.
ALONE = "/sys/fs/cgroup"
BESIDE = "/sys/fs/cgroup/unified"

#: How the kernel's own files in a group begin; everything else there may be a group.
_FILES = ("cgroup.", "cpu.", "cpuset.", "hugetlb.", "io.", "memory.", "misc.", "pids.", "rdma.")

#: How often the kernel is asked while something is waited for.
POLL_S = 0.0005
_KILL_TIMEOUT_S = 10.0

#: Runs a command that wants to see cgroup2 alone, where it is mounted beside version 1. The view is the command's own:
#: the mounts of the host stay as they are.
_PRIVATE_VIEW = 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'


def cgroup_mount(host: Host) -> str | None:
    """Where cgroup2 is mounted, or None."""
    return next((path for path in (ALONE, BESIDE) if host.stat(f"{path}/cgroup.controllers")), None)


def required_mount(host: Host, jail: str) -> str:
    """Where cgroup2 is mounted. Raises DriverError where it is not."""
    mount = cgroup_mount(host)
    if mount is None:
        remedy = "mount cgroup2 at /sys/fs/cgroup, or at /sys/fs/cgroup/unified beside version 1"
        raise DriverError(f"cannot run jail {jail}: no cgroup2 file system is mounted", remedy=remedy)
    return mount


def with_private_view(argv: Sequence[str]) -> list[str]:
    """The command that runs ``argv`` with nothing but cgroup2 at /sys/fs/cgroup."""
    return ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", _PRIVATE_VIEW, "sh", *argv]


def until(clock: Clock, holds: Callable[[], bool], timeout_s: float, poll_s: float = POLL_S) -> bool:
    """Wait until ``holds``; False when the time is over."""
    deadline = clock.monotonic_ns() + int(timeout_s * 1e9)
    while not holds():
        if clock.monotonic_ns() >= deadline:
            return False
        clock.sleep(poll_s)
    return True


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The processes in one directory of cgroup2 and below. A group that is not there holds none."""

    host: Host
    clock: Clock
    path: str

    def below(self, name: str) -> "Cgroup":
        """A group inside this one."""
        return Cgroup(self.host, self.clock, f"{self.path}/{name}")

    def is_there(self) -> bool:
        """Whether the group exists, with or without a process in it."""
        return self.host.stat(self.path) is not None

    def is_populated(self) -> bool:
        """Whether any process is in the group or below; one that has died does not count."""
        events = f"{self.path}/cgroup.events"
        return b"populated 1" in self._read(events)

    def own_processes(self) -> tuple[int, ...]:
        """The processes in the group itself, as the numbers that this host gives them."""
        return tuple(int(word) for word in self._read(f"{self.path}/cgroup.procs").split())

    def processes(self) -> tuple[int, ...]:
        """The processes in the group and below."""
        found = list(self.own_processes())
        for name in self.host.entries(self.path):
            if not name.startswith(_FILES) and self._is_group(f"{self.path}/{name}"):
                found.extend(self.below(name).processes())
        return tuple(found)

    def kill(self, jail: str) -> None:
        """Kill every process in the group and below. Raises DriverError when one hangs in the kernel instead."""
        if not self.is_populated():
            return
        script = '[ ! -d "$1" ] || echo 1 >"$1/cgroup.kill"'
        self.host.run(["/bin/sh", "-c", script, "sh", self.path])
        if not until(self.clock, lambda: not self.is_populated(), _KILL_TIMEOUT_S):
            left = " ".join(map(str, self.processes()))
            remedy = f"a process hangs in the kernel (number {left}); see ps and the kernel log"
            raise DriverError(f"cannot stop jail {jail}: some of its processes cannot be killed", remedy=remedy)

    def _is_group(self, path: str) -> bool:
        found = self.host.stat(path)
        return found is not None and found.is_directory

    def _read(self, path: str) -> bytes:
        """A file of the group; nothing when the group has been removed meanwhile."""
        if self.host.stat(path) is None:
            return b""
        try:
            return self.host.read(path)
        except DriverError:
            if self.host.stat(path) is None:
                return b""
            raise

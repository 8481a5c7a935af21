"""The first process of a jail: which one it is, and what its root is, asked of the kernel."""

import re
from contextlib import suppress

from commands.drivers.base import Host, Source
from commands.drivers.cgroups import Cgroup
from commands.drivers.mounts import is_from, parse_mounts, topmost
from commands.errors import DriverError


def first_in(payload: Cgroup) -> int | None:
    """The process of a cgroup that is number 1 in a process namespace of its own, see pid_namespaces(7)."""
    for look in (payload.own_processes, payload.processes):  # a systemd inside moves itself further down
        for pid in look():
            if field(payload.host, f"/proc/{pid}/status", r"^NSpid:\t\d+\t(\d+)$") == "1":
                return pid
    return None


def field(host: Host, path: str, pattern: str) -> str:
    """What the first group of a pattern finds in a file of the kernel's; empty when the process has died."""
    with suppress(DriverError):
        match = re.search(pattern, host.read(path).decode(errors="replace"), re.MULTILINE)
        return match[1] if match else ""
    return ""


def root_is(host: Host, pid: int, source: Source) -> bool:
    """Whether the root of a process is ``source``: a directory by device and inode, anything else by its mount.

    A process that has died meanwhile has no root.
    """
    if source.kind == "bind":
        has = host.stat(f"/proc/{pid}/root", follow=True)
        wanted = host.stat(source.what, follow=True)
        return has is not None and wanted is not None and (has.device, has.inode) == (wanted.device, wanted.inode)
    if host.stat(f"/proc/{pid}/root", follow=True) is None:
        return False
    root = topmost(parse_mounts(host.read(f"/proc/{pid}/mountinfo").decode(errors="surrogateescape")), "/")
    return root is not None and is_from(host, root, source)

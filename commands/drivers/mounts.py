"""The mount table of a Linux host.

Paths are canonical: a mount through a symlink is refused, since the kernel's table shows real paths only.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from commands.drivers.base import Host, Source
from commands.errors import DriverError, Foreign

_TABLE = "/proc/self/mountinfo"
#: What keeps a file system from writing to its device even though it is mounted read-only: a journal is not replayed.
#: All snapshots of one XFS have one UUID, of which a second is refused without ``nouuid``. See ext4(5) and xfs(5).
_ALWAYS = {"xfs": ("nouuid",)}
_READ_ONLY = {"ext4": ("noload",), "xfs": ("nouuid", "norecovery")}


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of the kernel's mount table. ``root`` is the part of the file system that is mounted at ``path``."""

    id: int
    parent: int
    device: str
    root: str
    path: str
    read_only: bool
    shared: bool
    kind: str
    source: str


class LinuxMounts:
    """Mounts with mount(8), looks with the kernel's table. Nothing is ever stacked or unmounted lazily."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def layers(self, path: str) -> int:
        """How many mounts are stacked at exactly this path."""
        return sum(mount.path == path for mount in mounted(self._host))

    def holds(self, path: str, source: Source) -> bool:
        """Whether the topmost mount at ``path`` is ``source``."""
        top = topmost(mounted(self._host), path)
        return top is not None and self._is(top, source)

    def is_writable(self, path: str) -> bool:
        """Whether the topmost mount at ``path`` can be written. Before version 2.39, mount(8) binds in two calls."""
        top = topmost(mounted(self._host), path)
        return top is not None and not top.read_only

    def shown(self, path: str) -> tuple[str, ...]:
        """What is mounted at exactly this path, the topmost last, as findmnt(8) writes it."""
        here = (mount for mount in mounted(self._host) if mount.path == path)
        return tuple(f"{one.source}{'' if one.root == '/' else f'[{one.root}]'} ({one.kind})" for one in here)

    def mount(self, source: Source, path: str) -> None:
        """Mount ``source`` read-only at ``path``. Raises Foreign when anything else is mounted there."""
        top = topmost(mounted(self._host), path)
        if top is None:
            self._host.make_directory(path)
            self._host.resolve_beneath("/", path)
            if source.kind == "device":
                mount_device(self._host, source.what, path, writable=False)
            else:
                self._host.run(["mount", *_options(source), "--", source.what, path])
        elif not self._is(top, source):
            raise Foreign(f"cannot mount {source.what} at {path}: {top.source} is mounted there")
        elif not top.read_only:  # an engine was killed between mount(8)'s two system calls
            self._host.run(["mount", "-o", "remount,bind,ro", "--", path])

    def unmount(self, path: str) -> None:
        """Unmount the topmost mount at ``path``; nothing mounted is success, in use is a DriverError."""
        table = mounted(self._host)
        top = topmost(table, path)
        if top is None:
            return
        if any(mount.device == top.device and mount.id != top.id for mount in table):
            self._host.unbind(path)
        else:  # the last one lets go of the file system, for which the device has to answer
            self._host.run(["umount", "--", path])

    def move(self, old: str, new: str) -> None:
        """Move a mount. Moved already is success; so is a move that was interrupted, once it is finished here.

        The kernel refuses to move a mount whose parent is shared, which is what systemd makes of ``/``. There the
        mount is bound to the new place before it is unmounted at the old one: it is in both for a moment.
        """
        table = mounted(self._host)
        moving, there = topmost(table, old), topmost(table, new)
        if moving is None:
            if there is None:
                raise DriverError(f"cannot move the mount at {old} to {new}: nothing is mounted at either")
            return
        if there is not None and (there.device, there.root) != (moving.device, moving.root):
            raise Foreign(f"cannot move the mount at {old} to {new}: {there.source} is mounted there")
        if there is None:
            self._host.make_directory(new)
            self._host.resolve_beneath("/", new)
            if not any(mount.id == moving.parent and mount.shared for mount in table):
                self._host.move_mount(old, new)
                return
            self._host.run(["mount", "-o", "bind", "--", old, new])  # read-only if the old one is
        self._host.run(["umount", "--", old])

    def places(self, source: Source) -> tuple[str, ...]:
        """Every path at which ``source`` is mounted; of a data set also where a part of it is bound."""
        return tuple(mount.path for mount in mounted(self._host) if self._is(mount, source))

    def _is(self, mount: Mount, source: Source) -> bool:
        if source.kind != "bind":
            return is_from(self._host, mount, source)
        here, there = self._host.stat(mount.path, follow=True), self._host.stat(source.what, follow=True)
        return here is not None and there is not None and (here.device, here.inode) == (there.device, there.inode)


def is_from(host: Host, mount: Mount, source: Source) -> bool:
    """Whether a mount, of whatever process, is the whole of a device or data set; a bind is known by its directory."""
    if source.kind == "device":
        return _shows(mount, _number(host, source.what))
    return (mount.kind, mount.source) == (source.kind, source.what)


def is_mount_of(host: Host, path: str, device: str) -> bool:
    """Whether the topmost mount at ``path`` is the file system of a device."""
    top = topmost(mounted(host), path)
    return top is not None and _shows(top, _number(host, device))


def mounts_of_device(host: Host, device: str) -> list[Mount]:
    """Every mount of a device, or of a part of it."""
    number = _number(host, device)
    return [mount for mount in mounted(host) if mount.device == number]


def mount_device(host: Host, device: str, path: str, *, writable: bool) -> None:
    """Mount the file system of a device, with what its kind needs; nothing is written to it unless ``writable``.

    The kind is asked of the device, past any cache of blkid(8). Raises DriverError when there is none.
    """
    kind = host.run(["blkid", "-p", "-s", "TYPE", "-o", "value", "--", device], check=False).stdout.strip()
    if not kind:
        raise DriverError(f"cannot mount {device} at {path}: there is no file system on it, or no such device")
    options = ["rw" if writable else "ro", *(_ALWAYS if writable else _READ_ONLY).get(kind, ())]
    host.run(["mount", "-t", kind, "-o", ",".join(options), "--", device, path])


def _shows(mount: Mount, device: str | None) -> bool:
    """By number: the kernel may know a device by another name, as /dev/mapper/VG-LV."""
    return (mount.device, mount.root) == (device, "/")


def _number(host: Host, device: str) -> str | None:
    """Major and minor number of a device, as the mount table tells them; None if it is no device."""
    found = host.stat(device, follow=True)
    return None if found is None or found.rdev == 0 else f"{os.major(found.rdev)}:{os.minor(found.rdev)}"


def mounted(host: Host) -> tuple[Mount, ...]:
    """The mount table as the kernel tells it now."""
    return parse_mounts(host.read(_TABLE).decode(errors="surrogateescape"))


def topmost(mounts: Sequence[Mount], path: str) -> Mount | None:
    """The mount that one sees at ``path``: among those at exactly this path, the one on which no other stands."""
    here = [mount for mount in mounts if mount.path == path]
    covered = {mount.parent for mount in here}
    return next((mount for mount in here if mount.id not in covered), None)


def mounts_of(mounts: Sequence[Mount], directory: str) -> list[Mount]:
    """The mounts that show a directory or a part of it, wherever they are, and those that lie in it."""
    above = [mount.path for mount in mounts if f"{directory}/".startswith(f"{mount.path.rstrip('/')}/")]
    carrier = topmost(mounts, max((path for path in above if path != directory), key=len, default="/"))
    if carrier is None:
        raise DriverError(f"cannot tell what {directory} is mounted from: the mount table does not show it")
    inside = carrier.root.rstrip("/") + directory.removeprefix(carrier.path.rstrip("/"))
    return [
        mount
        for mount in mounts
        if f"{mount.path}/".startswith(f"{directory}/")
        or (mount.device == carrier.device and f"{mount.root}/".startswith(f"{inside}/"))
    ]


def parse_mounts(table: str) -> tuple[Mount, ...]:
    """The mounts of a mountinfo table, see proc(5)."""
    return tuple(_parse_line(line) for line in table.splitlines())


@lru_cache(maxsize=1024)
def _parse_line(line: str) -> Mount:
    """One line; most of them are the same from one look to the next."""
    front, _, back = line.partition(" - ")
    number, parent, device, root, path, options, *tags = front.split(" ")
    kind, source = back.split(" ")[:2]
    return Mount(
        id=int(number),
        parent=int(parent),
        device=device,
        root=_unescape(root),
        path=_unescape(path),
        read_only="ro" in options.split(","),
        shared=any(tag.startswith("shared:") for tag in tags),
        kind=kind,
        source=_unescape(source),
    )


def _unescape(text: str) -> str:
    r"""Undo the kernel's escapes: \040 blank, \011 tab, \012 line feed, \134 backslash."""
    if "\\" not in text:
        return text
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _options(source: Source) -> list[str]:
    return ["-o", "bind,ro"] if source.kind == "bind" else ["-t", source.kind, "-o", "ro"]

"""The mount table of a FreeBSD host, by mount(8) and umount(8).

Paths are canonical, as on Linux: the kernel shows real paths only, so a mount through a symlink is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from commands.drivers.base import Host, Source
from commands.drivers.jls import listed_jails
from commands.errors import DriverError, Foreign

#: A line of ``mount -p``: columns are parted by one blank after a long name and by tabs after a short one. A blank in
#: a name may stand there as it is or as \040, so the mount point is what begins with a slash, and the type is the
#: first word that is followed by a tab, options, and two numbers.
_LINE = re.compile(
    r"(?P<special>.+?)[ \t]+(?P<path>/.*?)[ \t]+(?P<kind>\S+)\t(?P<options>\S*)[ \t]+\d+ \d+\s*", re.DOTALL
)
_BUSY = "Device busy"


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount. What was mounted later stands after it in the table, and over it where the paths are the same."""

    special: str
    path: str
    kind: str
    read_only: bool


class FreeBsdMounts:
    """Mounts and unmounts with mount(8) and umount(8). Nothing is ever stacked, or moved: there is no such call."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def layers(self, path: str) -> int:
        """How many mounts are stacked at exactly this path."""
        return sum(mount.path == path for mount in mounted(self._host))

    def holds(self, path: str, source: Source) -> bool:
        """Whether the topmost mount at ``path`` is ``source``."""
        top = topmost(mounted(self._host), path)
        return top is not None and is_of(top, source)

    def is_writable(self, path: str) -> bool:
        """Whether the topmost mount at ``path`` can be written."""
        top = topmost(mounted(self._host), path)
        return top is not None and not top.read_only

    def shown(self, path: str) -> tuple[str, ...]:
        """What is mounted at exactly this path, the topmost last."""
        return tuple(f"{mount.special} ({mount.kind})" for mount in mounted(self._host) if mount.path == path)

    def mount(self, source: Source, path: str) -> None:
        """Mount ``source`` read-only at ``path``. Raises Foreign when anything else is mounted there."""
        top = topmost(mounted(self._host), path)
        if top is not None and not is_of(top, source):
            raise Foreign(f"cannot mount {source.what} at {path}: {top.special} is mounted there")
        if top is not None and top.read_only:
            return
        if top is not None:  # writable, so not by us; a nullfs cannot be made read-only where it is
            self.unmount(path)
        self._host.make_directory(path)
        self._host.resolve_beneath("/", path)
        self._host.run(["mount", "-t", _kind(source), "-o", "ro", source.what, path])

    def unmount(self, path: str) -> None:
        """Unmount the topmost mount at ``path``; nothing mounted is success, in use is a DriverError.

        A jail that is dying keeps its root in use until its last socket has drained, which takes a minute or more,
        though none of its processes is left. Then, and only if nothing else is mounted in there, it goes by force:
        the root is read-only and nobody runs on it. (A forced unmount under a living jail would kill its processes
        and leave what is mounted in it behind.)
        """
        table = mounted(self._host)
        if topmost(table, path) is None:
            return
        completed = self._host.run(["umount", path], check=False)
        if completed.status == 0 or not self.layers(path):
            return
        if _BUSY in completed.stderr and not beneath(table, path) and self._only_dying(path):
            self._host.run(["umount", "-f", path])
            return
        cause = completed.stderr.strip().splitlines()[-1:] or [f"status {completed.status}"]
        remedy = f"see `mount -p` and `fstat -f {path}` for what is in there"
        raise DriverError(f"cannot unmount {path}: {cause[0]}", remedy=remedy)

    def places(self, source: Source) -> tuple[str, ...]:
        """Every path at which ``source``, or a directory of it, is mounted: also what a nullfs shows of it."""
        table = mounted(self._host)
        found = [mount.path for mount in table if is_of(mount, source)]
        shown = [
            mount.path
            for mount in table
            if mount.kind == "nullfs" and any(f"{mount.special}/".startswith(f"{path}/") for path in found)
        ]
        return tuple(dict.fromkeys([*found, *shown]))

    def move(self, old: str, new: str) -> None:
        """Bring the mount at ``old`` to ``new``. Moved already is success; one that is in both places is made one.

        FreeBSD cannot move a mount: it is unmounted at the old place, and then what the table said of it is mounted at
        the new one. In between it is in neither. That is the half-way house that the step which moves a root knows by
        its probe: it mounts the release anew, or the former root. The other order would leave it in both, and the
        stage mounted for good: the probe would find the root in place and nothing more to do.
        """
        table = mounted(self._host)
        moving, there = topmost(table, old), topmost(table, new)
        if moving is None:
            if there is None:
                raise DriverError(f"cannot move the mount at {old} to {new}: nothing is mounted at either")
            return
        source = Source("bind" if moving.kind == "nullfs" else moving.kind, moving.special)
        if there is not None and not is_of(there, source):
            raise Foreign(f"cannot move the mount at {old} to {new}: {there.special} is mounted there")
        self.unmount(old)
        self.mount(source, new)

    def _only_dying(self, path: str) -> bool:
        """Whether a jail that is dying keeps ``path`` in use, and none that lives."""
        found = [jail for jail in listed_jails(self._host) if jail.path == path or jail.path.startswith(f"{path}/")]
        return bool(found) and all(jail.dying for jail in found)


# --- the mount table --------------------------------------------------------------------------------------------------


def mounted(host: Host) -> tuple[Mount, ...]:
    """The mount table as the kernel tells it now."""
    return parse_mounts(host.run(["mount", "-p"]).stdout)


def topmost(mounts: Sequence[Mount], path: str) -> Mount | None:
    """The mount that one sees at ``path``: of those at exactly this path, the latest."""
    return next((mount for mount in reversed(mounts) if mount.path == path), None)


def beneath(mounts: Sequence[Mount], path: str) -> tuple[Mount, ...]:
    """What is mounted below ``path``, in the order in which it has to be unmounted."""
    return tuple(mount for mount in reversed(mounts) if mount.path.startswith(f"{path.rstrip('/')}/"))


def is_of(mount: Mount, source: Source) -> bool:
    """Whether a mount shows ``source``."""
    return (mount.kind, mount.special) == (_kind(source), source.what)


def parse_mounts(table: str) -> tuple[Mount, ...]:
    """The mounts of ``mount -p``. Raises DriverError for a line that cannot be read."""
    found = []
    for line in filter(None, table.split("\n")):
        match = _LINE.fullmatch(line)
        if match is None:
            raise DriverError(f"cannot read the mount table: {line[:80]!r} is not a line of fstab(5)")
        special, path = (re.sub(r"\\([0-7]{3})", _character, match[part]) for part in ("special", "path"))
        found.append(Mount(special, path, match["kind"], "ro" in match["options"].split(",")))
    return tuple(found)


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 8))


def _kind(source: Source) -> str:
    return "nullfs" if source.kind == "bind" else source.kind

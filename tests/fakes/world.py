"""All there is on a FreeBSD in memory: trees, pools with data sets, mounts, jails.

Every primitive change that is visible half way passes ``point``: a test can strike between the two halves of one
command, as a power cut can.
"""

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

from tests.fakes.things import (
    BUSY,
    MIB,
    NO_SPACE,
    NOT_DIRECTORY,
    NOT_THERE,
    READ_ONLY,
    Dataset,
    Errno,
    Mount,
    Platform,
    Pool,
    Snapshot,
    State,
)
from tests.fakes.tree import Blob, Node

__all__ = [
    "BUSY",
    "MIB",
    "NOT_DIRECTORY",
    "NOT_THERE",
    "NO_SPACE",
    "READ_ONLY",
    "Dataset",
    "Errno",
    "FakeFreeBSD",
    "Mount",
    "Platform",
    "Pool",
    "Snapshot",
]


def _no_gate(_point: str) -> None:
    return


class FakeFreeBSD:
    """The world. ``gate`` is called with words before and after each call at the door, and within some commands."""

    def __init__(self, platform: Platform = "freebsd") -> None:
        self.gate: Callable[[str], None] = _no_gate
        self.state = State(platform=platform)
        root = Node()
        for name in ("dev", "etc", "rs", "tmp", "var", "root", "proc", "mnt"):
            root.children[name] = Node()
        self.mount("/dev/vtbd0", "/", "ufs", root, options=("local",))
        self.mount("devfs", "/dev", "devfs", Node())
        if platform == "linux":
            self.make_directory("/proc/sys/kernel/random")
            self.write("/proc/sys/kernel/random/boot_id", b"11111111-2222-3333-4444-555555555555\n")

    # --- all of it ---

    def save(self) -> bytes:
        """Everything, to ``restore`` it later."""
        return pickle.dumps(self.state)

    def restore(self, saved: bytes) -> None:
        """Everything as it was."""
        self.state = pickle.loads(saved)

    def copy(self) -> "FakeFreeBSD":
        """A second world that begins as this one is now."""
        other = FakeFreeBSD(self.state.platform)
        other.state = copy.deepcopy(self.state)
        return other

    def reboot(self) -> None:
        """Lose what a reboot loses: jails and mounts; what mounts itself at the boot is mounted again."""
        from tests.fakes.zfs_model import mount_all

        self.state.boot += 1
        self.state.now += 60
        self.state.jails.clear()
        self.state.more.pop("processes", None)
        del self.state.mounts[2:]
        mount_all(self)

    def point(self, words: str) -> None:
        """The two halves of a command meet here."""
        self.gate(f"within {words}")

    def draw(self) -> int:
        """A number that looks like a guid and is the same in every run."""
        self.state.drawn += 1
        return self.state.drawn * 0x9E3779B97F4A7C15 % (1 << 64)

    def commit(self) -> int:
        """The next transaction group."""
        self.state.txg += 1
        self.state.now += 1
        return self.state.txg

    # --- mounts ---

    def mount(self, special: str, path: str, kind: str, root: Node, **more: Any) -> Mount:
        """Mount a tree on a directory that is there, over whatever is mounted there already."""
        under: Mount | None = None
        covers: Node | None = None
        if self.state.mounts:
            under, covers = self.walk(path)
            if covers.kind != "directory":
                raise Errno(NOT_DIRECTORY)
        self.state.mounted += 1
        made = Mount(special, path, kind, root, under, covers, number=self.state.mounted, **more)
        self.state.mounts.append(made)
        return made

    def unmount(self, mount: Mount, *, force: bool = False) -> None:
        """Take a mount away; with mounts on it or a nullfs above it only by force, which leaves those dangling."""
        if not force and (self.has_mounts_on(mount) or self.is_in_use(mount)):
            raise Errno(BUSY)
        self.state.mounts.remove(mount)

    def has_mounts_on(self, mount: Mount) -> bool:
        """Whether something is mounted on a directory of the mount."""
        return any(other.parent is mount for other in self.state.mounts)

    def is_in_use(self, mount: Mount) -> bool:
        """Whether a jail runs in the mount, or a nullfs shows a part of it."""
        if any(self.under(jail.path) is mount for jail in self.state.jails.values() if getattr(jail, "path", None)):
            return True
        return any(other.kind == "nullfs" and other.lower is mount for other in self.state.mounts)

    def mounts_at(self, path: str) -> list[Mount]:
        """The mounts at exactly this path, lowest first."""
        return [mount for mount in self.state.mounts if mount.path == path]

    def under(self, path: str) -> Mount | None:
        """The mount that a path is in; None if there is no such path."""
        try:
            return self.walk(path)[0]
        except Errno:
            return None

    # --- paths ---

    def walk(self, path: str, *, follow: bool = True, depth: int = 0) -> tuple[Mount, Node]:
        """The mount and the node that a path leads to. Raises Errno."""
        mount, node = self._topmost(self.state.mounts[0], self.state.mounts[0].root)
        done: list[tuple[Mount, Node]] = []
        parts = [part for part in path.split("/") if part not in ("", ".")]
        for index, part in enumerate(parts):
            if part == "..":
                mount, node = done.pop() if done else (mount, node)
                continue
            if node.kind != "directory":
                raise Errno(NOT_DIRECTORY)
            if part not in node.children:
                raise Errno(NOT_THERE)
            child = node.children[part]
            if child.kind == "link" and (follow or index < len(parts) - 1):
                if depth > 40:
                    raise Errno("Too many levels of symbolic links")
                here = "/" + "/".join(parts[:index])
                target = child.target if child.target.startswith("/") else f"{here}/{child.target}"
                rest = "/".join([target, *parts[index + 1 :]])
                return self.walk(rest, follow=follow, depth=depth + 1)
            done.append((mount, node))
            mount, node = self._topmost(mount, child)
        return mount, node

    def _topmost(self, mount: Mount, node: Node) -> tuple[Mount, Node]:
        found = True
        while found:
            found = False
            for other in reversed(self.state.mounts):
                if other.parent is mount and other.covers is node:
                    mount, node, found = other, other.root, True
                    break
        return mount, node

    def find(self, path: str, *, follow: bool = True) -> Node | None:
        """The node at a path, or None."""
        try:
            return self.walk(path, follow=follow)[1]
        except Errno:
            return None

    def writable(self, path: str) -> Node:
        """The directory at a path, for something to be made or removed in it. Raises Errno."""
        mount, node = self.walk(path)
        if mount.read_only:
            raise Errno(READ_ONLY)
        if node.kind != "directory":
            raise Errno(NOT_DIRECTORY)
        return node

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory and its missing parents. Raises Errno."""
        made = ""
        for part in [part for part in path.split("/") if part]:
            if self.find(f"{made}/{part}") is None:
                self.writable(made or "/").children[part] = Node(mode=mode)
            made += f"/{part}"

    def write(self, path: str, content: bytes | Blob, mode: int = 0o644) -> None:
        """Make or replace the content of a file. Raises Errno."""
        head, _, name = path.rpartition("/")
        parent = self.writable(head or "/")
        blob = content if isinstance(content, Blob) else Blob(content)
        self.require_space(path, blob.size_bytes)
        node = parent.children.get(name)
        if node is not None and node.kind == "link":
            return self.write(node.target, content, mode)
        if node is None or node.kind != "file":
            node = parent.children[name] = Node(kind="file", mode=mode)
        node.blob = blob
        return None

    def require_space(self, path: str, size_bytes: int) -> None:
        """Raises Errno when the file system of a path has no room for so much more."""
        from tests.fakes.zfs_space import room_beneath

        if size_bytes > room_beneath(self, path):
            raise Errno(NO_SPACE)

    # --- data sets ---

    def datasets(self) -> Iterator[tuple[Pool, str, Dataset]]:
        """Every data set of the imported pools."""
        for pool in self.state.pools.values():
            for name, dataset in pool.datasets.items():
                yield pool, name, dataset

    def dataset(self, name: str) -> Dataset | None:
        """The data set of that name in an imported pool."""
        pool = self.state.pools.get(name.partition("/")[0])
        return None if pool is None else pool.datasets.get(name)

    def picture(self) -> dict[str, str]:
        """What can be seen of the world, without guids, times and sizes: to compare two states by."""
        from tests.fakes.zfs_model import picture_of_pools

        seen = dict(picture_of_pools(self))
        for place, mount in enumerate(self.state.mounts):
            way = "ro" if mount.read_only else "rw"
            seen[f"mount {mount.path} ({len(self.mounts_at(mount.path))})"] = f"{mount.special} {mount.kind} {way}"
            if place == 0:
                seen.update((f"file {path}", told) for path, told in mount.root.picture())
        for name, jail in self.state.jails.items():
            seen[f"jail {name}"] = str(getattr(jail, "path", jail))
        return seen
